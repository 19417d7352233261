"""What a sensor says: quantities and their units, readings, and which of them may open a case.

A quantity is an open name; the ones in ``QUANTITIES`` come with a unit, a physical range and the
way in which they are averaged. Values are always in the canonical unit: conversion happens once,
where messages are read.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from math import inf
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple, Self
from unicodedata import normalize
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from enforcement.model import Name, Record, Utc


class Mean(StrEnum):
    """How values of a quantity are averaged."""

    ARITHMETIC = "arithmetic"
    ENERGETIC = "energetic"
    """Levels in dB: ten times the logarithm of the mean of the powers (LAeq in GB 3096-2008)."""
    NONE = "none"
    """A direction has no mean of this kind: that of 359° and 1° is not 180°."""


class Quantity(Record):
    """Something that sensors measure, with its canonical unit and what is physically possible."""

    name: Name
    title: str
    unit: str
    lowest: float = 0.0
    highest: float = inf
    mean: Mean = Mean.ARITHMETIC


def _quantity(
    name: str, title: str, unit: str, highest: float, lowest: float = 0.0,
    mean: Mean = Mean.ARITHMETIC,
) -> Quantity:  # fmt: skip
    return Quantity(
        name=name, title=title, unit=unit, lowest=lowest, highest=highest, mean=mean
    )  # fmt: skip


_AIR, _WATER = "µg/m³", "mg/L"
_SHIPPED = (
    _quantity("la", "A-weighted sound level", "dB(A)", 160.0, mean=Mean.ENERGETIC),
    _quantity("laeq", "equivalent sound level LAeq", "dB(A)", 160.0, mean=Mean.ENERGETIC),
    _quantity("lamax", "maximum sound level", "dB(A)", 160.0, mean=Mean.NONE),
    _quantity("pm2_5", "PM2.5", _AIR, 20_000.0),
    _quantity("pm10", "PM10", _AIR, 50_000.0),
    _quantity("tsp", "total suspended particles", _AIR, 100_000.0),
    _quantity("so2", "sulphur dioxide", _AIR, 50_000_000.0),
    _quantity("nox", "nitrogen oxides", _AIR, 50_000_000.0),
    _quantity("no2", "nitrogen dioxide", _AIR, 50_000_000.0),
    _quantity("o3", "ozone", _AIR, 10_000.0),
    _quantity("co", "carbon monoxide", _AIR, 100_000_000.0),
    _quantity("flue_dust", "dust in flue gas", _AIR, 100_000_000.0),
    _quantity("nmhc", "non-methane hydrocarbons", _AIR, 100_000_000.0),
    _quantity("cod", "chemical oxygen demand", _WATER, 200_000.0),
    _quantity("bod5", "biochemical oxygen demand", _WATER, 200_000.0),
    _quantity("ammonia_nitrogen", "ammonia nitrogen", _WATER, 20_000.0),
    _quantity("total_nitrogen", "total nitrogen", _WATER, 20_000.0),
    _quantity("total_phosphorus", "total phosphorus", _WATER, 20_000.0),
    _quantity("suspended_solids", "suspended solids", _WATER, 500_000.0),
    _quantity("dissolved_oxygen", "dissolved oxygen", _WATER, 60.0),
    _quantity("ph", "pH", "1", 14.0),
    _quantity("turbidity", "turbidity", "NTU", 10_000.0),
    _quantity("conductivity", "conductivity", "µS/cm", 1_000_000.0),
    _quantity("water_flow", "flow of water", "m³/h", 10_000_000.0),
    _quantity("gas_flow", "flow of flue gas", "m³/h", 100_000_000.0),
    _quantity("water_level", "water level", "m", 9_000.0, -500.0),
    _quantity("water_temperature", "water temperature", "°C", 100.0, -5.0),
    _quantity("air_temperature", "air temperature", "°C", 70.0, -90.0),
    _quantity("humidity", "relative humidity", "%", 100.0),
    _quantity("air_pressure", "air pressure", "kPa", 120.0, 20.0),
    _quantity("wind_speed", "wind speed", "m/s", 120.0),
    _quantity("wind_direction", "wind direction", "°", 360.0, mean=Mean.NONE),
    _quantity("rain", "rain", "mm", 2_000.0),
)

QUANTITIES: Mapping[str, Quantity] = MappingProxyType({one.name: one for one in _SHIPPED})
"""The shipped quantities by name. Ranges are what nature and instruments can do at all, far wider
than any limit: they keep out nonsense (wrong word order, fill values such as −9999, 1e30)."""


class Unit(NamedTuple):
    """``canonical = factor * value + offset``."""

    canonical: str
    factor: Decimal
    offset: Decimal = Decimal(0)


_ALIASES: tuple[tuple[str, str, str, str], ...] = (
    ("dB(A)", "1", "0", "dB(A) dBA db(A) dB(a) db(a) DB(A) dB db DB 分贝 分贝(A)"),
    ("µg/m³", "1", "0", "ug/m3 μg/m3 ug/m^3 μg/m^3 μg·m-3 mcg/m3 微克/立方米 微克/m3"),
    ("µg/m³", "1000", "0", "mg/m3 mg/m^3 MG/M3 mg·m-3 毫克/立方米 毫克/m3"),
    ("µg/m³", "0.001", "0", "ng/m3 ng/m^3 纳克/立方米"),
    ("mg/L", "1", "0", "mg/L mg/l MG/L 毫克/升"),
    ("mg/L", "0.001", "0", "ug/L μg/L ug/l μg/l 微克/升"),
    ("mg/L", "0.000001", "0", "ng/L ng/l 纳克/升"),
    ("mg/L", "1000", "0", "g/L g/l 克/升"),
    ("1", "1", "0", "1 无量纲 无 pH PH pH值 pH无量纲"),
    ("NTU", "1", "0", "NTU ntu 浊度单位"),
    ("µS/cm", "1", "0", "uS/cm μS/cm us/cm μs/cm 微西/厘米 微西[门子]/厘米 微西门子/厘米"),
    ("µS/cm", "1000", "0", "mS/cm 毫西/厘米 毫西门子/厘米"),
    ("µS/cm", "10000", "0", "S/m"),
    ("m³/h", "1", "0", "m3/h m^3/h m3/hr 立方米/小时 立方米/时"),
    ("m³/h", "3.6", "0", "L/s l/s 升/秒"),
    ("m³/h", "0.06", "0", "L/min l/min 升/分钟 升/分"),
    ("m³/h", "3600", "0", "m3/s m^3/s 立方米/秒"),
    ("m³/h", "60", "0", "m3/min 立方米/分钟"),
    ("m", "1", "0", "m 米"),
    ("m", "0.01", "0", "cm 厘米"),
    ("mm", "1", "0", "mm 毫米"),
    ("°C", "1", "0", "°C ℃ C degC 摄氏度 度C"),
    ("°C", "1", "-273.15", "K 开尔文"),
    ("%", "1", "0", "% %RH RH% 百分比"),
    ("kPa", "1", "0", "kPa KPa kpa KPA 千帕"),
    ("kPa", "0.1", "0", "hPa hpa mbar 百帕"),
    ("kPa", "0.001", "0", "Pa pa 帕"),
    ("m/s", "1", "0", "m/s M/S 米/秒 m·s-1"),
    ("°", "1", "0", "° deg 度 角度 [角]度"),
)  # fmt: skip


def _plain(text: str) -> str:
    """One spelling for µ and μ, ³ and 3, ℃ and °C, full and half width; no blanks."""
    return "".join(normalize("NFKC", text).replace("−", "-").split())


UNITS: Mapping[str, Unit] = MappingProxyType(
    {
        _plain(alias): Unit(canonical, Decimal(factor), Decimal(offset))
        for canonical, factor, offset, aliases in _ALIASES
        for alias in aliases.split()
    }
)
"""Units by what devices call them, after ``unit``'s normalisation. Case is kept: Mg is not mg.

