"""How pictures of the ground are made to agree: what they show alike, and one adjustment of all.

The mapping of each picture as it is stated may be off by some metres, turned and scaled a little,
each picture otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.ground_map import KeyPicture, Points, homography, mapped

_RATIO = 0.85
"""The best match must be so much better than the second best (D. Lowe's ratio test)."""
_AGREE_M = 0.45
"""Places follow one motion if they are no farther from it."""
_INLIERS_MIN, _INLIER_SHARE_MIN = 24, 0.25
"""So many matches, and so large a share of all, must follow one motion to be believed."""
_LINK_POINTS = 48
_FIT_M, _ROUNDS = 0.1, 3
"""How well places fit that are found right; rounds of reweighting."""
_REACH_M = 40.0
"""Corrections are polynomials in the distance from the middle of the picture over this."""
_PRIOR = np.array([1.5, 0.9, 0.9, 0.5, 0.5, 1.5, 0.9, 0.9])
"""What each coefficient of a correction may amount to, in metres at `_REACH_M`: 1.5 m of
position, a degree of yaw, a metre of height, half a degree of pitch and roll."""


@dataclass(frozen=True)
class Link:
    """Places that two pictures show alike, each by its own stated mapping."""

    first: int
    second: int
    places_first: Points
    places_second: Points


def link(pictures: Sequence[KeyPicture], first: int, second: int, search_m: float) -> Link | None:
    """What two pictures show alike, if enough for one motion; it is looked for no farther than
    ``search_m`` from where the stated mappings have it."""
    a, b = pictures[first], pictures[second]
    if min(len(a.marks), len(b.marks)) < _INLIERS_MIN:
        return None
    east, north = (a.places[:, None, axis] - b.places[None, :, axis] for axis in (0, 1))
    near = (east**2 + north**2 < search_m**2).astype(np.uint8)
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
    matched = [
        (best[0].queryIdx, best[0].trainIdx)
        for best in matcher.knnMatch(a.marks, b.marks, k=2, mask=near)
        if len(best) == 2 and best[0].distance < _RATIO * best[1].distance
    ]
    if len(matched) < _INLIERS_MIN:
        return None
    here, there = (np.array(ids) for ids in zip(*matched, strict=True))
    cv2.setRNGSeed(1)
    _, agree = cv2.findHomography(a.places[here], b.places[there], cv2.RANSAC, _AGREE_M,
                                  maxIters=1000)  # fmt: skip
    good = np.flatnonzero(np.asarray(agree).ravel()) if agree is not None else np.empty(0, int)
    if len(good) < max(_INLIERS_MIN, _INLIER_SHARE_MIN * len(matched)):
        return None
    good = good[np.linspace(0, len(good) - 1, min(len(good), _LINK_POINTS)).astype(int)]
    return Link(first, second, a.places[here[good]], b.places[there[good]])


def adjust(pictures: Sequence[KeyPicture], links: Sequence[Link]) -> float:
    """Corrects the mappings of all pictures, so that linked places agree; returns by how many
    metres they still differ (median).

    Least squares with the stated mappings as a weak prior: the whole stays where the mean of all
    of them has it. Each correction has the eight terms that small errors of place, height and
    direction of a camera cause.
    """
    equations = [_Equations.of(pictures, one) for one in links]
    solution = np.zeros(len(_PRIOR) * len(pictures))
    for _ in range(_ROUNDS):
        solution = _solved(len(pictures), equations, solution)
    for number, picture in enumerate(pictures):
        _correct(picture, solution[_own(number)])
    apart = [np.hypot(*one.left_over(solution).reshape(2, -1)) for one in equations]
    return float(np.median(np.concatenate(apart))) if apart else 0.0


@dataclass(frozen=True)
class _Equations:
    """Shifts of the first picture less those of the second must be what is wanted."""

    first: slice
    second: slice
    """Where their coefficients stand among all."""
    terms_first: NDArray[np.float64]
    terms_second: NDArray[np.float64]
    wanted: NDArray[np.float64]

    @classmethod
    def of(cls, pictures: Sequence[KeyPicture], one: Link) -> "_Equations":
        return cls(
            _own(one.first),
            _own(one.second),
            _terms(one.places_first, pictures[one.first].stated_centre),
            _terms(one.places_second, pictures[one.second].stated_centre),
            (one.places_second - one.places_first).T.reshape(-1),
        )

    def left_over(self, solution: NDArray[np.float64]) -> NDArray[np.float64]:
        shifts = self.terms_first @ solution[self.first] - self.terms_second @ solution[self.second]
        return np.asarray(shifts - self.wanted, np.float64)


def _own(number: int) -> slice:
    return slice(len(_PRIOR) * number, len(_PRIOR) * (number + 1))


def _solved(
    count: int, equations: Sequence[_Equations], solution: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One round of reweighted least squares: what fits badly counts little."""
    matrix = np.kron(np.eye(count), np.diag(1 / _PRIOR**2))
    right = np.zeros_like(solution)
    for one in equations:
        a, b = one.first, one.second
        weight = (1 / (_FIT_M**2 + one.left_over(solution) ** 2))[:, None]
        first, second = weight * one.terms_first, weight * one.terms_second
        matrix[a, a] += one.terms_first.T @ first
        matrix[b, b] += one.terms_second.T @ second
        matrix[a, b] -= one.terms_first.T @ second
        matrix[b, a] -= one.terms_second.T @ first
        right[a] += first.T @ one.wanted
        right[b] -= second.T @ one.wanted
    return np.asarray(np.linalg.solve(matrix, right), np.float64)


def _terms(places: Points, centre: Points) -> NDArray[np.float64]:
    """``(2 N, 8)``: shifts to the east, then to the north, by each coefficient at these places."""
    u, v = ((places - centre) / _REACH_M).T
    one, zero = np.ones_like(u), np.zeros_like(u)
    east = np.stack([one, u, v, u * u, u * v, zero, zero, zero], axis=1)
    north = np.stack([zero, zero, zero, u * v, v * v, one, u, v], axis=1)
    return np.concatenate([east, north])


def _correct(picture: KeyPicture, solution: NDArray[np.float64]) -> None:
    inverse = np.asarray(np.linalg.inv(picture.stated), np.float64)
    west, south = picture.stated_outline.min(axis=0)
    east, north = picture.stated_outline.max(axis=0)
    axes = np.linspace(west, east, 7), np.linspace(south, north, 7)
    places = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)

    def shifts(of: Points) -> Points:
        return np.asarray((_terms(of, picture.stated_centre) @ solution).reshape(2, -1).T)

    picture.to_ground = homography(mapped(inverse, places), places + shifts(places))
    picture.outline = picture.stated_outline + shifts(picture.stated_outline)


def neighbours(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of one pass that overlap much: each with the next and the one after that."""
    return [*pairwise(numbers), *zip(numbers, numbers[2:], strict=False)]
