"""Networks that find boxes in pictures: letterbox in, forward pass, overlapping boxes out.

A picture, or a part of it, is scaled to one of a few input sizes and padded with grey, as in
Ultralytics' letterbox; results are in pixels of the picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.backends import Session, open_session
from detectors.models import InstalledModel
from enforcement.model import Record, Score
from media.footage import Image

_PAD_GREY = 114
"""Fill of the letterbox, the grey that YOLO models are trained with (Ultralytics)."""


class BoxConfig(Record):
    """Which of the network's boxes count."""

    score_min: Score
    overlap_max: Score
    """Two boxes of a group that overlap more than this (IoU) are one thing."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1


@dataclass(frozen=True)
class Boxes:
    """What was found: ``(N, 4)`` float32 left, top, right, bottom in pixels of the picture."""

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.xyxy)

    @classmethod
    def none(cls) -> "Boxes":
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.intp))

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> "Boxes":
        return Boxes(self.xyxy[rows], self.scores[rows], self.classes[rows])

    def and_also(self, others: "Boxes") -> "Boxes":
        """These and then the others."""
        return Boxes(
            np.concatenate([self.xyxy, others.xyxy]),
            np.concatenate([self.scores, others.scores]),
            np.concatenate([self.classes, others.classes]),
        )


def letterboxed(image: Image, input_px: tuple[int, int]) -> NDArray[np.float32]:
    """The picture as the network gets to see it: ``(1, 3, h, w)`` float32 RGB in [0, 1]."""
    return _Letterbox.around(image, input_px).fill(image)


@dataclass(frozen=True)
class _Letterbox:
    """How a picture of ``width_px`` × ``height_px`` lies in the network's input."""

    width_px: int
    height_px: int
    scale: float
    input_width_px: int
    input_height_px: int

    @classmethod
    def around(cls, image: Image, input_px: tuple[int, int]) -> "_Letterbox":
        height_px, width_px = image.shape[:2]
        scale = min(input_px[0] / width_px, input_px[1] / height_px)
        return cls(width_px, height_px, scale, *input_px)

    @property
    def inner(self) -> tuple[int, int]:
        return round(self.width_px * self.scale), round(self.height_px * self.scale)

    @property
    def corner(self) -> tuple[int, int]:
        across, down = self.inner
        return (self.input_width_px - across) // 2, (self.input_height_px - down) // 2

    def fill(self, image: Image) -> NDArray[np.float32]:
        """``(H, W, 3)`` uint8 BGR → ``(1, 3, h, w)`` float32 RGB in [0, 1]."""
        (left, top), (across, down) = self.corner, self.inner
        canvas = np.full((self.input_height_px, self.input_width_px, 3), _PAD_GREY, np.uint8)
        shrinks = self.scale < 1
        how = cv2.INTER_AREA if self.scale < 0.4 else cv2.INTER_LINEAR
        canvas[top : top + down, left : left + across] = (
            cv2.resize(image, (across, down), interpolation=how)
            if shrinks or self.scale > 1
            else image
        )
        return np.asarray(cv2.dnn.blobFromImage(canvas, 1 / 255, swapRB=True), np.float32)

    def unfill(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes in pixels of the input → in pixels of the picture, clipped to it."""
        corner = np.array(self.corner * 2, np.float32)
        sides = np.array([self.width_px, self.height_px] * 2, np.float32)
        return np.asarray(np.clip((xyxy - corner) / np.float32(self.scale), 0, sides), np.float32)


class BoxNetwork:
    """A detection network of the YOLO family."""

    def __init__(self, model: InstalledModel, config: BoxConfig, groups: Mapping[int, int]) -> None:
        """``groups``: class number → group; only boxes of one group suppress one another.

        Classes that are not named are ignored.
        """
        self._model, self._config = model, config
        self._groups = np.full(1000, -1, np.intp)  # no model here tells more classes apart
        for number, group in groups.items():
            self._groups[number] = group
        self._opened: Session | None = None

    def input_for(
        self, width_px: int, height_px: int, longer_px: int | None = None
    ) -> tuple[int, int]:
        """Width and height of the input for pictures of that shape, padded to strides.

        ``longer_px``: its longer side; as large as the model was trained for if not given.
        """
        entry = self._model.entry
        scale = (longer_px or entry.input_px) / max(width_px, height_px)
        stride = entry.stride_px
        across, down = (
            -(-round(side * scale) // stride) * stride for side in (width_px, height_px)
        )
        return across, down

    def detect(self, image: Image, input_px: tuple[int, int]) -> Boxes:
        """Boxes in one picture (or part of one), scaled into an input of that width and height.

        Raises ModelError if the model can't be loaded.
        """
        box = _Letterbox.around(image, input_px)
        raw = self._session.infer(box.fill(image))
        rows = raw[0].T  # (anchors, 4 + classes): centre, size, scores
        classes = rows[:, 4:].argmax(axis=1)
        scores = rows[np.arange(len(rows)), 4 + classes]
        wanted = (scores >= self._config.score_min) & (self._groups[classes] >= 0)
        rows, classes, scores = rows[wanted, :4], classes[wanted], scores[wanted]
        corners = np.concatenate([rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2], 1)
        return self.suppressed(Boxes(box.unfill(corners), scores, classes))

    def suppressed(self, found: Boxes) -> Boxes:
        """What stays when the weaker of two boxes that overlap within a group goes."""
        if not len(found):
            return found
        sized = np.concatenate([found.xyxy[:, :2], found.xyxy[:, 2:] - found.xyxy[:, :2]], 1)
        least, most = self._config.score_min, self._config.overlap_max
        kept = cv2.dnn.NMSBoxesBatched(
            sized.tolist(), found.scores.tolist(), self._groups[found.classes].tolist(), least, most
        )
        return found[np.sort(np.asarray(kept, np.intp))]

    @property
    def _session(self) -> Session:
        if self._opened is None:
            self._opened = open_session(self._model, self._config.threads)
        return self._opened
