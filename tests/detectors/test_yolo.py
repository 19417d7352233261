"""People and vehicles: detection on a real picture, tracking, and that results repeat."""

import importlib.util
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from detectors.cascade import Cascade
from detectors.detector import Carried, Costs, Moment
from detectors.inference import BoxConfig, Boxes, BoxNetwork, _Letterbox
from detectors.models import InstalledModel
from detectors.yolo import YoloConfig, YoloDetector, _GroupTracking, _numbered
from enforcement.errors import BadFootage
from enforcement.footage import Label, Observation
from enforcement.geometry import Box, covered, iou
from media.encoding import write_h264
from media.footage import FootageInfo, Frame, Image
from tests.detectors.footage import observed

LABELS = {0: Label.PERSON, 2: Label.CAR, 7: Label.TRUCK}
VEHICLES = frozenset({Label.CAR, Label.TRUCK})


@pytest.fixture(scope="session")
def picture() -> Image:
    """The picture of a bus and people that Ultralytics ships."""
    package = importlib.util.find_spec("ultralytics")
    assert package is not None
    assert package.origin is not None
    read = cv2.imread(str(Path(package.origin).parent / "assets" / "bus.jpg"))
    assert read is not None
    return np.asarray(cv2.resize(read, (486, 648)), np.uint8)


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory, picture: Image) -> Path:
    """Three seconds of it, slowly moving."""
    path = tmp_path_factory.mktemp("street") / "street.mp4"

    def pictures() -> Iterator[tuple[float, VideoFrame]]:
        for number in range(30):
            image = np.roll(picture, -number // 2, axis=1)
            yield (
                number / 10,
                VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24"),
            )

    write_h264(path, pictures(), 10.0)
    return path


def info_of(image: Image) -> FootageInfo:
    height_px, width_px = image.shape[:2]
    return FootageInfo(width_px, height_px, 5.0, 60.0, None, "h264", "video/mp4", None)


@pytest.fixture(scope="session")
def seen(street: Path, yolo_model: InstalledModel) -> Observation:
    return observed(YoloDetector(yolo_model), street)


def test_people_and_the_bus_are_seen_and_tracked_throughout(seen: Observation) -> None:
    steady = [track for track in seen.tracks if track.last_s - track.first_s > 2.0]
    count = Counter(track.label for track in steady)
    assert count[Label.BUS] == 1
    assert count[Label.PERSON] >= 3
    (bus,) = (track for track in steady if track.label is Label.BUS)
    assert iou(bus.points[0].box, Box(0.03, 0.21, 1.0, 0.69)) > 0.8
    assert seen.sample_fps == 5.0
    assert seen.frames_seen == 15


def test_an_observation_names_model_digest_and_configuration(
    seen: Observation, yolo_model: InstalledModel
) -> None:
    assert (seen.model, seen.model_digest) == ("yolov8n-coco", yolo_model.digest)
    assert seen.config["score_start"] == 0.4
    assert len(str(seen.config["source"])) == 64
    other = Cascade([YoloDetector(yolo_model, YoloConfig(score_start=0.5))])
    assert seen.config_digest == Cascade([YoloDetector(yolo_model)]).config_digest(
        YoloDetector(yolo_model)
    )
    assert seen.config_digest != other.config_digest(other.detectors[0])
    assert Observation.model_validate_json(seen.model_dump_json()) == seen


def test_the_same_file_gives_the_same_observation_again(
    street: Path, seen: Observation, yolo_model: InstalledModel
) -> None:
    detector = YoloDetector(yolo_model)
    assert observed(detector, street) == seen
    assert observed(detector, street) == seen  # nothing is carried over between captures


def test_points_of_a_track_are_never_further_apart_than_half_a_second_while_seen(
    seen: Observation,
) -> None:
    bus = max(seen.tracks, key=lambda track: track.points[0].box.area)
    assert max(np.diff([point.t_s for point in bus.points])) <= 0.501


def test_progress_runs_to_the_end(street: Path, yolo_model: InstalledModel) -> None:
    shares: list[float] = []
    observed(YoloDetector(yolo_model), street, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] > 0.9


def test_what_is_no_footage_is_bad_footage(tmp_path: Path, yolo_model: InstalledModel) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no footage")
    with pytest.raises(BadFootage):
        observed(YoloDetector(yolo_model), path)


def one(box_px: tuple[float, ...], number: int, score: float = 0.8) -> Boxes:
    return Boxes(
        np.array([box_px], np.float32), np.array([score], np.float32), np.array([number], np.intp)
    )


def followed(steps: Sequence[Boxes | None]) -> _GroupTracking:
    size_px = np.array([640] * 4, np.float32)
    tracking = _GroupTracking(VEHICLES, LABELS, size_px, 1.0, YoloConfig())
    for number, found in enumerate(steps):
        tracking.update(Boxes.none() if found is None else found, number * 0.2)
    return tracking


def test_a_van_that_is_called_car_and_truck_by_turns_is_one_vehicle() -> None:
    numbers = [7, 2, 7, 7, 2, 7, 7]
    tracking = followed([one((100, 100, 200, 180), number) for number in numbers])
    (track,) = _numbered(tracking.grown())
    assert track.label is Label.TRUCK


def test_a_vehicle_out_of_sight_for_a_second_is_the_same_one() -> None:
    van = one((100, 100, 200, 180), 7)
    tracking = followed([van] * 5 + [None] * 5 + [van] * 5)
    assert len(_numbered(tracking.grown())) == 1


def test_a_detection_of_one_moment_is_no_track() -> None:
    van = one((100, 100, 200, 180), 7)
    assert _numbered(followed([None, van, None, None]).grown()) == ()


def test_other_groups_are_not_tracked_along() -> None:
    assert _numbered(followed([one((100, 100, 200, 180), 0)] * 5).grown()) == ()


def test_a_weak_detection_begins_no_track_but_prolongs_one() -> None:
    weak, strong = (one((100, 100, 200, 180), 7, score) for score in (0.3, 0.8))
    assert _numbered(followed([weak] * 5).grown()) == ()
    (track,) = _numbered(followed([strong] * 3 + [weak] * 5).grown())
    assert track.last_s == pytest.approx(1.4)


class Picture(Frame):
    """A frame that was never encoded."""

    def __init__(self, t_s: float, image: Image) -> None:
        super().__init__(t_s, VideoFrame.from_ndarray(image, format="bgr24"))


def test_what_moves_is_found_in_a_part_of_the_picture_as_in_the_whole(
    picture: Image, yolo_model: InstalledModel
) -> None:
    detector = YoloDetector(yolo_model)
    found: list[list[Box]] = []
    for moving in (None, (Box(0.02, 0.35, 0.3, 0.85),)):
        watch = detector.watch(info_of(picture), None)
        for number in range(4):
            looked_at = None if number == 0 else moving  # the first look is at all of it anyway
            watch.see(Moment(Picture(number * 0.2, picture), looked_at, Costs()))
        found.append([track.points[-1].box for track in watch.tracks()])
    whole, parts = found
    assert len(whole) == len(parts) >= 4
    assert all(max(iou(one, other) for other in parts) > 0.8 for one in whole)


@pytest.mark.parametrize("step_s", [2.0, 3.9])
def test_what_rests_where_nothing_moves_is_there_still_without_another_look(
    picture: Image, yolo_model: InstalledModel, step_s: float
) -> None:
    costs = Costs()
    watch = YoloDetector(yolo_model).watch(info_of(picture), None)
    for number in range(20):
        watch.see(Moment(Picture(number * step_s, picture), (), costs))
        if number == 0:
            first_s = costs.cpu_s["detect"]
    (bus,) = (track for track in watch.tracks() if track.label is Label.BUS)
    assert bus.last_s == pytest.approx(19 * step_s)
    assert max(np.diff([point.t_s for point in bus.points])) <= 0.501
    assert costs.cpu_s["detect"] == first_s


def test_a_thing_that_goes_away_is_not_held_for_ever(
    picture: Image, yolo_model: InstalledModel
) -> None:
    watch = YoloDetector(yolo_model).watch(info_of(picture), None)
    empty = np.full_like(picture, 120)
    for number in range(20):
        shown = picture if number < 5 else empty
        moving = (Box(0, 0, 1, 1),) if number == 5 else ()
        watch.see(Moment(Picture(number * 0.5, shown), moving, Costs()))
    assert max(track.last_s for track in watch.tracks()) == pytest.approx(2.0)


def test_what_is_gone_when_nothing_moves_any_more_is_not_held_either(
    picture: Image, yolo_model: InstalledModel
) -> None:
    """The last motion was seen while it was still there; a moment later it had left."""
    scene = np.full((1080, 1920, 3), 120, np.uint8)
    scene[200:848, 100:586] = picture
    watch = YoloDetector(yolo_model).watch(info_of(scene), None)
    left = scene.copy()
    left[200:848, 100:250] = 120
    moving = (Box(0.06, 0.4, 0.13, 0.7),)  # of the man at the left, looked at by himself
    for number in range(12):
        shown = scene if number < 5 else left
        watch.see(Moment(Picture(number * 0.5, shown), moving if 1 < number < 5 else (), Costs()))
    man = [t for t in watch.tracks() if covered(t.points[0].box, moving[0].grown(0.2)) > 0.8]
    assert max(track.last_s for track in man) == pytest.approx(2.0)


def test_a_feed_goes_on_where_the_capture_before_ended(
    picture: Image, yolo_model: InstalledModel
) -> None:
    detector = YoloDetector(yolo_model)
    before = detector.watch(info_of(picture), None)
    for number in range(10):
        before.see(Moment(Picture(number * 0.5, picture), (), Costs()))
    costs = Costs()
    after = detector.watch(info_of(picture), Carried(before.carried(5.0), gap_s=0.5))
    for number in range(6):
        after.see(Moment(Picture(number * 0.5, picture), (), costs))
    buses = [track for track in after.tracks() if track.label is Label.BUS]
    assert min(track.first_s for track in buses) == pytest.approx(-5.5, abs=0.51)
    assert max(track.last_s for track in buses) == pytest.approx(2.5)
    assert "detect" not in costs.cpu_s


@pytest.mark.parametrize(("width_px", "height_px"), [(1280, 720), (720, 1280), (333, 222)])
def test_a_box_survives_the_letterbox(
    width_px: int, height_px: int, yolo_model: InstalledModel
) -> None:
    across, down = BoxNetwork(yolo_model, BoxConfig(score_min=0.1, overlap_max=0.6), {}).input_for(
        width_px, height_px
    )
    assert max(across, down) == 640
    assert min(across, down) % 32 == 0
    box = _Letterbox(width_px, height_px, min(across / width_px, down / height_px), across, down)
    image = np.zeros((height_px, width_px, 3), np.uint8)
    image[height_px // 4 : height_px // 2, width_px // 4 : width_px // 2] = 255
    filled: NDArray[np.float32] = box.fill(image)
    assert filled.shape == (1, 3, down, across)
    rows, columns = np.nonzero(filled[0, 0] > 0.9)
    corners = np.array(
        [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.float32
    )
    found = box.unfill(corners) / np.array([width_px, height_px] * 2)
    assert iou(Box(*found.tolist()), Box(0.25, 0.25, 0.5, 0.5)) > 0.95
