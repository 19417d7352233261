"""Readings as frames: checked, sorted, without repeats; and as bytes.

The result does not depend on the order in which readings are given: of two for one device,
quantity, kind, span and time, the one received first wins, and what contradicts it is kept aside.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from enforcement.errors import EvidenceError
from enforcement.readings import (
    CANONICAL_UNITS,
    Reading,
    ReadingKind,
    ReadingStatus,
    implausible,
)

_KEY = ["device_id", "quantity", "kind", "span_s", "at"]
_CONTENT = ["value", "unit", "status"]
_COLUMNS = [*_KEY, *_CONTENT, "received_at"]
_TIMES = ("at", "received_at")
_TEXTS = ("device_id", "quantity", "kind", "unit", "status")
_MOMENT = pd.DatetimeTZDtype("us", "UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMAT = "sightline readings 1"
_SHOWN = 40
"""So many characters of a refused value are kept: enough to find it in the capture."""

Row = tuple[str, str, str, float, int, float, str, str, int]
"""As the columns of ``FRAME``, times in microseconds since 1970."""


def _are_plausible(frame: pd.DataFrame) -> "pd.Series[bool]":
    rows = zip(frame["quantity"], frame["value"], frame["unit"], strict=True)
    return pd.Series([implausible(*row) is None for row in rows], index=frame.index, dtype=bool)


def _spans_fit(frame: pd.DataFrame) -> "pd.Series[bool]":
    return (frame["kind"] == ReadingKind.INSTANTANEOUS.value) == (frame["span_s"] == 0)


_ID = pa.Check.str_matches(r"^[a-z0-9][a-z0-9_-]{0,63}$")


def _schema(unique: list[str] | None) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(
        {
            "device_id": pa.Column(str, _ID),
            "quantity": pa.Column(str, _ID),
            "kind": pa.Column(str, pa.Check.isin([kind.value for kind in ReadingKind])),
            "span_s": pa.Column("float64", pa.Check.ge(0)),
            "at": pa.Column(_MOMENT),
            "value": pa.Column("float64", pa.Check(lambda values: values.abs() < float("inf"))),
            "unit": pa.Column(str, pa.Check.isin(sorted(CANONICAL_UNITS))),
            "status": pa.Column(str, pa.Check.isin([status.value for status in ReadingStatus])),
            "received_at": pa.Column(_MOMENT),
        },
        checks=[
            pa.Check(_are_plausible, name="value is possible"),
            pa.Check(_spans_fit, name="span fits the kind"),
        ],
        unique=unique,
        strict=True,
        ordered=True,
        # Columns have their types already, see ``_frame``; making sure costs a third of a check.
        coerce=False,
    )


FRAME = _schema(unique=_KEY)
"""One row a reading, sorted by device, quantity, kind, span (s) and time; values in canonical
units, times aware UTC to the microsecond. The index is 0, 1, 2…: over one that repeats, pandera
fails on composite keys instead of naming the rows."""

_CONFLICTS = _schema(unique=None)


@dataclass(frozen=True, order=True)
class Refused:
    """What could not be read, once for each reason."""

    device_id: str
    """Empty if the message does not say."""
    what: str
    """Quantity, factor code or part of the message."""
    reason: str
    first_received_at: datetime
    example: str
    """The beginning of the first such value."""
    count: int


@dataclass(frozen=True, eq=False)
class Readings:
    """Readings of one or more captures."""

    frame: pd.DataFrame
    """Rows as ``FRAME`` says."""
    conflicts: pd.DataFrame
    """Rows like those of ``frame`` that contradict one received earlier, each content once."""
    refused: tuple[Refused, ...]
    repeated: int
    """How many readings said again what was known."""

    def readings(self) -> tuple[Reading, ...]:
        """The readings of the frame, in its order."""
        columns = [self.frame[name].tolist() for name in _COLUMNS[:-1]]
        return tuple(
            Reading(
                device_id=device_id, quantity=quantity, kind=ReadingKind(kind), span_s=span_s,
                at=at.to_pydatetime(), value=value, unit=unit, status=ReadingStatus(status),
            )
            for device_id, quantity, kind, span_s, at, value, unit, status in zip(
                *columns, strict=True
            )
        )  # fmt: skip

    def to_bytes(self) -> bytes:
        """As JSON: the same readings give the same bytes."""
        content = {
            "format": _FORMAT,
            "frame": _columns(self.frame),
            "conflicts": _columns(self.conflicts),
            "refused": [
                [one.device_id, one.what, one.reason, microseconds(one.first_received_at),
                 one.example, one.count]
                for one in self.refused
            ],
            "repeated": self.repeated,
        }  # fmt: skip
        return json.dumps(content, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()


def from_bytes(content: bytes) -> Readings:
    """What ``to_bytes`` gave. Raises EvidenceError if these are not such bytes."""
    try:
        given = json.loads(content)
        if given["format"] != _FORMAT:
            raise EvidenceError("stored readings are in a format that is not known here")
        refused = tuple(
            Refused(device_id, what, reason, _moment(received_us), example, count)
            for device_id, what, reason, received_us, example, count in given["refused"]
        )
        frame = _validated(FRAME, _frame(given["frame"]))
        conflicts = _validated(_CONFLICTS, _frame(given["conflicts"]))
        return Readings(frame, conflicts, refused, int(given["repeated"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise EvidenceError("stored readings are damaged") from error


def from_readings(readings: Iterable[Reading], received_at: datetime) -> Readings:
    """Readings from elsewhere as a frame, all received at one moment."""
    intake = Intake()
    for one in readings:
        at_us, received_us = microseconds(one.at), microseconds(received_at)
        intake.rows.append(
            (*one.series, at_us, one.value, one.unit, one.status.value, received_us)
        )  # fmt: skip
    return intake.readings()


def merged(parts: Iterable[Readings]) -> Readings:
    """All readings of several captures, in whatever order and grouping they are given."""
    given = list(parts)
    frames = [frame for part in given for frame in (part.frame, part.conflicts) if len(frame)]
    rows = pd.concat(frames, ignore_index=True) if frames else _frame({})
    refused = chain.from_iterable(part.refused for part in given)
    return _settled(rows, refused, sum(part.repeated for part in given))


@dataclass
class Intake:
    """Rows and refusals while messages are read."""

    rows: list[Row] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    @contextmanager
    def refusing(
        self, received_at: datetime, device_id: str, what: str, value: object
    ) -> Iterator[None]:
        """A ValueError inside becomes a refusal of this value, with the error's text as reason."""
        try:
            yield
        except ValueError as error:
            text = value if isinstance(value, str) else repr(value)
            self.refused.append(
                Refused(device_id, what, str(error), received_at, text[:_SHOWN], 1)
            )  # fmt: skip

    def readings(self) -> Readings:
        """What was taken in, without repeats."""
        columns = dict(
            zip(_COLUMNS, zip(*self.rows, strict=True), strict=True) if self.rows else ()
        )
        return _settled(_frame(columns), self.refused, 0)


