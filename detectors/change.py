"""What is new, gone or exchanged on the ground between two passes of a camera over it.

Both passes are laid onto the ground and onto each other (`ground_map`). Each picture of the later
pass is compared with the one of the earlier pass that was taken from nearest by, so that what
stands up leans the same way in both (`change_votes`); what remains is looked at thing by thing
(`change_objects`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors import change_light, change_objects, change_votes, ground_adjustment, ground_map
from detectors.change_objects import Classify, GroundChange, changes
from detectors.change_votes import ChangeConfig, Look, Votes
from detectors.detector import source_digest
from detectors.ground_adjustment import Link, adjust, link, neighbours
from detectors.ground_map import Album, GroundFrame, KeyPicture, key_pictures

MODEL = "ground-change"

_USUAL = ChangeConfig()

_STRETCH, _STRETCH_OVERLAP = 60, 14
"""Pairs of pictures that are adjusted and compared together, and how many of them the next stretch
takes as well: at the usual spacing 70 m, more than a picture shows from the usual heights."""
_SQUARE_M = 1.5


@dataclass(frozen=True)
class Comparison:
    """Two passes, compared; or why they can't be."""

    changes: tuple[GroundChange, ...] = ()
    """From north to south."""
    refusal: str | None = None
    """Why nothing can be said; None if the passes were compared."""
    offset_east_m: float = 0.0
    offset_north_m: float = 0.0
    """By how much the later pass states places farther east and north than the earlier one."""
    misfit_m: float = 0.0
    """How far apart the same places still are once both passes are adjusted (median)."""
    compared_m2: float = 0.0
    """Ground that enough pairs of pictures show."""


def compare(
    before: Iterable[GroundFrame],
    after: Iterable[GroundFrame],
    config: ChangeConfig = _USUAL,
    classify: Classify | None = None,
) -> Comparison:
    """The changes from one pass to the next; pictures of each in the order of their times.

    Vehicles are told by size and shape and, with ``classify``, by what it says as well. The same
    pictures give the same answer. Long passes are compared stretch by stretch: memory grows by
    some 50 kB a key picture.
    """
    with Album() as album:
        first = key_pictures(before, config.key_spacing_m, config.cell_m, album)
        later = key_pictures(after, config.key_spacing_m, config.cell_m, album)
        if not first or not later:
            return Comparison(refusal="one of the passes shows no ground sharply enough")
        pairs = _partners(first, later, config)
        if not pairs:
            return Comparison(refusal="the passes show no ground in common")
        stretches = [
            found
            for part in _parts(pairs)
            if (found := _stretch(first, later, part, config, classify)) is not None
        ]
    if not stretches:
        return Comparison(
            refusal="the passes should show the same ground, but too little of it can be "
            "recognised in both"
        )
    return _together(stretches)


@dataclass(frozen=True)
class _Stretch:
    """What a part of the passes gave."""

    changes: list[GroundChange]
    apart: NDArray[np.float64]
    """``(N, 2)``: by how much the later pass states places farther east and north."""
    misfit_m: float
    ground: frozenset[tuple[int, int]]
    """Squares of `_SQUARE_M` that were compared."""


Pair = tuple[int, int]
"""Numbers of an earlier picture and a later one, each in its pass."""


def _partners(
    first: Sequence[KeyPicture], later: Sequence[KeyPicture], config: ChangeConfig
) -> list[Pair]:
    """For each later picture the earlier one with the nearest view."""
    centres = np.array([one.centre for one in first])
    pairs = []
    for number, picture in enumerate(later):
        apart = np.hypot(*(centres - picture.centre).T)
        nearest = int(np.argmin(apart))
        if apart[nearest] <= config.partner_m:
            pairs.append((nearest, number))
    return pairs


def _parts(pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    """Stretches that overlap, so that each thing lies well inside of one."""
    step = _STRETCH - _STRETCH_OVERLAP
    for start in range(0, max(1, len(pairs) - _STRETCH_OVERLAP), step):
        yield pairs[start : start + _STRETCH]


def _stretch(
    first: Sequence[KeyPicture],
    later: Sequence[KeyPicture],
    pairs: Sequence[Pair],
    config: ChangeConfig,
    classify: Classify | None,
) -> _Stretch | None:
    """One part of the passes; None if its pictures can't be matched."""
    earlier_numbers = sorted({a for a, _ in pairs})
    pictures = [*(first[a] for a in earlier_numbers), *(later[b] for _, b in pairs)]
    count = len(earlier_numbers)
    here = [(earlier_numbers.index(a), count + n) for n, (a, _) in enumerate(pairs)]
    across = _links(pictures, here, config)
    if len(across) < config.pairs_min:
        return None
    along = [*neighbours(range(count)), *neighbours(range(count, len(pictures)))]
    misfit_m = adjust(pictures, [*across, *_links(pictures, along, config)])
    looks = [Look(pictures[one.first], pictures[one.second]) for one in across]
    looks = [look for look in looks if look.is_worthwhile(config.cell_m)]
    if not looks:
        return None
    votes = Votes(looks, config)
    apart = np.concatenate([one.places_second - one.places_first for one in across])
    offset_m = float(np.hypot(*np.median(apart, axis=0)))
    found = list(changes(votes, offset_m, classify))
    return _Stretch(found, apart, misfit_m, votes.squares(_SQUARE_M))


def _links(
    pictures: Sequence[KeyPicture], pairs: Iterable[Pair], config: ChangeConfig
) -> list[Link]:
    return [found for a, b in pairs if (found := link(pictures, a, b, config.search_m))]


def _is_same(one: GroundChange, other: GroundChange) -> bool:
    """Whether the centre of either lies within the bounds of the other."""
    for a, b in ((one, other), (other, one)):
        low, high = b.outline.min(axis=0), b.outline.max(axis=0)
        if low[0] <= a.east_m <= high[0] and low[1] <= a.north_m <= high[1]:
            return True
    return False


def _together(stretches: Sequence[_Stretch]) -> Comparison:
    """All stretches; what two of them found is told once, as the one saw it that saw more of it."""
    kept: list[GroundChange] = []
    found = [one for stretch in stretches for one in stretch.changes]
    for one in sorted(found, key=lambda one: (-one.pairs, -one.area_m2)):
        if not any(_is_same(one, other) for other in kept):
            kept.append(one)
    apart = np.median(np.concatenate([stretch.apart for stretch in stretches]), axis=0)
    ground = frozenset[tuple[int, int]]().union(*(stretch.ground for stretch in stretches))
    return Comparison(
        changes=tuple(sorted(kept, key=lambda one: (-one.north_m, one.east_m))),
        offset_east_m=float(apart[0]),
        offset_north_m=float(apart[1]),
        misfit_m=float(np.median([stretch.misfit_m for stretch in stretches])),
        compared_m2=len(ground) * _SQUARE_M**2,
    )


def model_digest(classifier_digest: str) -> str:
    """SHA-256 over the source of all that compares, and over the weights that it works with."""
    modules = (change_objects, change_votes, change_light, ground_map, ground_adjustment)
    return source_digest(
        __file__, *(str(module.__file__) for module in modules), weights=[classifier_digest]
    )
