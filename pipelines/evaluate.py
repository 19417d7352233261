"""Evaluate: the shipped detectors and rules over every clip of an index, held against its truth.

Default parameters, no tuning per clip, no database and no store. A folder of clips without truth
works too: then the result says what was found and what it cost.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from pydantic import ValidationError

from enforcement.errors import BadFootage, ConfigurationError, SightlineError
from enforcement.scoring import (
    ScoredClip,
    Verdict,
    counts,
    family_figures,
    family_of,
    is_moving,
    quiet_figures,
    score_clip,
)
from enforcement.truth import FAMILIES, Expected, IndexEntry
from pipelines.watching import Watched, watch_apart
from pipelines.wiring import Wiring
from settings.catalog import SHIPPED_CATALOG, load_catalog
from settings.environment import Settings

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        "3gp", "asf", "avi", "flv", "gif", "h264", "hevc", "m2ts", "m4v", "mkv", "mov", "mp4",
        "mpeg", "mpg", "mts", "ogv", "ts", "webm", "wmv",
    )
)  # fmt: skip
"""What counts as footage in a folder; an index may name any file."""

Progress = Callable[[int, int, str, float], None]
"""Called with the number of clips done, of all, the name of the one at work and its share."""


_EARLY_S = 1.0
"""Truths about views were set by eye: so much too early is right still."""


@dataclass(frozen=True)
class Clip:
    """One clip to watch: its file and, where there is one, the truth."""

    name: str
    path: Path
    expected: Expected | None
    sha256: str | None = None
    problem: str | None = None
    """Why its entry in the index cannot be used."""


@dataclass(frozen=True)
class Outcome:
    """What came of one clip; ``error`` says why nothing did."""

    clip: Clip
    watched: Watched | None
    scored: ScoredClip | None
    error: str | None

    @property
    def view(self) -> str:
        """``fixed``, ``moving``, or ``unknown`` if the clip could not be watched."""
        if self.watched is None:
            return "unknown"
        moving = is_moving(self.watched.unsteady_s, self.watched.duration_s)
        return "moving" if moving else "fixed"

    @property
    def view_is_right(self) -> bool | None:
        """Whether the view is what the index says; None where either is not known."""
        if self.watched is None or self.clip.expected is None:
            return None
        return (self.view == "moving") == (self.clip.expected.view == "unsuitable")

    @property
    def view_health_found(self) -> list[bool]:
        """For each problem with the view that the index expects, whether it was noticed, and not
        before it began."""
        found = () if self.watched is None else self.watched.view
        expected = () if self.clip.expected is None else self.clip.expected.view_health
        return [
            any(
                finding.problem == one.finding and finding.start_s >= one.onset_s - _EARLY_S
                for finding in found
            )
            for one in expected
        ]

    @property
    def view_health_false(self) -> int:
        """Problems that were found where the index expects none of that kind."""
        if self.watched is None or self.clip.expected is None:
            return 0
        if self.clip.expected.view == "unsuitable":  # it is another one all the time
            return 0
        named = {one.finding for one in self.clip.expected.view_health}
        return sum(finding.problem not in named for finding in self.watched.view)

    def as_json(self) -> dict[str, Any]:
        """For programs. Without truth there are no verdicts."""
        entry: dict[str, Any] = {"file": self.clip.name, "error": self.error, "view": self.view}
        if self.clip.expected is not None:
            expected = self.clip.expected
            entry["view_expected"] = "fixed" if expected.view == "suitable" else "moving"
            entry["difficult"] = expected.difficult
            entry["view_health_expected"] = [
                {**one.model_dump(mode="json"), "found": found}
                for one, found in zip(expected.view_health, self.view_health_found, strict=True)
            ]
        if self.scored is not None:
            entry["expected"] = [one.model_dump(mode="json") for one in self.scored.events]
            entry["verdicts"] = {
                one.family: one.model_dump(mode="json", exclude={"family"})
                for one in self.scored.judgements
            }
        if self.watched is not None:
            entry |= self._costs(self.watched)
        return entry

    def _costs(self, watched: Watched) -> dict[str, Any]:
        return {
            "duration_s": round(watched.duration_s, 3),
            "unsteady_s": [list(span) for span in watched.unsteady_s],
            "view_health": [finding.model_dump(mode="json") for finding in watched.view],
            "decoded_share": round(watched.decoded_s / watched.duration_s, 4),
            "stages": watched.stages,
            "alarms": [alarm.model_dump(mode="json") for alarm in watched.alarms],
            "cpu_s": watched.cpu_s,
            "cpu_s_per_camera_s": _per_second(watched.cpu_s, watched.duration_s),
            "start_cpu_s": watched.start_cpu_s,
            "peak_memory_mib": watched.peak_memory_mib,
        }


@dataclass(frozen=True)
class Evaluation:
    """A whole run."""

    title: str
    outcomes: tuple[Outcome, ...]
    covered: frozenset[str]
    left_out: int
    """Entries of the index that are no footage (no ``expect``)."""

    @property
    def has_truth(self) -> bool:
        return any(outcome.clip.expected is not None for outcome in self.outcomes)

    def as_json(self) -> dict[str, Any]:
        """``{"overall": …, "families": {family: …}, "clips": […]}``."""
        scored = [outcome.scored for outcome in self.outcomes if outcome.scored is not None]
        families: dict[str, Any] = {}
        if self.has_truth:
            for family in self._families(scored):
                figures = family_figures(family, scored, covered=family in self.covered)
                families[family] = figures.model_dump(mode="json")
        return {
            "overall": self._overall(scored),
            "families": families,
            "clips": [outcome.as_json() for outcome in self.outcomes],
        }

    def _families(self, scored: Iterable[ScoredClip]) -> list[str]:
        named = (judgement.family for clip in scored for judgement in clip.judgements)
        return list(dict.fromkeys((*FAMILIES, *named)))

    def _overall(self, scored: Sequence[ScoredClip]) -> dict[str, Any]:
        watched = [outcome.watched for outcome in self.outcomes if outcome.watched is not None]
        camera_s = sum(one.duration_s for one in watched)
        overall: dict[str, Any] = {
            "clips": len(self.outcomes),
            "errors": sum(outcome.error is not None for outcome in self.outcomes),
            "camera_s": round(camera_s, 2),
            "cpu_s_per_camera_s": _per_second(sum(one.cpu_s for one in watched), camera_s),
            "start_cpu_s": round(sum(one.start_cpu_s for one in watched), 2),
            "peak_memory_mib": max((one.peak_memory_mib for one in watched), default=None),
            "alarms": sum(len(one.alarms) for one in watched),
        }
        return overall | self._figures(scored) if self.has_truth else overall

    def _figures(self, scored: Sequence[ScoredClip]) -> dict[str, Any]:
        judged = [j for clip in scored if not clip.difficult for j in clip.judgements]
        unseen = [j for j in judged if j.verdict is Verdict.NOT_COVERED and j.positive]
        views = [one.view_is_right for one in self.outcomes if one.view_is_right is not None]
        not_covered: dict[str, int] = {}
        for judgement in unseen:
            not_covered[judgement.family] = not_covered.get(judgement.family, 0) + 1
        return {
            **counts(judged),
            **quiet_figures(scored).model_dump(),
            "not_covered": not_covered,
            "difficult_clips": sum(clip.difficult for clip in scored),
            "views_right": sum(views),
            "views_asked": len(views),
            "view_health": {
                "expected": sum(len(one.view_health_found) for one in self.outcomes),
                "found": sum(sum(one.view_health_found) for one in self.outcomes),
                "false": sum(one.view_health_false for one in self.outcomes),
            },
            "not_footage": self.left_out,
        }


def evaluate(
    source: Path,
    names: Sequence[str] = (),
    progress: Progress | None = None,
    *,
    exhaustive: bool = False,
    jobs: int = 1,
) -> Evaluation:
    """Watch every clip of an index or a folder, or those that ``names`` pick.

    ``exhaustive``: every detector sees all of every frame; ``jobs``: so many clips at once. A clip
    that cannot be watched is an error of that clip and does not end the run. Raises
    ConfigurationError if there is nothing to watch, ModelError if a model is not installed.
    """
    clips, left_out = clips_of(source)
    clips = _picked(clips, names)
    shipped = load_catalog(SHIPPED_CATALOG).current_rules
    rules = [rule for rule in shipped if rule.kind.is_of_footage]
    wiring = Wiring(Settings.load())
    for model in sorted({model for rule in rules for model in rule.models}):
        wiring.detector(model)  # a model that is not installed is one error, not one for each clip
    covered = frozenset(family_of(rule.kind) for rule in rules)
    reporting = _Reporting(len(clips), progress)

    def watch_one(clip: Clip) -> Outcome:
        outcome = _outcome(clip, covered, reporting.of(clip.name), exhaustive=exhaustive)
        reporting.one_is_done()
        return outcome

    with ThreadPoolExecutor(jobs) as pool:  # each clip is watched in a process of its own
        outcomes = tuple(pool.map(watch_one, clips))
    return Evaluation(source.name, outcomes, covered, left_out)


class _Reporting:
    """Counts clips that are done, however many are at work."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress = total, progress
        self._done = 0
        self._lock = Lock()

    def of(self, name: str) -> Callable[[float], None]:
        def report(share: float) -> None:
            if self._progress is not None:
                self._progress(self._done, self._total, name, share)

        return report

    def one_is_done(self) -> None:
        with self._lock:
            self._done += 1


