"""What counts as a flight that landed, and what only moves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detectors.cascade import Cascade
from detectors.thrown import MODEL, ThrownConfig, ThrownDetector
from enforcement.footage import Label, Observation, Track
from tests.detectors import footage as scene
from tests.detectors.footage import HEIGHT, WIDTH, Image, Painter, observed

GROUND = scene.ground()
METRE_PX = 40.0
"""Of the painted scenes; gravity is 9.81 × 40 pixels a second²."""
THROWN_S, FLIES_S = 4.0, 0.8
Spot = tuple[float, float]


def observe(folder: Path, paint: Painter, seconds: float = 9.0, noise: float = 1.5) -> Observation:
    return observed(ThrownDetector(), scene.write(folder / "clip.mp4", paint, seconds, noise))


def landed(seen: Observation) -> list[Track]:
    return [track for track in seen.tracks if track.traits["landed"] == 1.0]


def thing(image: Image, spot: Spot, side: int = 9) -> None:
    left, top = round(spot[0]) - side // 2, round(spot[1]) - side // 2
    scene.block(image, (left, top, left + side, top + side), (240, 240, 235))


def parabola(t_s: float, across_m_s: float = 3.0) -> Spot:
    """From (120, 100), thrown level, on the ground after 0.8 s and 3.1 m."""
    flown_s = min(max(t_s - THROWN_S, 0.0), FLIES_S)
    return 120 + METRE_PX * across_m_s * flown_s, 100 + METRE_PX * 9.81 * flown_s**2 / 2


def painted(where: Callable[[float], Spot | None]) -> Painter:
    def paint(t_s: float) -> Image:
        image = GROUND.copy()
        spot = where(t_s)
        if spot is not None:
            thing(image, spot)
        return image

    return paint


def test_a_throw_is_found_with_its_scale_its_start_and_where_it_lies(tmp_path: Path) -> None:
    seen = observe(tmp_path, painted(lambda t: parabola(t) if t >= THROWN_S else None))
    (track,) = landed(seen)
    assert track.label is Label.THROWN_OBJECT
    assert track.traits["metre"] * HEIGHT == pytest.approx(METRE_PX, rel=0.15)
    assert track.traits["drop_m"] == pytest.approx(3.1, abs=0.7)
    assert track.first_s == pytest.approx(THROWN_S, abs=0.35)
    end = track.points[-1].box.centre
    assert (end.x * WIDTH, end.y * HEIGHT) == pytest.approx(parabola(99.0), abs=4)
    assert track.traits["ended_s"] <= THROWN_S + FLIES_S + 0.11
    assert track.last_s < THROWN_S + FLIES_S + 1.2
    assert seen.model == MODEL


def test_what_falls_straight_down_is_found(tmp_path: Path) -> None:
    seen = observe(tmp_path, painted(lambda t: parabola(t, 0.0) if t >= THROWN_S else None))
    (track,) = landed(seen)
    first, last = track.points[0].box.centre, track.points[-1].box.centre
    assert abs(first.x - last.x) * WIDTH < 4


def no_longer_seen(t_s: float) -> Spot | None:
    return parabola(t_s) if THROWN_S <= t_s < THROWN_S + FLIES_S else None


def even(t_s: float) -> Spot | None:
    """The same way at an even pace, and lies there."""
    share = min((t_s - THROWN_S) / FLIES_S, 1.0)
    return None if share < 0 else (120 + 96 * share, 100 + 125 * share)


def upwards(t_s: float) -> Spot | None:
    """The same curve upside down."""
    if t_s < THROWN_S:
        return None
    x, y = parabola(t_s)
    return x, 325 - y


def carried(t_s: float) -> Spot | None:
    """To and fro in a hand that walks by."""
    return None if t_s < THROWN_S else (80 + 50 * (t_s - THROWN_S), 150 + 6 * np.sin(9 * t_s))


@pytest.mark.parametrize("where", [no_longer_seen, even, upwards, carried])
def test_without_gravity_or_landing_nothing_was_thrown(
    tmp_path: Path, where: Callable[[float], Spot | None]
) -> None:
    assert landed(observe(tmp_path, painted(where))) == []


def test_what_flies_and_is_no_longer_seen_is_told_as_not_landed(tmp_path: Path) -> None:
    (track,) = observe(tmp_path, painted(no_longer_seen)).tracks
    assert track.traits["landed"] == 0.0


def test_what_lay_there_before_the_flight_did_not_land(tmp_path: Path) -> None:
    def paint(t_s: float) -> Image:
        image = painted(no_longer_seen)(t_s)
        if t_s >= 2.5:
            thing(image, (parabola(99.0)[0] + 3, parabola(99.0)[1]))
        return image

    assert landed(observe(tmp_path, paint)) == []


def test_rain_is_no_hail_of_throws(tmp_path: Path) -> None:
    random = np.random.default_rng(3)

    def rain(t_s: float) -> Image:
        image = GROUND.copy()
        for x, y in random.uniform((0, 0), (WIDTH, HEIGHT), (40, 2)):
            left, top = int(x), int(y)
            scene.block(image, (left, top, left + 3, top + 16), (190, 190, 190))
        return image

    assert landed(observe(tmp_path, rain, seconds=12.0)) == []


def test_a_walker_throws_nothing(tmp_path: Path) -> None:
    def walks(t_s: float) -> Image:
        image = GROUND.copy()
        scene.walker(image, t_s, 3.0)
        return image

    assert landed(observe(tmp_path, walks)) == []


def test_fast_things_are_seen_between_the_looks_of_the_others(tmp_path: Path) -> None:
    def walks(t_s: float) -> Image:
        image = GROUND.copy()
        scene.walker(image, t_s, 0.0)
        return image

    path = scene.write(tmp_path / "clip.mp4", walks, 3.0)
    times: list[float] = []

    class Counting(ThrownDetector):
        def watch(self, info, carried):  # type: ignore[no-untyped-def]
            watch = super().watch(info, carried)
            see = watch.see

            def counted(moment) -> None:  # type: ignore[no-untyped-def]
                times.append(moment.t_s)
                see(moment)

            watch.see = counted  # type: ignore[method-assign]
            return watch

    looks = Cascade([Counting()]).look(path, "c")
    assert len(times) == 30, "every picture of footage at 10 a second"
    assert looks.observations[0].frames_seen == 15, "the others would have had every other one"


def test_the_same_file_gives_the_same_observation_again(tmp_path: Path) -> None:
    first = observe(tmp_path, painted(lambda t: parabola(t) if t >= THROWN_S else None))
    assert observed(ThrownDetector(), tmp_path / "clip.mp4") == first
    other = observed(ThrownDetector(ThrownConfig(rests_s=1.5)), tmp_path / "clip.mp4")
    assert other.config_digest != first.config_digest
