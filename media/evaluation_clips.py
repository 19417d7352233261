"""One clip of rendered evaluation footage: what is drawn, how it is coded, what is true of it."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av

from enforcement.errors import StoreUnavailable
from enforcement.truth import DUMPING
from media.actors import Actor, Item
from media.compositing import View, video_frames
from media.encoding import write_h264
from media.localities import Locality
from media.weather import Conditions

Split = Literal["tuning", "held-back"]
_REVISION = 1
"""Raised when drawing changes so that clips that lie there must be rendered anew."""
_SMALL_PX = 6
"""What is smaller than this in the clip is difficult: reported, not scored."""
_HEALTH = ("covered", "black", "frozen", "defocused", "turned")
"""Findings about a view; a condition ``<finding>_s`` says from when on."""


@dataclass(frozen=True)
class EvaluationClip:
    """One clip: where, who, under what conditions, and how it is coded."""

    name: str
    split: Split
    deed: str
    """What happens, in a word or two."""
    place: Locality
    actors: tuple[Actor, ...]
    conditions: Conditions
    view: View
    duration_s: float
    fps: float
    crf: int
    keyframe_every: int
    seed: int

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides on the pictures."""
        return hashlib.sha256(f"{_REVISION} {self!r}".encode()).hexdigest()

    @property
    def is_suitable(self) -> bool:
        """Whether the view is a fixed one."""
        return not (self.conditions.pan_px or self.conditions.handheld_px)

    @property
    def kind(self) -> str:
        """Words for the index, as ``dumping/throw/day/rain``."""
        manners = sorted({str(alarm["manner"]) for alarm in self.alarms()})
        what = "/".join(["dumping", *manners] if manners else ["negative", self.deed])
        light = ["day"] if self.conditions.daytime == "day" else []
        return "/".join([what, *light, *self.conditions.disturbances])

    def alarms(self) -> list[dict[str, Any]]:
        """The dumpings, in order; what one vehicle leaves is one, with the box around all of it."""
        found: list[dict[str, Any]] = []
        dumped = [a for a in self.actors if isinstance(a, Item) and a.manner is not None]
        loads = [item for item in dumped if item.manner == "load_from_vehicle"]
        groups = [[item] for item in dumped if item.manner != "load_from_vehicle"]
        for group in [*groups, *([loads] if loads else [])]:
            boxes = [self.view.box(item.rest_box_px(self.place.camera)) for item in group]
            lefts, tops, rights, bottoms = zip(*boxes, strict=True)
            found.append({
                "family": DUMPING,
                "onset_s": round(min(item.onset_s for item in group), 2),
                "end_s": self.duration_s,
                "box_px": [round(v) for v in (min(lefts), min(tops), max(rights), max(bottoms))],
                "manner": group[0].manner,
            })  # fmt: skip
        return sorted(found, key=lambda alarm: float(alarm["onset_s"]))

    def expect(self) -> dict[str, Any]:
        """What an evaluation wants of the clip, as in the index."""
        expected: dict[str, Any] = {
            "view": "suitable" if self.is_suitable else "unsuitable", "alarms": self.alarms(),
        }  # fmt: skip
        findings = [
            {"finding": finding, "onset_s": onset_s}
            for finding in _HEALTH
            if (onset_s := getattr(self.conditions, f"{finding}_s")) is not None
        ]
        if findings:
            expected["view_health"] = findings
        boxes = [alarm["box_px"] for alarm in expected["alarms"]]
        if any(min(box[2] - box[0], box[3] - box[1]) < _SMALL_PX for box in boxes):
            expected["difficult"] = True
        return expected

    def write(self, target: Path) -> None:
        """Render into a file that appears only when complete.

        Raises StoreUnavailable if it can't be written.
        """
        part = target.with_name(f".{target.name}.part")
        frames = video_frames(self.place, self.actors, self.conditions, self.view, seed=self.seed,
                              fps=self.fps, duration_s=self.duration_s)  # fmt: skip
        try:
            write_h264(part, frames, self.fps, preset="superfast", crf=self.crf,
                       keyframe_every=self.keyframe_every)  # fmt: skip
            os.replace(part, target)
        except (OSError, av.FFmpegError) as error:
            raise StoreUnavailable(f"The clip {self.name} cannot be written: {error}.") from error
        finally:
            part.unlink(missing_ok=True)
