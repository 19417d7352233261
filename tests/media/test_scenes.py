"""Facts about the rendered demo scenes: their truth is what the pixels show."""

import subprocess
import sys
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from enforcement.errors import ConfigurationError, StoreUnavailable
from enforcement.geometry import Box, contains, covered
from media.footage import Image, frame_at, frames, probe
from media.scenes import FPS, SCENES, SceneTruth, pictures, render

HEIGHT_PX, WIDTH_PX = 720, 1280


def window(image: Image, box: Box) -> Image:
    rows = slice(round(box.top * HEIGHT_PX), round(box.bottom * HEIGHT_PX))
    return image[rows, round(box.left * WIDTH_PX) : round(box.right * WIDTH_PX)]


def change(one: Image, two: Image, box: Box) -> float:
    """Mean difference in a box, without what is only noise."""
    a, b = (cv2.GaussianBlur(window(i, box), (0, 0), 2).astype(np.float32) for i in (one, two))
    return float(np.abs(a - b).mean())


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SceneTruth]:
    """The lay-by, rendered once."""
    path = tmp_path_factory.mktemp("scenes") / "layby-bag.mp4"
    return path, render("layby-bag", path)


def test_a_rendered_scene_is_plain_footage(rendered: tuple[Path, SceneTruth]) -> None:
    path, truth = rendered
    info = probe(path)
    assert (info.width_px, info.height_px, info.codec) == (WIDTH_PX, HEIGHT_PX, "h264")
    assert info.fps == pytest.approx(FPS, abs=0.01)
    assert info.duration_s == pytest.approx(truth.duration_s, abs=0.1)
    assert [found.name for found in path.parent.iterdir()] == ["layby-bag.mp4"]


def test_the_bag_is_where_and_when_the_truth_says(rendered: tuple[Path, SceneTruth]) -> None:
    path, truth = rendered
    (event,) = truth.events
    empty, onset = frame_at(path, 2.0), frame_at(path, event.onset_s)
    late, last = frame_at(path, event.onset_s + 10), frame_at(path, event.end_s - 0.2)
    assert change(empty, frame_at(path, 6.0), event.box) < 4
    assert change(empty, onset, event.box) > 20
    assert change(empty, late, event.box) > 20
    assert change(late, last, event.box) < 4
    beside = Box(event.box.right + 0.03, event.box.top, event.box.right + 0.08, event.box.bottom)
    assert change(empty, late, beside) < 4


def test_the_bag_has_left_its_owner_by_the_end(rendered: tuple[Path, SceneTruth]) -> None:
    _, truth = rendered
    (event,) = truth.events
    assert [kind for kind, _, _ in SCENES["layby-bag"].boxes(event.onset_s)] == ["person", "bag"]
    assert [kind for kind, _, _ in SCENES["layby-bag"].boxes(20.0)] == ["bag"]
    assert truth.duration_s - event.onset_s >= 10


def test_an_onset_is_the_first_moment_of_rest() -> None:
    scene = SCENES["layby-bag"]
    (event,) = scene.truth().events

    def bag(t_s: float) -> Box:
        return next(box for kind, box, _ in scene.boxes(t_s) if kind == "bag")

    assert bag(event.onset_s - 0.3) != bag(event.onset_s)
    assert bag(event.onset_s) == bag(event.onset_s + 5) == event.box


@pytest.mark.parametrize(
    ("name", "families"),
    [
        ("layby-bag", ["left_behind"]),
        ("fire-lane-van", ["stopped_vehicle"]),
        ("closed-zone-person", ["zone_intrusion"]),
        ("quiet-yard", []),
        ("lawful-street", []),
    ],
)
def test_each_scene_holds_what_its_name_promises(name: str, families: list[str]) -> None:
    truth = SCENES[name].truth()
    assert [event.rule_family for event in truth.events] == families
    assert SceneTruth.model_validate_json(truth.model_dump_json()) == truth
    for event in truth.events:
        assert 4.0 <= event.onset_s < event.end_s <= truth.duration_s
        assert any(contains(zone.polygon, event.box.foot) for zone in truth.zones)


def test_the_vehicle_stands_long_enough_and_does_not_move() -> None:
    scene = SCENES["fire-lane-van"]
    (event,) = scene.truth().events
    assert event.end_s - event.onset_s >= 15
    ((_, first, whole),) = scene.boxes(event.onset_s)
    ((_, last, _),) = scene.boxes(event.end_s)
    ((_, coming, _),) = scene.boxes(event.onset_s - 0.5)
    ((_, leaving, _),) = scene.boxes(event.end_s + 0.5)
    assert whole
    assert first == last == event.box
    assert coming != first
    assert leaving != first


def test_the_person_is_in_the_closed_zone_for_about_eight_seconds() -> None:
    scene = SCENES["closed-zone-person"]
    (event,) = scene.truth().events
    (zone,) = scene.zones
    assert 7 <= event.end_s - event.onset_s <= 12

    def inside(t_s: float) -> bool:
        return any(contains(zone.polygon, box.foot) for _, box, _ in scene.boxes(t_s))

    assert not inside(event.onset_s - 1 / FPS)
    assert inside(event.onset_s)
    assert inside(event.end_s)
    assert not inside(event.end_s + 1 / FPS)


def test_the_lawful_bag_is_taken_away_by_the_one_who_brought_it() -> None:
    scene = SCENES["lawful-street"]
    kinds_at_end = {kind for kind, _, _ in scene.boxes(scene.duration_s - 1)}
    assert "bag" not in kinds_at_end
    for tick in range(round(scene.duration_s * 4)):
        boxes = scene.boxes(tick / 4)
        for kind, bag, _ in boxes:
            if kind == "bag":
                owners = [box for other, box, _ in boxes if other == "person"]
                assert any(covered(bag, owner.grown(1.5)) > 0.5 for owner in owners) or (
                    bag.left < 0.06 or bag.right > 0.94
                )


@pytest.mark.parametrize("name", sorted(SCENES))
def test_a_scene_is_drawn_alike_each_time_and_starts_empty(name: str) -> None:
    one, two = ([image for _, image in islice(pictures(SCENES[name]), 2)] for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert one[0].shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert (one[0] != one[1]).any()
    assert SCENES[name].boxes(0.0) == []
    assert SCENES[name].title_en
    assert SCENES[name].title_zh


def test_in_the_quiet_yard_only_light_and_leaves_move(tmp_path: Path) -> None:
    path = tmp_path / "quiet.mp4"
    render("quiet-yard", path)
    seen = [frame.image for frame in frames(path, sample_fps=0.4)]
    ground = Box(0.05, 0.55, 0.95, 0.92)
    light = [float(window(image, ground).mean()) for image in seen]
    assert 2 < max(light) - min(light) < 20
    for image, level in zip(seen, light, strict=True):
        evened = np.clip(image * (light[0] / level), 0, 255).astype(np.uint8)
        assert change(seen[0], evened, ground) < 2.5
    leaves = Box(0.78, 0.1, 0.98, 0.4)
    assert max(change(seen[0], image, leaves) for image in seen) > 5


def test_an_unknown_scene_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such-scene"):
        render("no-such-scene", tmp_path / "x.mp4")


def test_a_scene_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        render("quiet-yard", tmp_path / "missing" / "x.mp4")
    assert list(tmp_path.iterdir()) == []


def test_drawing_people_does_not_import_the_package_they_come_from() -> None:
    code = (
        "import sys, media.scenes, media.cutouts\n"
        "assert len(media.cutouts.people()) == 4\n"
        "assert not {'ultralytics', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
