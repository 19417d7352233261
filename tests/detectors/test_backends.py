"""Whatever runs a network, the same picture gives the same boxes; a worse network is refused."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import openvino  # type: ignore[import-untyped]
import pytest
import ultralytics
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from detectors import models
from detectors.backends import open_session
from detectors.inference import BoxConfig, Boxes, BoxNetwork, letterboxed
from detectors.models import Conversion, InstalledModel, converted
from detectors.quantize import agreement, checked
from detectors.yolo import YoloDetector
from enforcement.errors import ModelError
from enforcement.footage import Label
from media.encoding import write_h264
from media.footage import Image
from tests.detectors.footage import observed

INPUT_PX = (480, 640)
# Quantising takes a minute or two where that was not done before.
pulls_int8 = (pytest.mark.slow, pytest.mark.timeout(600))
OTHERS = [
    pytest.param("yolov8n-coco-bf16"),
    pytest.param("yolov8n-coco-int8", marks=pulls_int8),
    pytest.param("yolov8n-coco-onnx"),
]


@pytest.fixture(scope="module")
def bus() -> Image:
    """Four people and a bus, in a picture that is 810 × 1080."""
    image = cv2.imread(str(Path(ultralytics.__file__).parent / "assets" / "bus.jpg"))
    assert image is not None
    return np.asarray(image, np.uint8)


def pulled(name: str, yolo_model: InstalledModel) -> InstalledModel:
    """That entry, beside the one that the tests share; skips where its packages are missing."""
    for package in models.entry_of(name).converted_with:
        pytest.importorskip(package)
    if name == "yolov8n-coco-onnx":
        pytest.importorskip("onnxruntime")
    return models.pull(name, yolo_model.path.parents[2])


def boxes(model: InstalledModel, image: Image) -> Boxes:
    network = BoxNetwork(model, BoxConfig(score_min=0.25, overlap_max=0.6), {0: 0, 5: 1})
    return network.detect(image, INPUT_PX)


def raw(model: InstalledModel, image: Image, runs: int = 1) -> NDArray[np.float32]:
    """The network's last output in a session of its own."""
    session = open_session(model, threads=1)
    return [session.infer(letterboxed(image, INPUT_PX)) for _ in range(runs)][-1]


def test_onnx_runtime_and_openvino_agree_in_f32(yolo_model: InstalledModel, bus: Image) -> None:
    there, here = boxes(pulled("yolov8n-coco-onnx", yolo_model), bus), boxes(yolo_model, bus)
    assert list(there.classes) == list(here.classes)
    assert set(here.classes) == {0, 5}
    assert np.abs(there.xyxy - here.xyxy).max() <= 1
    assert np.abs(there.scores - here.scores).max() <= 1e-3


@pytest.mark.parametrize("name", ["yolov8n-coco", *OTHERS])
def test_the_same_picture_gives_the_same_again(
    name: str, yolo_model: InstalledModel, bus: Image
) -> None:
    model = pulled(name, yolo_model)
    once = raw(model, bus)
    assert np.array_equal(once, raw(model, bus, runs=2)), "in the same session and in another one"
    assert once.shape == (1, 84, 6300)


@pytest.mark.parametrize("name", ["yolov8n-coco", *OTHERS])
def test_sizes_in_between_change_nothing(name: str, yolo_model: InstalledModel, bus: Image) -> None:
    session = open_session(pulled(name, yolo_model), threads=1)
    first = session.infer(letterboxed(bus, (256, 256)))
    session.infer(letterboxed(bus, (640, 384)))
    assert np.array_equal(first, session.infer(letterboxed(bus, (256, 256))))


@pytest.mark.parametrize("name", OTHERS)
def test_each_finds_the_bus_and_its_people(
    name: str, yolo_model: InstalledModel, bus: Image
) -> None:
    found = boxes(pulled(name, yolo_model), bus)
    strong = found[found.scores >= 0.7]
    assert sorted(strong.classes) == [0, 0, 0, 5]


