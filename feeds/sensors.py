"""Sensor messages, read into readings: JSON as devices send it, and HJ 212 packets.

Units come from a table and from the configuration, never from a guess. What cannot be read is
refused with the reason, and takes nothing else along.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any
from zoneinfo import ZoneInfo

from enforcement.errors import BadFootage
from enforcement.readings import (
    Factor,
    Hj212Format,
    JsonColumn,
    JsonFormat,
    MessageTimes,
    ReadingKind,
    ReadingStatus,
    implausible,
    in_unit_of,
)
from feeds.hj212 import Packet, Reassembler, packet_of
from feeds.messages import Message
from feeds.readings import Intake, Readings, Row, microseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_PLAUSIBLE = datetime(2000, 1, 1, tzinfo=UTC)
"""A device that says an earlier time has no clock."""
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_DIGITS = re.compile(r"\d{14}(?:\d{3})?", re.ASCII)


@dataclass(frozen=True)
class StationValues:
    """The values of one HJ 212 data packet, or of all its parts together."""

    received_at: datetime
    station: str
    """MN"""
    system: str
    """ST: 22 air quality, 23 noise, 31 flue gas, 32 waste water…"""
    command: str
    """CN: 2011 real time, 2051 minutes, 2061 hours, 2031 days."""
    data_time: str
    factors: Mapping[str, Mapping[str, str]]
    """Factor codes, and their fields: ``{"011": {"Rtd": "18.04", "Flag": "N"}}``."""


FLAGS: Mapping[str, ReadingStatus] = {
    "N": ReadingStatus.NORMAL,
    "F": ReadingStatus.STOPPED,
    "M": ReadingStatus.MAINTENANCE,
    "S": ReadingStatus.SET_BY_HAND,
    "D": ReadingStatus.FAULT,
    "C": ReadingStatus.CALIBRATION,
    "T": ReadingStatus.OVER_RANGE,
    "B": ReadingStatus.COMMUNICATION_ERROR,
}
"""Data flags of HJ 212-2017."""

_CODES = (
    ("w00000 B01", "water_flow", "L/s"),
    ("w01001 001", "ph", "1"),
    ("w01009", "dissolved_oxygen", "mg/L"),
    ("w01010", "water_temperature", "°C"),
    ("w01012 003", "suspended_solids", "mg/L"),
    ("w01014", "conductivity", "µS/cm"),
    ("w01017 010", "bod5", "mg/L"),
    ("w01018 011", "cod", "mg/L"),
    ("w21001 065", "total_nitrogen", "mg/L"),
    ("w21003 060", "ammonia_nitrogen", "mg/L"),
    ("w21011 101", "total_phosphorus", "mg/L"),
    ("a00000 B02", "gas_flow", "m³/s"),
    ("a01001", "air_temperature", "°C"),
    ("a01002", "humidity", "%"),
    ("a01006", "air_pressure", "kPa"),
    ("a01007", "wind_speed", "m/s"),
    ("a01008", "wind_direction", "°"),
    ("a34013 01", "flue_dust", "mg/m³"),
    ("LA", "la", "dB(A)"),
    ("Leq", "laeq", "dB(A)"),
)
FACTORS: Mapping[str, Factor] = {
    code: Factor(quantity=quantity, unit=unit)
    for codes, quantity, unit in _CODES
    for code in codes.split()
}
"""Factor codes of HJ 212-2017 (letters: HJ 524 for air, HJ 525 for water) and of HJ/T 212-2005
(without), in the unit that the standard names for them. No packet says its units."""

_UNIT_DIFFERS = {
    "a34001": "tsp", "a34002": "pm10", "a34004": "pm2_5", "a21002": "nox", "a21004": "no2",
    "a21005": "co", "a21026": "so2", "a05024": "o3", "a24088": "nmhc", "02": "so2", "03": "nox",
    "04": "co",
}  # fmt: skip
"""Codes that stations use in different units: µg/m³ in ambient air (as HJ 654 and HJ 653 have it),
mg/m³ in flue gas, by the standard's table ng/m³ for particles. Their unit must be configured."""

_FIELDS = {
    "Rtd": ReadingKind.INSTANTANEOUS,
    "Avg": ReadingKind.AVERAGE,
    "Min": ReadingKind.MINIMUM,
    "Max": ReadingKind.MAXIMUM,
    "Data": ReadingKind.AVERAGE,
}
_FLUE_GAS = "31"
_PARTICLES = frozenset({"a34001", "a34002", "a34004"})
_MINUTES = "2051"
_SPANS_S = {"2011": 0.0, "2061": 3600.0, "2031": 86400.0}
"""By command: real time, hours, days."""


