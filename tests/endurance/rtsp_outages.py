"""Record one camera for minutes while its server is killed, hung and given another password.

    .venv/bin/python -m tests.endurance.rtsp_outages --minutes 10

The recorder is a process of its own and is killed with SIGKILL as well. At the end every frame that
the server sent is looked for in the segments. Exit code 0 if each outage cost no more than two
seconds of what was sent, the camera was recorded again within five seconds of being back, every
break in the footage is a listed gap and the other way round, and no password was printed.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from enforcement.places import RtspSource
from feeds.recorder import Recorder
from feeds.segments import Segment
from pipelines.processes import StopSign
from tests.feeds.rtsp_peer import Peer, read_marks, write_clip

FPS = 15
FEED = "gate-1"
_EXACT_S = 0.002
_LOST_ALLOWED_S = 2.0
_BACK_WITHIN_S = 5.0


class Passwords(Mapping[str, str]):
    """Variables that are read from a file each time, so that they can change under way."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getitem__(self, name: str) -> str:
        return str(json.loads(self._path.read_text())[name])

    def __iter__(self) -> Iterator[str]:
        return iter(json.loads(self._path.read_text()))

    def __len__(self) -> int:
        return len(json.loads(self._path.read_text()))


@dataclass(frozen=True)
class Outage:
    kind: str
    began_s: float
    over_s: float
    """Wall-clock time from which on the camera could be recorded again."""


def main() -> int:
    """Run, or with ``--record`` be the recorder."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=10.0)
    arguments.add_argument("--calm-s", type=float, default=25.0, help="between two outages")
    arguments.add_argument("--seed", type=int, default=None)
    arguments.add_argument("--record", nargs=2, metavar=("URL", "FOLDER"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.record:
        return _record(options.record[0], Path(options.record[1]))
    folder = Path(tempfile.mkdtemp(prefix="rtsp-outages-"))
    try:
        return _run(folder, options.minutes * 60, options.calm_s, random.Random(options.seed))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _record(url: str, folder: Path) -> int:
    filed = folder / "filed"
    filed.mkdir(exist_ok=True)

    def keep(segment: Segment) -> None:
        (filed / f"{segment.path.stem}.json").write_text(segment.model_dump_json())
        shutil.copyfile(segment.path, filed / segment.path.name)

    source = RtspSource(url=url, window_s=10.0, timeout_s=3.0)
    recorder = Recorder(
        FEED, source, folder / "spool", keep,
        environ=Passwords(folder / "passwords.json"), clock=lambda: datetime.now(UTC),
    )  # fmt: skip
    stop = StopSign()
    signal.signal(signal.SIGTERM, lambda *_: stop.give())
    recorder.start()
    while not stop.wait(1.0):
        print(recorder.status().model_dump_json(), flush=True)
    recorder.stop()
    print(recorder.status().model_dump_json(), flush=True)
    return 0


class _Trial:
    """Server, recorder and what is done to them."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self._chance, self._number = folder, chance, 0
        self.passwords = [f"s3cr:t@/{chance.getrandbits(40):010x}"]
        clip = folder / "clip.mp4"
        write_clip(clip, width=640, height=360, fps=FPS, seconds=6, gop=FPS)
        self._tell_recorder()
        self.peer = Peer(
            clip, folder / "sent.jsonl", "--user", "viewer", password=self.passwords[0]
        )
        self.peer.start()
        self.recorder = self._start_recorder()

    def kill_server(self) -> float:
        self.peer.kill()
        time.sleep(self._chance.uniform(1, 10))
        self.peer.start()
        return time.time()

    def hang_server(self) -> float:
        self.peer.hang()
        time.sleep(self._chance.uniform(4, 12))
        self.peer.resume()
        return time.time()

    def change_password(self) -> float:
        self.passwords.append(f"n3w:w@/{self._chance.getrandbits(40):010x}")
        self.peer.tell(password=self.passwords[-1])
        time.sleep(self._chance.uniform(2, 6))
        self._tell_recorder()
        return time.time()

    def kill_recorder(self) -> float:
        self.recorder.kill()
        self.recorder.wait(10)
        self.recorder = self._start_recorder()
        return time.time()

    def end(self) -> None:
        self.recorder.terminate()
        self.recorder.wait(30)
        self.peer.kill()

    def _tell_recorder(self) -> None:
        draft = self.folder / "passwords.new"
        draft.write_text(json.dumps({"CAMERA_PASSWORD": self.passwords[-1]}))
        draft.replace(self.folder / "passwords.json")

    def _start_recorder(self) -> "subprocess.Popen[bytes]":
        url = f"rtsp://viewer:{{CAMERA_PASSWORD}}@127.0.0.1:{self.peer.port}/live"
        with (self.folder / "recorder.log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", __spec__.name, "--record", url, str(self.folder)],
                env=os.environ, stdout=log, stderr=log,
            )  # fmt: skip