A level without weighting (dB, 分贝) is taken as dB(A): HJ 212-2017 names the unit of all its noise
factors so, and none of the shipped quantities is weighted otherwise. dB(C) is unknown. Parts by
volume (ppm, ppb) are left out on purpose: they turn into a mass only with molar mass, temperature
and pressure.
"""

CANONICAL_UNITS = frozenset(unit.canonical for unit in UNITS.values())


def unit(text: str) -> Unit | None:
    """What a unit's name means, or None if the table lacks it: a unit is never guessed."""
    return UNITS.get(_plain(text))


def _known_zone(key: str) -> str:
    try:
        return ZoneInfo(key).key
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {key!r}") from error


ZoneName = Annotated[str, AfterValidator(_known_zone)]
"""A time zone of the IANA database, such as ``Asia/Shanghai``."""


class ReadingStatus(StrEnum):
    """What the instrument says of its own value: the data flags of HJ 212-2017."""

    NORMAL = "normal"
    """N"""
    STOPPED = "stopped"
    """F: the source or the instrument is out of operation."""
    MAINTENANCE = "maintenance"
    """M: taken during maintenance."""
    SET_BY_HAND = "set_by_hand"
    """S: typed in by somebody."""
    FAULT = "fault"
    """D"""
    CALIBRATION = "calibration"
    """C"""
    OVER_RANGE = "over_range"
    """T: above what the instrument can measure."""
    COMMUNICATION_ERROR = "communication_error"
    """B: between the instrument and its data logger."""
    UNKNOWN = "unknown"
    """No flag, or one that the device's configuration does not know."""