def read_json(
    messages: Iterable[Message],
    form: JsonFormat,
    device_id: str | None = None,
    clock_offset_s: float = 0.0,
) -> Readings:
    """The readings of JSON messages.

    ``device_id`` is the device where messages do not name one; ``clock_offset_s`` is added to the
    device's times to get true UTC.
    """
    intake = Intake()
    for message in messages:
        with intake.refusing(message.received_at, device_id or "", "message", _size(message)):
            whole = _parsed(message.payload)
            records = _found(whole, form.records)
            for record in records if isinstance(records, list) else [records]:
                source = _Record(whole, record)
                with intake.refusing(message.received_at, device_id or "", "record", ""):
                    _take_record(intake, message, source, form, device_id, clock_offset_s)
    return intake.readings()


def read_hj212(
    messages: Iterable[Message],
    form: Hj212Format,
    device_id: str | None = None,
    clock_offset_s: float = 0.0,
) -> Readings:
    """The readings of HJ 212 packets, one a message; arguments as for ``read_json``.

    Split packets are put together first; parts whose others are missing are refused.
    """
    intake = Intake()
    reassembler = Reassembler()
    parts: dict[tuple[str, str, str], list[Message]] = {}
    for message in sorted(messages):
        with intake.refusing(message.received_at, device_id or "", "message", _size(message)):
            packet = _packet(message)
            if packet.is_part:
                parts.setdefault(packet.key[:3], []).append(message)
            whole = reassembler.add(packet)
            if whole is not None:
                parts[packet.key[:3]] = []
                values = _station_values(message.received_at, whole)
                _take_values(intake, values, form, device_id, clock_offset_s)
    for part in (one for alike in parts.values() for one in alike):
        with intake.refusing(part.received_at, device_id or "", "message", _size(part)):
            raise ValueError("other parts of the split packet are missing")
    return intake.readings()


def read_station_values(
    packets: Iterable[StationValues],
    form: Hj212Format,
    device_id: str | None = None,
    clock_offset_s: float = 0.0,
) -> Readings:
    """The readings of values that were taken out of their packets; see ``read_hj212``."""
    intake = Intake()
    for values in packets:
        _take_values(intake, values, form, device_id, clock_offset_s)
    return intake.readings()


@dataclass(frozen=True)
class _Record:
    """One record, within its message."""

    whole: Any
    record: Any

    def get(self, path: str) -> Any:
        """Raises ValueError if there is nothing at the path."""
        if path.startswith("/"):
            return _found(self.whole, path[1:])
        return _found(self.record, path)

    def has(self, path: str) -> bool:
        try:
            self.get(path)
        except ValueError:
            return False
        return True


@dataclass(frozen=True)
class _Stamp:
    """What the values of one record have in common."""

    device_id: str
    at: datetime
    """By the device's clock and its stamp; true UTC."""
    received_at: datetime
    times: MessageTimes

    def row(
        self, quantity: str, number: Decimal, unit: str, kind: ReadingKind, span_s: float,
        status: ReadingStatus,
    ) -> Row:  # fmt: skip
        """Raises ValueError with the reason why it cannot be."""
        late = timedelta(seconds=span_s) if self.times.stamp == "start" else timedelta(0)
        at = self.at + late
        if at - self.received_at > timedelta(seconds=self.times.ahead_max_s):
            raise ValueError("time lies after its arrival")
        meant = in_unit_of(quantity, unit)
        value = _finite(number * meant.factor + meant.offset)
        if problem := implausible(quantity, value, meant.canonical):
            raise ValueError(problem)
        return (
            self.device_id, quantity, kind.value, span_s, microseconds(at), value,
            meant.canonical, status.value, microseconds(self.received_at),
        )  # fmt: skip


def _take_record(
    intake: Intake,
    message: Message,
    source: _Record,
    form: JsonFormat,
    device_id: str | None,
    clock_offset_s: float,
) -> None:
    if form.device_at is not None:
        device_id = form.devices.get(str(source.get(form.device_at)))
    if device_id is None:
        raise ValueError("device is not configured")
    zone = None if form.time_zone is None else ZoneInfo(form.time_zone)
    at = _moment(source.get(form.time), form.time_as, zone, clock_offset_s)
    stamp = _Stamp(device_id, at, message.received_at, form)
    columns = [one for one in form.columns if _is_meant(source, one)]
    if not columns:
        raise ValueError("holds none of the configured values")
    for column in columns:
        value = source.get(column.value)
        with intake.refusing(message.received_at, device_id, column.quantity, value):
            unit = column.unit if column.unit_at is None else source.get(column.unit_at)
            if not isinstance(unit, str):
                raise ValueError("unit is no text")
            status = _status(source, column, form)
            intake.rows.append(
                stamp.row(column.quantity, _number(value), unit, column.kind, column.span_s, status)
            )


def _is_meant(source: _Record, column: JsonColumn) -> bool:
    return source.has(column.value) and all(
        source.has(path) and str(source.get(path)) == text for path, text in column.when.items()
    )


def _status(source: _Record, column: JsonColumn, form: JsonFormat) -> ReadingStatus:
    if column.status_at is None or not source.has(column.status_at):
        return form.unflagged
    return form.statuses.get(str(source.get(column.status_at)), ReadingStatus.UNKNOWN)


