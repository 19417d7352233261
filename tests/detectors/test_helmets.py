"""Bare heads: whose head is looked at, where it is, and what the shipped classifier says of it."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame

from detectors import helmets
from detectors.cascade import Cascade
from detectors.crops import CropClassifier
from detectors.detector import Costs, Moment, Tracked
from detectors.helmets import HelmetConfig, HelmetDetector, head_of, is_readable
from detectors.models import InstalledModel
from detectors.yolo import YoloDetector
from enforcement.footage import Label, Observation, Track
from enforcement.geometry import Box, Point
from enforcement.places import Zone, ZonePurpose
from enforcement.rules import Finding, find
from media.encoding import write_h264
from media.footage import FootageInfo, Frame, Image
from settings.catalog import SHIPPED_CATALOG, load_catalog

CONFIG = HelmetConfig()
WIDTH, HEIGHT = 486, 648
ASPECT = WIDTH / HEIGHT
MAN = Box(0.07, 0.37, 0.30, 0.84)
"""The man at the left of the picture."""
YELLOW, WHITE, BLUE = (60, 220, 250), (250, 250, 250), (230, 90, 40)


@pytest.fixture(scope="module")
def street() -> Image:
    """The picture of a bus and bareheaded people that Ultralytics ships."""
    package = importlib.util.find_spec("ultralytics")
    assert package is not None
    assert package.origin is not None
    read = cv2.imread(str(Path(package.origin).parent / "assets" / "bus.jpg"))
    assert read is not None
    return np.asarray(cv2.resize(read, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture(scope="module")
def classifier() -> CropClassifier:
    return CropClassifier.heads()


def with_helmet(image: Image, person: Box, colour: tuple[int, int, int]) -> Image:
    """The person with a painted helmet on."""
    worn = image.copy()
    head = head_of(person, CONFIG, ASPECT)
    side = head.width * WIDTH
    x, y = round(head.centre.x * WIDTH), round(head.top * HEIGHT + 0.45 * side)
    darker = tuple(0.85 * value for value in colour)
    cv2.ellipse(worn, (x, y), (round(0.42 * side), round(0.5 * side)), 0, 180, 360, colour, -1)
    cv2.ellipse(worn, (x, y), (round(0.5 * side), round(0.1 * side)), 0, 0, 360, darker, -1)
    return worn


def seen_by_both(
    path: Path, image: Image, yolo: InstalledModel, heads: CropClassifier
) -> Observation:
    """What is seen of four seconds of the picture, which trembles a little."""

    def pictures() -> Iterator[tuple[float, VideoFrame]]:
        for number in range(40):
            shown = np.ascontiguousarray(np.roll(image, number % 3, axis=1))
            yield number / 10, VideoFrame.from_ndarray(shown, format="bgr24")

    write_h264(path, pictures(), 10.0)
    looks = Cascade([HelmetDetector(heads), YoloDetector(yolo)]).look(path, "c")
    return next(one for one in looks.observations if one.model == helmets.MODEL)


def alarms(seen: Observation) -> tuple[Finding, ...]:
    """What the shipped rule makes of it around the man."""
    (rule,) = (r for r in load_catalog(SHIPPED_CATALOG).current_rules if r.kind == "no_helmet")
    around = (Point(0.0, 0.5), Point(0.26, 0.5), Point(0.26, 1.0), Point(0.0, 1.0))
    zone = Zone(zone_id="z", purpose=ZonePurpose.HELMETS_REQUIRED, polygon=around)
    return find(rule, (zone,), (seen,))


def the_man(seen: Observation) -> Track:
    (track,) = (one for one in seen.tracks if one.points[0].box.left < 0.15)
    return track


def test_a_bare_head_in_the_zone_is_an_alarm(
    street: Image, yolo_model: InstalledModel, classifier: CropClassifier, tmp_path: Path
) -> None:
    seen = seen_by_both(tmp_path / "bare.mp4", street, yolo_model, classifier)
    man = the_man(seen)
    assert man.label is Label.PERSON
    assert man.score > 0.8
    assert man.traits["looks"] == man.traits["bare"] == len(man.points) >= 6
    (finding,) = alarms(seen)
    assert finding.score > 0.8


@pytest.mark.parametrize("colour", [YELLOW, WHITE, BLUE])
def test_a_worn_helmet_is_none(
    colour: tuple[int, int, int],
    street: Image,
    yolo_model: InstalledModel,
    classifier: CropClassifier,
    tmp_path: Path,
) -> None:
    worn = with_helmet(street, MAN, colour)
    seen = seen_by_both(tmp_path / "worn.mp4", worn, yolo_model, classifier)
    assert the_man(seen).traits["bare"] == 0
    assert alarms(seen) == ()


def test_a_helmet_in_the_hand_is_not_worn(
    street: Image, yolo_model: InstalledModel, classifier: CropClassifier, tmp_path: Path
) -> None:
    carried = with_helmet(street, MAN._replace(top=0.58), YELLOW)
    assert alarms(seen_by_both(tmp_path / "hand.mp4", carried, yolo_model, classifier))


def test_the_digest_covers_classifier_and_source(classifier: CropClassifier) -> None:
    detector = HelmetDetector(classifier)
    assert detector.model_digest != classifier.digest
    assert detector.after == ("yolov8n-coco",)


# Where the head is


def test_the_head_is_a_square_at_the_middle_of_the_top() -> None:
    head = head_of(Box(0.4, 0.2, 0.6, 0.8), CONFIG, aspect=2.0)
    assert head == pytest.approx(Box(0.458, 0.2, 0.542, 0.368))
    around = head_of(Box(0.4, 0.2, 0.6, 0.8), CONFIG, aspect=2.0, factor=1.6)
    assert around == pytest.approx(Box(0.4328, 0.1496, 0.5672, 0.4184))


def test_a_head_at_the_edge_is_cut_at_the_edge() -> None:
    assert head_of(Box(0.0, 0.0, 0.1, 0.5), CONFIG, aspect=1.0, factor=3.0)[:2] == (0.0, 0.0)


# Whose head can be read


def person(box: Box, number: int = 1, score: float = 0.8) -> Tracked:
    return Tracked(number, Label.PERSON, box, score)


UPRIGHT = Box(0.40, 0.30, 0.50, 0.60)


def readable(one: Tracked, *others: Tracked, width_px: int = 1000, **changes: Any) -> bool:
    return is_readable(one, [one, *others], HelmetConfig(**changes), 1.0, width_px)


@pytest.mark.parametrize(
    ("what", "others"),
    [
        ("alone", ()),
        ("somebody behind, beside the head", (person(Box(0.44, 0.25, 0.60, 0.55), 2),)),
        ("somebody nearer, at the legs", (person(Box(0.40, 0.40, 0.50, 0.80), 2),)),
        ("somebody elsewhere", (person(Box(0.70, 0.30, 0.80, 0.60), 2),)),
    ],
)
def test_a_head_that_is_in_the_clear_is_read(what: str, others: tuple[Tracked, ...]) -> None:
    assert readable(person(UPRIGHT), *others), what


@pytest.mark.parametrize(
    ("why", "one", "others"),
    [
        ("too weak", person(UPRIGHT, score=0.49), ()),
        ("cut off above", person(Box(0.40, 0.005, 0.50, 0.30)), ()),
        ("cut off at the left", person(Box(0.0, 0.30, 0.10, 0.60)), ()),
        ("cut off at the right", person(Box(0.90, 0.30, 1.0, 0.60)), ()),
        ("bent or seen in part", person(Box(0.40, 0.30, 0.60, 0.59)), ()),
        ("a strip", person(Box(0.40, 0.30, 0.45, 0.56)), ()),
        ("behind somebody nearer", person(UPRIGHT), (person(Box(0.44, 0.25, 0.60, 0.70), 2),)),
        ("head to head", person(UPRIGHT), (person(Box(0.41, 0.31, 0.50, 0.58), 2),)),
    ],
)
def test_a_head_that_is_not_in_the_clear_is_unclear(
    why: str, one: Tracked, others: tuple[Tracked, ...]
) -> None:
    assert not readable(one, *others), why


@pytest.mark.parametrize(("width_px", "clear"), [(381, True), (380, False)])
def test_a_head_of_16_pixels_is_read_and_a_smaller_one_is_not(width_px: int, clear: bool) -> None:
    assert readable(person(UPRIGHT), width_px=width_px) is clear


# How often


class Watching:
    """Shows the street with its man again and again."""

    def __init__(self, street: Image, classifier: CropClassifier) -> None:
        info = FootageInfo(WIDTH, HEIGHT, 5.0, 60.0, None, "h264", "video/mp4", None)
        self.watch = HelmetDetector(classifier).watch(info, None)
        self._street = street

    def show(
        self, times_s: Iterator[float] | list[float], people: Callable[[float], list[Tracked]]
    ) -> None:
        for t_s in times_s:
            frame = Frame(t_s, VideoFrame.from_ndarray(self._street, format="bgr24"))
            moment = Moment(frame, None, Costs())
            moment.tracked += people(t_s)
            self.watch.see(moment)


def test_heads_are_looked_at_two_or_three_times_a_second(
    street: Image, classifier: CropClassifier
) -> None:
    watching = Watching(street, classifier)
    watching.show([number / 25 for number in range(50)], lambda _: [person(MAN)])
    (track,) = watching.watch.tracks()
    assert 4 <= len(track.points) <= 6
    assert track.points[0].box == MAN


def test_unclear_looks_are_counted_and_say_nothing(
    street: Image, classifier: CropClassifier
) -> None:
    watching = Watching(street, classifier)
    clear, cut_off = person(MAN), person(MAN._replace(top=0.0))
    watching.show([n / 2 for n in range(6)], lambda t_s: [clear if t_s < 1 else cut_off])
    (track,) = watching.watch.tracks()
    assert (track.traits["looks"], track.traits["unclear"]) == (2, 4)
    unseen = Watching(street, classifier)
    unseen.show([0.0, 1.0], lambda _: [cut_off])
    assert unseen.watch.tracks() == ()


def test_a_head_and_its_mirror_image_get_the_same_answer(
    street: Image, classifier: CropClassifier
) -> None:
    crop = street[230:290, 60:120]
    assert helmets.bare(classifier, [crop]) == pytest.approx(
        helmets.bare(classifier, [np.ascontiguousarray(crop[:, ::-1])]), abs=1e-6
    )
