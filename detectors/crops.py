"""What a small cut-out of a picture shows: a helmet or none; waste, a person, a vehicle or other.

Two classifiers with one face. The one for heads is a small network of its own. The one for blobs
puts a small trained head on the first layers of the person and vehicle detector that the machine
holds anyway, so only that head is shipped. Both answer with calibrated probabilities, run in f32
on one thread and see one crop at a time: the same crop gives the same answer in whatever batch.

Their weights, with the figures measured on held-out pictures, lie in ``weights/`` beside this
module and are made by ``detectors.training``.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino  # type: ignore[import-untyped]
from numpy.typing import NDArray
from openvino import opset13 as ops
from pydantic import ValidationError

from detectors.models import InstalledModel
from enforcement.errors import ModelError
from enforcement.model import Record, Sha256
from media.footage import Image

WEIGHTS_DIR = Path(__file__).with_name("weights")

HEAD_CLASSES = ("helmet", "no_helmet")
BLOB_CLASSES = ("waste", "person", "vehicle", "other")

HEAD_PX, BLOB_PX = 64, 128
"""Side of the square that each network sees."""

SMALLEST_PX = 4
"""A crop must have at least this many pixels a side."""

_LAYERS = ("model.4", "model.6", "model.9")
"""Layers of YOLOv8 whose outputs describe a blob: strides 8, 16 and 32 (64 + 128 + 256 maps)."""


class WeightsCard(Record):
    """What the ``.json`` beside the weights says."""

    name: str
    classes: tuple[str, ...]
    digest: Sha256
    """SHA-256 over the weight files in the order in which they are listed."""
    files: tuple[str, ...]
    licence: str
    figures: dict[str, Any]
    """Rows trained on, and what was measured on rows held out."""


class CropClassifier:
    """Probabilities of the classes for each crop; made by `heads` or `blobs`.

    The weights are verified at once and loaded with the first crop.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        digest: str,
        side_px: int,
        network: Callable[[], openvino.Model],
    ) -> None:
        self.classes = classes
        self.digest = digest
        self._side_px = side_px
        self._network = network

    @classmethod
    def heads(cls, weights_dir: Path = WEIGHTS_DIR) -> "CropClassifier":
        """Helmet or none, for a head with its surroundings (1.6 times the head's box).

        Raises ModelError when the weights are missing or not those that the card names.
        """
        card, (xml, weights) = _verified("heads", HEAD_CLASSES, weights_dir)
        return cls(HEAD_CLASSES, card.digest, HEAD_PX, lambda: _read_network(xml, weights))

    @classmethod
    def blobs(cls, backbone: InstalledModel, weights_dir: Path = WEIGHTS_DIR) -> "CropClassifier":
        """Waste, person, vehicle or other, for a blob with its surroundings (1.3 times its box).

        ``backbone`` is the pulled ``yolov8n-coco``. Raises ModelError as `heads` does; a backbone
        without the layers needed is refused with the first crop.
        """
        card, (arrays,) = _verified("blobs", BLOB_CLASSES, weights_dir)
        digest = hashlib.sha256(f"{card.digest} {backbone.digest}".encode()).hexdigest()
        return cls(
            BLOB_CLASSES,
            digest,
            BLOB_PX,
            lambda: with_head(features_network(backbone.xml), _read_arrays(arrays)),
        )

    def classify(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        """``N`` crops ``(H, W, 3)`` uint8 BGR of any size from 4 × 4 on → ``(N, classes)``.

        Rows sum to 1; a crop is stretched to the network's square.
        """
        rows = [self._compiled([network_input(crop, self._side_px)])[0] for crop in crops]
        if not rows:
            return np.empty((0, len(self.classes)), np.float32)
        return np.concatenate(rows).astype(np.float32)

    @cached_property
    def _compiled(self) -> openvino.CompiledModel:
        return compiled(self._network())


def network_input(crop: Image, side_px: int) -> NDArray[np.float32]:
    """A crop → ``(1, 3, side, side)`` float32 RGB in [0, 1]. Raises ValueError for no picture."""
    if crop.ndim != 3 or crop.shape[2] != 3 or min(crop.shape[:2]) < SMALLEST_PX:
        raise ValueError(f"a crop is (H, W, 3) with sides of at least {SMALLEST_PX} px")
    shrinks = min(crop.shape[:2]) > side_px
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    square = cv2.resize(crop, (side_px, side_px), interpolation=how)
    return np.asarray(cv2.dnn.blobFromImage(square, 1 / 255, swapRB=True), np.float32)


def compiled(network: openvino.Model) -> openvino.CompiledModel:
    """The network ready to run in f32 on one thread."""
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return openvino.Core().compile_model(network, "CPU", options)


def features_network(xml: Path) -> openvino.Model:
    """The detector cut behind its first layers: a square crop → ``(1, 896)`` numbers.

    They are mean and maximum of every map of the three layers. What follows those layers is
    neither loaded nor computed. Raises ModelError when the layers are not there.
    """
    network = _read_network(xml, xml.with_suffix(".bin"))
    try:
        network.reshape([1, 3, BLOB_PX, BLOB_PX])
    except RuntimeError as error:
        raise ModelError(f"the backbone takes no pictures of {BLOB_PX} px") from error
    axes = ops.constant([2, 3], np.int64)
    pooled = []
    for maps in _layer_outputs(network):
        pooled += [ops.reduce_mean(maps, axes), ops.reduce_max(maps, axes)]
    return openvino.Model([ops.concat(pooled, 1)], network.get_parameters(), "features")


def with_head(features: openvino.Model, arrays: dict[str, NDArray[np.float32]]) -> openvino.Model:
    """The features followed by the trained layers ``weight0, bias0, weight1, …`` and softmax.

    Weights are ``(in, out)``. Raises ModelError when the arrays don't fit.
    """
    node = features.get_results()[0].input_value(0).get_node()
    depth = len(arrays) // 2
    try:
        for layer in range(depth):
            node = ops.matmul(node, ops.constant(arrays[f"weight{layer}"]), False, False)
            node = ops.add(node, ops.constant(arrays[f"bias{layer}"]))
            if layer + 1 < depth:
                node = ops.relu(node)
    except (KeyError, RuntimeError) as error:
        raise ModelError("the trained layers don't fit the backbone's features") from error
    if list(node.get_output_partial_shape(0).to_shape()) != [1, len(BLOB_CLASSES)]:
        raise ModelError("the trained layers don't end in the classes")
    return openvino.Model([ops.softmax(node, 1)], features.get_parameters(), "blobs")


def weights_digest(files: Sequence[Path]) -> str:
    """SHA-256 over the files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _verified(
    name: str, classes: tuple[str, ...], weights_dir: Path
) -> tuple[WeightsCard, tuple[Path, ...]]:
    """The card of these weights and their files, found to be the ones that it names."""
    try:
        card = WeightsCard.model_validate_json((weights_dir / f"{name}.json").read_bytes())
        files = tuple(weights_dir / file for file in card.files)
        found = weights_digest(files)
    except (OSError, ValidationError) as error:
        raise ModelError(f"the {name} classifier's weights in {weights_dir} are missing") from error
    if found != card.digest or card.classes != classes:
        raise ModelError(f"the {name} classifier's weights in {weights_dir} fail their digest")
    return card, files


def _read_network(xml: Path, weights: Path) -> openvino.Model:
    try:
        return openvino.Core().read_model(xml, weights)
    except RuntimeError as error:
        raise ModelError(f"{xml.name} cannot be read as a network") from error


def _read_arrays(file: Path) -> dict[str, NDArray[np.float32]]:
    try:
        with np.load(BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name], np.float32) for name in arrays.files}
    except (OSError, ValueError) as error:
        raise ModelError(f"{file.name} holds no arrays") from error


def _layer_outputs(network: openvino.Model) -> list[openvino.Output]:
    """What each of the layers gives: the activation behind its last convolution."""
    nodes = {node.get_friendly_name(): node for node in network.get_ops()}
    outputs = []
    for layer in _LAYERS:
        last = nodes.get(f"__module.{layer}.cv2.conv/aten::_convolution/Add")
        users = [] if last is None else [use.get_node() for use in last.output(0).target_inputs]
        if [user.get_type_name() for user in users] != ["Swish"]:
            raise ModelError(f"the backbone has no layer {layer} as YOLOv8 has it")
        outputs.append(users[0].output(0))
    return outputs
