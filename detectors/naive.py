"""The loop that everybody writes first, to be measured against: ``python -m detectors.naive``.

Ultralytics' own tracking on every frame of a file, in PyTorch on one thread, as its documentation
shows it. Only benchmarks run it, in a process of its own. Prints one line of JSON.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from detectors.convert import allow_ultralytics


def run(checkpoint: Path, footage: Path, classes: list[int], limit_s: float) -> dict[str, Any]:
    """Track in at most ``limit_s`` seconds of the footage; returns what was seen and its cost."""
    allow_ultralytics(checkpoint.parent)
    import torch
    from ultralytics import YOLO  # type: ignore[attr-defined]  # after its environment is set

    torch.set_num_threads(1)
    model = YOLO(checkpoint)
    import cv2

    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(str(footage))
    fps = capture.get(cv2.CAP_PROP_FPS)
    frames, tracks = 0, set()
    cpu_s, wall_s = time.process_time(), time.monotonic()
    while frames < limit_s * fps:
        read, picture = capture.read()
        if not read:
            break
        (seen,) = model.track(
            picture, persist=True, classes=classes, tracker="bytetrack.yaml", verbose=False
        )
        frames += 1
        if seen.boxes is not None and seen.boxes.id is not None:
            tracks |= {int(number) for number in seen.boxes.id.tolist()}
        if frames % 25 == 0:
            sys.stdout.write(json.dumps({"share": frames / (limit_s * fps)}) + "\n")
            sys.stdout.flush()
    return {
        "seconds": frames / fps,
        "frames": frames,
        "tracks": len(tracks),
        "cpu_s": time.process_time() - cpu_s,
        "wall_s": time.monotonic() - wall_s,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="weights, already verified")
    parser.add_argument("footage", type=Path)
    parser.add_argument("--classes", type=int, nargs="+", required=True)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    print(json.dumps(run(given.checkpoint, given.footage, given.classes, given.seconds)))  # noqa: T201


if __name__ == "__main__":
    main()