class ReadingKind(StrEnum):
    INSTANTANEOUS = "instantaneous"
    AVERAGE = "average"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"


SpanSeconds = Annotated[float, Field(ge=0, le=366 * 86400)]


class Reading(Record):
    """One value of one quantity at one device."""

    device_id: Name
    quantity: Name
    kind: ReadingKind = ReadingKind.INSTANTANEOUS
    span_s: SpanSeconds = 0.0
    """What the value stands for: 0 if instantaneous, else the time before ``at``."""
    at: Utc
    """The moment of an instantaneous value; of any other, the end of its span, at which it became
    known."""
    value: FiniteFloat
    unit: str
    status: ReadingStatus = ReadingStatus.UNKNOWN

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if (self.kind is ReadingKind.INSTANTANEOUS) != (self.span_s == 0):
            raise ValueError("an instantaneous value has no span, and any other has one")
        if problem := implausible(self.quantity, self.value, self.unit):
            raise ValueError(f"{self.value:g}: {problem}")
        return self

    @property
    def since(self) -> Utc:
        """Where its span begins; the moment itself if it has none."""
        return self.at - timedelta(seconds=self.span_s)

    @property
    def series(self) -> tuple[str, str, str, float]:
        """What it can be compared with: device, quantity, kind and span."""
        return self.device_id, self.quantity, self.kind.value, self.span_s


def implausible(quantity: str, value: float, unit: str) -> str | None:
    """Why no such value can be, or None. An open quantity may have any value in any known unit."""
    known = QUANTITIES.get(quantity)
    if known is None:
        return None if unit in CANONICAL_UNITS else f"{unit!r} is no canonical unit"
    if unit != known.unit:
        return f"{quantity} is given in {known.unit}, not in {unit!r}"
    if not known.lowest <= value <= known.highest:
        return f"lies outside {known.lowest:g} to {known.highest:g} {unit}"
    return None


def mean_of(quantity: str) -> Mean:
    """How a quantity is averaged; arithmetically if it is not one of the shipped ones."""
    known = QUANTITIES.get(quantity)
    return Mean.ARITHMETIC if known is None else known.mean


class Calibration(Record):
    """A time in which values of a quantity count as calibrated, as a device's entry states it."""

    quantity: Name | None = None
    """None: all quantities of the device."""
    valid_from: Utc
    valid_until: Utc
    certificate: str = ""

    @model_validator(mode="after")
    def _runs_forwards(self) -> Self:
        if self.valid_from >= self.valid_until:
            raise ValueError("valid_until must lie after valid_from")
        return self


class CalibrationInterval(Calibration):
    """A time in which a device's values of a quantity count as calibrated."""

    device_id: Name

    def covers(self, reading: Reading) -> bool:
        """Whether the whole of the reading lies in it; its end no longer belongs to it."""
        if self.device_id != reading.device_id or self.quantity not in {None, reading.quantity}:
            return False
        ends = reading.at <= self.valid_until if reading.span_s else reading.at < self.valid_until
        return self.valid_from <= reading.since and ends


def may_open(reading: Reading, calibrations: Iterable[CalibrationInterval]) -> bool:
    """Whether a case may rest on it. Any other reading may support a case, but never opens one."""
    return objection(reading, calibrations) is None


