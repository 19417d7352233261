"""Trains the blob classifier: ``python -m detectors.training.blobs DATA_DIR``.

The first layers of the pulled ``yolov8n-coco`` describe every crop with 896 numbers; a small head
is trained on them, one thread, seeded. Settings and calibration come from training pictures that
are held out; rows marked ``validate`` are only measured, through the run-time classifier.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from torch import nn

from detectors.crops import (
    BLOB_CLASSES,
    BLOB_PX,
    CropClassifier,
    compiled,
    features_network,
    network_input,
)
from detectors.training.archive import Crop, counts, read_crops
from detectors.training.camera import Camera
from detectors.training.figures import measured, temperature, thresholds, truth_of
from detectors.training.run import SEED, begin, put_arrays, put_weights, say
from media.footage import Image

LICENCE = "AGPL-3.0-or-later"
VIEWS = 5
"""Every training crop is described once as it is and this often as a camera shows it."""
HIDDEN = 64
EPOCHS = 24
BATCH = 128
PEAK_RATE = 2e-3

_SEEN_AS = Camera(far=0.35, far_px=(12, 48), hue=6.0, grey=0.15, turn_deg=6.0)
_FAR = Camera(far=1.0, far_px=(12, 20), shift=0.05, scale=(0.9, 1.1), hue=6.0, turn_deg=6.0)
_NIGHT = Camera(far=0.0, grey=1.0, dark=1.0, shift=0.05, scale=(0.9, 1.1), turn_deg=6.0)
_SHOWN: dict[str, Camera | None] = {"": None, "_as_far": _FAR, "_as_night": _NIGHT}

Features = NDArray[np.float32]
"""``(N, 896)``."""


def described(network: openvino.CompiledModel, images: Sequence[Image]) -> Features:
    """What the backbone says of each picture."""
    return np.concatenate([network([network_input(image, BLOB_PX)])[0] for image in images])


def described_anew(
    network: openvino.CompiledModel, crops: Sequence[Crop], views: int, rng: np.random.Generator
) -> Features:
    """The crops as they are, then ``views`` times as a camera shows them, one after the other."""
    parts = [described(network, [crop.image for crop in crops])]
    for view in range(views):
        started = time.monotonic()
        seen = [_SEEN_AS.shoot(crop.image, rng, BLOB_PX) for crop in crops]
        parts.append(described(network, seen))
        say(f"view {view + 1}/{views} described, {time.monotonic() - started:.0f} s")
    return np.concatenate(parts)


def train(features: Features, truth: NDArray[np.int64], rng: np.random.Generator) -> nn.Sequential:
    """Two layers over standardised features; every class weighs the same."""
    centre, spread = features.mean(axis=0), features.std(axis=0) + 1e-3
    first = nn.Linear(features.shape[1], HIDDEN)
    head = nn.Sequential(
        first,
        nn.ReLU(),
        nn.Dropout(0.4),
        nn.Linear(HIDDEN, len(BLOB_CLASSES)),
    )
    given, wanted = torch.from_numpy((features - centre) / spread), torch.from_numpy(truth)
    steps = EPOCHS * (len(truth) // BATCH)
    optimiser = torch.optim.AdamW(head.parameters(), lr=PEAK_RATE, weight_decay=0.1)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps)
    shares = np.bincount(truth, minlength=len(BLOB_CLASSES)) / len(truth)
    weights = torch.from_numpy((1 / shares / len(BLOB_CLASSES)).astype(np.float32))
    loss_of = nn.CrossEntropyLoss(weight=weights, label_smoothing=0.05)
    for epoch in range(EPOCHS):
        losses = []
        order = torch.from_numpy(rng.permutation(len(truth)))[: len(truth) // BATCH * BATCH]
        for chosen in order.reshape(-1, BATCH):
            picked = given[chosen]
            loss = loss_of(head(nn.functional.dropout(picked, 0.2)), wanted[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
            losses.append(loss.item())
        say(f"epoch {epoch + 1}/{EPOCHS}: loss {np.mean(losses):.4f}")
    _to_raw_features(first, centre, spread)
    return head.eval()


def arrays_of(head: nn.Sequential, degrees: float) -> dict[str, NDArray[np.float32]]:
    """The head's layers as the run-time classifier reads them, temperature included."""
    layers = [layer for layer in head if isinstance(layer, nn.Linear)]
    arrays = {}
    for at, layer in enumerate(layers):
        cooling = degrees if layer is layers[-1] else 1.0
        arrays[f"weight{at}"] = (layer.weight.detach().numpy().T / cooling).astype(np.float32)
        arrays[f"bias{at}"] = (layer.bias.detach().numpy()[None] / cooling).astype(np.float32)
    return arrays


