"""A view that is no good is noticed, by its kind and when it began; a good one is left alone."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from detectors.cascade import Cascade
from detectors.view_health import ViewHealthDetector
from enforcement.footage import Observation, ViewProblem
from tests.detectors import footage as scene
from tests.detectors.footage import HEIGHT, WIDTH, Image, Painter, observed

GROUND = scene.ground()
ONSET_S = 6.0


def seen(folder: Path, paint: Painter, seconds: float = 16.0) -> Observation:
    return observed(ViewHealthDetector(), scene.write(folder / "clip.mp4", paint, seconds))


def covered(t_s: float) -> Image:
    """A cloth over the lens: all of one colour, unsharp."""
    image = GROUND.copy()
    if t_s >= ONSET_S:
        image[:] = (70, 90, 100)
        image[:, :200] = (78, 96, 108)
    return image


def black(t_s: float) -> Image:
    return GROUND if t_s < ONSET_S else np.zeros_like(GROUND)


def turned(t_s: float) -> Image:
    return GROUND if t_s < ONSET_S else np.roll(GROUND, (70, 120), axis=(0, 1))


def defocused(t_s: float) -> Image:
    """Pebbles on the ground; then only their blotches can be told."""
    pebbles = np.random.default_rng(5).normal(0, 28, (HEIGHT // 3, WIDTH // 3))
    fine = np.asarray(cv2.resize(pebbles, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST))
    coarse = scene.ground(3).astype(np.float64) * 2.2 - 150
    image = np.clip(coarse + fine[..., None], 0, 255).astype(np.uint8)
    return image if t_s < ONSET_S else np.asarray(cv2.GaussianBlur(image, (0, 0), 4), np.uint8)


@pytest.mark.parametrize(
    ("paint", "problem"),
    [
        (covered, ViewProblem.COVERED),
        (black, ViewProblem.BLACK),
        (turned, ViewProblem.TURNED),
        (defocused, ViewProblem.DEFOCUSED),
    ],
)
def test_what_takes_the_whole_view_is_noticed_when_it_begins(
    tmp_path: Path, paint: Painter, problem: ViewProblem
) -> None:
    observation = seen(tmp_path, paint)
    (finding,) = observation.view
    assert finding.problem is problem
    assert ONSET_S - 0.1 <= finding.start_s <= ONSET_S + 2.6  # the next key frame at the latest
    assert finding.end_s == pytest.approx(observation.duration_s)
    assert observation.unsteady_s == ((finding.start_s, finding.end_s),)


def test_a_frozen_picture_is_noticed_by_the_noise_that_is_missing(tmp_path: Path) -> None:
    kept: list[Image] = []
    random = np.random.default_rng(9)

    def freezes(t_s: float) -> Image:
        if t_s < ONSET_S or not kept:
            kept[:] = [np.clip(GROUND + random.normal(0, 5, GROUND.shape), 0, 255).astype(np.uint8)]
        return kept[0]

    path = scene.write(tmp_path / "clip.mp4", freezes, 20.0, noise=0.0)
    (finding,) = observed(ViewHealthDetector(), path).view
    assert finding.problem is ViewProblem.FROZEN
    assert finding.start_s == pytest.approx(ONSET_S, abs=2.6)


def test_something_before_the_lens_covers_a_part_and_silences_nothing(tmp_path: Path) -> None:
    def hand(t_s: float) -> Image:
        image = GROUND.copy()
        if t_s >= ONSET_S:
            scene.block(image, (120, 0, 260, 150), (40, 60, 90))
        return image

    observation = seen(tmp_path, hand)
    (finding,) = observation.view
    assert finding.problem is ViewProblem.COVERED
    assert 0.1 <= finding.share <= 0.35
    assert observation.unsteady_s == ()


def test_what_only_passes_before_the_lens_is_no_finding(tmp_path: Path) -> None:
    def lorry(t_s: float) -> Image:
        image = GROUND.copy()
        left = round((t_s - ONSET_S) * 260) - 200
        if t_s >= ONSET_S and left < WIDTH:
            scene.block(image, (left, 40, left + 200, HEIGHT), (40, 60, 90))
        return image

    assert seen(tmp_path, lorry).view == ()


def test_light_dusk_and_people_are_nothing_wrong_with_the_view(tmp_path: Path) -> None:
    def evening(t_s: float) -> Image:
        image = GROUND.copy()
        scene.walker(image, t_s, 2.0)
        scene.walker(image, t_s, 9.0)
        lit = np.clip(image * (1.0 - 0.03 * t_s), 0, 255)
        if 5.0 < t_s < 11.0:
            lit[60:200, 100:260] = np.clip(lit[60:200, 100:260] + 60, 0, 255)
        return np.asarray(lit, np.uint8)

    assert seen(tmp_path, evening).view == ()


def test_a_view_that_stays_another_one_is_learned_anew(tmp_path: Path) -> None:
    (finding,) = seen(tmp_path, turned, seconds=75.0).view
    assert finding.end_s == pytest.approx(ONSET_S + 60.0, abs=3.0)


def test_a_lens_that_is_still_covered_is_known_to_be_by_the_next_capture(tmp_path: Path) -> None:
    cascade = Cascade([ViewHealthDetector()])
    first = cascade.look(scene.write(tmp_path / "1.mp4", covered, 5.0), "1")
    whole = scene.write(tmp_path / "2.mp4", lambda t_s: covered(t_s + 20.0), 5.0)
    (alone,) = cascade.look(whole, "2").observations
    (carried,) = cascade.look(whole, "2", memory=first.memory).observations
    assert alone.view == ()
    assert [finding.problem for finding in carried.view] == [ViewProblem.COVERED]
    assert carried.view[0].start_s == 0.0
