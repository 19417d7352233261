"""The subtitles that DJI aircraft write beside their videos, one cue a frame or a second.

There is no specification, and nearly every model has a dialect of its own; what is known of them:

* ``GPS(a,b,c)`` holds longitude and latitude, but latitude and longitude on the Matrice 300, which
  is told by its metre sign (``0.0M``). The third number counts satellites, or is an altitude that
  stays 0: it is not used.
* ``[latitude: …] [longitude: …]``, the latter spelt ``longtitude`` by some.
* Heights: ``BAROMETER:``, ``Hb:``, ``H 17.4m`` and ``rel_alt`` above take-off, ``abs_alt`` above
  sea level, several keys in one bracket or each in its own; ``altitude`` does not say above what.
* Times: local without a zone, to the second, to ``.812`` or to ``,720,764``; or none.
* ``N/A`` or 0, 0 in place of a position while there is no satellite fix.
* Focal length for 35 mm, in millimetres where it has a decimal point, else in tenths of one.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from enforcement.flights import TelemetryConventions
from feeds.telemetry.log import LogBook, Refusal, TelemetryLog, gimbal_yaw, in_utc, pose_of

_LONGEST_LINE = 4096
_MOST_LINES = 32

_NUMBER = r"[-+]?[0-9]{1,9}(?:\.[0-9]{1,12})?"
_PLAIN = re.compile(_NUMBER)
_INDEX = re.compile(r"[0-9]{1,9}")
_CLOCK = r"([0-9]{1,3}):([0-9]{1,2}):([0-9]{1,2})[,.]([0-9]{1,3})"
_CUE_TIMES = re.compile(rf"{_CLOCK}[ \t]{{0,8}}-->[ \t]{{0,8}}{_CLOCK}")
_BRACKET = re.compile(r"\[([^\[\]]{0,256})\]")
_PAIR = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,31})[ \t]{0,4}:[ \t]{0,4}([^\s,:\[\]]{1,32})")
_GPS = re.compile(
    r"\bGPS[ \t]{0,4}\([ \t]{0,4}([^,()\s]{1,24})[ \t]{0,4},[ \t]{0,4}([^,()\s]{1,24})"
    r"[ \t]{0,4}(?:,[ \t]{0,4}([^,()\s]{0,24})[ \t]{0,4})?\)"
)
_GPS_ANY = re.compile(r"\bGPS\b|\bl(?:atitude|ongt?itude)\b", re.IGNORECASE)
_BAROMETER = re.compile(
    rf"\b(?:BAROMETER[ \t]{{0,4}}:|Hb[ \t]{{0,4}}:|H[ \t]{{1,4}})[ \t]{{0,4}}({_NUMBER})(?![0-9.])"
)
_ANGLES = re.compile(
    rf"\b([FG])\.PRY[ \t]{{0,4}}\([ \t]{{0,4}}({_NUMBER})[^0-9,()]{{0,4}},"
    rf"[ \t]{{0,4}}({_NUMBER})[^0-9,()]{{0,4}},[ \t]{{0,4}}({_NUMBER})[^0-9,()]{{0,4}}\)"
)
_LOCAL_TIME = re.compile(
    r"(?<![0-9])(20[0-9]{2})[-./]([0-9]{1,2})[-./]([0-9]{1,2})[ T]{1,2}"
    r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[.,]([0-9]{1,6}))?(?:[.,]([0-9]{1,3}))?(?![0-9])"
)


def read_srt(data: bytes, name: str, conventions: TelemetryConventions) -> TelemetryLog:
    """The poses of a DJI subtitle file, which may change its dialect from cue to cue.

    Raises BadTelemetry if no cue gives a pose.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16", errors="replace").encode()
    order = _GpsOrder(data, conventions)
    book = LogBook(name)
    for cue in _cues(data):
        if book.is_full:
            break
        try:
            fields, local = _fields(cue, order, conventions)
            moment = in_utc(local, conventions) if local is not None else None
            pose = pose_of({**fields, "moment": moment})
        except Refusal as refusal:
            book.refuse(str(refusal))
        else:
            book.take(pose, undated=local is not None and moment is None)
    return book.close("subtitle")


