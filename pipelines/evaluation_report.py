"""The report of an evaluation: one HTML file with figures, timelines and pictures of every error.

Pictures are cut from the clips while the report is written and lie in the file itself, so that it
can be sent as one. It shows what the clips show: treat it like them.
"""

import base64
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape
from rich.markup import escape
from rich.table import Table

from enforcement.errors import BadFootage, ConfigurationError
from enforcement.footage import Label, Track
from enforcement.geometry import Box, intersection
from enforcement.scoring import EARLY_S, LATE_S, Alarm, Judgement, ScoredClip, Verdict
from enforcement.truth import Event
from media.drawing import draw_boxes, encode_jpeg
from media.footage import frame_at
from pipelines.evaluate import Evaluation, Outcome
from pipelines.watching import Watched

_TEMPLATES = Path(__file__).parent / "templates"
_WIDTH_PX = 960
_QUALITY = 80
_PICTURED = 6
"""Of one family in one clip, so many alarms are shown as pictures; the rest is counted."""

_WRONG = {
    Verdict.MISSED: "missed",
    Verdict.OUT_OF_WINDOW: "raised too early or too late",
    Verdict.FALSE_POSITIVE: "false alarm",
}


@dataclass(frozen=True)
class _Picture:
    source: str
    """A ``data:`` URI."""
    caption: str


@dataclass(frozen=True)
class _Card:
    """One thing to look at: a miss, a false alarm or, without truth, a find."""

    clip: str
    family: str
    kind: str
    scored: bool
    facts: tuple[str, ...]
    pictures: tuple[_Picture, ...]


@dataclass(frozen=True)
class _Mark:
    """Something on a clip's timeline, in per cent of its length."""

    left: float
    width: float
    kind: str
    title: str


@dataclass(frozen=True)
class _Row:
    """One clip in the table."""

    outcome: Outcome
    marks: tuple[_Mark, ...] = ()
    verdicts: tuple[Judgement, ...] = field(default=())

    @property
    def cost(self) -> float | None:
        watched = self.outcome.watched
        return None if watched is None else watched.cpu_s / max(watched.duration_s, 1e-3)