@pytest.fixture(scope="module")
def passing(tmp_path_factory: pytest.TempPathFactory, bus: Image) -> Path:
    """Two seconds in which that picture passes by."""
    small = np.asarray(cv2.resize(bus, (486, 648)), np.uint8)

    def frames() -> Iterator[tuple[float, VideoFrame]]:
        for number in range(20):
            image = np.ascontiguousarray(np.roll(small, -number, axis=1))
            yield number / 10, VideoFrame.from_ndarray(image, format="bgr24")

    path = tmp_path_factory.mktemp("passing") / "passing.mp4"
    write_h264(path, frames(), 10.0)
    return path


@pytest.mark.parametrize("name", ["yolov8n-coco", *OTHERS])
def test_the_same_capture_gives_the_same_observation_again(
    name: str, yolo_model: InstalledModel, passing: Path
) -> None:
    model = pulled(name, yolo_model)
    seen = observed(YoloDetector(model), passing)
    assert seen == observed(YoloDetector(model), passing)
    assert (seen.model, seen.model_digest) == (name, model.digest)
    assert {track.label for track in seen.tracks} >= {Label.PERSON, Label.BUS}


def test_bf16_and_f32_are_told_apart_by_their_digests(
    yolo_model: InstalledModel, bus: Image
) -> None:
    fast = pulled("yolov8n-coco-bf16", yolo_model)
    assert fast.digest != yolo_model.digest
    assert fast.path.with_suffix(".bin").read_bytes() == (
        yolo_model.path.with_suffix(".bin").read_bytes()
    ), "the weights are the same"
    assert not np.array_equal(raw(fast, bus), raw(yolo_model, bus)), "what they give is not"


def test_an_onnx_file_does_not_tell_when_it_was_made(yolo_model: InstalledModel) -> None:
    network = pytest.importorskip("onnx").load(pulled("yolov8n-coco-onnx", yolo_model).path)
    assert not network.metadata_props, "else every pull would give another digest"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_card_of_a_quantised_network_tells_how_it_was_checked(
    yolo_model: InstalledModel,
) -> None:
    card = pulled("yolov8n-coco-int8", yolo_model).card
    assert card.agreement is not None
    assert card.agreement.boxes >= 100
    assert card.agreement.missed <= 0.05 * card.agreement.boxes
    assert set(card.tools) == {"ultralytics", "torch", "openvino", "nncf"}


@pytest.fixture
def spoilt(yolo_model: InstalledModel, tmp_path: Path) -> InstalledModel:
    """The network with the weights of its first layer turned into their negatives."""
    network = openvino.Core().read_model(yolo_model.xml)
    first = next(op for op in network.get_ordered_ops() if op.get_type_name() == "Convolution")
    weights = first.input_value(1)
    factor = openvino.opset13.constant(np.float32(-1))
    first.input(1).replace_source_output(openvino.opset13.multiply(weights, factor).output(0))
    openvino.save_model(network, tmp_path / "model.xml", compress_to_fp16=False)
    return converted(yolo_model.entry, tmp_path, Conversion(tools={}))


def test_a_network_that_finds_something_else_is_refused(
    spoilt: InstalledModel, yolo_model: InstalledModel, bus: Image
) -> None:
    same = checked(yolo_model, yolo_model, [bus])
    assert (same.missed, same.additional) == (0, 0)
    assert same.boxes >= 4
    with pytest.raises(ModelError, match=r"differs too much from f32: of \d boxes in 1 pictures"):
        checked(yolo_model, spoilt, [bus])


def test_a_check_in_which_nothing_was_to_be_found_is_none(yolo_model: InstalledModel) -> None:
    nothing = np.full((360, 640, 3), 90, np.uint8)
    with pytest.raises(ModelError, match="finds nothing"):
        checked(yolo_model, yolo_model, [nothing])


