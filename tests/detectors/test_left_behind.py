"""What the left-behind detector finds, and what it must not take for an object."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from detectors.cascade import Cascade
from detectors.crops import BLOB_CLASSES, CropClassifier
from detectors.detector import Carried, Detector, DetectorConfig, Moment, Tracked, Watch
from detectors.ground import LeftBehindConfig
from detectors.left_behind import MODEL, LeftBehindDetector
from detectors.models import InstalledModel
from enforcement.errors import BadFootage
from enforcement.footage import Label, Observation, Track
from enforcement.geometry import Box, iou
from media.footage import FootageInfo
from tests.detectors import footage as scene
from tests.detectors.footage import BAG_PX, HEIGHT, WIDTH, Image, Painter, observed

GROUND = scene.ground()
BAG = Box(BAG_PX[0] / WIDTH, BAG_PX[1] / HEIGHT, BAG_PX[2] / WIDTH, BAG_PX[3] / HEIGHT)
DROP_S = scene.at_the_bag_s(3.0)


def drop(t_s: float) -> Image:
    """Somebody walks through and leaves the bag behind."""
    image = GROUND.copy()
    if t_s >= DROP_S:
        scene.bag(image)
    scene.walker(image, t_s, 3.0)
    return image


def observe(folder: Path, paint: Painter, seconds: float = 12.0, noise: float = 1.5) -> Observation:
    path = scene.write(folder / "clip.mp4", paint, seconds, noise)
    return observed(LeftBehindDetector(), path)


def real(tracks: tuple[Track, ...]) -> list[Track]:
    """Tracks that a rule with default parameters would take for an object."""
    return [track for track in tracks if track.score >= 0.5 and track.traits["edge_ratio"] >= 1.2]


def test_a_bag_put_down_and_left_is_found_where_and_when_it_appeared(tmp_path: Path) -> None:
    seen = observe(tmp_path, drop)
    (track,) = seen.tracks
    assert track.label is Label.STATIC_OBJECT
    assert iou(track.points[-1].box, BAG) > 0.7
    assert track.traits["appeared_s"] == pytest.approx(DROP_S, abs=0.7)
    assert track.traits["edge_ratio"] > 1.5
    assert track.traits["stay_s"] == pytest.approx(track.last_s - DROP_S, abs=0.7)
    assert track.last_s > 11.5
    assert seen.model == MODEL
    assert seen.frames_seen == 60


def test_points_are_never_further_apart_than_half_a_second(tmp_path: Path) -> None:
    (track,) = observe(tmp_path, drop).tracks
    times = [point.t_s for point in track.points]
    assert max(np.diff(times)) <= 0.501
    assert times == sorted(set(times))


def test_the_same_file_gives_the_same_observation_again(tmp_path: Path) -> None:
    first = observe(tmp_path, drop)
    again = observed(LeftBehindDetector(), tmp_path / "clip.mp4")
    assert first == again
    other = observed(LeftBehindDetector(LeftBehindConfig(still_s=2.0)), tmp_path / "clip.mp4")
    assert other.config_digest != first.config_digest


def test_a_hole_where_something_stood_is_a_ghost(tmp_path: Path) -> None:
    def taken(t_s: float) -> Image:
        image = GROUND.copy()
        if t_s < DROP_S:
            scene.bag(image)
        scene.walker(image, t_s, 3.0)
        return image

    (track,) = observe(tmp_path, taken).tracks
    assert track.traits["edge_ratio"] < 1
    assert iou(track.points[-1].box, BAG) > 0.5


def test_who_walks_in_front_does_not_make_a_second_object(tmp_path: Path) -> None:
    def passed(t_s: float) -> Image:
        image = drop(t_s)
        scene.walker(image, t_s, 8.0)
        return image

    (track,) = observe(tmp_path, passed, seconds=14.0).tracks
    assert track.last_s > 13.5


def test_a_bag_that_is_taken_again_ends(tmp_path: Path) -> None:
    def borrowed(t_s: float) -> Image:
        image = drop(t_s) if t_s < scene.at_the_bag_s(8.0) else GROUND.copy()
        scene.walker(image, t_s, 8.0)
        return image

    (track,) = observe(tmp_path, borrowed, seconds=15.0).tracks
    assert track.last_s < scene.at_the_bag_s(8.0) + 0.5


def test_a_bag_put_back_after_it_was_taken_is_another_find(tmp_path: Path) -> None:
    def put_back(t_s: float) -> Image:
        taken = scene.at_the_bag_s(8.0) <= t_s < scene.at_the_bag_s(12.0)
        image = GROUND.copy() if taken else drop(t_s)
        for enters_s in (8.0, 12.0):
            scene.walker(image, t_s, enters_s)
        return image

    first, second = observe(tmp_path, put_back, seconds=18.0).tracks
    assert first.last_s < second.first_s


def test_a_bag_is_found_although_the_exposure_changes_as_it_is_put_down(tmp_path: Path) -> None:
    def exposed(t_s: float) -> Image:
        return drop(t_s) if t_s < DROP_S else (drop(t_s) * 0.75).astype(np.uint8)

    assert len(real(observe(tmp_path, exposed).tracks)) == 1


def test_what_is_there_from_the_start_is_not_new(tmp_path: Path) -> None:
    def always(t_s: float) -> Image:
        image = GROUND.copy()
        scene.bag(image)
        scene.walker(image, t_s, 3.0)
        return image

    assert observe(tmp_path, always).tracks == ()


@pytest.mark.parametrize("gain", [0.5, 1.6])
def test_a_light_switch_leaves_nothing_behind(tmp_path: Path, gain: float) -> None:
    lamp = np.linspace(0.6, 1.4, WIDTH, dtype=np.float32)[None, :, None]

    def switched(t_s: float) -> Image:
        lit = GROUND if t_s < 5.0 else GROUND * (1 + (gain - 1) * lamp)
        return np.clip(lit, 0, 255).astype(np.uint8)

    assert observe(tmp_path, switched).tracks == ()


def test_shadows_over_a_third_of_the_picture_at_once_are_no_objects(tmp_path: Path) -> None:
    def grid(t_s: float) -> Image:
        image = GROUND.copy()
        if t_s > 5.0:
            for left in range(10, WIDTH, 60):
                for top in range(10, HEIGHT, 60):
                    scene.block(image, (left, top, left + 40, top + 40), (45, 45, 45))
        return image

    assert real(observe(tmp_path, grid).tracks) == []
    assert observed(LeftBehindDetector(), tmp_path / "clip.mp4", exhaustive=True).tracks == ()


def test_what_appears_after_a_quiet_while_is_dated_by_its_appearance(tmp_path: Path) -> None:
    def falls_in(t_s: float) -> Image:
        image = GROUND.copy()
        if t_s >= 13.0:
            scene.bag(image)
        return image

    (track,) = observe(tmp_path, falls_in, seconds=24.0).tracks
    assert track.traits["appeared_s"] == pytest.approx(13.0, abs=0.5)


def test_slow_dusk_leaves_nothing_behind(tmp_path: Path) -> None:
    def dusk(t_s: float) -> Image:
        return (GROUND * (1.0 - 0.04 * t_s)).astype(np.uint8)

    assert observe(tmp_path, dusk).tracks == ()


def test_a_patch_of_light_on_a_textured_ground_is_no_object(tmp_path: Path) -> None:
    lit = GROUND.astype(np.float32)
    lit[100:200, 100:220] *= 1.35

    def sun(t_s: float) -> Image:
        return GROUND if t_s < 4.0 else np.clip(lit, 0, 255).astype(np.uint8)

    assert real(observe(tmp_path, sun).tracks) == []


def test_a_swaying_plant_is_no_object(tmp_path: Path) -> None:
    def swaying(t_s: float) -> Image:
        image = GROUND.copy()
        for number in range(5):
            shift = round(9 * np.sin(2 * np.pi * (0.7 + 0.1 * number) * t_s + number))
            left = 60 + 50 * number + shift
            scene.block(image, (left, 60, left + 14, 130), (30, 130, 40))
        return image

    assert real(observe(tmp_path, swaying, seconds=16.0).tracks) == []


def test_a_branch_that_the_wind_holds_down_again_and_again_is_soon_ignored(tmp_path: Path) -> None:
    def held(t_s: float) -> Image:
        image = GROUND.copy()
        if t_s > 2.5 and (t_s - 2.5) % 1.8 > 0.45:
            scene.block(image, (100, 100, 140, 125), (30, 130, 40))
        return image

    path = scene.write(tmp_path / "clip.mp4", held, 20.0)
    tracks = observed(LeftBehindDetector(), path, exhaustive=True).tracks
    assert all(track.first_s < 12.0 for track in tracks)
    # Where only key frames are seen, restlessness is learned later.
    assert all(track.first_s < 15.0 for track in observed(LeftBehindDetector(), path).tracks)


def test_a_caption_that_the_recorder_writes_is_no_object(tmp_path: Path) -> None:
    def captioned(t_s: float) -> Image:
        image = GROUND.copy()
        if t_s > 5.0:
            scene.block(image, (20, 30, 140, 46), (10, 10, 10))
            cv2.putText(image, "MOTION", (24, 43), 0, 0.45, (255, 255, 255), 1)
        return image

    assert observe(tmp_path, captioned).tracks == ()


def test_a_camera_that_pans_gives_no_object(tmp_path: Path) -> None:
    wide = scene.ground(width=WIDTH * 4)

    def panning(t_s: float) -> Image:
        left = round(40 * t_s)
        image = wide[:, left : left + WIDTH].copy()
        scene.walker(image, t_s, 3.0)
        if t_s > 4.0:
            scene.bag(image)
        return image

    seen = observe(tmp_path, panning)
    assert seen.tracks == ()
    assert seen.unsteady_s == ((0.0, seen.duration_s),)


def test_when_the_view_moved_is_told_and_only_then(tmp_path: Path) -> None:
    wide = scene.ground(width=WIDTH * 3)

    def turns_once(t_s: float) -> Image:
        left = round(80 * min(max(0.0, t_s - 8.0), 1.5))
        return wide[:, left : left + WIDTH]

    seen = observe(tmp_path, turns_once, seconds=16.0)
    (span_s,) = seen.unsteady_s
    assert 8.0 <= span_s[0] <= 8.7
    assert 9.0 <= span_s[1] <= 10.0
    assert observe(tmp_path, drop).unsteady_s == ()


def test_a_view_that_has_not_come_to_rest_when_the_footage_ends_is_unsteady(tmp_path: Path) -> None:
    wide = scene.ground(width=WIDTH * 3)

    def turns_at_last(t_s: float) -> Image:
        left = round(80 * min(max(0.0, t_s - 9.0), 2.0))
        return wide[:, left : left + WIDTH]

    seen = observe(tmp_path, turns_at_last, seconds=12.0)
    (span_s,) = seen.unsteady_s
    assert 9.0 <= span_s[0] <= 9.7
    assert span_s[1] == pytest.approx(seen.duration_s, abs=0.01)


@pytest.mark.parametrize(("pans_s", "found"), [(1.5, 1), (6.0, 0)])
def test_footage_that_is_unsteady_for_more_than_a_quarter_is_unsuitable(
    tmp_path: Path, pans_s: float, found: int
) -> None:
    wide = scene.ground(width=WIDTH * 3)

    def pans_first(t_s: float) -> Image:
        left = round(60 * min(t_s, pans_s))
        image = wide[:, left : left + WIDTH].copy()
        if t_s >= scene.at_the_bag_s(10.0):
            scene.bag(image)
        scene.walker(image, t_s, 10.0)
        return image

    seen = observe(tmp_path, pans_first, seconds=17.0)
    assert len(real(seen.tracks)) == found
    unsuitable = seen.unsteady_s == ((0.0, seen.duration_s),)
    assert unsuitable is not bool(found)


def test_a_view_that_swings_as_fast_as_a_hand_does_is_unsuitable(tmp_path: Path) -> None:
    def held(t_s: float) -> Image:
        across, down = 8 * np.sin(3.1 * t_s), 6 * np.sin(4.3 * t_s)
        matrix = np.array([[1, 0, across], [0, 1, down]], np.float64)
        mode = cv2.BORDER_REFLECT
        shifted = cv2.warpAffine(drop(t_s), matrix, (WIDTH, HEIGHT), borderMode=mode)
        return np.asarray(shifted, np.uint8)

    seen = observe(tmp_path, held)
    assert seen.tracks == ()
    assert seen.unsteady_s == ((0.0, seen.duration_s),)


def test_a_mast_that_shakes_in_the_wind_still_sees_the_bag(tmp_path: Path) -> None:
    def shaken(t_s: float) -> Image:
        across, down = 8 * np.sin(1.1 * t_s), 5 * np.sin(0.7 * t_s)
        matrix = np.array([[1, 0, across], [0, 1, down]], np.float64)
        mode = cv2.BORDER_REFLECT
        shifted = cv2.warpAffine(drop(t_s), matrix, (WIDTH, HEIGHT), borderMode=mode)
        return np.asarray(shifted, np.uint8)

    tracks = real(observe(tmp_path, shaken).tracks)
    assert len(tracks) == 1
    for point in tracks[0].points[::4]:
        across, down = 8 * np.sin(1.1 * point.t_s), 5 * np.sin(0.7 * point.t_s)
        sides = np.array(BAG_PX) + np.array([across, down, across, down])
        truth = Box(*(float(side) for side in sides / [WIDTH, HEIGHT, WIDTH, HEIGHT]))
        assert iou(point.box, truth) > 0.6


def test_footage_too_short_to_learn_a_ground_gives_nothing(tmp_path: Path) -> None:
    seen = observe(tmp_path, drop, seconds=1.5)
    assert seen.tracks == ()
    assert seen.frames_seen == 8


def test_what_is_no_footage_is_bad_footage(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no footage")
    with pytest.raises(BadFootage):
        observed(LeftBehindDetector(), path)


def test_a_classifier_looks_at_what_was_found_once_it_lies_uncovered(
    tmp_path: Path, yolo_model: InstalledModel
) -> None:
    path = scene.write(tmp_path / "clip.mp4", drop, 12.0)
    classifier = CropClassifier.blobs(yolo_model)
    detector = LeftBehindDetector(classifier=classifier)
    (track,) = observed(detector, path).tracks
    shares = [track.traits[name] for name in BLOB_CLASSES]
    assert sum(shares) == pytest.approx(1.0, abs=1e-3)
    plain = LeftBehindDetector()
    assert set(BLOB_CLASSES).isdisjoint(observed(plain, path).tracks[0].traits)
    assert detector.model_digest != plain.model_digest


def test_what_stands_under_somebody_is_not_looked_at(
    tmp_path: Path, yolo_model: InstalledModel
) -> None:
    class Crowd(Detector):
        """Sees somebody all over the picture."""

        model, model_digest = "yolov8n-coco", "0" * 64

        def watch(self, info: FootageInfo, carried: Carried | None) -> Watch:
            return Everywhere()

    class Everywhere(Watch):
        def see(self, moment: Moment) -> None:
            moment.tracked.append(Tracked(1, Label.PERSON, Box(0, 0, 1, 1), 0.9))

        def tracks(self) -> tuple[Track, ...]:
            return ()

    path = scene.write(tmp_path / "clip.mp4", drop, 12.0)
    detector = LeftBehindDetector(classifier=CropClassifier.blobs(yolo_model))
    looks = Cascade([detector, Crowd(DetectorConfig())]).look(path, "c")
    assert set(BLOB_CLASSES).isdisjoint(looks.observations[0].tracks[0].traits)


def test_the_shadow_of_a_cloud_that_drifts_by_is_no_object_and_hides_none(tmp_path: Path) -> None:
    def clouded(t_s: float) -> Image:
        middle = 60.0 * (t_s - 1.5)
        across = np.arange(WIDTH)[None, :] + 0.3 * np.arange(HEIGHT)[:, None]
        shade = 1.0 - 0.35 * np.exp(-(((across - middle) / 110) ** 2))
        return np.asarray(drop(t_s) * shade[..., None], np.uint8)

    tracks = real(observe(tmp_path, clouded).tracks)
    assert len(tracks) == 1
    assert iou(tracks[0].points[-1].box, BAG) > 0.6


def test_what_comes_and_goes_all_the_time_is_restless_and_no_object(tmp_path: Path) -> None:
    def branch(t_s: float) -> Image:
        image = GROUND.copy()
        if t_s > 3.0 and t_s % 2.2 >= 0.6:
            scene.bag(image)
        return image

    path = scene.write(tmp_path / "clip.mp4", branch, 24.0)
    tracks = observed(
        LeftBehindDetector(LeftBehindConfig(still_s=0.5, restless_per_s=0.2)), path
    ).tracks
    assert [track for track in tracks if track.first_s > 12.0] == [], "once it is known to be"