def clips_of(source: Path) -> tuple[list[Clip], int]:
    """The clips of an index, a folder or one file, and how many entries are no footage."""
    if source.is_dir():
        found = [p for p in sorted(source.iterdir()) if p.suffix.lower() in VIDEO_SUFFIXES]
        clips = [Clip(path.name, path, None) for path in found if path.is_file()]
        if not clips:
            hint = f"; give {source / 'index.json'}" if (source / "index.json").is_file() else ""
            raise ConfigurationError(f"{source} holds no footage{hint}")
        return clips, 0
    if not source.is_file():
        raise ConfigurationError(f"there is no {source}: name an index or a folder of clips")
    if source.suffix.lower() in VIDEO_SUFFIXES:
        return [Clip(source.name, source, None)], 0
    return _indexed(source)


def _indexed(index: Path) -> tuple[list[Clip], int]:
    try:
        entries = json.loads(index.read_text("utf-8"))
    except ValueError as error:  # not JSON, or not even UTF-8
        raise ConfigurationError(f"{index} is no index: {error}") from error
    if not isinstance(entries, list):
        raise ConfigurationError(f"{index} is no index: it must hold a JSON list of entries")
    clips = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
            raise ConfigurationError(f"{index}: entry {number} names no `file`")
        if "expect" in entry:
            clips.append(_clip(index, entry))
    if not clips:
        raise ConfigurationError(f"{index} has no entry with `expect`: nothing to evaluate")
    return clips, len(entries) - len(clips)


