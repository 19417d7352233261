"""Pictures of a moving camera, laid onto the ground.

Places are metres east and north of one origin; the ground is level. The mapping of each picture
comes from elsewhere, and `ground_adjustment` corrects it.
"""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import sqrt

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.blobs import Mask
from media.footage import Image

Homography = NDArray[np.float64]
"""``(3, 3)``: fractions of the picture, origin top-left → metres east and north."""

Points = NDArray[np.float64]
"""``(N, 2)``."""

_SHARPNESS_MAX_M = 0.35
"""Where a pixel covers more ground than this across, the picture is not used."""
_GRID = 13
_KEYPOINTS, _KEYPOINT_EDGE_M = 900, 2.5
"""Sought in a picture, not so near to its edge."""
_MARK_CELLS = 4 / 3
"""Key points are sought on a raster so much coarser than the one for comparisons."""
_JPEG_QUALITY = 95
_BLUR_MIN_PX = 0.6
"""Less need not be smoothed before a picture is laid out coarser than it is."""
_DECODED = 12
"""So many pictures are kept as pixels."""


@dataclass(frozen=True)
class GroundFrame:
    """A picture and where it lies on the ground as far as is known."""

    image: Image
    to_ground: Homography
    t_s: float = 0.0
    """Its time in the footage."""


@dataclass(frozen=True)
class Region:
    """A rectangle of ground cells, north up: column and row of its first cell on the raster of
    the ground (rows run southwards), and its size in cells."""

    column: int
    row: int
    width: int
    height: int

    def overlap(self, other: "Region") -> "Region":
        """What both cover; width or height is 0 if nothing."""
        left, top = max(self.column, other.column), max(self.row, other.row)
        right = min(self.column + self.width, other.column + other.width)
        bottom = min(self.row + self.height, other.row + other.height)
        return Region(left, top, max(0, right - left), max(0, bottom - top))

    def united(self, other: "Region") -> "Region":
        """The smallest that holds both."""
        left, top = min(self.column, other.column), min(self.row, other.row)
        right = max(self.column + self.width, other.column + other.width)
        bottom = max(self.row + self.height, other.row + other.height)
        return Region(left, top, right - left, bottom - top)

    def within(self, outer: "Region") -> tuple[slice, slice]:
        """Rows and columns of an array that covers ``outer``."""
        top, left = self.row - outer.row, self.column - outer.column
        return slice(top, top + self.height), slice(left, left + self.width)

    def cells(self, places: Points, cell_m: float) -> Points:
        """Metres east and north → column and row in this region, ``(N, 2)``, middles of cells
        being whole numbers."""
        column = places[:, 0] / cell_m - self.column - 0.5
        row = -places[:, 1] / cell_m - self.row - 0.5
        return np.stack([column, row], axis=1)

    def places(self, cells: Points, cell_m: float) -> Points:
        """The inverse of ``cells``."""
        east = (cells[:, 0] + self.column + 0.5) * cell_m
        north = -(cells[:, 1] + self.row + 0.5) * cell_m
        return np.stack([east, north], axis=1)