def _size(message: Message) -> str:
    """All that is shown of a whole message: it may hold a password."""
    return f"{len(message.payload)} bytes"


def _packet(message: Message) -> Packet:
    try:
        return packet_of(message.payload)
    except BadFootage as error:
        raise ValueError("is no HJ 212 packet") from error


def _station_values(received_at: datetime, packet: Packet) -> StationValues:
    data_time = packet.parameters.get("DataTime", "")
    return StationValues(received_at, packet.mn, packet.st, packet.cn, data_time, packet.factors)


def _take_values(
    intake: Intake,
    values: StationValues,
    form: Hj212Format,
    device_id: str | None,
    clock_offset_s: float,
) -> None:
    spans_s = {**_SPANS_S, _MINUTES: form.minute_span_s}
    if values.command not in spans_s:
        return  # a question, an answer, a sign of life
    named = form.stations.get(values.station) if form.stations else device_id
    with intake.refusing(values.received_at, named or "", "DataTime", values.data_time):
        if named is None:
            raise ValueError(f"station {values.station[:40]} is not configured")
        at = _moment(values.data_time, "digits", ZoneInfo(form.time_zone), clock_offset_s)
        stamp = _Stamp(named, at, values.received_at, form)
        for code, fields in values.factors.items():
            for name in _FIELDS.keys() & fields.keys():
                with intake.refusing(values.received_at, named, code, fields[name]):
                    kind, span_s = _FIELDS[name], spans_s[values.command]
                    if (kind is ReadingKind.INSTANTANEOUS) != (span_s == 0):
                        raise ValueError(f"{name} does not go with command {values.command}")
                    factor = _factor(code, values, form)
                    number, status = _number(fields[name]), _flag(fields, form)
                    intake.rows.append(
                        stamp.row(factor.quantity, number, factor.unit, kind, span_s, status)
                    )


def _flag(fields: Mapping[str, str], form: Hj212Format) -> ReadingStatus:
    flag = fields.get("Flag")
    return form.unflagged if flag is None else FLAGS.get(flag, ReadingStatus.UNKNOWN)


def _factor(code: str, values: StationValues, form: Hj212Format) -> Factor:
    """Raises ValueError if it is not known what the code means, or in which unit."""
    factor = form.factors.get(code) or FACTORS.get(code)
    if factor is not None:
        return factor
    quantity = _UNIT_DIFFERS.get(code)
    if quantity is None:
        raise ValueError("factor code is not known")
    if values.system == _FLUE_GAS and code not in _PARTICLES:
        return Factor(quantity=quantity, unit="mg/m³")
    raise ValueError(f"stations send {quantity} in different units: configure the factor")


def _parsed(payload: bytes) -> Any:
    """JSON with numbers, NaN and Infinity as texts, so that none loses a digit on the way."""
    try:
        return json.loads(payload, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise ValueError("is no JSON") from error


def _found(record: Any, path: str) -> Any:
    """Raises ValueError if there is nothing at the path."""
    here = record
    for part in path.split(".") if path else ():
        if isinstance(here, dict) and part in here:
            here = here[part]
        elif isinstance(here, list) and _is_index(part) and int(part) < len(here):
            here = here[int(part)]
        else:
            raise ValueError(f"has nothing at {path}")
    return here


def _is_index(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) < 9


def _number(value: object) -> Decimal:
    """A number, and nothing but one: no blanks, no comma, no NaN. Raises ValueError."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise ValueError("is no number")
    return Decimal(value)


def _finite(number: Decimal) -> float:
    value = float(number)
    if not isfinite(value):
        raise ValueError("is not finite")
    return value


def _moment(value: object, form: str, zone: ZoneInfo | None, clock_offset_s: float) -> datetime:
    """Aware UTC. Raises ValueError for what is no time, has no zone, or cannot be true."""
    try:
        if form in {"epoch_s", "epoch_ms"}:
            scale = 1_000_000 if form == "epoch_s" else 1000
            moment = _EPOCH + timedelta(microseconds=int(_number(value) * scale))
        else:
            moment = _utc(_local(value, form), zone)
        moment += timedelta(seconds=clock_offset_s)
    except OverflowError as error:
        raise ValueError("is no possible time") from error
    if moment < _FIRST_PLAUSIBLE:
        raise ValueError("time is that of a clock never set")
    return moment


def _local(value: object, form: str) -> datetime:
    text = value if isinstance(value, str) else ""
    try:
        if form == "digits":
            if not _DIGITS.fullmatch(text):
                raise ValueError("not digits")
            text = f"{text[:8]}T{text[8:14]}.{text[14:] or '0'}"
        elif not set("Tt ") & set(text):
            raise ValueError("a date alone is no moment")
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("time is not in the configured form") from error


def _utc(moment: datetime, zone: ZoneInfo | None) -> datetime:
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    if zone is None:
        raise ValueError("time names no zone, and none is configured")
    local = moment.replace(tzinfo=zone)
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        raise ValueError("the clock is put forward or back at this local time")
    return local.astimezone(UTC)