def main() -> None:
    run = begin(__doc__)
    network = compiled(features_network(run.backbone.xml))
    crops = read_crops(run.data_dir, "blobs", ["train"])
    crops = [crop for crop in crops if crop.label in BLOB_CLASSES]
    held_out = [crop for crop in crops if crop.held_out]
    training = [crop for crop in crops if not crop.held_out]
    say(f"{len(training)} crops train, {len(held_out)} are held out")
    truth = np.tile(truth_of(training, BLOB_CLASSES), VIEWS + 1)
    head = train(described_anew(network, training, VIEWS, run.rng), truth, run.rng)
    degrees = _calibrated(head, described_anew(network, held_out, 1, run.rng), held_out)
    files = put_arrays(arrays_of(head, degrees), run.weights_dir, "blobs")
    validation = read_crops(run.data_dir, "blobs", ["validate"]) if run.validates else []

    def figures() -> dict[str, Any]:
        made = CropClassifier.blobs(run.backbone, run.weights_dir)
        return {
            "seed": SEED,
            "temperature": degrees,
            "backbone": {"name": run.backbone.name, "digest": run.backbone.digest},
            "rows_trained": counts(training),
            "rows_held_out": counts(held_out),
            "rows_validated": counts(validation),
            **_all_figures(made, held_out, validation),
        }

    put_weights(run.weights_dir, "blobs", files, BLOB_CLASSES, LICENCE, figures)


def _to_raw_features(first: nn.Linear, centre: Features, spread: Features) -> None:
    """Turn the first layer, trained on standardised features, into one for features as they are."""
    with torch.no_grad():
        first.weight.div_(torch.from_numpy(spread))
        first.bias.sub_(first.weight @ torch.from_numpy(centre))


def _calibrated(head: nn.Sequential, features: Features, held_out: Sequence[Crop]) -> float:
    """The temperature for held-out crops, half of them as they are, half as a camera shows them."""
    with torch.inference_mode():
        logits = np.asarray(head(torch.from_numpy(features)).numpy(), np.float32)
    return temperature(np.tile(truth_of(held_out, BLOB_CLASSES), 2), logits)


def _all_figures(
    made: CropClassifier, held_out: Sequence[Crop], validation: Sequence[Crop]
) -> dict[str, Any]:
    """Of held-out pictures, of other collections, and of the main collection's later pictures."""
    sets = {
        "held_out": held_out,
        "validate": [crop for crop in validation if crop.split == "val"],
        "validate_same_collection": [crop for crop in validation if crop.split == "val_in"],
    }
    figures: dict[str, Any] = {}
    for name, crops in sets.items():
        known = [crop for crop in crops if crop.label in BLOB_CLASSES]
        for how, seen_as in _SHOWN.items():
            figures[f"{name}{how}"] = _measured(made, known, seen_as) if known else None
    overflowing = [crop.image for crop in validation if crop.label == "overflow_bin"]
    if overflowing:
        taken_for = made.classify(overflowing).argmax(axis=1)
        figures["overflow_bin_taken_for"] = {
            name: int((taken_for == at).sum()) for at, name in enumerate(BLOB_CLASSES)
        }
    return figures


def _measured(
    made: CropClassifier, crops: Sequence[Crop], seen_as: Camera | None
) -> dict[str, Any]:
    rng = np.random.default_rng(SEED + 1)
    images = [
        crop.image if seen_as is None else seen_as.shoot(crop.image, rng, BLOB_PX) for crop in crops
    ]
    found = made.classify(images)
    figures = measured(crops, found, BLOB_CLASSES)
    figures["waste_from"] = thresholds(crops, found, BLOB_CLASSES, "waste")
    say(f"{figures['share']:.4f} of {figures['of']}: {figures['confusion']}")
    return figures


if __name__ == "__main__":
    main()
