"""A picture of readings over time, with the limit, day and night, and when the matter began."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import NamedTuple
from zoneinfo import ZoneInfo

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

_WIDTH_IN, _HEIGHT_IN, _DPI = 12.8, 7.2, 100
_INK, _LINE, _OTHERS, _LIMIT, _NIGHT, _ALARM = (
    "#1c2733", "#1769aa", "#8a97a3", "#c62828", "#dfe4f2", "#b25a00",
)  # fmt: skip


class Level(NamedTuple):
    """A limit in force for a while."""

    since: datetime
    until: datetime
    value: float


class Value(NamedTuple):
    """One reading."""

    at: datetime
    value: float
    counts: bool
    """Whether a case may rest on it."""


@dataclass(frozen=True)
class Trace:
    """What is drawn. Moments are aware; texts should be ASCII or Latin: the font has no others."""

    title: str
    unit: str
    values: Sequence[Value]
    limits: Sequence[Level]
    nights: Sequence[tuple[datetime, datetime]]
    onset_at: datetime
    alarm_at: datetime
    zone: ZoneInfo
    """Times are shown by its clock."""


def draw_trace(trace: Trace) -> bytes:
    """A PNG of 1280 by 720 pixels; the same trace gives the same picture."""
    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for since, until in trace.nights:
        axes.axvspan(_x(since), _x(until), color=_NIGHT, zorder=0, label="_night")
    _draw_values(axes, trace)
    _draw_limits(axes, trace)
    for moment, name, style in ((trace.onset_at, "onset", "--"), (trace.alarm_at, "alarm", "-")):
        axes.axvline(_x(moment), color=_ALARM, linestyle=style, linewidth=1.6)
        axes.annotate(
            f"{name} {moment.astimezone(trace.zone):%H:%M:%S}",
            (_x(moment), 1.0), xycoords=("data", "axes fraction"),
            xytext=(4 if name == "alarm" else -4, -12), textcoords="offset points",
            color=_ALARM, fontsize=10, fontweight="bold",
            horizontalalignment="left" if name == "alarm" else "right",
        )  # fmt: skip
    _label(axes, trace)
    figure.legend(loc="outside lower left", ncols=3, frameon=False)
    target = BytesIO()
    canvas.print_png(target, metadata={"Software": "sightline"})  # type: ignore[no-untyped-call]
    return target.getvalue()


def _draw_values(axes: Axes, trace: Trace) -> None:
    counted = [one for one in trace.values if one.counts]
    others = [one for one in trace.values if not one.counts]
    axes.plot(
        [_x(one.at) for one in counted], [one.value for one in counted],
        color=_LINE, marker="o", markersize=3.5, linewidth=1.2,
        label="readings that may open a case",
    )  # fmt: skip
    if others:
        axes.plot(
            [_x(one.at) for one in others], [one.value for one in others],
            color=_OTHERS, marker="x", markersize=5, linestyle="none",
            label="flagged or uncalibrated readings",
        )  # fmt: skip


def _draw_limits(axes: Axes, trace: Trace) -> None:
    for number, level in enumerate(trace.limits):
        axes.plot(
            [_x(level.since), _x(level.until)], [level.value, level.value],
            color=_LIMIT, linewidth=2.0, label="limit" if number == 0 else "_limit",
        )  # fmt: skip
        axes.annotate(
            f"{level.value:g}", (_x(level.since), level.value),
            xytext=(3, 3), textcoords="offset points", color=_LIMIT, fontsize=10,
        )  # fmt: skip


def _label(axes: Axes, trace: Trace) -> None:
    axes.xaxis_date(trace.zone)
    locator = AutoDateLocator(tz=trace.zone)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=trace.zone))  # type: ignore[no-untyped-call]
    axes.set_xlabel(f"local time ({trace.zone.key}); nights are shaded", color=_INK)
    axes.set_ylabel("" if trace.unit == "1" else trace.unit, color=_INK)
    axes.set_title(trace.title, color=_INK, loc="left", fontweight="bold")
    axes.grid(visible=True, color="#d5dbe1", linewidth=0.6)
    axes.margins(x=0.01, y=0.12)


def _x(moment: datetime) -> float:
    return float(date2num(moment))  # type: ignore[no-untyped-call]