def objection(reading: Reading, calibrations: Iterable[CalibrationInterval]) -> str | None:
    """Why a reading may not open a case, or None if it may. Without calibrations none may."""
    if reading.status is not ReadingStatus.NORMAL:
        return f"flagged {reading.status.value.replace('_', ' ')}"
    if not any(interval.covers(reading) for interval in calibrations):
        return "outside the calibration interval"
    return None


Path = str
"""Where something stands in a JSON record: keys and list positions with dots, ``data.0.value``."""


class JsonColumn(Record):
    """Where the values of one quantity stand in a device's JSON."""

    quantity: Name
    value: Path
    unit: str | None = None
    """The unit, if the device does not send it; by any of its names."""
    unit_at: Path | None = None
    """Where the device sends the unit."""
    status_at: Path | None = None
    kind: ReadingKind = ReadingKind.INSTANTANEOUS
    span_s: SpanSeconds = 0.0
    when: dict[Path, str] = Field(default_factory=dict)
    """Only records that have these texts at these places: for ``{"name": "LAeq", "value": 61.2}``
    it is ``{name: LAeq}``."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.unit is None) == (self.unit_at is None):
            raise ValueError("give the unit or the place at which the device sends it")
        if (self.kind is ReadingKind.INSTANTANEOUS) != (self.span_s == 0):
            raise ValueError("an instantaneous value has no span_s, and any other needs one")
        if self.unit is not None:
            in_unit_of(self.quantity, self.unit)
        return self


class MessageTimes(Record):
    """What both message formats say of times."""

    stamp: Literal["start", "end"] = "end"
    """Which end of its span the device stamps a value with."""
    ahead_max_s: Annotated[float, Field(ge=0, le=86400)] = 300.0
    """A reading so much later than its arrival is refused: the device's clock is wrong."""
    unflagged: ReadingStatus = ReadingStatus.UNKNOWN
    """The status of a value without a flag. An instrument that never sends one needs ``normal``
    here before its readings may open a case."""


class JsonFormat(MessageTimes):
    """How a device's JSON is read."""

    kind: Literal["json"] = "json"
    records: Path = ""
    """Where the record or the list of records stands; the whole message if empty."""
    time: Path
    """In each record; a leading ``/`` starts at the whole message."""
    time_as: Literal["iso", "digits", "epoch_s", "epoch_ms"] = "iso"
    """``digits``: YYYYMMDDhhmmss, with or without milliseconds."""
    time_zone: ZoneName | None = None
    """For times that name no zone; without it they are refused."""
    device_at: Path | None = None
    """Where the device is named, if one feed carries several."""
    devices: dict[str, Name] = Field(default_factory=dict)
    """What ``device_at`` says, and which device that is."""
    columns: Annotated[tuple[JsonColumn, ...], Field(min_length=1)]
    statuses: dict[str, ReadingStatus] = Field(default_factory=dict)


class DockFormat(Record):
    """Messages of drones' docks, which say which files they uploaded: no readings.

    The docks' format is fixed, so there is nothing to set.
    """

    kind: Literal["dji_dock"]
    """DJI Cloud API: ``file_upload_callback`` at ``thing/product/{gateway_sn}/events``."""


class Factor(Record):
    """What a factor code of HJ 212 stands for at a station."""

    quantity: Name
    unit: str

    @model_validator(mode="after")
    def _unit_fits(self) -> Self:
        in_unit_of(self.quantity, self.unit)
        return self


class Hj212Format(MessageTimes):
    """How a station's HJ 212 values are read."""

    kind: Literal["hj212"] = "hj212"
    stamp: Literal["start", "end"] = "start"
    time_zone: ZoneName = "Asia/Shanghai"
    factors: dict[str, Factor] = Field(default_factory=dict)
    """Factor codes that the shipped table lacks or that this station uses differently."""
    stations: dict[str, Name] = Field(default_factory=dict)
    """MN and device, if one feed carries several stations."""
    minute_span_s: Annotated[float, Field(gt=0, le=3600)] = 600.0
    """The span of minute data (CN 2051), as set at the station."""


def in_unit_of(quantity: str, name: str) -> Unit:
    """The unit by one of its names. Raises ValueError if it is unknown or not of the quantity."""
    found = unit(name)
    if found is None:
        raise ValueError(f"unit {name[:40]!r} is not known")
    known = QUANTITIES.get(quantity)
    if known is not None and found.canonical != known.unit:
        raise ValueError(f"{name[:40]!r} is no unit of {quantity}, which is given in {known.unit}")
    return found
