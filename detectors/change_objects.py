"""The things behind changed ground: how large, come or gone, a vehicle or not; with pictures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.blobs import Mask
from detectors.change_votes import ChangeConfig, Look, Votes
from detectors.crops import BLOB_CLASSES
from detectors.ground_map import KeyPicture, Points, Region
from media.footage import Image

Classify = Callable[[Sequence[Image]], NDArray[np.float32]]
"""Crops → probabilities ``(N, 4)`` of `detectors.crops.BLOB_CLASSES`."""

Sign = Literal["appeared", "disappeared", "replaced"]

_SIGMAS_OF_95_PERCENT = 2.448
"""Radius that holds 95 % of a circular normal distribution, in standard deviations."""
_OUTLINE_ERROR_M, _ANGLES_ERROR_M = 0.4, 0.5
"""Standard deviations of a centre: what leaning and shade make of an outline, and what the errors
of direction and height leave once many pictures are adjusted together (rendered flights)."""
_GROWN_M, _CLOSED_M = 0.6, 1.2
"""What belongs to a thing lies so near to what differs; gaps so narrow are part of it."""
_CLEAR_MAX = 0.3
_BODY_REACH_M, _OUTLINE_M, _RIM_M = 3.0, 1.35, 0.3
"""The body of a thing reaches so far beyond its clear parts; outlines of shadows are no wider."""
_RING_M, _RING_GAP_M = 2.4, 0.6
_NEAREST_LOOKS = 5
_MARKED = 1.35
"""A pass shows the thing if there it stands out of its surroundings more by this factor."""
_CROP_M_PER_PX, _CROP_MIN_M, _CROP_SHARE = 0.06, 7.0, 2.2
_CLASSIFIED_SHARE = 1.3
_VEHICLE_LENGTH_M, _VEHICLE_WIDTH_MIN_M = (3.1, 12.5), 1.4
_VEHICLE_ASPECT_MIN = 1.55
"""Cars to trucks, with half a metre for what outlines are off."""
_CORE, _BODY = (0.75, 3.0), (0.68, 3.4)
"""How much of its rectangle a vehicle fills at least, and its greatest width in metres: of its
clear parts, and of all that belongs to it, some of its shade included."""
_VEHICLE_SURE, _WASTE_SURE = 0.6, 0.8


@dataclass(frozen=True)
class GroundChange:
    """Something on the ground that only one of the passes shows, or that each shows otherwise."""

    sign: Sign
    east_m: float
    north_m: float
    """Its centre."""
    radius_m: float
    """It is within this of the centre with 95 % probability."""
    outline: Points
    """``(N, 2)`` metres east and north."""
    area_m2: float
    score: float
    """0 to 1: how many of the pairs of pictures see it changed, and how clearly."""
    is_vehicle: bool
    shows: dict[str, float]
    """What the classifier made of it: probabilities by class; empty without one."""
    pairs: int
    """How many pairs of pictures show the place."""
    before: Image
    after: Image
    """The same square of ground in both passes, north up, ``(N, N, 3)`` uint8 BGR."""
    before_t_s: float
    after_t_s: float
    """Times of the pictures from which those are cut."""


def changes(
    votes: Votes, offset_m: float, classify: Classify | None = None
) -> Iterator[GroundChange]:
    """All things of sufficient size; ``offset_m``: by how much the passes' positions differ."""
    config = votes.config
    everything = things(votes)
    count, numbered, stats, _ = cv2.connectedComponentsWithStats(
        everything.astype(np.uint8), connectivity=8
    )
    for number in range(1, count):
        if stats[number, cv2.CC_STAT_AREA] * config.cell_m**2 < config.area_min_m2:
            continue
        whole = numbered == number
        if not (whole & votes.differs).any():
            continue
        thing = _Thing.of(_tight(whole, votes), votes)
        if thing.area_m2 < config.area_min_m2:
            continue
        if looks := thing.looks(votes):
            body = _Thing.of(_body(thing.mask, votes), votes)
            shape = thing.is_vehicle_like(*_CORE) or body.is_vehicle_like(*_BODY)
            radius_m = _radius_m(config, offset_m)
            yield _change(thing, shape, looks, everything, votes, radius_m, classify)


def things(votes: Votes) -> Mask:
    """Where something differs, with what belongs to it, without what is too narrow for a thing."""
    cell_m = votes.config.cell_m
    seeds = votes.differs.astype(np.uint8)
    near = cv2.dilate(seeds, _disc(_GROWN_M, cell_m)) > 0
    whole = (votes.differs | (votes.belongs & near)).astype(np.uint8)
    opened = cv2.morphologyEx(whole, cv2.MORPH_OPEN, _disc(votes.config.open_m / 2, cell_m))
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, _disc(_CLOSED_M / 2, cell_m))
    return np.asarray(closed > 0)


