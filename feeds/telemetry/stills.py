"""Stills of DJI aircraft: position and time in EXIF, heights and gimbal in XMP (``drone-dji``).

No pixel is decoded.
"""

import io
import math
import re
import struct
import warnings
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from PIL import ExifTags
from PIL.JpegImagePlugin import JpegImageFile

from enforcement.errors import BadTelemetry
from enforcement.flights import TelemetryConventions
from feeds.telemetry.log import LogBook, Refusal, TelemetryLog, gimbal_yaw, in_utc, pose_of

FURTHEST_APART_DEG = 1e-3
"""EXIF and XMP of one still may differ by 100 m: by one fix, or where one of them is rounded."""

_DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    OverflowError, ZeroDivisionError, EOFError, RecursionError, struct.error,
)  # fmt: skip
"""What Pillow and the XML parser below it raise on damaged headers."""

_NUMBER = re.compile(r"[-+]?[0-9]{1,9}(?:\.[0-9]{1,12})?")
_TIME = re.compile(r"([0-9]{4})[:-]([0-9]{2})[:-]([0-9]{2})[ T]([0-9]{2}):([0-9]{2}):([0-9]{2})"
                   r"(?:\.([0-9]{1,6})[0-9]{0,3})?Z?")  # fmt: skip
_OFFSET = re.compile(r"([-+])([0-9]{2}):([0-9]{2})")


def read_still(data: bytes, name: str, conventions: TelemetryConventions) -> TelemetryLog:
    """The one pose of a JPEG still. XMP that cannot be read is refused alone: heights and angles
    are lost with it.

    Raises BadTelemetry if the file is no JPEG, or its headers give no usable pose.
    """
    book = LogBook(name)
    try:
        exif, gps, xmp = _headers(data)
    except _DAMAGED as error:
        raise BadTelemetry(
            f"{name}: its headers cannot be read ({type(error).__name__})."
        ) from error
    if xmp is None:
        book.refuse("XMP cannot be read")
        xmp = {}
    try:
        moment, has_local = _moment(exif, gps, xmp, conventions)
        fields = {
            "moment": moment,
            **_position(gps, xmp),
            **_heights(gps, xmp),
            **_attitude(xmp, conventions),
        }
        focal_mm = _plain(exif.get(ExifTags.Base.FocalLengthIn35mmFilm))
        if focal_mm is not None and focal_mm > 0:
            fields["focal_length_35mm_mm"] = focal_mm
        book.take(pose_of(fields), undated=has_local and moment is None)
    except Refusal as refusal:
        book.refuse(str(refusal))
    return book.close("pose")


def _headers(data: bytes) -> tuple[dict[int, Any], dict[int, Any], dict[str, str] | None]:
    """EXIF's own fields, its GPS fields, and the XMP attributes by name without namespace; None
    if the XMP is damaged."""
    with warnings.catch_warnings():
        # Pillow warns of damage and of pictures that are large to decode: neither matters here.
        warnings.simplefilter("ignore")
        # Not by ``PIL.Image.open``: ultralytics puts a function of its own in its place.
        with JpegImageFile(io.BytesIO(data)) as still:
            exif = still.getexif()
            gps = dict(exif.get_ifd(ExifTags.IFD.GPSInfo))
            own = dict(exif.get_ifd(ExifTags.IFD.Exif))
            xmp: dict[str, str] = {}
            try:
                _gather(still.getxmp(), xmp)
            except _DAMAGED:
                return own, gps, None
    return own, gps, xmp


def _gather(element: object, found: dict[str, str]) -> None:
    if isinstance(element, dict):
        for key, value in element.items():
            if isinstance(value, str):
                found.setdefault(str(key), value.strip())
            else:
                _gather(value, found)
    elif isinstance(element, list):
        for one in element:
            _gather(one, found)


def _position(gps: dict[int, Any], xmp: dict[str, str]) -> dict[str, float]:
    exif = (
        _angle(gps, ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, "NS"),
        _angle(gps, ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef, "EW"),
    )
    own = (
        _number(xmp, "GpsLatitude"),
        _number(xmp, "GpsLongitude", "GpsLongtitude"),
    )
    from_exif, from_xmp = None not in exif, None not in own
    if not from_exif and not from_xmp:
        raise Refusal("states no position")
    if from_exif and from_xmp:
        apart = max(abs((a or 0.0) - (b or 0.0)) for a, b in zip(exif, own, strict=True))
        if apart > FURTHEST_APART_DEG:
            raise Refusal("EXIF and XMP state different positions")
    latitude, longitude = exif if from_exif else own
    return {"latitude_deg": latitude or 0.0, "longitude_deg": longitude or 0.0}


