"""Bench: what watching a camera costs, beside the naive loop and beside looking at everything.

Three kinds of rendered footage and the user's own files. Each is watched three times, each time in
a fresh process on one thread: by Ultralytics' tracking on every frame (naive), by the shipped
detectors on every frame (exhaustive), and as shipped (cascade). CPU seconds are compared per
second of footage, so that the dear two may be held to the first part of it.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enforcement.errors import ModelError
from enforcement.scoring import EARLY_S, LATE_S, Alarm
from enforcement.truth import Event, Expected, ExpectedAlarm, ZoneCheck
from media.bench_scenes import Activity, BenchTruth, bench_footage, bench_truth
from media.footage import probe
from media.scenery import HEIGHT_PX, WIDTH_PX
from media.skimming import copy_start
from pipelines.watching import Watched, watch_apart

ACTIVITIES: tuple[Activity, ...] = ("quiet", "normal", "busy")
Progress = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Loop:
    """What one way of watching one piece of footage cost."""

    seconds: float
    """Of the footage."""
    cpu_s: float
    wall_s: float | None
    peak_memory_mib: float
    start_cpu_s: float | None = None

    @property
    def cpu_s_per_camera_s(self) -> float:
        return self.cpu_s / self.seconds

    def as_json(self) -> dict[str, float | None]:
        return {
            "seconds": round(self.seconds, 2),
            "cpu_s": round(self.cpu_s, 2),
            "cpu_s_per_camera_s": round(self.cpu_s_per_camera_s, 5),
            "wall_s": None if self.wall_s is None else round(self.wall_s, 2),
            "start_cpu_s": self.start_cpu_s,
            "peak_memory_mib": round(self.peak_memory_mib, 1),
        }


@dataclass(frozen=True)
class Compared:
    """One piece of footage, watched in three ways."""

    name: str
    truth: BenchTruth | None
    naive: Loop
    exhaustive: Loop
    cascade: Loop
    found: tuple[Alarm, ...]
    """By the cascade."""
    reference: tuple[Alarm, ...]
    """By the exhaustive mode, in its part of the footage."""
    stages: dict[str, float]
    """CPU seconds of the cascade."""
    decoded_s: float

    @property
    def ratio(self) -> float:
        """How many times cheaper the cascade is than the naive loop."""
        return self.naive.cpu_s_per_camera_s / self.cascade.cpu_s_per_camera_s

    @property
    def cameras_per_core(self) -> float:
        return 1 / self.cascade.cpu_s_per_camera_s

    @property
    def missed(self) -> tuple[Alarm, ...]:
        """What the exhaustive mode found and the cascade did not."""
        return tuple(one for one in self.reference if not _among(one, self.found))

    @property
    def extra(self) -> tuple[Alarm, ...]:
        """What the cascade found and the exhaustive mode did not."""
        mine = [one for one in self.found if one.t_s <= self.exhaustive.seconds]
        return tuple(one for one in mine if not _among(one, self.reference))

    def events_found(self, alarms: Sequence[Alarm]) -> int:
        return sum(any(_fits(event, one) for one in alarms) for event in self.events)

    @property
    def events(self) -> tuple[Event, ...]:
        return () if self.truth is None else self.truth.events

    def as_json(self) -> dict[str, Any]:
        return {
            "naive": self.naive.as_json(),
            "exhaustive": self.exhaustive.as_json(),
            "cascade": self.cascade.as_json(),
            "decoded_share": round(self.decoded_s / self.cascade.seconds, 4),
            "events": len(self.events),
            "events_found": {
                "exhaustive": self.events_found(self.reference),
                "cascade": self.events_found(self.found),
            },
            "alarms": {
                mode: [one.model_dump(mode="json", exclude={"reasons"}) for one in alarms]
                for mode, alarms in (("exhaustive", self.reference), ("cascade", self.found))
            },
            "missed_by_cascade": len(self.missed),
            "only_in_cascade": len(self.extra),
        }


def as_json(compared: Sequence[Compared]) -> dict[str, Any]:
    """``{"ratios": {name: …}, "cameras_per_core": {…}, "stages": {…}, "runs": {…}}``."""
    return {
        "ratios": {one.name: round(one.ratio, 2) for one in compared},
        "cameras_per_core": {one.name: round(one.cameras_per_core, 1) for one in compared},
        "stages": {
            one.name: {
                stage: round(cpu_s / one.cascade.seconds, 6) for stage, cpu_s in one.stages.items()
            }
            for one in compared
        },
        "runs": {one.name: one.as_json() for one in compared},
    }


def bench(
    files: Sequence[Path],
    activities: Sequence[Activity],
    *,
    duration_s: float,
    reference_s: float,
    folder: Path,
    progress: Progress,
) -> list[Compared]:
    """Watch rendered footage of these activities, then the files.

    ``reference_s``: how much of each the naive and the exhaustive loop see. Footage is rendered
    into ``folder`` unless it lies there already. Raises ModelError, BadFootage.
    """
    compared = []
    for activity in activities:
        path = folder / f"bench-{activity}-{duration_s:g}.mp4"
        if not path.exists():
            rendering = _Rendering(progress, activity, duration_s)
            bench_footage(activity, path, duration_s, rendering)
        truth = bench_truth(activity, duration_s)
        compared.append(_compare(activity, path, truth, reference_s, progress))
    compared += [_compare(path.name, path, None, reference_s, progress) for path in files]
    return compared


@dataclass(frozen=True)
class _Rendering:
    progress: Progress
    activity: Activity
    duration_s: float

    def __call__(self, done_s: float) -> None:
        self.progress(f"{self.activity}: rendering", done_s / self.duration_s)


def _compare(
    name: str, path: Path, truth: BenchTruth | None, reference_s: float, progress: Progress
) -> Compared:
    expected = Expected() if truth is None else _expected(truth)
    cascade = watch_apart(path, expected, lambda share: progress(f"{name}: cascade", share))
    naive = _naive(path, reference_s, lambda share: progress(f"{name}: naive loop", share))
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        part = _first(path, Path(scratch) / path.name, reference_s)
        everything = watch_apart(
            part, expected, lambda share: progress(f"{name}: exhaustive", share), exhaustive=True
        )
    return Compared(
        name=name,
        truth=truth,
        naive=naive,
        exhaustive=_loop(everything),
        cascade=_loop(cascade),
        found=cascade.alarms,
        reference=everything.alarms,
        stages=cascade.stages,
        decoded_s=cascade.decoded_s,
    )


def _loop(watched: Watched) -> Loop:
    return Loop(
        seconds=watched.duration_s,
        cpu_s=watched.cpu_s,
        wall_s=watched.wall_s,
        peak_memory_mib=watched.peak_memory_mib,
        start_cpu_s=watched.start_cpu_s,
    )


def _expected(truth: BenchTruth) -> Expected:
    """The zones of rendered footage in the form that an evaluation takes."""
    alarms = tuple(
        ExpectedAlarm(family=event.family, onset_s=event.onset_s, end_s=event.end_s)
        for event in truth.events
    )
    checks = tuple(
        ZoneCheck(
            family="stopped_vehicle",
            zone_px=tuple((point.x * WIDTH_PX, point.y * HEIGHT_PX) for point in zone.polygon),
        )
        for zone in truth.zones
        if zone.zone_id == "lane"
    )
    return Expected(alarms=alarms, zone_checks=checks)


def _first(path: Path, target: Path, seconds: float) -> Path:
    """The first seconds of footage, packets as they are; the file itself if it is no longer."""
    if probe(path).duration_s <= seconds:
        return path
    copy_start(path, target, seconds)
    return target


def _naive(path: Path, seconds: float, report: Callable[[float], None]) -> Loop:
    """Run the naive loop in a process of its own. Raises ModelError if it fails."""
    from detectors.models import PEOPLE_AND_VEHICLES, checkpoint, entry_of

    classes = [str(number) for number in entry_of(PEOPLE_AND_VEHICLES).labels]
    with tempfile.TemporaryDirectory() as scratch:
        weights = checkpoint(PEOPLE_AND_VEHICLES, Path(scratch))
        child = subprocess.Popen(
            [
                sys.executable, "-m", "detectors.naive", str(weights), str(path),
                "--seconds", str(min(seconds, probe(path).duration_s)), "--classes", *classes,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )  # fmt: skip
        said: dict[str, Any] = {}
        with child:
            for line in child.stdout or ():
                if line.startswith("{"):
                    said = json.loads(line)
                    report(float(said.get("share", 1.0)))
            errors = child.stderr.read() if child.stderr else ""
    if child.returncode != 0 or "cpu_s" not in said:
        last = (errors.strip().splitlines() or ["no word why"])[-1]
        raise ModelError(f"the naive loop failed: {last}")
    return Loop(said["seconds"], said["cpu_s"], said["wall_s"], said["peak_memory_mib"])


def _fits(event: Event, alarm: Alarm) -> bool:
    in_time = event.onset_s - EARLY_S <= alarm.t_s <= event.onset_s + LATE_S
    return event.family == alarm.family and in_time


def _among(alarm: Alarm, others: Sequence[Alarm]) -> bool:
    """Whether the same event is among the others: of one family, at about the same time."""
    return any(
        other.family == alarm.family and abs(other.onset_s - alarm.onset_s) <= LATE_S
        for other in others
    )
