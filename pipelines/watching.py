"""One clip, watched by the shipped rules in a process of its own: ``python -m pipelines.watching``.

A fresh process makes peak memory a figure of this clip, and lets a crash end only this clip. The
job comes as JSON on standard input; standard output carries a line of JSON for each report of
progress and one for the outcome.
"""

import json
import os
import queue
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from enforcement.errors import BadFootage, SightlineError
from enforcement.footage import Observation, Track, ViewFinding
from enforcement.model import Name, Record
from enforcement.rules import Rule, find
from enforcement.scoring import Alarm, alarm_of
from enforcement.truth import Expected, zones_of

_MARK = "sightline-watching "
"""Begins our lines: libraries may print to standard output too."""


class Watched(Record):
    """What the shipped detectors and rules made of one clip, and what that cost."""

    width_px: int
    height_px: int
    duration_s: float
    unsteady_s: tuple[tuple[float, float], ...]
    view: tuple[ViewFinding, ...]
    alarms: tuple[Alarm, ...]
    tracks: dict[Name, tuple[Track, ...]]
    """By model; each track without the points between its first and last."""
    stages: dict[str, float]
    """CPU seconds of that by stage; ``decode`` includes what belongs to no other."""
    decoded_s: float
    """Seconds of the footage that were decoded in full; the rest was skimmed."""
    cpu_s: float
    """Decoding, detecting, tracking and rules, on all threads."""
    wall_s: float
    start_cpu_s: float
    """Starting Python, importing libraries and verifying the models."""
    peak_memory_mib: float


class Job(Record):
    """What a child process is asked to watch."""

    path: str
    expected: Expected
    """Only its zones matter here; nothing of the truth reaches detectors or rules."""
    exhaustive: bool = False
    """Every detector sees all of every frame."""


def watch_apart(
    path: Path,
    expected: Expected,
    progress: Callable[[float], None] | None = None,
    *,
    exhaustive: bool = False,
    stall_s: float = 300.0,
) -> Watched:
    """Watch the clip in a child process.

    Raises BadFootage if it cannot be decoded, if the child crashed, or if it reported no progress
    for ``stall_s`` seconds (it is then killed).
    """
    job = Job(path=str(path.resolve()), expected=expected, exhaustive=exhaustive).model_dump_json()
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "pipelines.watching"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": _import_path()},
        )
        try:
            outcome = _outcome(child, job, progress or (lambda _: None), stall_s)
        except queue.Empty as error:
            raise BadFootage(f"{path.name}: given up after {stall_s:g} s of no progress") from error
        finally:
            child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
        errors.seek(0)
        last_words = (errors.read().strip().splitlines() or ["no word why"])[-1]
    if "error" in outcome:
        raise BadFootage(str(outcome["error"]))
    if "watched" not in outcome:
        raise BadFootage(f"{path.name}: the process that watched it crashed: {last_words}")
    return Watched.model_validate_json(json.dumps(outcome["watched"]))


def _outcome(
    child: "subprocess.Popen[str]", job: str, progress: Callable[[float], None], stall_s: float
) -> dict[str, object]:
    """The child's last word; empty if it ended without one. Raises queue.Empty on a stall."""
    lines: queue.Queue[str | None] = queue.Queue()
    stdin, stdout = child.stdin, child.stdout
    if stdin is None or stdout is None:  # both are pipes
        raise AssertionError
    threading.Thread(target=_relay, args=(stdout, lines), daemon=True).start()
    try:
        with stdin:
            stdin.write(job)
    except BrokenPipeError:  # it ended before it listened; its exit tells
        return {}
    while (line := lines.get(timeout=stall_s)) is not None:
        if line.startswith(_MARK):
            said = json.loads(line.removeprefix(_MARK))
            if "share" not in said:
                return dict(said)
            progress(float(said["share"]))
    return {}


def _relay(stdout: IO[str], lines: "queue.Queue[str | None]") -> None:
    for line in stdout:
        lines.put(line)
    lines.put(None)


def _import_path() -> str:
    """The child must find this very package, wherever the parent was started."""
    here = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))


def watch(
    path: Path, expected: Expected, say: Callable[[float], None], *, exhaustive: bool = False
) -> Watched:
    """Watch the clip in this process. Raises SightlineError."""
    from pipelines.wiring import Wiring
    from settings.catalog import SHIPPED_CATALOG, load_catalog
    from settings.environment import Settings

    wiring = Wiring(Settings.load())
    rules = load_catalog(SHIPPED_CATALOG).current_rules
    purposes = {zone.purpose for zone in zones_of(expected, 1, 1)}
    rules = tuple(one for one in rules if one.kind.is_of_footage and one.purpose in purposes)
    cascade = wiring.cascade(rules, exhaustive=exhaustive)
    began_s, started_s = time.monotonic(), time.process_time()
    looks = cascade.look(path, "evaluated", progress=say)
    seen = list(looks.observations)
    with looks.costs.of("rule"):
        alarms = _alarms(rules, expected, seen)
    first = seen[0]
    return Watched(
        width_px=first.width_px,
        height_px=first.height_px,
        duration_s=first.duration_s,
        unsteady_s=tuple(sorted(span for one in seen for span in one.unsteady_s)),
        view=tuple(finding for one in seen for finding in one.view),
        alarms=alarms,
        tracks={one.model: tuple(_ends(track) for track in one.tracks) for one in seen},
        stages={stage: round(cpu_s, 3) for stage, cpu_s in sorted(looks.costs.cpu_s.items())},
        decoded_s=round(looks.decoded_s, 3),
        cpu_s=round(_cpu_s() - started_s, 3),
        wall_s=round(time.monotonic() - began_s, 3),
        start_cpu_s=round(started_s, 3),
        peak_memory_mib=round(_peak_memory_mib(), 1),
    )


def _alarms(
    rules: tuple[Rule, ...], expected: Expected, seen: list[Observation]
) -> tuple[Alarm, ...]:
    zones = zones_of(expected, seen[0].width_px, seen[0].height_px)
    alarms = [alarm_of(finding, rule.kind) for rule in rules for finding in find(rule, zones, seen)]
    return tuple(sorted(alarms, key=lambda alarm: (alarm.t_s, alarm.rule)))


def _ends(track: Track) -> Track:
    return track.model_copy(update={"points": (track.points[0], track.points[-1])})


def _cpu_s() -> float:
    """CPU seconds of this process, all its threads and its ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _peak_memory_mib() -> float:
    """Largest resident size of this process.

    On Linux from /proc: what getrusage says there includes the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text("ascii", "replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def main() -> None:
    """Read a job, watch its clip, say what came of it."""

    def say(word: dict[str, object]) -> None:
        sys.stdout.write(f"{_MARK}{json.dumps(word)}\n")
        sys.stdout.flush()

    try:
        job = Job.model_validate_json(sys.stdin.read())
        watched = watch(
            Path(job.path),
            job.expected,
            lambda share: say({"share": share}),
            exhaustive=job.exhaustive,
        )
    except (SightlineError, ValidationError) as error:
        say({"error": str(error)})
    else:
        say({"watched": watched.model_dump(mode="json")})


if __name__ == "__main__":
    main()
