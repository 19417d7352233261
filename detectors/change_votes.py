"""Where two passes over one ground differ, told by pairs of pictures that show the same place.

A place counts as changed if most pairs of pictures that show it agree: people and vehicles on their
way do not stay for that, nor do the edges of what stands up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.blobs import Mask
from detectors.change_light import (
    Light,
    Shade,
    is_burnt,
    is_glaring,
    levelled,
    light_of,
    other_texture,
)
from detectors.ground_map import KeyPicture, Points, Region
from enforcement.model import Record, Score

_EDGE_CELLS = 5
"""So near to the edge of a picture nothing is compared."""


class ChangeConfig(Record):
    """Parameters. Metres on the ground."""

    cell_m: Annotated[float, Field(ge=0.05, le=1)] = 0.15
    """Raster on which the passes are compared."""
    key_spacing_m: Annotated[float, Field(ge=0.5, le=100)] = 5.0
    """How far the view must have moved on for the next picture to be used."""
    search_m: Annotated[float, Field(ge=1, le=100)] = 8.0
    """How far apart the stated positions of the two passes may be."""
    partner_m: Annotated[float, Field(ge=1, le=100)] = 12.0
    """Pictures whose views are farther apart are not compared: what stands up leans otherwise."""
    area_min_m2: Annotated[float, Field(gt=0)] = 4.0
    differs_min: Annotated[float, Field(gt=0)] = 0.11
    """By how much the logarithms of the colours must leave what light does to them."""
    belongs_min: Annotated[float, Field(gt=0)] = 0.06
    """What adjoins that and differs by this belongs to it…"""
    busy_min: Annotated[float, Field(gt=0)] = 0.16
    """…and so does what is so unevenly lighter and darker…"""
    level_min: Annotated[float, Field(gt=0)] = 0.3
    """…or so much lighter or darker as a whole, if not by just what shade does."""
    agree_min: Score = 0.6
    """Share of the pairs of pictures that must see a place changed."""
    pairs_min: Annotated[int, Field(ge=1)] = 3
    """So many of them must show it."""
    open_m: Annotated[float, Field(ge=0)] = 0.75
    """What is narrower than this is an edge."""
    slack_m: Annotated[float, Field(ge=0)] = 0.3
    """How far things may seem shifted because they lean otherwise."""
    position_error_m: Annotated[float, Field(ge=0)] = 1.5
    """Standard deviation, along each axis, of the error that the stated positions of one pass have
    in common."""


@dataclass(frozen=True)
class Look:
    """A pair of pictures of one place."""

    first: KeyPicture
    later: KeyPicture

    def region(self, cell_m: float) -> Region:
        return self.first.region(cell_m).overlap(self.later.region(cell_m))

    def is_worthwhile(self, cell_m: float) -> bool:
        """Whether the pictures share more than a strip at their edges."""
        region = self.region(cell_m)
        return min(region.width, region.height) > 4 * _EDGE_CELLS

    def distance_m(self, place: Points) -> float:
        """How far from the middle of the views it lies."""
        return max(hypot(*(place - self.first.centre)), hypot(*(place - self.later.centre)))

    def shows(self, places: Points) -> bool:
        """Whether all of these places are in both pictures."""
        return self.first.shows(places) and self.later.shows(places)


class Votes:
    """On the raster of the whole ground: how many pairs show a place, and what they say of it."""

    def __init__(self, looks: Sequence[Look], config: ChangeConfig) -> None:
        self.looks = looks
        self.config = config
        self.region = self.looks[0].region(config.cell_m)
        for one in self.looks[1:]:
            self.region = self.region.united(one.region(config.cell_m))
        shape = (self.region.height, self.region.width)
        self._seen = np.zeros(shape, np.float32)
        self._differs = np.zeros(shape, np.float32)
        self._belongs = np.zeros(shape, np.float32)
        self.strength = np.zeros(shape, np.float32)
        self.shade = Shade.measured(_ratios(self.looks, 2 * config.cell_m))
        for one in self.looks:
            self._count(one)
        self.known = self._seen >= config.pairs_min
        seen = np.maximum(self._seen, 1)
        self.strength /= seen
        self.differs = self.known & (self._differs / seen >= config.agree_min)
        self.belongs = self.known & (self._belongs / seen >= config.agree_min)

    def _count(self, one: Look) -> None:
        config = self.config
        region = one.region(config.cell_m)
        first, later, known = _light(one, region, config.cell_m)
        later = levelled(first, later, known & ~is_burnt(first) & ~is_burnt(later))
        ratio = later - first
        slack = round(config.slack_m / config.cell_m)
        other = np.maximum(
            self.shade.other_surface(first, later, slack),
            other_texture(first, later, config.cell_m, slack),
        )
        uneven = self.shade.busy(ratio, config.cell_m) >= config.busy_min
        uneven |= np.abs(self.shade.level(ratio)) >= config.level_min
        uneven &= ~self.shade.is_cast(ratio, config.cell_m)
        belongs = (other >= config.belongs_min) | uneven | is_glaring(first, later)
        part = region.within(self.region)
        self._seen[part] += known
        self._differs[part] += known & (other >= config.differs_min)
        self._belongs[part] += known & belongs
        self.strength[part] += np.where(known, other, 0)

    def squares(self, side_m: float) -> frozenset[tuple[int, int]]:
        """The squares of this size, on a raster of the whole ground, that enough pairs show."""
        rows, columns = np.nonzero(self.known)
        per_square = side_m / self.config.cell_m
        down = np.floor((rows + self.region.row) / per_square).astype(int)
        right = np.floor((columns + self.region.column) / per_square).astype(int)
        squares = np.unique(np.stack([down, right], axis=1), axis=0)
        return frozenset((int(row), int(column)) for row, column in squares)

    def opinion(self, mask: Mask) -> tuple[int, float, float]:
        """Of ground that differs: how many pairs show it, which share of them sees it changed, and
        how clearly."""
        where = mask & self.differs
        seen = self._seen[where]
        share = float((self._differs[where] / seen).mean())
        return int(np.median(seen)), share, float(self.strength[where].mean())


def _light(one: Look, region: Region, cell_m: float) -> tuple[Light, Light, Mask]:
    """The light of both pictures, and where both show the ground."""
    (a, in_a), (b, in_b) = (view.laid_out(region, cell_m) for view in (one.first, one.later))
    known = cv2.erode((in_a & in_b).astype(np.uint8), np.ones((2 * _EDGE_CELLS + 1,) * 2, np.uint8),
                      borderValue=0) > 0  # fmt: skip
    return light_of(a), light_of(b), np.asarray(known)


def _ratios(looks: Sequence[Look], cell_m: float) -> Iterator[NDArray[np.float32]]:
    """Changes of light ``(N, 3)``, exposure apart, in a few of the pairs."""
    for one in looks[:: max(1, len(looks) // 8)]:
        first, later, known = _light(one, one.region(cell_m), cell_m)
        ratio = levelled(first, later, known) - first
        yield ratio[known & ~is_burnt(first) & ~is_burnt(later)]