def _tight(mask: Mask, votes: Votes) -> Mask:
    """The same thing without the rim of half-mixed cells: what differs at least half as clearly
    as its clear parts, with the gaps between such."""
    clear = float(np.percentile(votes.strength[mask & votes.differs], 75))
    core = mask & votes.differs & (votes.strength >= min(0.5 * clear, _CLEAR_MAX))
    pieces = cv2.morphologyEx(core.astype(np.uint8), cv2.MORPH_CLOSE,
                              _disc(_CLOSED_M / 2, votes.config.cell_m))  # fmt: skip
    contours, _ = cv2.findContours(pieces, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled = np.zeros_like(pieces)
    cv2.drawContours(filled, [max(contours, key=cv2.contourArea)], -1, (1,), -1)
    return np.asarray(filled > 0)


def _body(mask: Mask, votes: Votes) -> Mask:
    """The thing with all that belongs to it, as a white car does that differs by its panes alone;
    without outlines of shadows, and without the rim that smoothing has put around it."""
    cell_m = votes.config.cell_m
    near = cv2.dilate(mask.astype(np.uint8), _disc(_BODY_REACH_M, cell_m)) > 0
    bits = (votes.belongs & near).astype(np.uint8)
    compact = cv2.morphologyEx(bits, cv2.MORPH_OPEN, _disc(_OUTLINE_M / 2, cell_m)) > 0
    joint = cv2.morphologyEx((compact | mask).astype(np.uint8), cv2.MORPH_CLOSE,
                             _disc(_CLOSED_M / 2, cell_m))  # fmt: skip
    _, numbered = cv2.connectedComponents(joint, connectivity=8)
    own = np.isin(numbered, np.unique(numbered[mask])).astype(np.uint8)
    eroded = cv2.erode(own, _disc(_RIM_M, cell_m)) > 0
    return np.asarray(eroded) if eroded.any() else mask


def _disc(radius_m: float, cell_m: float) -> NDArray[np.uint8]:
    side = 2 * round(radius_m / cell_m) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


@dataclass(frozen=True)
class _Thing:
    """A connected piece of changed ground."""

    mask: Mask
    outline: Points
    centre: Points
    """``(2,)`` metres."""
    area_m2: float
    size_m: tuple[float, float]
    """Length and width of its smallest rectangle."""
    fill: float
    """How much of that it fills."""

    @classmethod
    def of(cls, mask: Mask, votes: Votes) -> "_Thing":
        cell_m = votes.config.cell_m
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL,
                                       cv2.CHAIN_APPROX_SIMPLE)  # fmt: skip
        contour = max(contours, key=cv2.contourArea)
        rough = cv2.approxPolyDP(contour, 0.2 / cell_m, True).reshape(-1, 2)
        if len(rough) < 3:
            rough = cv2.boxPoints(cv2.minAreaRect(contour))
        _, sides, _ = cv2.minAreaRect(contour)
        length, width = sorted(((side + 1) * cell_m for side in sides), reverse=True)
        cells = np.argwhere(mask)[:, ::-1].astype(np.float64)
        area_m2 = len(cells) * cell_m**2
        return cls(
            mask,
            votes.region.places(rough.astype(np.float64), cell_m),
            votes.region.places(cells.mean(axis=0)[None], cell_m)[0],
            area_m2,
            (length, width),
            area_m2 / (length * width),
        )

    def looks(self, votes: Votes) -> list[Look]:
        """The pairs that show it whole, nearest to the middle of their views first."""
        whole = [one for one in votes.looks if one.shows(self.outline)]
        return sorted(whole, key=lambda one: one.distance_m(self.centre))[:_NEAREST_LOOKS]

    def is_vehicle_like(self, fill_min: float, width_max_m: float) -> bool:
        length, width = self.size_m
        return (
            _VEHICLE_LENGTH_M[0] <= length <= _VEHICLE_LENGTH_M[1]
            and _VEHICLE_WIDTH_MIN_M <= width <= width_max_m
            and length >= _VEHICLE_ASPECT_MIN * width
            and self.fill >= fill_min
        )


def _change(
    thing: _Thing,
    vehicle_like: bool,
    looks: Sequence[Look],
    everything: Mask,
    votes: Votes,
    radius_m: float,
    classify: Classify | None,
) -> GroundChange:
    sign = _sign(thing, looks, everything, votes)
    best = looks[0]
    side_m = max(_CROP_MIN_M, _CROP_SHARE * max(thing.size_m))
    before, after = (_square(view, thing.centre, side_m) for view in (best.first, best.later))
    shows = {}
    if classify is not None:
        shown = before if sign == "disappeared" else after
        shows = _shows(shown, thing, side_m, classify)
    pairs, share, strength = votes.opinion(thing.mask)
    return GroundChange(
        sign=sign,
        east_m=float(thing.centre[0]),
        north_m=float(thing.centre[1]),
        radius_m=radius_m,
        outline=thing.outline,
        area_m2=thing.area_m2,
        score=round(share * min(1.0, strength / (2.5 * votes.config.differs_min)), 4),
        is_vehicle=_is_vehicle(thing, vehicle_like, shows),
        shows=shows,
        pairs=pairs,
        before=before,
        after=after,
        before_t_s=best.first.t_s,
        after_t_s=best.later.t_s,
    )