@dataclass
class _Cue:
    """Times line and text of one subtitle; ``numbered`` if the line of its number was seen."""

    times: str | None = None
    numbered: bool = False
    lines: list[str] = field(default_factory=list)

    @property
    def is_begun(self) -> bool:
        return self.times is not None or self.numbered or bool(self.lines)


def _cues(data: bytes) -> Iterator[_Cue]:
    """Cue after cue, each from its number or, where that is missing, from its times.

    A cue whose times are unreadable thus never adds its text to the one before.
    """
    cue, after_blank = _Cue(), True
    for line in _lines(data):
        if "-->" in line:
            if cue.times is not None or cue.lines:
                yield cue
                cue = _Cue()
            cue.times = line
        elif after_blank and _INDEX.fullmatch(line):
            if cue.is_begun:
                yield cue
            cue = _Cue(numbered=True)
        elif line and len(cue.lines) < _MOST_LINES:
            cue.lines.append(line)
        after_blank = not line
    if cue.is_begun:
        yield cue


def _lines(data: bytes) -> Iterator[str]:
    """Lines without white space around them; one that is too long comes in pieces."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="replace", newline=None)
    while line := text.readline(_LONGEST_LINE):
        yield line.strip("\ufeff\x00 \t\r\n")


class _GpsOrder:
    """Which of the two numbers of ``GPS(…)`` is the longitude, with and without metre sign.

    Settled by the dialect; but if most positions of the file would then lie beyond the poles and
    they don't the other way round, the other way round.
    """

    def __init__(self, data: bytes, conventions: TelemetryConventions) -> None:
        self._stated = conventions.gps_order
        self._beyond = {True: [0, 0, 0], False: [0, 0, 0]}
        if self._stated == "by_dialect" and b"GPS" in data:
            for line in _lines(data):
                for match in _GPS.finditer(line):
                    self._count(match)

    def _count(self, match: re.Match[str]) -> None:
        if _PLAIN.fullmatch(match[1]) and _PLAIN.fullmatch(match[2]):
            counts = self._beyond[_has_metre_sign(match)]
            counts[0] += abs(float(match[1])) > 90
            counts[1] += abs(float(match[2])) > 90
            counts[2] += 1

    def is_longitude_first(self, match: re.Match[str]) -> bool:
        """For a match of ``_GPS``."""
        if self._stated != "by_dialect":
            return self._stated == "lon_lat"
        metre_sign = _has_metre_sign(match)
        usual = not metre_sign
        first, second, all_ = self._beyond[metre_sign]
        as_usual, turned_round = (second, first) if usual else (first, second)
        return not usual if as_usual * 2 > all_ >= turned_round * 2 else usual


def _has_metre_sign(match: re.Match[str]) -> bool:
    return (match[3] or "").upper().endswith("M")


def _fields(
    cue: _Cue, order: _GpsOrder, conventions: TelemetryConventions
) -> tuple[dict[str, Any], datetime | None]:
    """Fields of the pose, and the local time; raises Refusal."""
    t_s = _start_s(cue.times)
    text = "\n".join(cue.lines)
    pairs: dict[str, set[str]] = {}
    for bracket in _BRACKET.finditer(text):
        for key, value in _PAIR.findall(bracket[1]):
            pairs.setdefault(key.lower(), set()).add(value)
    fields: dict[str, Any] = {
        "t_s": t_s,
        **_position(text, pairs, order),
        **_heights(text, pairs, conventions),
        **_attitude(text, pairs, conventions),
    }
    if (focal_mm := _focal_length(pairs)) is not None:
        fields["focal_length_35mm_mm"] = focal_mm
    return fields, _local_time(text)


def _start_s(times: str | None) -> float:
    match = _CUE_TIMES.match(times or "")
    if match is None:
        raise Refusal("no readable cue times")
    start_s, end_s = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
    if end_s < start_s:
        raise Refusal("the cue ends before it begins")
    return start_s


def _seconds(clock: tuple[str, ...]) -> float:
    hours, minutes, seconds, fraction = clock
    # The Matrice 300 ends a minute with …:60,000.
    if int(minutes) > 60 or int(seconds) > 60:
        raise Refusal("no readable cue times")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def _position(text: str, pairs: dict[str, set[str]], order: _GpsOrder) -> dict[str, float]:
    found = set()
    for match in _GPS.finditer(text):
        first, second = match[1], match[2]
        found.add((second, first) if order.is_longitude_first(match) else (first, second))
    latitudes = pairs.get("latitude", set())
    longitudes = pairs.get("longitude", set()) | pairs.get("longtitude", set())
    found |= {(latitude, longitude) for latitude in latitudes for longitude in longitudes}
    if not found:
        broken = _GPS_ANY.search(text)
        raise Refusal("position not readable" if broken else "states no position")
    if len(found) > 1:
        raise Refusal("states several positions")
    ((latitude, longitude),) = found
    if "N/A" in (latitude.upper(), longitude.upper()):
        raise Refusal("position N/A: no satellite fix")
    if not (_PLAIN.fullmatch(latitude) and _PLAIN.fullmatch(longitude)):
        raise Refusal("position not readable")
    return {
        "latitude_deg": float(latitude),
        "longitude_deg": float(longitude),
        "position_step_deg": 10.0 ** -min(_decimals(latitude), _decimals(longitude)),
    }


def _decimals(number: str) -> int:
    return len(number.partition(".")[2])


def _heights(
    text: str, pairs: dict[str, set[str]], conventions: TelemetryConventions
) -> dict[str, float]:
    barometer = _BAROMETER.search(text)
    stated = {
        "height_m": _value(pairs, "rel_alt"),
        "altitude_m": _value(pairs, "abs_alt"),
        "unnamed_altitude_m": _value(pairs, "altitude"),
    }
    if barometer is not None and stated["height_m"] is None:
        stated["height_m"] = float(barometer[1])
    named = {"above_sea": "altitude_m", "above_take_off": "height_m"}.get(
        conventions.unnamed_altitude
    )
    if named is not None and stated[named] is None:
        stated[named], stated["unnamed_altitude_m"] = stated["unnamed_altitude_m"], None
    return {key: value for key, value in stated.items() if value is not None}


def _attitude(
    text: str, pairs: dict[str, set[str]], conventions: TelemetryConventions
) -> dict[str, float]:
    angles = {
        match[1]: [float(angle) for angle in match.groups()[1:]] for match in _ANGLES.finditer(text)
    }
    pitch, roll, yaw = angles.get("G") or _gimbal(pairs)
    heading = angles["F"][2] if "F" in angles else None
    stated = {
        "heading_deg": heading,
        "gimbal_pitch_deg": pitch,
        "gimbal_roll_deg": roll,
        "gimbal_yaw_deg": None if yaw is None else gimbal_yaw(yaw, heading, conventions),
    }
    return {key: value for key, value in stated.items() if value is not None}


def _gimbal(pairs: dict[str, set[str]]) -> list[float | None]:
    """Pitch, roll and yaw."""
    return [_value(pairs, f"gb_{axis}", f"gimbal_{axis}") for axis in ("pitch", "roll", "yaw")]


def _focal_length(pairs: dict[str, set[str]]) -> float | None:
    focal_mm = _value(pairs, "focal_len")
    if focal_mm is None or focal_mm <= 0:
        return None
    if focal_mm >= 100 and not any("." in text for text in pairs["focal_len"]):
        focal_mm /= 10
    zoom = _value(pairs, "dzoom_ratio")
    if zoom is None or zoom <= 0:
        return focal_mm
    return focal_mm * (zoom / 10_000 if zoom >= 1_000 else zoom)


def _value(pairs: dict[str, set[str]], *keys: str) -> float | None:
    """The number under the first of these keys that is there; None if it is none, or several."""
    for key in keys:
        texts = pairs.get(key, set())
        if len(texts) == 1 and _PLAIN.fullmatch(text := next(iter(texts))):
            return float(text)
    return None


def _local_time(text: str) -> datetime | None:
    match = _LOCAL_TIME.search(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction = ((match[7] or "") + (match[8] or "")).ljust(6, "0")[:6]
    try:
        return datetime(year, month, day, hour, minute, second, int(fraction))  # noqa: DTZ001
    except ValueError as error:
        raise Refusal("states an impossible time") from error