def _angle(gps: dict[int, Any], tag: int, sign_tag: int, signs: str) -> float | None:
    """Degrees, minutes and seconds as one signed number; None unless all of it can be read."""
    parts, sign = gps.get(tag), _text(gps.get(sign_tag))
    if not isinstance(parts, tuple) or len(parts) != 3 or sign not in tuple(signs):
        return None
    degrees, minutes, seconds = (_plain(part) for part in parts)
    if degrees is None or minutes is None or seconds is None:
        return None
    if degrees < 0 or not 0 <= minutes < 60 or not 0 <= seconds < 60:
        return None
    angle = degrees + minutes / 60 + seconds / 3600
    return -angle if sign == signs[1] else angle


def _heights(gps: dict[int, Any], xmp: dict[str, str]) -> dict[str, float]:
    altitude_m = _number(xmp, "AbsoluteAltitude")
    if altitude_m is None and (altitude_m := _plain(gps.get(ExifTags.GPS.GPSAltitude))) is not None:
        below = gps.get(ExifTags.GPS.GPSAltitudeRef) in (1, b"\x01")
        altitude_m = -altitude_m if below else altitude_m
    stated = {"altitude_m": altitude_m, "height_m": _number(xmp, "RelativeAltitude")}
    return {key: value for key, value in stated.items() if value is not None}


def _attitude(xmp: dict[str, str], conventions: TelemetryConventions) -> dict[str, float]:
    heading = _number(xmp, "FlightYawDegree")
    yaw = _number(xmp, "GimbalYawDegree")
    stated = {
        "heading_deg": heading,
        "gimbal_yaw_deg": None if yaw is None else gimbal_yaw(yaw, heading, conventions),
        "gimbal_pitch_deg": _number(xmp, "GimbalPitchDegree"),
        "gimbal_roll_deg": _number(xmp, "GimbalRollDegree"),
    }
    return {key: value for key, value in stated.items() if value is not None}


def _moment(
    exif: dict[int, Any],
    gps: dict[int, Any],
    xmp: dict[str, str],
    conventions: TelemetryConventions,
) -> tuple[datetime | None, bool]:
    """When it was taken, and whether a local time is stated. UTC where the file names it, then
    local time with the file's own offset, then with the configured zone."""
    stated = _text(exif.get(ExifTags.Base.DateTimeOriginal))
    local = _time(stated, _text(exif.get(ExifTags.Base.SubsecTimeOriginal)))
    if (exact := _time(xmp.get("UTCAtExposure", ""))) is not None:
        return exact.replace(tzinfo=UTC), local is not None
    if (satellite := _satellite_time(gps)) is not None:
        return satellite, local is not None
    if local is None:
        return None, False
    offset = _OFFSET.fullmatch(_text(exif.get(ExifTags.Base.OffsetTimeOriginal)))
    if offset is not None and int(offset[2]) < 24 and int(offset[3]) < 60:
        ahead = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        zone = timezone(-ahead if offset[1] == "-" else ahead)
        return local.replace(tzinfo=zone).astimezone(UTC), True
    return in_utc(local, conventions), True


def _satellite_time(gps: dict[int, Any]) -> datetime | None:
    parts = gps.get(ExifTags.GPS.GPSTimeStamp)
    day = _time(_text(gps.get(ExifTags.GPS.GPSDateStamp)) + " 00:00:00")
    if day is None or not isinstance(parts, tuple) or len(parts) != 3:
        return None
    hour, minute, second = (_plain(part) for part in parts)
    if hour is None or minute is None or second is None:
        return None
    if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 61):
        return None
    return day.replace(tzinfo=UTC) + timedelta(hours=hour, minutes=minute, seconds=second)


def _time(text: str, fraction: str = "") -> datetime | None:
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", fraction):
        fraction = match[7] or "0"
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    try:
        return datetime(  # noqa: DTZ001
            year, month, day, hour, minute, second, int(fraction.ljust(6, "0"))
        )
    except ValueError:
        return None


def _number(xmp: dict[str, str], *keys: str) -> float | None:
    for key in keys:
        if _NUMBER.fullmatch(text := xmp.get(key, "")):
            return float(text)
    return None


def _plain(value: object) -> float | None:
    """A number of EXIF, which may be a fraction with nothing below the line."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="replace")
    return value.strip("\x00 ") if isinstance(value, str) else ""
