"""Fire and smoke: painted flames burn, lamps and posters don't, and the network rests meanwhile."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame

from detectors import flames
from detectors.detector import Carried, Costs, Moment
from detectors.flames import FlameDetector, GlowConfig, SmokeDetector
from detectors.models import InstalledModel, pull
from enforcement.footage import Label, Observation
from enforcement.geometry import Box, iou
from enforcement.places import Zone, ZonePurpose
from enforcement.rules import Finding, find
from media.footage import FootageInfo, Frame, Image
from settings.catalog import SHIPPED_CATALOG, load_catalog
from tests.detectors.footage import HEIGHT, WIDTH, block, ground, observed, write

FIRE_PX = (150, 60, 260, 230)
"""Left, top, right, bottom of the painted flame."""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> InstalledModel:
    """The real network: from SIGHTLINE_MODELS or the environment's share, else pulled now."""
    shared = Path(sys.prefix) / "share" / "sightline" / "models"
    models_dir = Path(os.environ.get("SIGHTLINE_MODELS", shared))
    if not models_dir.is_dir():
        models_dir = tmp_path_factory.mktemp("models")
    return pull(flames.MODEL, models_dir)


def dusk() -> Image:
    return (ground() * 0.5).astype(np.uint8)


def flame(image: Image, t_s: float, left: int = 0) -> None:
    """Paint tongues that rise: hot at the foot, ragged at the top, other ones each moment."""
    across, down = FIRE_PX[2] - FIRE_PX[0], FIRE_PX[3] - FIRE_PX[1]
    random = np.random.default_rng(3)
    coarse, fine = (
        cv2.resize(random.random((4 * down // n, across // n)), (across, 4 * down)) for n in (14, 6)
    )
    rise = round(2.2 * t_s * down) % (3 * down), round(1.3 * t_s * down) % (3 * down)
    texture = 0.5 * coarse[rise[1] : rise[1] + down] + 0.5 * fine[rise[0] : rise[0] + down]
    height, off = np.linspace(1, 0, down)[:, None], np.linspace(-1, 1, across)[None]
    heat = cv2.GaussianBlur(
        np.clip(1.3 * texture + 0.75 - 1.15 * height - 0.9 * off**2, 0, 1), (5, 5), 0
    )
    glow = [
        np.clip(2.2 * heat - 1.45, 0, 1),
        np.clip(2.2 * heat - 0.55, 0, 1),
        np.clip(3 * heat, 0, 1),
    ]
    cover = np.clip(3.2 * heat - 0.15, 0, 1)[..., None]
    x, y = FIRE_PX[0] + left, FIRE_PX[1]
    part = image[y : y + down, x : x + across]
    part[:] = (part * (1 - cover) + 255 * np.stack(glow, axis=-1) * cover).astype(np.uint8)


def burning(t_s: float) -> Image:
    image = dusk()
    flame(image, t_s)
    return image


def poster(t_s: float) -> Image:
    """A picture of a flame, carried past."""
    image = dusk()
    flame(image, 0.0, left=round(20 * t_s) - 60)
    return image


def lamp(t_s: float) -> Image:
    """A lamp behind which somebody walks."""
    image = dusk()
    cv2.circle(image, (200, 120), 22, (170, 225, 255), -1)
    block(image, (round(60 * t_s), 200, round(60 * t_s) + 30, 280), (60, 50, 50))
    return image


def beacon(t_s: float) -> Image:
    """An orange beacon that flashes twice a second."""
    image = dusk()
    on = (2 * t_s) % 1 < 0.5
    cv2.circle(image, (200, 120), 14, (40, 160, 255) if on else (20, 60, 110), -1)
    return image


def red_car(t_s: float) -> Image:
    image = dusk()
    left = round(80 * t_s)
    block(image, (left, 150, left + 90, 190), (45, 40, 215))
    block(image, (left + 80, 165, left + 88, 172), (150, 210, 255))
    return image


def seen_in(path: Path, model: InstalledModel, paint: Callable[[float], Image]) -> Observation:
    return observed(FlameDetector(model), write(path, paint, 4.0))


def alarms(seen: Observation) -> tuple[Finding, ...]:
    """What the shipped rule makes of it, in the whole frame and with nobody about."""
    (rule,) = (r for r in load_catalog(SHIPPED_CATALOG).current_rules if r.kind == "open_fire")
    nobody = seen.model_copy(update={"model": "yolov8n-coco", "tracks": ()})
    return find(rule, (Zone(zone_id="z", purpose=ZonePurpose.NO_FIRE),), (seen, nobody))


@pytest.fixture(scope="module")
def fire(model: InstalledModel, tmp_path_factory: pytest.TempPathFactory) -> Observation:
    return seen_in(tmp_path_factory.mktemp("fire") / "fire.mp4", model, burning)


def test_a_painted_flame_is_one_fire_that_flickers_and_lasts(fire: Observation) -> None:
    (track,) = fire.tracks
    assert track.label is Label.FIRE
    assert track.first_s < 0.5
    assert track.last_s > 3.5
    assert track.traits["flicker"] > 0.2
    painted = Box(*(side / full for side, full in zip(FIRE_PX, (WIDTH, HEIGHT) * 2, strict=True)))
    assert iou(track.points[5].box, painted) > 0.4


def test_a_painted_flame_is_an_alarm(fire: Observation) -> None:
    (finding,) = alarms(fire)
    assert 1.5 <= finding.alarm_at_s < 3.0


def test_an_observation_names_the_network_and_repeats(
    fire: Observation, model: InstalledModel, tmp_path: Path
) -> None:
    again = seen_in(tmp_path / "again.mp4", model, burning)
    assert again == fire
    assert (fire.model, len(fire.model_digest)) == ("yolov8-flames", 64)
    assert fire.model_digest != model.digest, "the gate decides what the network sees"


@pytest.mark.parametrize("paint", [poster, lamp, beacon, red_car])
def test_what_only_looks_like_fire_is_no_alarm(
    paint: Callable[[float], Image], model: InstalledModel, tmp_path: Path
) -> None:
    seen = seen_in(tmp_path / "footage.mp4", model, paint)
    assert alarms(seen) == ()


def test_the_network_does_take_a_picture_of_a_flame_for_fire(
    model: InstalledModel, tmp_path: Path
) -> None:
    """So that it is the flicker which tells a poster from a fire."""
    track = max(seen_in(tmp_path / "p.mp4", model, poster).tracks, key=lambda one: one.score)
    assert track.score > 0.5
    assert track.traits["flicker"] < 0.1


class Counting:
    """Pictures one after another, and how often the network was asked."""

    def __init__(
        self,
        detector: FlameDetector | SmokeDetector,
        moving: tuple[Box, ...] | None,
        carried: Carried | None = None,
    ) -> None:
        info = FootageInfo(WIDTH, HEIGHT, 5.0, 60.0, None, "h264", "video/mp4", None)
        self.watch, self.moving, self.looks = detector.watch(info, carried), moving, 0

    def show(self, image: Image, t_s: float) -> None:
        costs = Costs()
        frame = Frame(t_s, VideoFrame.from_ndarray(image, format="bgr24"))
        self.watch.see(Moment(frame, self.moving, costs))
        self.looks += "hazards" in costs.cpu_s

    def show_all(
        self, paint: Callable[[float], Image], seconds: float, first_s: float = 0.0
    ) -> int:
        before = self.looks
        for number in range(round(seconds * 5)):
            t_s = first_s + number / 5
            self.show(paint(t_s), t_s)
        return self.looks - before


def test_the_network_is_not_asked_where_nothing_glows(model: InstalledModel) -> None:
    pictures = Counting(FlameDetector(model), ())

    def passing(t_s: float) -> Image:
        image = dusk()
        block(image, (round(80 * t_s), 150, round(80 * t_s) + 60, 230), (190, 90, 60))
        return image

    assert pictures.show_all(passing, 4.0) == 0


def test_the_network_is_not_asked_about_a_lamp_that_burns_steadily(model: InstalledModel) -> None:
    assert Counting(FlameDetector(model), ()).show_all(lamp, 4.0) == 0


def test_the_network_is_not_asked_about_what_glows_and_passes(model: InstalledModel) -> None:
    def lights(t_s: float) -> Image:
        image = dusk()
        cv2.circle(image, (round(150 * t_s), 160), 9, (120, 200, 255), -1)
        return image

    assert Counting(FlameDetector(model), ()).show_all(lights, 3.0) == 0
    hasty = FlameDetector(model, GlowConfig(lasts=1))
    assert Counting(hasty, ()).show_all(lights, 3.0) > 0


def test_the_network_is_asked_less_and_less_about_what_flickers_and_is_no_fire(
    model: InstalledModel,
) -> None:
    pictures = Counting(FlameDetector(model), ())
    assert pictures.show_all(beacon, 6.0) <= 6
    assert pictures.show_all(beacon, 24.0, first_s=6.0) <= 7


def test_the_wait_goes_on_in_the_next_capture(model: InstalledModel) -> None:
    before = Counting(FlameDetector(model), ())
    before.show_all(beacon, 12.0)
    arrays = before.watch.carried(12.0)
    after = Counting(FlameDetector(model), (), Carried(arrays, gap_s=0.0))
    assert after.show_all(beacon, 12.0) <= 3
    later = Counting(FlameDetector(model), (), Carried(arrays, gap_s=60.0))
    assert later.show_all(burning, 0.6) == 1


def test_a_small_fire_far_away_is_seen_enlarged(model: InstalledModel) -> None:
    """Of 640 × 480 pixels it takes 18 × 28; looked at whole, the network would miss it."""

    def far(t_s: float) -> Image:
        image = np.asarray(cv2.resize(dusk(), (640, 480)), np.uint8)
        near = burning(t_s)[FIRE_PX[1] : FIRE_PX[3], FIRE_PX[0] : FIRE_PX[2]]
        image[300:328, 500:518] = cv2.resize(near, (18, 28), interpolation=cv2.INTER_AREA)
        return image

    pictures = Counting(FlameDetector(model), ())
    pictures.show_all(far, 4.0)
    (track,) = pictures.watch.tracks()
    assert len(track.points) >= 15
    assert track.score > 0.55
    assert iou(track.points[5].box, Box(500 / 640, 300 / 480, 518 / 640, 328 / 480)) > 0.3


def test_a_fire_does_not_keep_another_one_from_being_seen(model: InstalledModel) -> None:
    """Shown small, so that each is looked at by itself."""

    def both(t_s: float) -> Image:
        image = np.asarray(cv2.resize(dusk(), (1280, 720)), np.uint8)
        near = burning(t_s)[FIRE_PX[1] : FIRE_PX[3], FIRE_PX[0] : FIRE_PX[2]]
        image[100:185, 100:155] = cv2.resize(near, (55, 85), interpolation=cv2.INTER_AREA)
        image[500:560, 1000:1040] = cv2.resize(near, (40, 60), interpolation=cv2.INTER_AREA)
        return image

    pictures = Counting(FlameDetector(model), ())
    pictures.show_all(both, 3.0)
    lasting = [one for one in pictures.watch.tracks() if one.last_s - one.first_s > 2.0]
    assert sorted(round(one.points[0].box.left, 1) for one in lasting) == [0.1, 0.8]


def test_places_near_each_other_are_one_where_the_first_of_them_stood() -> None:
    first, second = Box(0.1, 0.1, 0.2, 0.2), Box(0.8, 0.8, 0.9, 0.9)
    near = Box(0.25, 0.25, 0.3, 0.3)
    assert flames._apart([first, second, near]) == [Box(0.1, 0.1, 0.3, 0.3), second]


def test_what_two_looks_see_is_one_thing() -> None:
    box, same, other = Box(0.1, 0.1, 0.3, 0.3), Box(0.1, 0.1, 0.3, 0.28), Box(0.25, 0.1, 0.5, 0.3)
    assert flames._once([(box, 0.7), (same, 0.9), (other, 0.5)]) == [(same, 0.9), (other, 0.5)]


def test_a_fire_that_begins_after_long_flicker_is_watched_within_seconds(
    model: InstalledModel,
) -> None:
    pictures = Counting(FlameDetector(model), ())
    pictures.show_all(beacon, 20.0)
    assert pictures.show_all(burning, 6.0, first_s=20.0) >= 9
    (track,) = (one for one in pictures.watch.tracks() if one.score > 0.5)
    assert track.first_s <= 24.3


def test_flicker_is_of_shape_and_neither_of_place_nor_of_brightness() -> None:
    def ring(x: int, level: int) -> Image:
        image = np.full((60, 80, 3), 20, np.uint8)
        cv2.circle(image, (x, 30), 12, (level, level, level), -1)
        return image

    def bar() -> Image:
        image = np.full((60, 80, 3), 20, np.uint8)
        block(image, (10, 26, 70, 34), (240, 240, 240))
        return image

    assert flames.flicker(ring(40, 240), ring(40, 240)) == 0.0
    assert flames.flicker(ring(40, 240), ring(50, 240)) < 0.05
    assert flames.flicker(ring(40, 240), ring(40, 150)) < 0.05
    assert flames.flicker(ring(40, 240), bar()) > 0.5


def test_glowing_is_bright_and_warm() -> None:
    colours = {
        "flame": (40, 150, 250), "daylight": (250, 250, 250), "blue": (250, 150, 40),
        "brick": (40, 60, 150), "pink": (200, 120, 240),
    }  # fmt: skip
    row = np.array([list(colours.values())], np.uint8)
    glow = flames.glowing(row, 200, 40)[0]
    assert [name for name, is_so in zip(colours, glow, strict=True) if is_so] == ["flame"]


# Smoke


def drifting(t_s: float) -> Image:
    """A pale, soft cloud whose inside changes all the time."""
    image = ground()
    cloud = cv2.resize(np.random.default_rng(int(t_s * 5)).normal(0, 1, (6, 8)), (160, 120))
    image[60:180, 100:260] = np.clip(190 + 25 * cloud, 0, 255)[..., None].astype(np.uint8)
    return image


def test_change_is_that_of_the_inside_in_units_of_its_contrast() -> None:
    still, other = drifting(0.0)[60:180, 100:260], drifting(1.0)[60:180, 100:260]
    assert flames.change(still, still) == 0.0
    assert flames.change(still, other) > 0.5
    darker = (still * 0.98).astype(np.uint8)
    assert flames.change(still, darker) < 0.3


def test_smoke_is_looked_for_at_a_slow_beat_and_only_while_something_moves(
    model: InstalledModel,
) -> None:
    quiet = Counting(SmokeDetector(model), ())
    assert quiet.show_all(lambda _: dusk(), 8.0) == 0
    busy = Counting(SmokeDetector(model), (Box(0.2, 0.2, 0.4, 0.4),))
    assert busy.show_all(lambda _: dusk(), 8.0) == 4
    unknown = Counting(SmokeDetector(model), None)
    assert unknown.show_all(lambda _: dusk(), 8.0) == 4


def test_the_smoke_detector_reports_smoke_alone(model: InstalledModel, tmp_path: Path) -> None:
    seen = observed(SmokeDetector(model), write(tmp_path / "fire.mp4", burning, 3.0))
    assert seen.model == "smoke"
    assert {track.label for track in seen.tracks} <= {Label.SMOKE}
    painted = Box(*(side / full for side, full in zip(FIRE_PX, (WIDTH, HEIGHT) * 2, strict=True)))
    assert [track for track in seen.tracks if iou(track.points[0].box, painted) > 0.4] == []


# Tracking


def test_outlines_that_overlap_are_one_thing_and_those_that_do_not_are_two() -> None:
    tracking = flames._Tracking(Label.FIRE, lost_s=1.5)
    for number in range(5):
        t_s = number / 5
        tracking.update(Box(0.1, 0.1, 0.3, 0.3 + 0.05 * number), 0.8, t_s, 0.4)
        tracking.update(Box(0.7, 0.7, 0.8, 0.8), 0.7, t_s, 0.1)
    first, second = tracking.tracks("flicker")
    assert (len(first.points), len(second.points)) == (5, 5)
    assert (first.traits, second.traits) == ({"flicker": 0.4}, {"flicker": 0.1})


def test_two_outlines_at_one_moment_are_two_things() -> None:
    tracking = flames._Tracking(Label.FIRE, lost_s=1.5)
    tracking.update(Box(0.1, 0.1, 0.3, 0.3), 0.8, 0.0, None)
    tracking.update(Box(0.1, 0.1, 0.3, 0.3), 0.8, 0.2, None)
    tracking.update(Box(0.2, 0.1, 0.4, 0.3), 0.8, 0.2, None)
    assert [len(track.points) for track in tracking.tracks("flicker")] == [2, 1]


def test_what_was_out_of_sight_too_long_is_another_thing() -> None:
    tracking = flames._Tracking(Label.FIRE, lost_s=1.5)
    box = Box(0.1, 0.1, 0.3, 0.3)
    for t_s in (0.0, 1.5, 3.1):
        tracking.update(box, 0.8, t_s, None)
    assert [len(track.points) for track in tracking.tracks("flicker")] == [2, 1]
    assert tracking.open_at(4.6) == [box]
    assert tracking.open_at(4.7) == []