def microseconds(moment: datetime) -> int:
    """Since 1970. Raises TypeError for a moment without zone."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(since_1970_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=since_1970_us)


def _frame(columns: Mapping[str, Iterable[Any]]) -> pd.DataFrame:
    """A frame of columns with times in microseconds; not validated."""
    frame = pd.DataFrame({name: list(columns.get(name, ())) for name in _COLUMNS})
    for name in _TIMES:
        frame[name] = pd.to_datetime(frame[name].astype("int64"), unit="us", utc=True)
    return frame.astype(dict.fromkeys(_TIMES, _MOMENT) | {"value": "float64", "span_s": "float64"})


def _columns(frame: pd.DataFrame) -> dict[str, list[Any]]:
    columns = {name: frame[name] for name in _COLUMNS}
    columns |= {name: frame[name].astype("int64") for name in _TIMES}
    return {name: column.tolist() for name, column in columns.items()}


_NOTHING = FRAME.validate(_frame({}).astype(dict.fromkeys(_TEXTS, str)))
"""What most captures have in conflicts: checked once, since a check costs the same for no rows."""


def _settled(rows: pd.DataFrame, refused: Iterable[Refused], repeated: int) -> Readings:
    # A negative zero equals zero, but has other bytes.
    rows = rows.assign(value=rows["value"] + 0.0)
    rows = rows.sort_values([*_KEY, "received_at", *_CONTENT], ignore_index=True)
    distinct = rows.drop_duplicates([*_KEY, *_CONTENT], ignore_index=True)
    later = distinct.duplicated(_KEY)
    return Readings(
        frame=_validated(FRAME, distinct[~later].reset_index(drop=True)),
        conflicts=_validated(_CONFLICTS, distinct[later].reset_index(drop=True)),
        refused=_counted(refused),
        repeated=repeated + len(rows) - len(distinct),
    )


def _validated(schema: pa.DataFrameSchema, frame: pd.DataFrame) -> pd.DataFrame:
    """Raises EvidenceError for rows that are not as the schema says."""
    if frame.empty:
        return _NOTHING.copy()
    try:
        return schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        checks = sorted({str(check) for check in error.failure_cases["check"]})
        raise EvidenceError(f"readings fail the checks: {', '.join(checks)}") from error


def _counted(refused: Iterable[Refused]) -> tuple[Refused, ...]:
    """One for each device, part and reason, with the first as example."""
    reasons: dict[tuple[str, str, str], list[Refused]] = {}
    for one in refused:
        reasons.setdefault((one.device_id, one.what, one.reason), []).append(one)
    counted = []
    for (device_id, what, reason), alike in sorted(reasons.items()):
        first = min(alike, key=lambda one: (one.first_received_at, one.example))
        count = sum(one.count for one in alike)
        counted.append(
            Refused(device_id, what, reason, first.first_received_at, first.example, count)
        )
    return tuple(counted)
