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
from supervision import Detections

from detectors.models import InstalledModel
from detectors.yolo import YoloConfig, YoloDetector, _GroupTracking, _Letterbox, _numbered
from enforcement.errors import BadFootage
from enforcement.footage import Label, Observation
from enforcement.geometry import Box, iou
from media.encoding import write_h264

LABELS = {0: Label.PERSON, 2: Label.CAR, 7: Label.TRUCK}
VEHICLES = frozenset({Label.CAR, Label.TRUCK})


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of the picture of a bus and people that Ultralytics ships, slowly moving."""
    package = importlib.util.find_spec("ultralytics")
    assert package is not None
    assert package.origin is not None
    picture = cv2.imread(str(Path(package.origin).parent / "assets" / "bus.jpg"))
    assert picture is not None
    small = cv2.resize(picture, (486, 648))
    path = tmp_path_factory.mktemp("street") / "street.mp4"

    def pictures() -> Iterator[tuple[float, VideoFrame]]:
        for number in range(30):
            image = np.roll(np.asarray(small, np.uint8), -number // 2, axis=1)
            yield (
                number / 10,
                VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24"),
            )

    write_h264(path, pictures(), 10.0)
    return path


@pytest.fixture(scope="session")
def seen(street: Path, yolo_model: InstalledModel) -> Observation:
    return YoloDetector(yolo_model).observe(street, "c")


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
    assert seen.config_digest == YoloConfig().digest != YoloConfig(score_start=0.5).digest
    assert Observation.model_validate_json(seen.model_dump_json()) == seen


def test_the_same_file_gives_the_same_observation_again(
    street: Path, seen: Observation, yolo_model: InstalledModel
) -> None:
    detector = YoloDetector(yolo_model)
    assert detector.observe(street, "c") == seen
    assert detector.observe(street, "c") == seen  # nothing is carried over between captures


def test_points_of_a_track_are_never_further_apart_than_half_a_second_while_seen(
    seen: Observation,
) -> None:
    bus = max(seen.tracks, key=lambda track: track.points[0].box.area)
    assert max(np.diff([point.t_s for point in bus.points])) <= 0.501


def test_progress_runs_to_the_end(street: Path, yolo_model: InstalledModel) -> None:
    shares: list[float] = []
    YoloDetector(yolo_model).observe(street, "c", shares.append)
    assert shares == sorted(shares)
    assert shares[-1] > 0.9


def test_what_is_no_footage_is_bad_footage(tmp_path: Path, yolo_model: InstalledModel) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no footage")
    with pytest.raises(BadFootage):
        YoloDetector(yolo_model).observe(path, "c")


def one(box_px: tuple[float, ...], number: int, score: float = 0.8) -> Detections:
    return Detections(
        xyxy=np.array([box_px], np.float32),
        confidence=np.array([score], np.float32),
        class_id=np.array([number]),
    )


def followed(steps: Sequence[Detections | None]) -> _GroupTracking:
    box = _Letterbox.fitting(640, 640, 640, 32)
    tracking = _GroupTracking(VEHICLES, LABELS, box, YoloConfig())
    for number, found in enumerate(steps):
        tracking.update(Detections.empty() if found is None else found, number * 0.2)
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


@pytest.mark.parametrize(("width_px", "height_px"), [(1280, 720), (720, 1280), (333, 222)])
def test_a_box_survives_the_letterbox(width_px: int, height_px: int) -> None:
    box = _Letterbox.fitting(width_px, height_px, 640, 32)
    image = np.zeros((height_px, width_px, 3), np.uint8)
    image[height_px // 4 : height_px // 2, width_px // 4 : width_px // 2] = 255
    filled: NDArray[np.float32] = box.fill(image)
    assert filled.shape[0] == 1
    assert max(filled.shape[2:]) == 640
    assert min(filled.shape[2:]) % 32 == 0
    rows, columns = np.nonzero(filled[0, 0] > 0.9)
    found = np.array(
        [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.float32
    )
    assert iou(box.unfill(found), Box(0.25, 0.25, 0.5, 0.5)) > 0.95
