"""Makes a network of whole numbers (INT8), and refuses it unless it finds what f32 finds.

Quantising needs to see pictures, and so does the check; both are rendered here, from the demo
scenes. Part of the conversion process.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import openvino  # type: ignore[import-untyped]

from detectors.inference import BoxConfig, Boxes, BoxNetwork, letterboxed
from detectors.models import (
    Agreement,
    CatalogEntry,
    Conversion,
    InstalledModel,
    converted,
    optional_package,
)
from enforcement.errors import ModelError
from media.footage import Image
from media.scenes import SCENES, pictures

_SEEN, _UNSEEN = slice(6, None, 24), slice(2, None, 8)
"""Which of a scene's pictures are taken to quantise, and which others to check."""

FOUND_SCORE = 0.4
"""A box that begins a track: one that a network must not miss, nor find alone."""
SAME_IOU, SAME_SCORE = 0.7, 0.15
"""Two boxes are the same thing if they overlap so much and their scores differ by no more."""
DIFFERING_MAX = 0.05
"""So many may be missed, and so many additional, as a share of the boxes that f32 finds."""


def quantize(exact: InstalledModel, entry: CatalogEntry, target_dir: Path) -> Agreement:
    """Write the quantised network of ``entry`` into the folder if it agrees with the exact one.

    Raises ModelError that tells the figures if it doesn't.
    """
    nncf = optional_package("nncf")
    shapes = BoxNetwork(exact, _CONFIG, {})
    inputs = [
        letterboxed(image, shapes.input_for(image.shape[1], image.shape[0]))
        for image in _scene_pictures(_SEEN)
    ]
    network = openvino.Core().read_model(exact.xml)
    network = nncf.quantize(
        network,
        nncf.Dataset(inputs),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(patterns=[_decoding(network)], validate=False),
    )
    target_dir.mkdir(parents=True, exist_ok=True)
    openvino.save_model(network, target_dir / "model.xml", compress_to_fp16=False)
    candidate = converted(entry, target_dir, Conversion(tools={}))
    return checked(exact, candidate, _scene_pictures(_UNSEEN))


def checked(exact: InstalledModel, candidate: InstalledModel, images: Iterable[Image]) -> Agreement:
    """How far the candidate agrees with the exact network; raises ModelError if not enough."""
    one, other = _finder(exact), _finder(candidate)
    found = agreement([(one(image), other(image)) for image in images])
    if not found.boxes:
        raise ModelError(f"{exact.name} finds nothing in the pictures that it is checked with")
    if max(found.missed, found.additional) > DIFFERING_MAX * found.boxes:
        raise ModelError(f"{candidate.name} differs too much from f32: {found}")
    return found


def agreement(pairs: Sequence[tuple[Boxes, Boxes]]) -> Agreement:
    """Compare what the exact network and the candidate found in each picture. Boxes that are too
    weak to count must be among them, down to ``FOUND_SCORE`` − ``SAME_SCORE``."""
    return Agreement(
        pictures=len(pairs),
        boxes=sum(int((exact.scores >= FOUND_SCORE).sum()) for exact, _ in pairs),
        missed=sum(_alone(exact, candidate) for exact, candidate in pairs),
        additional=sum(_alone(candidate, exact) for exact, candidate in pairs),
    )


def _alone(those: Boxes, others: Boxes) -> int:
    """How many of those that count have no counterpart among the others."""
    return sum(
        not np.any(
            (others.classes == those.classes[row])
            & (np.abs(others.scores - those.scores[row]) <= SAME_SCORE)
            & (_ious(those.xyxy[row], others.xyxy) >= SAME_IOU)
        )
        for row in np.flatnonzero(those.scores >= FOUND_SCORE)
    )


def _ious(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """``(4,)`` and ``(N, 4)`` corners → ``(N,)``."""
    corner, far = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.clip(far - corner, 0, None), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return np.asarray(shared / np.maximum(areas - shared, 1e-6))


_CONFIG = BoxConfig(score_min=FOUND_SCORE - SAME_SCORE, overlap_max=0.6)


def _finder(model: InstalledModel) -> Callable[[Image], Boxes]:
    network = BoxNetwork(model, _CONFIG, {number: number for number in model.entry.labels})

    def find(image: Image) -> Boxes:
        return network.detect(image, network.input_for(image.shape[1], image.shape[0]))

    return find


def _decoding(network: openvino.Model) -> str:
    """Pattern of the operations that turn the last layers' outcome into pixels and scores.

    256 steps are too coarse for them. They belong to the last module itself, or to its ``dfl``.
    Raises ModelError if the modules have no numbers.
    """
    names = [operation.get_friendly_name() for operation in network.get_ops()]
    modules = [int(found[1]) for name in names if (found := _MODULE.match(name))]
    if not modules:
        raise ModelError("a network without numbered modules can't be quantised")
    return rf"__module\.model\.{max(modules)}(\.dfl[^/]*)?/.*"


_MODULE = re.compile(r"__module\.model\.(\d+)")


def _scene_pictures(which: slice) -> Iterator[Image]:
    for scene in SCENES.values():
        for _, picture in islice(pictures(scene), which.start, None, which.step):
            yield picture