def some(*rows: tuple[float, float, int]) -> Boxes:
    """Boxes 100 pixels wide and high, each by its left edge, score and class."""
    return Boxes(
        np.array([(left, 0, left + 100, 100) for left, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([number for _, _, number in rows], np.intp),
    )


@pytest.mark.parametrize(
    ("exact", "candidate", "missed", "additional"),
    [
        (some((0, 0.45, 0)), some((10, 0.32, 0)), 0, 0),
        (some((0, 0.45, 0)), some((30, 0.45, 0)), 1, 1),
        (some((0, 0.45, 0)), some((0, 0.45, 2)), 1, 1),
        (some((0, 0.45, 0)), some((0, 0.28, 0)), 1, 0),
        (some((0, 0.45, 0)), some(), 1, 0),
        (some((0, 0.30, 0)), some((0, 0.42, 0)), 0, 0),
        (some((0, 0.30, 0)), some(), 0, 0),
        (some(), some((0, 0.42, 0)), 0, 1),
    ],
)
def test_boxes_are_the_same_if_place_class_and_score_are(
    exact: Boxes, candidate: Boxes, missed: int, additional: int
) -> None:
    found = agreement([(exact, candidate)])
    assert (found.missed, found.additional) == (missed, additional)


@pytest.mark.parametrize(
    ("name", "package"), [("yolov8n-coco-onnx", "onnx"), ("yolov8n-coco-int8", "nncf")]
)
def test_a_pull_without_the_packages_it_takes_says_so_before_it_downloads(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    said: list[str] = []
    with pytest.raises(
        ModelError, match=rf'{package} is not .*pip install "sightline\[backends\]"'
    ):
        models.pull(name, tmp_path, said.append)
    assert said == []
    assert list(tmp_path.iterdir()) == []


def test_what_was_converted_for_another_backend_is_not_this_model(
    yolo_model: InstalledModel, tmp_path: Path
) -> None:
    home = tmp_path / "yolov8n-coco-bf16" / yolo_model.card.source_sha256
    shutil.copytree(yolo_model.path.parent, home)
    with pytest.raises(ModelError, match="is openvino-f32: run `sightline models pull yolov8n"):
        models.installed("yolov8n-coco-bf16", tmp_path)


def test_onnx_runtime_that_is_not_installed_says_so(
    yolo_model: InstalledModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = models.entry_of("yolov8n-coco-onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r'onnxruntime is not .*"sightline\[backends\]"'):
        open_session(InstalledModel(entry, yolo_model.card, yolo_model.path), threads=1)


def test_a_file_that_is_no_network_is_a_model_error(
    yolo_model: InstalledModel, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    for name, file in (("yolov8n-coco-onnx", "model.onnx"), ("yolov8n-coco", "model.xml")):
        (tmp_path / file).write_bytes(b"no network")
        model = InstalledModel(models.entry_of(name), yolo_model.card, tmp_path / file)
        with pytest.raises(ModelError, match="cannot load"):
            open_session(model, threads=1)


def test_what_builds_on_openvino_layers_refuses_another_format(
    yolo_model: InstalledModel, tmp_path: Path
) -> None:
    entry = models.entry_of("yolov8n-coco-onnx")
    with pytest.raises(ModelError, match="onnx-f32"):
        _ = InstalledModel(entry, yolo_model.card, tmp_path / "model.onnx").xml


def test_a_pull_without_names_leaves_the_other_backends_out() -> None:
    assert models.needed() == ["yolov8-flames", "yolov8n-coco"]


@pytest.mark.parametrize("name", OTHERS)
def test_another_backend_is_pulled_when_asked_for_and_differs_in_nothing_else(name: str) -> None:
    default = models.entry_of("yolov8n-coco")
    assert not default.optional
    entry = models.entry_of(name)
    assert entry.optional
    changed = {"name", "title", "export", "optional"}
    assert entry.model_dump(exclude=changed) == default.model_dump(exclude=changed)