def _radius_m(config: ChangeConfig, offset_m: float) -> float:
    """Both passes have their say in where the ground is, which halves the variance; passes that
    differ by more than their positions should be off are taken to be off by as much."""
    shared = max(config.position_error_m**2, offset_m**2 / 4) / 2
    return _SIGMAS_OF_95_PERCENT * sqrt(shared + _ANGLES_ERROR_M**2 + _OUTLINE_ERROR_M**2)


def _is_vehicle(thing: _Thing, vehicle_like: bool, shows: dict[str, float]) -> bool:
    """By shape, unless the classifier is sure of waste; or by the classifier, if the size fits."""
    if vehicle_like:
        return shows.get("waste", 0.0) < _WASTE_SURE
    fits = max(thing.size_m) <= _VEHICLE_LENGTH_M[1] and max(thing.size_m) >= _VEHICLE_LENGTH_M[0]
    return fits and shows.get("vehicle", 0.0) >= _VEHICLE_SURE


def _sign(thing: _Thing, looks: Sequence[Look], everything: Mask, votes: Votes) -> Sign:
    """Where the thing is: in the pass in which its place stands out of its surroundings."""
    cell_m = votes.config.cell_m
    bits = thing.mask.astype(np.uint8)
    outer, inner = (cv2.dilate(bits, _disc(m, cell_m)) > 0 for m in (_RING_M, _RING_GAP_M))
    ring = outer & ~inner & ~everything & votes.known
    if ring.sum() < 30:
        ring = outer & ~inner & votes.known
    rows, columns = np.flatnonzero(outer.any(axis=1)), np.flatnonzero(outer.any(axis=0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    region = Region(votes.region.column + int(columns[0]), votes.region.row + int(rows[0]),
                    int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1))  # fmt: skip
    ratios = [
        _stands_out(one.later, region, thing.mask[window], ring[window], votes)
        / _stands_out(one.first, region, thing.mask[window], ring[window], votes)
        for one in looks
    ]
    middle = float(np.median(ratios))
    if middle >= _MARKED:
        return "appeared"
    return "disappeared" if middle <= 1 / _MARKED else "replaced"


def _stands_out(view: KeyPicture, region: Region, mask: Mask, ring: Mask, votes: Votes) -> float:
    """How far colours and texture in the mask are from those of the ring, in spreads of the
    ring's; light and shade don't count."""
    picture, _ = view.laid_out(region, votes.config.cell_m)
    marks = votes.shade.marks(picture, votes.config.cell_m)
    around, within = marks[ring], marks[mask]
    spread = np.cov(around.T) + 0.02**2 * np.eye(around.shape[1])
    off = within - np.median(around, axis=0)
    squared = np.einsum("ni,ij,nj->n", off, np.linalg.inv(spread), off)
    return float(np.sqrt(np.mean(np.minimum(squared, 400.0))) + 0.2)


def _square(view: KeyPicture, centre: Points, side_m: float) -> Image:
    """A square of ground around a place, north up."""
    cells = round(side_m / _CROP_M_PER_PX)
    region = Region(
        round(centre[0] / _CROP_M_PER_PX) - cells // 2,
        round(-centre[1] / _CROP_M_PER_PX) - cells // 2,
        cells,
        cells,
    )
    return view.laid_out(region, _CROP_M_PER_PX)[0]


def _shows(picture: Image, thing: _Thing, side_m: float, classify: Classify) -> dict[str, float]:
    """What the classifier makes of the thing with a little of its surroundings."""
    west, south = thing.outline.min(axis=0)
    east, north = thing.outline.max(axis=0)
    middle = picture.shape[0] / 2
    half = _CLASSIFIED_SHARE / 2 * hypot(east - west, north - south) / 2**0.5 / _CROP_M_PER_PX
    shift = (np.array([west + east, south + north]) / 2 - thing.centre) / _CROP_M_PER_PX
    x, y = middle + shift[0], middle - shift[1]
    left, right = (round(min(max(x + off, 0), picture.shape[1])) for off in (-half, half))
    top, bottom = (round(min(max(y + off, 0), picture.shape[0])) for off in (-half, half))
    (row,) = classify([np.ascontiguousarray(picture[top:bottom, left:right])])
    return {name: round(float(p), 4) for name, p in zip(BLOB_CLASSES, row, strict=True)}
