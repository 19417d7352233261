"""Record many cameras at once in one process, and next to it with bare ``ffmpeg -c copy``.

    .venv/bin/python -m tests.endurance.rtsp_many --cameras 30 --seconds 60

All cameras are one server on loopback, 1280x720 at 15 frames a second, H.264 of about 2 Mbit/s.
Prints CPU time, memory and missing frames of both. Exit code 0 if nothing that was sent is missing
between the first and the last frame of any camera, and the recorder kept to one core and 1 GB.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from enforcement.places import RtspSource
from feeds.recorder import Recorder
from feeds.segments import Segment
from pipelines.processes import StopSign
from tests.feeds.rtsp_peer import Peer, read_marks, write_clip

FPS = 15
_WARM_UP_S = 8.0
_MEMORY_ALLOWED_MB = 1000.0


@dataclass(frozen=True)
class Cost:
    cores: float
    memory_mb: float
    """Proportional set size at its highest: shared pages count once."""
    peer_cores: float


def main() -> int:
    """Run, or with ``--record`` be the recorder."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cameras", type=int, default=30)
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--segment-s", type=float, default=10.0)
    arguments.add_argument("--record", nargs=2, metavar=("PORT", "FOLDER"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.record:
        port, target = options.record
        return _record(options.cameras, int(port), Path(target), options.segment_s)
    folder = Path(tempfile.mkdtemp(prefix="rtsp-many-"))
    try:
        return _run(folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _record(cameras: int, port: int, folder: Path, segment_s: float) -> int:
    def keeper(name: str) -> Callable[[Segment], None]:
        filed = folder / name
        filed.mkdir(parents=True)

        def keep(segment: Segment) -> None:
            os.link(segment.path, filed / segment.path.name)
            if segment.gaps:
                print(name, segment.gaps, flush=True)

        return keep

    recorders = [
        Recorder(
            f"cam-{number:02}",
            RtspSource(url=f"rtsp://127.0.0.1:{port}/cam/{number}", window_s=segment_s),
            folder / "spool" / f"{number:02}",
            keeper(f"cam-{number:02}"),
            environ={},
            clock=lambda: datetime.now(UTC),
        )
        for number in range(cameras)
    ]
    stop = StopSign()
    signal.signal(signal.SIGTERM, lambda *_: stop.give())
    for recorder in recorders:
        recorder.start()
    stop.wait()
    print(sum(recorder.status().gap_count for recorder in recorders), "gaps listed", flush=True)
    for thread in [threading.Thread(target=recorder.stop) for recorder in recorders]:
        thread.start()
    return 0


def _run(folder: Path, options: argparse.Namespace) -> int:
    clip = folder / "clip.mp4"
    write_clip(clip, width=1280, height=720, fps=FPS, seconds=8, gop=2 * FPS, crf=27)
    print(f"clip: {clip.stat().st_size * 8 / 8e6:.2f} Mbit/s")
    with Peer(clip, folder / "sent.jsonl", password="") as peer:
        ours = _measured(peer, options.seconds, [_recorder(peer, folder, options)])
        ours_lost, ours_kept = _missing(peer, folder / "ours")
        shutil.rmtree(folder / "ours")
        bare = _measured(peer, options.seconds, _bare(peer, folder / "bare", options))
        bare_lost, bare_kept = _missing(peer, folder / "bare")
    for name, cost, lost, kept in (
        ("recorder", ours, ours_lost, ours_kept),
        ("bare ffmpeg", bare, bare_lost, bare_kept),
    ):
        print(f"{name:12} {cost.cores:5.3f} cores, {cost.memory_mb:6.0f} MB, {kept} frames kept,"
              f" {lost} missing (server {cost.peer_cores:.2f} cores)")  # fmt: skip
    print(f"ratio to bare ffmpeg: CPU {ours.cores / bare.cores:.2f},"
          f" memory {ours.memory_mb / bare.memory_mb:.2f}")  # fmt: skip
    good = ours_lost == 0 and ours.cores <= 1.0 and ours.memory_mb <= _MEMORY_ALLOWED_MB
    return 0 if good else 1


def _recorder(peer: Peer, folder: Path, options: argparse.Namespace) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [
            sys.executable, "-m", __spec__.name, "--cameras", str(options.cameras),
            "--segment-s", str(options.segment_s), "--record", str(peer.port),
            str(folder / "ours"),
        ]
    )  # fmt: skip


def _bare(peer: Peer, folder: Path, options: argparse.Namespace) -> "list[subprocess.Popen[bytes]]":
    """One process a camera, as one would do it by hand."""
    started = []
    for number in range(options.cameras):
        target = folder / f"cam-{number:02}"
        target.mkdir(parents=True)
        command = [
            "ffmpeg", "-nostdin", "-loglevel", "fatal", "-rtsp_transport", "tcp",
            "-i", f"rtsp://127.0.0.1:{peer.port}/cam/{number}", "-an", "-c", "copy",
            "-f", "segment", "-segment_time", str(options.segment_s), "-segment_format", "mp4",
            "-segment_format_options",
            "movflags=frag_keyframe+empty_moov+default_base_moof:flush_packets=1",
            "-reset_timestamps", "1", str(target / "%06d.mp4"),
        ]  # fmt: skip
        started.append(subprocess.Popen(command))
    return started


def _measured(peer: Peer, seconds: float, processes: "list[subprocess.Popen[bytes]]") -> Cost:
    time.sleep(_WARM_UP_S)
    watched = [psutil.Process(process.pid) for process in processes]
    began, used, peer_used, memory = time.monotonic(), _cpu_s(watched), peer.cpu_s, 0.0
    while time.monotonic() - began < seconds:
        time.sleep(min(5.0, seconds))
        memory = max(memory, sum(one.memory_full_info().pss for one in watched) / 1e6)
    passed = time.monotonic() - began
    cost = Cost((_cpu_s(watched) - used) / passed, memory, (peer.cpu_s - peer_used) / passed)
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(30)
    return cost


def _cpu_s(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return float(sum(one.user + one.system for one in times))


def _missing(peer: Peer, folder: Path) -> tuple[int, int]:
    """Frames that were sent between the first and the last recorded one of each camera and are not
    there; frames in all."""
    sent: dict[str, set[int]] = {}
    for frame in peer.sent():
        sent.setdefault(frame.path, set()).add(frame.number)
    missing = kept = 0
    for camera in sorted(folder.glob("cam-*")):
        files = sorted(camera.glob("*.mp4"))
        numbers = {number for file in files for number, _ in read_marks(file.read_bytes())}
        due = sent[f"/cam/{int(camera.name.removeprefix('cam-'))}"]
        kept += len(numbers)
        missing += sum(min(numbers) < number < max(numbers) for number in due - numbers)
    return missing, kept


if __name__ == "__main__":
    sys.exit(main())