class Album:
    """Coded pictures in a file without a name, for a long flight's don't fit into memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._recent: dict[tuple[tuple[int, int], float], Image] = {}

    def __enter__(self) -> "Album":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def put(self, image: Image) -> tuple[int, int]:
        """Where it stands now: start and length."""
        _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        start = self._file.seek(0, os.SEEK_END)
        return start, self._file.write(coded.tobytes())

    def get(self, place: tuple[int, int], blur_px: float) -> Image:
        """``(H, W, 3)`` uint8 BGR, smoothed by this much; not to be changed."""
        key = (place, blur_px)
        if key not in self._recent:
            self._file.seek(place[0])
            coded = np.frombuffer(self._file.read(place[1]), np.uint8)
            picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
            if blur_px > _BLUR_MIN_PX:
                picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur_px), np.uint8)
            while len(self._recent) >= _DECODED:
                self._recent.pop(next(iter(self._recent)))
            self._recent[key] = picture
        return self._recent[key]


@dataclass(eq=False)
class KeyPicture:
    """One picture of a pass that is kept, with its mapping as stated and as corrected so far."""

    album: Album
    place: tuple[int, int]
    """Where it is in the album."""
    size: tuple[int, int]
    """Width and height in pixels."""
    stated: Homography
    """The mapping as it came."""
    stated_outline: Points
    """Of the ground that it shows sharply enough, by that mapping."""
    t_s: float
    to_ground: Homography = field(init=False)
    outline: Points = field(init=False)
    places: Points = field(default_factory=lambda: np.empty((0, 2)))
    marks: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 32), np.uint8))
    """Where its key points lie by the stated mapping, and their ORB descriptors."""

    def __post_init__(self) -> None:
        self.to_ground, self.outline = self.stated, self.stated_outline

    @property
    def centre(self) -> Points:
        """``(2,)``: middle of the ground that it shows."""
        return np.asarray(self.outline.mean(axis=0), np.float64)

    @property
    def stated_centre(self) -> Points:
        return np.asarray(self.stated_outline.mean(axis=0), np.float64)

    def region(self, cell_m: float) -> Region:
        return _region_of(self.outline, cell_m)

    def shows(self, places: Points) -> bool:
        """Whether it shows all these places."""
        hull = self.outline.astype(np.float32)
        return all(cv2.pointPolygonTest(hull, (float(x), float(y)), False) >= 0 for x, y in places)

    def laid_out(self, region: Region, cell_m: float) -> tuple[Image, Mask]:
        """The ground of the region as this picture shows it ``(H, W, 3)``, and where it does."""
        width, height = self.size
        onto = _to_cells(region, cell_m) @ self.to_ground @ np.diag([1 / width, 1 / height, 1])
        blur_px = 0.5 * cell_m / sqrt(abs(_area_m2(self.stated, width, height)))
        picture = self.album.get(self.place, blur_px)
        size = (region.width, region.height)
        ground = cv2.warpPerspective(picture, onto, size, flags=cv2.INTER_LINEAR)
        inside = np.zeros((region.height, region.width), np.uint8)
        cells = np.round(region.cells(self.outline, cell_m)).astype(np.int32)
        cv2.fillPoly(inside, [cells], (1,))
        return np.asarray(ground, np.uint8), inside.astype(np.bool_)


def homography(fractions: Points, places: Points) -> Homography:
    """The mapping through four or more points ``(N, 2)`` of the picture and the ground."""
    matrix, _ = cv2.findHomography(fractions, places, 0)
    return np.asarray(matrix, np.float64)


def mapped(matrix: Homography, points: Points) -> Points:
    """``(N, 2)`` through a homography."""
    return np.asarray(cv2.perspectiveTransform(points[None].astype(np.float64), matrix)[0])


def key_pictures(
    frames: Iterable[GroundFrame], spacing_m: float, cell_m: float, album: Album
) -> list[KeyPicture]:
    """Those of a pass that are kept: each a spacing on from the one before; such as show no
    ground sharply are left out."""
    kept: list[KeyPicture] = []
    orb = cv2.ORB.create(nfeatures=_KEYPOINTS, fastThreshold=8)
    for frame in frames:
        outline = _sharp_outline(frame)
        if outline is None:
            continue
        if kept and np.hypot(*(outline.mean(axis=0) - kept[-1].centre)) < spacing_m:
            continue
        height, width = frame.image.shape[:2]
        place = album.put(frame.image)
        key = KeyPicture(album, place, (width, height), frame.to_ground, outline, frame.t_s)
        _mark(key, orb, _MARK_CELLS * cell_m)
        kept.append(key)
    return kept


def _sharp_outline(frame: GroundFrame) -> Points | None:
    """Hull of the ground on which the picture is sharp enough; None if that is next to nothing.

    What lies beyond the horizon is mirrored by a homography, and left out.
    """
    height, width = frame.image.shape[:2]
    axis = np.linspace(0, 1, _GRID)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    whole = np.hstack([points, np.ones((len(points), 1))]) @ frame.to_ground.T
    area_m2 = np.linalg.det(frame.to_ground) / whole[:, 2] ** 3 / (width * height)
    middle = np.linalg.det(frame.to_ground) / (frame.to_ground[2] @ (0.5, 0.5, 1.0)) ** 3
    sharp = (np.sign(area_m2) == np.sign(middle)) & (np.abs(area_m2) < _SHARPNESS_MAX_M**2)
    if sharp.sum() < 0.2 * len(points):
        return None
    places = whole[sharp, :2] / whole[sharp, 2:]
    hull = cv2.convexHull(places.astype(np.float32)).reshape(-1, 2)
    return np.asarray(hull, np.float64)


def _area_m2(matrix: Homography, width: int, height: int) -> float:
    """Of the ground that a pixel in the middle covers."""
    depth = float(matrix[2] @ np.array([0.5, 0.5, 1.0]))
    return float(np.linalg.det(matrix)) / depth**3 / (width * height)


def _region_of(outline: Points, cell_m: float) -> Region:
    west, south = np.floor(outline.min(axis=0) / cell_m).astype(int)
    east, north = np.ceil(outline.max(axis=0) / cell_m).astype(int)
    return Region(int(west), int(-north), int(east - west), int(north - south))


def _to_cells(region: Region, cell_m: float) -> Homography:
    return np.array([[1 / cell_m, 0, -region.column - 0.5], [0, -1 / cell_m, -region.row - 0.5],
                     [0, 0, 1]])  # fmt: skip


def _mark(key: KeyPicture, orb: cv2.ORB, cell_m: float) -> None:
    """Finds key points on the ground as it is laid out, so that all look from above, north up."""
    region = key.region(cell_m)
    ground, inside = key.laid_out(region, cell_m)
    grey = np.asarray(cv2.cvtColor(ground, cv2.COLOR_BGR2GRAY), np.float32)
    mean = cv2.blur(grey, (31, 31))
    spread = np.sqrt(np.maximum(cv2.blur(grey * grey, (31, 31)) - mean * mean, 0))
    even = np.clip((grey - mean) / (spread + 6) * 48 + 128, 0, 255).astype(np.uint8)
    edge = np.ones((round(2 * _KEYPOINT_EDGE_M / cell_m) | 1,) * 2, np.uint8)
    safe = cv2.erode(inside.astype(np.uint8), edge, borderValue=0)
    points, marks = orb.detectAndCompute(even, safe)
    if len(points):
        cells = np.array([point.pt for point in points], np.float64)
        key.places, key.marks = region.places(cells, cell_m), np.asarray(marks, np.uint8)
