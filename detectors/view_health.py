"""Whether the camera still sees what it is there to see: covered, black, frozen, turned away.

Looks at the small grey picture only. The view's own texture, learned while nothing is wrong, is
what later pictures are held against, cell by cell. What takes all of the view silences rules that
rest on a fixed view; every finding is for the people who keep cameras in order.
"""

from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.detector import (
    Arrays,
    Carried,
    Detector,
    DetectorConfig,
    Moment,
    Watch,
    source_digest,
)
from enforcement.footage import Track, ViewFinding, ViewProblem
from enforcement.geometry import Box, covered
from enforcement.model import Score
from media.footage import FootageInfo, Grey

MODEL = "view-health"

_CELL_PX = 16
_THING_SHARE = 0.4
"""Of the texture of what a thing hides at least so much is gone; light leaves it."""

_TYPICAL_OF = 30
"""So many latest steps between pictures say how much a view changes from one to the next."""


class ViewHealthConfig(DetectorConfig):
    """Parameters; brightness in grey levels, 0 to 255."""

    height_px: Annotated[int, Field(ge=96, le=480)] = 144
    every_s: Annotated[float, Field(ge=0, le=60)] = 0.5
    """No more looks than one in this time."""
    lasts_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    """What is wrong for a shorter time is no finding: a lorry may fill the picture."""
    black_max: Annotated[float, Field(ge=0, le=255)] = 24.0
    """A black picture is no brighter than this on the whole, and has no texture."""
    texture_min: Annotated[float, Field(gt=0)] = 4.0
    """Spread of the brightness within a cell from which on it has a texture to be known by."""
    alike_min: Annotated[float, Field(ge=-1, le=1)] = 0.4
    """Correlation with the known texture below which a cell shows something else."""
    differs_min: Annotated[float, Field(ge=1, le=255)] = 40.0
    """A cell that differs by so much on the mean shows something else, with texture or without."""
    lost_share: Score = 0.75
    """When so many of the cells show something else, the view is lost."""
    smooth_share: Score = 0.5
    """A view that is lost and has less than this share of its texture left is covered."""
    sharp_min: Annotated[float, Field(gt=0)] = 3.0
    """Mean curvature of brightness in a cell from which on it can be seen to lose focus."""
    sharp_share: Score = 0.4
    """With less than this share of the curvature left the view is out of focus."""
    before_lens_share: Score = 0.1
    """Something that hides so much, reaches in from the edge and is no vehicle or person that is
    known covers a part of the view."""
    before_lens_s: Annotated[float, Field(ge=0, le=60)] = 4.0
    """For at least so long: a lorry passes."""
    frozen_s: Annotated[float, Field(ge=1, le=600)] = 6.0
    frozen_share: Score = 0.2
    """Frozen: from picture to picture less changes than this share of what is usual."""
    usual_min: Annotated[float, Field(gt=0)] = 0.15
    """Where pictures hardly differ anyhow (mean grey levels), nobody can tell a frozen one."""
    learns_s: Annotated[float, Field(gt=0)] = 20.0
    """How fast the known texture follows the view."""
    new_view_s: Annotated[float, Field(gt=0)] = 60.0
    """A view that is another one for so long is learned anew."""


class ViewHealthDetector(Detector):
    """Says of one capture after another when its view was no good."""

    def __init__(self, config: ViewHealthConfig | None = None) -> None:
        self._config = config or ViewHealthConfig()
        super().__init__(self._config)

    @property
    def model(self) -> str:
        return MODEL

    @property
    def model_digest(self) -> str:
        return source_digest(__file__)

    def watch(self, info: FootageInfo, carried: Carried | None) -> "_Watch":
        known = None if carried is None or not carried.arrays else carried.arrays["known"]
        return _Watch(self._config, None if known is None else np.array(known, np.float32))


@dataclass
class _Spell:
    """Something is wrong since a moment."""

    problem: ViewProblem
    share: float
    since_s: float
    until_s: float
    lasts: bool = True


@dataclass(frozen=True)
class _Wrong:
    """What is wrong in one picture, and with how much of it."""

    problem: ViewProblem
    share: float