def _run(folder: Path, length_s: float, calm_s: float, chance: random.Random) -> int:
    trial = _Trial(folder, chance)
    outages: list[Outage] = []
    acts: list[tuple[str, Callable[[], float]]] = [
        ("server killed", trial.kill_server),
        ("server hung", trial.hang_server),
        ("password changed", trial.change_password),
        ("recorder killed", trial.kill_recorder),
    ]
    until = time.monotonic() + length_s
    try:
        while True:
            for name, act in chance.sample(acts, len(acts)):
                time.sleep(chance.uniform(0.6, 1.4) * calm_s)
                if time.monotonic() > until:
                    break
                began = time.time()
                outages.append(Outage(name, began, act()))
            else:
                continue
            break
    finally:
        trial.end()
    return _judge(trial, outages)


def _judge(trial: _Trial, outages: list[Outage]) -> int:
    filed = sorted((trial.folder / "filed").glob("*.mp4"))
    described = [
        Segment.model_validate({**json.loads(path.with_suffix(".json").read_text()), "path": path})
        for path in filed
    ]
    marks = [mark for path in filed for mark in read_marks(path.read_bytes())]
    kept = {number for number, _ in marks}
    sent = [frame for frame in trial.peer.sent() if frame.sessions]
    lost = [frame for frame in sent if frame.number not in kept and frame.number < marks[-1][0]]
    doubled = len(marks) - len(kept)
    print(f"{len(sent)} frames sent ({len(sent) / FPS:.0f} s), {len(kept)} recorded, "
          f"{doubled} doubled, {len(described)} segments")  # fmt: skip
    failed = doubled > 0
    for outage in outages:
        again = min(at for _, at in marks if at > outage.over_s) - outage.over_s
        near = [one for one in lost if outage.began_s - 5 <= one.at_s <= outage.over_s + 8]
        print(f"{datetime.fromtimestamp(outage.began_s, UTC):%H:%M:%S} {outage.kind:17}"
              f" {outage.over_s - outage.began_s:5.1f} s, sent but lost {len(near) / FPS:4.2f} s,"
              f" recorded again after {again:4.2f} s")  # fmt: skip
        failed |= len(near) / FPS > _LOST_ALLOWED_S or again > _BACK_WITHIN_S
    return 1 if failed | _gaps_differ(described, marks) | _told(trial) else 0


def _gaps_differ(segments: list[Segment], marks: list[tuple[int, float]]) -> bool:
    breaks = [(a[1], b[1]) for a, b in pairwise(marks) if b[0] != a[0] + 1]
    gaps = [gap for segment in segments for gap in segment.gaps]
    exact = len(gaps) == len(breaks) and all(
        abs(gap.from_at.timestamp() - a) < _EXACT_S and abs(gap.to_at.timestamp() - b) < _EXACT_S
        for gap, (a, b) in zip(gaps, breaks, strict=True)
    )
    print(f"{len(breaks)} breaks in the footage, {len(gaps)} gaps listed, "
          f"{'exact to 2 ms' if exact else 'NOT THE SAME'}")  # fmt: skip
    for gap in gaps:
        print(f"  {gap.from_at:%H:%M:%S.%f} {gap.duration_s:6.2f} s  {gap.reason}")
    return not exact


def _told(trial: _Trial) -> bool:
    texts = [(trial.folder / "recorder.log").read_text()]
    texts += [path.read_text() for path in (trial.folder / "filed").glob("*.json")]
    texts += [path.name for path in trial.folder.rglob("*")]
    random_parts = [password.split("/")[-1] for password in trial.passwords]
    told = any(part in text for part in random_parts for text in texts)
    print(f"passwords in any output: {'FOUND' if told else 'none'}; "
          f"logins refused: {len(trial.peer.refusals())}")  # fmt: skip
    return told


if __name__ == "__main__":
    sys.exit(main())