def _clip(index: Path, entry: dict[str, Any]) -> Clip:
    name = str(entry["file"])
    path = index.parent / name
    try:
        parsed = IndexEntry.model_validate_json(json.dumps(entry))
    except ValidationError as error:
        places = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return Clip(name, path, None, problem=f"its entry in {index.name} is wrong: {places}")
    return Clip(name, path, parsed.expect or Expected(), parsed.sha256)


def _picked(clips: list[Clip], names: Sequence[str]) -> list[Clip]:
    """Clips by path in the index, file name or file name without suffix."""
    if not names:
        return clips
    picked: list[Clip] = []
    for name in names:
        mine = [c for c in clips if name in {c.name, c.path.name, c.path.stem}]
        if not mine:
            known = ", ".join(clip.path.name for clip in clips)
            raise ConfigurationError(f"no clip {name}; there are {known}")
        picked += [clip for clip in mine if clip not in picked]
    return picked


def _outcome(
    clip: Clip, covered: frozenset[str], report: Callable[[float], None], *, exhaustive: bool
) -> Outcome:
    expected = clip.expected or Expected()
    try:
        _check(clip)
        watched = watch_apart(clip.path, expected, report, exhaustive=exhaustive)
    except SightlineError as error:
        return Outcome(clip, None, None, str(error))
    if clip.expected is None:
        return Outcome(clip, watched, None, None)
    footage = (watched.width_px, watched.height_px, watched.duration_s)
    scored = score_clip(clip.name, expected, footage, watched.alarms, covered)
    return Outcome(clip, watched, scored, None)


def _check(clip: Clip) -> None:
    """Raises BadFootage if the file is not there or not the one that the index means."""
    if clip.problem is not None:
        raise BadFootage(clip.problem)
    if not clip.path.is_file():
        raise BadFootage(f"{clip.name}: there is no such file beside the index")
    if clip.sha256 is None:
        return
    with clip.path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != clip.sha256:
        raise BadFootage(
            f"{clip.name}: is not the file that the index means: its sha256 is {found[:12]}…,"
            f" not {clip.sha256[:12]}…"
        )


def _per_second(cpu_s: float, camera_s: float) -> float | None:
    return round(cpu_s / camera_s, 4) if camera_s > 0 else None
