"""Whether a view stands still: global motion against a reference picture, by tracked corners.

Left-behind logic, zones and distances only make sense while the camera does not move.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
"""A picture without colour, ``(H, W)`` uint8."""

_CORNERS = 200
_MIN_CORNERS = 16
"""With fewer corners (night, fog, a blank wall) nothing can be said about motion."""
_MIN_AGREEING = 0.3
"""Share of the corners that must follow one motion before it is believed."""
_AGREE_PX = 1.5


class View(Enum):
    STEADY = "steady"
    MOVED = "moved"
    """Most of the picture is elsewhere than in the reference: the camera turned or is held."""
    LOST = "lost"
    """Too little of the reference is found again: covered, or the light changed."""


@dataclass(frozen=True)
class Steadiness:
    """One picture against the reference."""

    view: View
    shift: float
    """How far the picture's corners moved at most, as a share of its diagonal."""
    forth: NDArray[np.float64]
    """2 × 3 matrix that maps places of the reference to places of the picture, in pixels."""


class Reference:
    """A picture that later ones are held against.

    ``moved_share``: a shift of the corners beyond this share of the diagonal is a moved camera;
    smaller ones (wind on the mast) are only to be compensated.
    """

    def __init__(self, grey: Grey, moved_share: float) -> None:
        self.picture = grey
        self._picture = _levelled(grey)
        self._moved_share = moved_share
        height, width = grey.shape
        self._diagonal_px = float(np.hypot(height, width))
        found = cv2.goodFeaturesToTrack(self._picture, _CORNERS, 0.01, max(4.0, height / 24))
        # The stubs don't say it, but None is what comes back where there are no corners.
        corners = cast("NDArray[np.float32] | None", found)
        self._corners = np.empty((0, 1, 2), np.float32) if corners is None else corners
        self._frame_px = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
        self._forth = np.eye(2, 3)

    def compare(self, grey: Grey) -> Steadiness:
        """``grey`` has the size of the reference; call in the order of time."""
        if len(self._corners) < _MIN_CORNERS:
            return Steadiness(View.STEADY, 0.0, self._forth)
        expected = cv2.transform(self._corners, self._forth).astype(np.float32)
        arrived, status, _ = cv2.calcOpticalFlowPyrLK(
            self._picture,
            _levelled(grey),
            self._corners,
            expected,
            winSize=(21, 21),
            maxLevel=2,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        found = status.ravel() == 1
        if found.sum() < max(_MIN_CORNERS / 2, _MIN_AGREEING * len(found)):
            return Steadiness(View.LOST, 0.0, self._forth)
        forth, agreeing = _motion(self._corners[found], arrived[found])
        if forth is None or agreeing < max(_MIN_CORNERS / 2, _MIN_AGREEING * found.sum()):
            return Steadiness(View.LOST, 0.0, self._forth)
        moved = self._frame_px @ forth[:, :2].T + forth[:, 2] - self._frame_px
        shift = float(np.hypot(moved[:, 0], moved[:, 1]).max()) / self._diagonal_px
        if shift > self._moved_share:
            return Steadiness(View.MOVED, shift, forth)
        self._forth = forth
        return Steadiness(View.STEADY, shift, forth)


def _levelled(grey: Grey) -> Grey:
    """Local contrast only, so that exposure and shadows do not matter (mean and spread removed)."""
    side = max(9, grey.shape[0] // 16 | 1)
    values = grey.astype(np.float32)
    mean = cv2.blur(values, (side, side))
    spread = np.sqrt(np.maximum(cv2.blur(values * values, (side, side)) - mean * mean, 0.0))
    return np.clip((values - mean) / (spread + 8.0) * 48.0 + 128.0, 0, 255).astype(np.uint8)


def _motion(source: Any, target: Any) -> tuple[NDArray[np.float64] | None, int]:
    """Rotation, scale and translation that most corners agree on, and how many do."""
    matrix, inliers = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=_AGREE_PX
    )
    if matrix is None:
        return None, 0
    return np.asarray(matrix, np.float64), int(np.count_nonzero(inliers))