def write_report(evaluation: Evaluation, target: Path, now: datetime) -> None:
    """Write the report; it appears under its name only when complete.

    Raises ConfigurationError if the file cannot be written.
    """
    templates = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=select_autoescape(), trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    figures = evaluation.as_json()
    rows = [_row(outcome) for outcome in evaluation.outcomes]
    html = templates.get_template("evaluation.html").render(
        title=evaluation.title,
        now=now,
        has_truth=evaluation.has_truth,
        overall=figures["overall"],
        families=figures["families"],
        rows=rows,
        cards=[card for outcome in evaluation.outcomes for card in _cards(outcome)],
        most_cpu=max((row.cost or 0.0 for row in rows), default=0.0) or 1.0,
        early_s=EARLY_S,
        late_s=LATE_S,
    )
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_text(html, "utf-8")
        os.replace(part, target)
    except OSError as error:
        raise ConfigurationError(f"the report {target} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _row(outcome: Outcome) -> _Row:
    watched, scored = outcome.watched, outcome.scored
    if watched is None:
        return _Row(outcome)
    told = () if scored is None else scored.judgements
    notable = tuple(j for j in told if j.verdict is not Verdict.TRUE_NEGATIVE and _is_told(j))
    return _Row(outcome, tuple(_marks(watched, scored)), notable)


def _is_told(judgement: Judgement) -> bool:
    """What nothing looks for is only worth a word where it happened."""
    return judgement.verdict is not Verdict.NOT_COVERED or judgement.positive


def _marks(watched: Watched, scored: ScoredClip | None) -> Iterator[_Mark]:
    whole_s = max(watched.duration_s, 1e-3)

    def mark(start_s: float, end_s: float, kind: str, title: str) -> _Mark:
        left = min(100.0, max(0.0, 100 * start_s / whole_s))
        right = min(100.0, max(left, 100 * end_s / whole_s))
        return _Mark(round(left, 2), round(right - left, 2), kind, title)

    for start_s, end_s in watched.unsteady_s:
        yield mark(start_s, end_s, "unsteady", f"view unsteady {start_s:.1f} to {end_s:.1f} s")
    for event in () if scored is None else scored.events:
        early_s, late_s = event.onset_s - EARLY_S, event.onset_s + LATE_S
        yield mark(early_s, late_s, "window", f"{event.family}: an alarm here is right")
        end_s = event.onset_s if event.end_s is None else event.end_s
        title = f"{event.family}: true from {event.onset_s:.1f} to {end_s:.1f} s"
        yield mark(event.onset_s, end_s, "truth", title)
    for alarm in watched.alarms:
        kind = "alarm" if scored is None else f"alarm {_colour(alarm, scored.judgements)}"
        yield mark(alarm.t_s, alarm.t_s, kind, f"{alarm.rule}: alarm at {alarm.t_s:.1f} s")


def _colour(alarm: Alarm, judgements: Iterable[Judgement]) -> str:
    verdicts = {one.family: one for one in judgements}
    mine = verdicts.get(alarm.family)
    if mine is None or mine.alarm_s != alarm.t_s:
        return "later"
    return "right" if mine.verdict is Verdict.TRUE_POSITIVE else "wrong"


def _cards(outcome: Outcome) -> Iterator[_Card]:
    watched, scored = outcome.watched, outcome.scored
    if watched is None:
        return
    if scored is None:
        for alarm in watched.alarms[: _PICTURED * 4]:
            shown = _pictures_of_alarm(outcome.clip.path, alarm, ())
            yield _Card(
                outcome.clip.name, alarm.family, "found", True, _alarm_facts(alarm), tuple(shown)
            )
        return
    for judgement in scored.judgements:
        if judgement.verdict in _WRONG:
            yield _wrong(outcome, watched, scored, judgement)


def _wrong(outcome: Outcome, watched: Watched, scored: ScoredClip, judgement: Judgement) -> _Card:
    family, path = judgement.family, outcome.clip.path
    events = [event for event in scored.events if event.family == family]
    alarms = [alarm for alarm in scored.alarms if alarm.family == family]
    facts: list[str] = []
    pictures: list[_Picture] = []
    if judgement.verdict is not Verdict.FALSE_POSITIVE:
        for event in events:
            facts += _what_was_seen(event, watched)
            pictures += _pictures_of_event(path, event, watched.duration_s)
    for alarm in alarms[:_PICTURED]:
        facts += _alarm_facts(alarm)
        pictures += _pictures_of_alarm(path, alarm, events)
    if len(alarms) > _PICTURED:
        facts.append(f"and {len(alarms) - _PICTURED} alarms more")
    return _Card(
        clip=outcome.clip.name,
        family=family,
        kind=_WRONG[judgement.verdict],
        scored=not scored.difficult,
        facts=tuple(facts),
        pictures=tuple(pictures),
    )


def _alarm_facts(alarm: Alarm) -> tuple[str, ...]:
    raised = f"{alarm.rule} raised at {alarm.t_s:.1f} s, score {alarm.score:.2f}"
    return (raised, *alarm.reasons)


def _what_was_seen(event: Event, watched: Watched) -> Iterator[str]:
    """Why an event may have been missed: what the detectors saw of it."""
    end_s = event.onset_s if event.end_s is None else event.end_s
    yield f"true: {event.family} from {event.onset_s:.1f} to {end_s:.1f} s"
    first_s, last_s = event.onset_s - EARLY_S, event.onset_s + LATE_S
    for start_s, stop_s in watched.unsteady_s:
        if start_s < last_s and stop_s > first_s:
            yield f"the view was unsteady from {start_s:.1f} to {stop_s:.1f} s"
    tracks = [track for tracks in watched.tracks.values() for track in tracks]
    near = [t for t in tracks if t.first_s <= last_s and t.last_s >= first_s]
    things = [t for t in near if t.label is Label.STATIC_OBJECT]
    actors = [t.label.value for t in near if t.label is not Label.STATIC_OBJECT]
    named = ", ".join(f"{actors.count(one)} × {one}" for one in sorted(set(actors)))
    yield f"seen around it: {named or 'no person and no vehicle'}"
    if event.family == "dumping":
        at_place = [t for t in things if event.box is None or _is_near(t, event.box)]
        for thing in at_place:
            yield (
                f"something came to rest at {thing.first_s:.1f} s (score {thing.score:.2f}, edges"
                f" {thing.traits.get('edge_ratio', 0.0):.1f} times the ground's), not raised as it"
                " fails a condition of the rule"
            )
        if not at_place:
            yield "nothing was seen to come to rest there"


def _is_near(track: Track, box: Box) -> bool:
    return intersection(track.points[-1].box.grown(0.5), box.grown(0.5)) > 0


def _pictures_of_event(path: Path, event: Event, duration_s: float) -> Iterator[_Picture]:
    boxes = [] if event.box is None else [(event.box, f"true {event.family}")]
    end_s = event.onset_s + LATE_S if event.end_s is None else event.end_s
    after_s = min(duration_s, end_s, event.onset_s + LATE_S)
    for t_s in sorted({max(0.0, event.onset_s - 1.0), event.onset_s, after_s}):
        yield from _picture(path, t_s, boxes, f"{t_s:.1f} s")


def _pictures_of_alarm(path: Path, alarm: Alarm, events: Iterable[Event]) -> Iterator[_Picture]:
    boxes = [(alarm.box, f"{alarm.rule} {alarm.score:.2f}")]
    boxes += [(event.box, "true") for event in events if event.box is not None]
    before_s = max(0.0, alarm.onset_s - 1.0)
    yield from _picture(path, before_s, boxes, f"{before_s:.1f} s")
    yield from _picture(path, alarm.onset_s, boxes, f"onset as raised, {alarm.onset_s:.1f} s")
    yield from _picture(path, alarm.t_s, boxes, f"alarm, {alarm.t_s:.1f} s")


def _picture(
    path: Path, t_s: float, boxes: Sequence[tuple[Box, str]], caption: str
) -> Iterator[_Picture]:
    """One picture, or none where the clip does not decode there."""
    try:
        image = frame_at(path, t_s)
        step = -(-image.shape[1] // _WIDTH_PX)
        jpeg = encode_jpeg(draw_boxes(image[::step, ::step], boxes), _QUALITY)
    except BadFootage:
        return
    yield _Picture(f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}", caption)


def tables(evaluation: Evaluation) -> Iterator[Table]:
    """The same figures for a terminal of 80 columns: clips, then families."""
    clips = Table(box=None, pad_edge=False)
    clips.add_column("clip", overflow="fold")
    clips.add_column("verdict" if evaluation.has_truth else "found", overflow="fold")
    clips.add_column("view")
    for title in ("length s", "CPU-s/s", "MiB"):
        clips.add_column(title, justify="right", no_wrap=True)
    for outcome in evaluation.outcomes:
        clips.add_row(*_clip_cells(outcome))
    yield clips
    if not evaluation.has_truth:
        return
    families = Table(box=None, pad_edge=False)
    for title in (
        "family",
        "right",
        "false",
        "missed",
        "P",
        "R",
        "F1",
        "delay s",
        "false/h (≤ 95 %)",
    ):
        families.add_column(title, justify="left" if title == "family" else "right", no_wrap=True)
    fields = ("true_positives", "false_positives", "false_negatives", "precision", "recall", "f1",
              "delay_s")  # fmt: skip
    for name, one in evaluation.as_json()["families"].items():
        if one["covered"] and one["positives"] + one["negatives"]:
            per_hour = _figure(one["false_alarms_per_camera_hour"])
            bound = _figure(one["false_alarms_per_camera_hour_upper_95"])
            cells = (_figure(one[key]) for key in fields)
            families.add_row(escape(name), *cells, f"{per_hour} ({bound})")
    yield families


def summary(evaluation: Evaluation) -> str:
    """The whole in a few lines."""
    overall = evaluation.as_json()["overall"]
    cost = (
        f"{overall['clips']} clips ({overall['errors']} not watched), {overall['camera_s']:.0f} s:"
        f" {_figure(overall['cpu_s_per_camera_s'])} CPU-seconds a camera-second, peak memory"
        f" {_figure(overall['peak_memory_mib'])} MiB"
    )
    if not evaluation.has_truth:
        return cost
    not_covered = ", ".join(
        f"{family} (clips with it: {number})" for family, number in overall["not_covered"].items()
    )
    health = overall["view_health"]
    return (
        f"problems with the view: {health['found']} of {health['expected']} noticed,"
        f" {health['false']} false\n"
        f"not covered by any rule: {not_covered or 'nothing of what the index expects'}\n"
        f"F1 {_figure(overall['f1'])}, precision {_figure(overall['precision'])},"
        f" recall {_figure(overall['recall'])};"
        f" {_figure(overall['false_alarms_per_camera_hour'])} false alarms a camera-hour"
        f" ({overall['false_alarms']} in {overall['negative_hours']:.3f} h, 95 % bound"
        f" {_figure(overall['false_alarms_per_camera_hour_upper_95'])})\n{cost}"
    )


def _clip_cells(outcome: Outcome) -> list[str]:
    watched, scored = outcome.watched, outcome.scored
    name = escape(outcome.clip.path.name)
    if watched is None:
        return [name, f"[red]not watched: {escape(outcome.error or '')}[/]"]
    if scored is None:
        lines = [f"{alarm.rule} {alarm.t_s:.1f} s" for alarm in watched.alarms] or ["nothing"]
    else:
        lines = [_told(one) for one in _row(outcome).verdicts] or ["silent, rightly"]
        lines += ["difficult: not scored"] if scored.difficult else []
    cost = watched.cpu_s / max(watched.duration_s, 1e-3)
    costs = [f"{watched.duration_s:.1f}", f"{cost:.2f}", f"{watched.peak_memory_mib:.0f}"]
    return [name, "\n".join(lines), outcome.view, *costs]


def _told(judgement: Judgement) -> str:
    """A verdict in a few words, such as ``dumping: true positive +2.6 s``."""
    delay = "" if judgement.delay_s is None else f" {judgement.delay_s:+.1f} s"
    return escape(f"{judgement.family}: {judgement.verdict.replace('_', ' ')}{delay}")


def _figure(value: float | int | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