class _Watch(Watch):
    """Watches one capture."""

    def __init__(self, config: ViewHealthConfig, known: NDArray[np.float32] | None) -> None:
        self._config = config
        self._known = known
        self._last: Grey | None = None
        self._last_s = 0.0
        self._changes: deque[float] = deque(maxlen=_TYPICAL_OF)
        self._still_since_s: float | None = None
        self._spells: list[_Spell] = []

    def see(self, moment: Moment) -> None:
        if self._last is not None and moment.t_s < self._last_s + self._config.every_s - 1e-3:
            return
        grey = moment.grey(self._config.height_px)
        with moment.costs.of("view"):
            if self._known is None or self._known.shape != grey.shape:
                self._known = grey.astype(np.float32)
            strange, other = self._strange(grey)
            wrong = self._wrong(grey, strange, other, moment)
            self._note(wrong, moment.t_s)
            self._learn(grey, strange, moment.t_s)
            self._last, self._last_s = grey, moment.t_s

    def tracks(self) -> tuple[Track, ...]:
        return ()

    def unsteady_s(self, duration_s: float) -> tuple[tuple[float, float], ...]:
        """While all of the view is lost, nothing in it means what it seems to."""
        whole = (one for one in self.view(duration_s) if one.share >= self._config.lost_share)
        return tuple((one.start_s, one.end_s) for one in whole)

    def view(self, duration_s: float) -> tuple[ViewFinding, ...]:
        """What was wrong for long enough, in order."""
        return tuple(
            ViewFinding(
                problem=one.problem,
                start_s=round(one.since_s, 3),
                end_s=round(duration_s if one.lasts else one.until_s, 3),
                share=round(one.share, 3),
            )
            for one in self._spells
            if one.until_s - one.since_s >= self._lasts_s(one) - 1e-3
        )

    def carried(self, duration_s: float) -> Arrays:
        """The texture that the view is known by."""
        return {} if self._known is None else {"known": self._known.astype(np.float16)}

    def _lasts_s(self, spell: _Spell) -> float:
        whole = spell.share >= self._config.lost_share
        return self._config.lasts_s if whole else self._config.before_lens_s

    def _note(self, wrong: _Wrong | None, now_s: float) -> None:
        """Prolong the spell that lasts, or begin one."""
        latest = self._spells[-1] if self._spells and self._spells[-1].lasts else None
        if latest is not None and (wrong is None or wrong.problem is not latest.problem):
            latest.lasts, latest = False, None
        if wrong is None:
            return
        if latest is not None:
            latest.until_s, latest.share = now_s, max(latest.share, wrong.share)
            return
        frozen = wrong.problem is ViewProblem.FROZEN and self._still_since_s is not None
        since_s = self._still_since_s if frozen and self._still_since_s is not None else now_s
        self._spells.append(_Spell(wrong.problem, wrong.share, since_s, now_s))

    def _wrong(
        self, grey: Grey, strange: NDArray[np.bool_], other: NDArray[np.bool_], moment: Moment
    ) -> _Wrong | None:
        config = self._config
        frozen = self._is_frozen(grey, moment.t_s)
        if grey.mean() < config.black_max and grey.std() < config.texture_min:
            return _Wrong(ViewProblem.BLACK, 1.0)
        textured = self._textured()
        share = float(strange[textured].mean()) if textured.any() else 0.0
        if share >= config.lost_share:
            is_smooth = self._texture_left(grey) < config.smooth_share
            return _Wrong(ViewProblem.COVERED if is_smooth else ViewProblem.TURNED, share)
        if self._sharpness_left(grey) < config.sharp_share:
            return _Wrong(ViewProblem.DEFOCUSED, 1.0)
        hidden = _before_lens(strange, other, [one.box for one in moment.tracked])
        if hidden >= config.before_lens_share:
            return _Wrong(ViewProblem.COVERED, hidden)
        return _Wrong(ViewProblem.FROZEN, 1.0) if frozen else None

    def _strange(self, grey: Grey) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Cells ``(rows, columns)`` that look different, and those whose texture is another."""
        config, textured = self._config, self._textured()
        if self._known is None:
            return ~textured, ~textured
        now, known = _cells(grey.astype(np.float32)), _cells(self._known)
        covariance = (now * known).mean(axis=2) - now.mean(axis=2) * known.mean(axis=2)
        alike = covariance / (now.std(axis=2) * known.std(axis=2) + 1e-3)
        other = np.asarray((alike < config.alike_min) & textured, np.bool_)
        return other | (np.abs(now - known).mean(axis=2) > config.differs_min), other

    def _textured(self) -> NDArray[np.bool_]:
        """Cells that have a texture to be known by."""
        if self._known is None:
            return np.zeros((0, 0), np.bool_)
        return np.asarray(_cells(self._known).std(axis=2) >= self._config.texture_min)

    def _sharpness_left(self, grey: Grey) -> float:
        """How much of the finest structure is left, where there was some."""
        if self._known is None:
            return 1.0
        now, known = (
            _cells(np.abs(np.asarray(cv2.Laplacian(one, cv2.CV_32F), np.float32))).mean(axis=2)
            for one in (grey.astype(np.float32), self._known)
        )
        sharp = self._textured() & (known >= self._config.sharp_min)
        return float(np.median(now[sharp] / known[sharp])) if sharp.sum() >= 8 else 1.0

    def _texture_left(self, grey: Grey) -> float:
        if self._known is None:
            return 1.0
        now, known = (_cells(one).std(axis=2) for one in (grey.astype(np.float32), self._known))
        return float(np.minimum(now, known).sum() / max(1e-3, float(known.sum())))

    def _is_frozen(self, grey: Grey, now_s: float) -> bool:
        """Whether nothing at all has changed for long, where something always did."""
        if self._last is None or self._last.shape != grey.shape:
            return False
        change = float(cv2.absdiff(grey, self._last).mean())
        usual = median(self._changes) if len(self._changes) >= 5 else 0.0
        if usual >= self._config.usual_min and change < self._config.frozen_share * usual:
            if self._still_since_s is None:
                self._still_since_s = self._last_s
            return now_s - self._still_since_s >= self._config.frozen_s - 1e-3
        self._still_since_s = None
        self._changes.append(change)
        return False

    def _may_be_new(self, spell: _Spell, now_s: float) -> bool:
        """Whether what is seen instead has lasted so long that it is the view from now on.

        A lens that is covered for hours shows no new view.
        """
        whole = spell.share >= self._config.lost_share
        bad = {ViewProblem.COVERED, ViewProblem.BLACK, ViewProblem.DEFOCUSED}
        hidden = whole and spell.problem in bad
        return not hidden and now_s - spell.since_s >= self._config.new_view_s

    def _learn(self, grey: Grey, strange: NDArray[np.bool_], now_s: float) -> None:
        """Follow the view where it is itself; take another one for it once it has lasted."""
        if self._known is None:
            return
        spell = self._spells[-1] if self._spells and self._spells[-1].lasts else None
        if spell is not None and self._may_be_new(spell, now_s):
            self._known = grey.astype(np.float32)
            return
        if spell is not None and spell.problem is ViewProblem.DEFOCUSED:
            return
        rate = min(1.0, max(0.0, now_s - self._last_s) / self._config.learns_s)
        itself = cv2.resize(
            (~strange).astype(np.uint8), grey.shape[::-1], interpolation=cv2.INTER_NEAREST
        )
        cv2.accumulateWeighted(grey, self._known, rate, itself)


def _cells(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(rows, columns, pixels)``: the picture in square cells; a rest at the edges is left out."""
    height, width = (side // _CELL_PX * _CELL_PX for side in picture.shape)
    blocks = picture[:height, :width].reshape(height // _CELL_PX, _CELL_PX, -1, _CELL_PX)
    return blocks.transpose(0, 2, 1, 3).reshape(*blocks.shape[0:3:2], -1)


def _before_lens(strange: NDArray[np.bool_], other: NDArray[np.bool_], known: list[Box]) -> float:
    """The largest share of the view that one thing hides which reaches in from the edge.

    Vehicles and people that were recognised are what the camera is there to see; what leaves
    the texture where it was is light.
    """
    rows, columns = strange.shape
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        strange.astype(np.uint8), connectivity=4
    )
    largest = 0.0
    for number in range(1, count):
        left, top, across, down, area = (int(value) for value in stats[number])
        right, bottom = left + across, top + down
        if left > 0 and top > 0 and right < columns and bottom < rows:
            continue
        box = Box(left / columns, top / rows, right / columns, bottom / rows)
        is_light = other[labels == number].mean() < _THING_SHARE
        if not is_light and not any(covered(box, one) > 0.5 for one in known):
            largest = max(largest, area / (rows * columns))
    return largest
