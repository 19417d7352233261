"""Which units are known, which readings are possible, and which may open a case."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from enforcement.readings import (
    CANONICAL_UNITS,
    QUANTITIES,
    CalibrationInterval,
    Factor,
    Hj212Format,
    JsonColumn,
    JsonFormat,
    Reading,
    ReadingKind,
    ReadingStatus,
    may_open,
    objection,
    unit,
)

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def reading(**changes: Any) -> Reading:
    given: dict[str, Any] = {
        "device_id": "d1", "quantity": "laeq", "at": NOON, "value": 61.5, "unit": "dB(A)",
        "status": ReadingStatus.NORMAL, **changes,
    }  # fmt: skip
    return Reading(**given)


def interval(**changes: Any) -> CalibrationInterval:
    given: dict[str, Any] = {
        "device_id": "d1", "quantity": "laeq", "valid_from": NOON - timedelta(days=1),
        "valid_until": NOON + timedelta(days=1), **changes,
    }  # fmt: skip
    return CalibrationInterval(**given)


@pytest.mark.parametrize(
    ("name", "canonical", "factor"),
    [
        ("dB(A)", "dB(A)", 1), ("dBA", "dB(A)", 1), ("分贝", "dB(A)", 1), ("dB（A）", "dB(A)", 1),
        ("ug/m3", "µg/m³", 1), ("\u00b5g/m³", "µg/m³", 1), ("\u03bcg/m³", "µg/m³", 1),
        ("µg/m^3", "µg/m³", 1), ("微克/立方米", "µg/m³", 1), ("mg/m3", "µg/m³", 1000),
        ("mg/m³", "µg/m³", 1000), (" mg / m3 ", "µg/m³", 1000), ("NTU", "NTU", 1),
        ("℃", "°C", 1), ("°C", "°C", 1), ("无量纲", "1", 1), ("mg/L", "mg/L", 1),
        ("升/秒", "m³/h", Decimal("3.6")), ("千帕", "kPa", 1), ("hPa", "kPa", Decimal("0.1")),
        ("mS/cm", "µS/cm", 1000),
    ],
)  # fmt: skip
def test_a_unit_is_known_by_its_names(name: str, canonical: str, factor: Decimal) -> None:
    found = unit(name)
    assert found is not None
    assert (found.canonical, found.factor) == (canonical, factor)


@pytest.mark.parametrize("name", ["dB(C)", "ppm", "Mg/m3", "mg/Nm3", "", "?", "dB(A)/h", "MPa"])
def test_a_unit_is_never_guessed(name: str) -> None:
    assert unit(name) is None


def test_kelvin_is_shifted() -> None:
    kelvin = unit("K")
    assert kelvin is not None
    assert kelvin.offset == Decimal("-273.15")


def test_every_canonical_unit_is_itself() -> None:
    for name in CANONICAL_UNITS:
        found = unit(name)
        assert found is not None
        assert found == (name, Decimal(1), Decimal(0))


def test_every_quantity_has_a_canonical_unit_and_a_range() -> None:
    for quantity in QUANTITIES.values():
        assert quantity.unit in CANONICAL_UNITS
        assert quantity.lowest < quantity.highest < float("inf")


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": float("nan")}, {"value": float("inf")}, {"value": -0.1}, {"value": 161.0},
        {"unit": "dB"}, {"unit": "µg/m³"}, {"quantity": "of-our-own", "unit": "furlong"},
        {"at": datetime(2026, 1, 1)}, {"span_s": 60.0},  # noqa: DTZ001
        {"kind": ReadingKind.AVERAGE}, {"kind": ReadingKind.MAXIMUM, "span_s": 0.0},
        {"quantity": "LAeq"}, {"status": "fine"},
    ],
)  # fmt: skip
def test_an_impossible_reading_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        reading(**wrong)


def test_the_edges_of_a_range_are_possible() -> None:
    assert reading(value=0.0).value == 0.0
    assert reading(value=160.0).value == 160.0


def test_an_open_quantity_has_any_value_in_a_known_unit() -> None:
    assert reading(quantity="of-our-own", unit="mm", value=-1e12).value == -1e12


def test_moments_are_utc_and_spans_end_at_their_moment() -> None:
    local = datetime.fromisoformat("2026-03-10T20:00:00+08:00")
    mean = reading(at=local, kind=ReadingKind.AVERAGE, span_s=3600)
    assert mean.at == NOON
    assert mean.at.tzinfo is UTC
    assert mean.since == NOON - timedelta(hours=1)
    assert reading().since == NOON


def test_a_calibrated_and_normal_reading_may_open_a_case() -> None:
    assert may_open(reading(), (interval(),))
    assert may_open(reading(), (interval(quantity=None),))
    assert objection(reading(), (interval(),)) is None


@pytest.mark.parametrize(
    "status", [one for one in ReadingStatus if one is not ReadingStatus.NORMAL]
)
def test_a_flagged_reading_never_opens_a_case(status: ReadingStatus) -> None:
    assert not may_open(reading(status=status), (interval(),))
    assert (
        objection(reading(status=status), (interval(),))
        == f"flagged {status.value.replace('_', ' ')}"
    )


@pytest.mark.parametrize(
    ("why", "calibrations"),
    [
        ("none known", ()),
        ("another device", (interval(device_id="d2"),)),
        ("another quantity", (interval(quantity="la"),)),
        ("begins a moment later", (interval(valid_from=NOON + timedelta(microseconds=1)),)),
        ("ends at this moment", (interval(valid_until=NOON),)),
    ],
)
def test_an_uncalibrated_reading_never_opens_a_case(
    why: str, calibrations: tuple[CalibrationInterval, ...]
) -> None:
    assert not may_open(reading(), calibrations), why
    assert objection(reading(), calibrations) == "outside the calibration interval"


def test_a_reading_at_the_first_moment_is_calibrated() -> None:
    assert may_open(reading(), (interval(valid_from=NOON),))


def test_a_span_must_lie_in_one_interval_as_a_whole() -> None:
    mean = reading(kind=ReadingKind.AVERAGE, span_s=3600)
    begun = NOON - timedelta(hours=1)
    assert may_open(mean, (interval(valid_from=begun, valid_until=NOON),))
    late = begun + timedelta(microseconds=1)
    assert not may_open(mean, (interval(valid_from=late),))
    assert not may_open(mean, (interval(valid_until=NOON - timedelta(microseconds=1)),))
    assert not may_open(mean, (interval(valid_until=late), interval(valid_from=late)))


def test_an_interval_runs_forwards() -> None:
    with pytest.raises(ValidationError, match="valid_until"):
        interval(valid_until=NOON - timedelta(days=1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"unit": None}, {"unit_at": "u"}, {"unit": "dB(C)"}, {"unit": "mg/L"},
        {"span_s": 60.0}, {"kind": "average"},
    ],
)  # fmt: skip
def test_a_contradictory_column_is_refused(wrong: dict[str, Any]) -> None:
    given = {"quantity": "laeq", "value": "v", "unit": "dB(A)"}
    assert JsonColumn.model_validate(given).unit == "dB(A)"
    with pytest.raises(ValidationError):
        JsonColumn.model_validate({**given, **wrong})


def test_formats_know_their_time_zones() -> None:
    column = {"quantity": "laeq", "value": "v", "unit": "dB(A)"}
    for zone in ("Mars/Olympus", "../etc/passwd", "", "Asia"):
        with pytest.raises(ValidationError, match="time zone"):
            JsonFormat.model_validate({"time": "t", "columns": [column], "time_zone": zone})
    assert Hj212Format().time_zone == "Asia/Shanghai"


def test_a_factor_has_a_unit_of_its_quantity() -> None:
    assert Factor(quantity="pm2_5", unit="ug/m3").unit == "ug/m3"
    with pytest.raises(ValidationError, match="no unit of pm2_5"):
        Factor(quantity="pm2_5", unit="mg/L")
