"""Trains the helmet classifier: ``python -m detectors.training.heads DATA_DIR``.

The first seven layers of the pulled ``yolov8n-coco``, trained further on 64 × 64 crops together
with a new last layer; one thread, seeded. A part of the training pictures is held out: it
calibrates the probabilities and is what settings are chosen by. The rows marked ``validate`` come
from other collections and are only measured, through the run-time classifier.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from detectors.crops import HEAD_CLASSES, HEAD_PX, CropClassifier, network_input
from detectors.training.archive import Crop, counts, read_crops
from detectors.training.camera import Camera
from detectors.training.figures import measured, temperature, thresholds, truth_of
from detectors.training.first_layers import FirstLayers
from detectors.training.run import SEED, begin, put_network, put_weights, say
from media.footage import Image

LICENCE = "AGPL-3.0"
"""That of the detector whose layers these weights started from."""
EPOCHS = 24
BATCH = 64
PEAK_RATES = (8e-4, 2e-3)
"""Of the pulled layers, which know something already, and of the new one."""
KEPT = 0.998
"""Of the running mean of the weights this much is kept at each step."""
_SEEN_AS = Camera()
_FAR = Camera(far=1.0, far_px=(14, 20), shift=0.05, scale=(0.9, 1.1))
_NIGHT = Camera(far=0.0, grey=1.0, dark=1.0, shift=0.05, scale=(0.9, 1.1))


class HelmetNetwork(nn.Module):
    """``(N, 3, 64, 64)`` RGB in [0, 1] → logits ``(N, 2)``."""

    def __init__(self, detector: Path) -> None:
        super().__init__()
        self.layers = FirstLayers(detector)
        self.out = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * (64 + 128), len(HEAD_CLASSES)))

    def forward(self, images: Tensor) -> Tensor:
        pooled = [pool for maps in self.layers(images) for pool in _pooled(maps)]
        logits: Tensor = self.out(torch.cat(pooled, dim=1))
        return logits


def _pooled(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and maximum of every map."""
    return maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))


class _Answering(nn.Module):
    """What is shipped: probabilities, with the temperature found on held-out crops.

    A head and its mirror image are asked together: the answer to one view alone is less sure.
    """

    def __init__(self, network: HelmetNetwork, degrees: float) -> None:
        super().__init__()
        self.network, self.degrees = network, degrees

    def forward(self, images: Tensor) -> Tensor:
        return torch.softmax(both_ways(self.network, images) / self.degrees, dim=1)


def both_ways(network: nn.Module, images: Tensor) -> Tensor:
    """Logits ``(N, 2)``, the mean of those for the images and for their mirror images."""
    logits: Tensor = (network(images) + network(images.flip(3))) / 2
    return logits


def train(crops: Sequence[Crop], detector: Path, rng: np.random.Generator) -> HelmetNetwork:
    """The network after all epochs; each epoch sees as many of either class, each crop anew.

    Its weights are running means over the last steps, which generalise better than the last ones
    (Polyak averaging; Izmailov et al. 2018).
    """
    network = HelmetNetwork(detector)
    truth = truth_of(crops, HEAD_CLASSES)
    steps = EPOCHS * (len(crops) // BATCH)
    parts = [{"params": part.parameters()} for part in (network.layers, network.out)]
    optimiser = torch.optim.AdamW(parts, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, list(PEAK_RATES), total_steps=steps, pct_start=0.2
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    averaged = AveragedModel(
        network,
        multi_avg_fn=get_ema_multi_avg_fn(KEPT),  # type: ignore[no-untyped-call]
    )
    for epoch in range(EPOCHS):
        started, losses = time.monotonic(), []
        network.train()
        for chosen in _balanced(truth, rng):
            seen = [_SEEN_AS.shoot(crops[at].image, rng, HEAD_PX) for at in chosen]
            loss = loss_of(network(_tensor(seen)), torch.from_numpy(truth[chosen]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
            averaged.update_parameters(network)
            losses.append(loss.item())
        passed = time.monotonic() - started
        say(f"epoch {epoch + 1}/{EPOCHS}: loss {np.mean(losses):.4f}, {passed:.1f} s")
    mean = averaged.module.eval()
    if not isinstance(mean, HelmetNetwork):  # it is a copy of the one above
        raise AssertionError
    return mean


def logits_of(network: HelmetNetwork, images: Sequence[Image]) -> NDArray[np.float32]:
    """``(N, 2)``, the network's answers before softmax."""
    with torch.inference_mode():
        parts = [
            both_ways(network, _tensor(images[at : at + 256])) for at in range(0, len(images), 256)
        ]
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def calibrated(network: HelmetNetwork, held_out: Sequence[Crop], rng: np.random.Generator) -> float:
    """The temperature for held-out crops, half of them as they are, half as a camera shows them."""
    seen = [crop.image for crop in held_out]
    seen += [_SEEN_AS.shoot(crop.image, rng, HEAD_PX) for crop in held_out]
    truth = truth_of(held_out, HEAD_CLASSES)
    return temperature(np.concatenate([truth, truth]), logits_of(network, seen))


def main() -> None:
    run = begin(__doc__)
    crops = read_crops(run.data_dir, "heads", ["train"])
    held_out = [crop for crop in crops if crop.held_out]
    training = [crop for crop in crops if not crop.held_out]
    say(f"{len(training)} crops train, {len(held_out)} are held out")
    network = train(training, run.backbone.xml, run.rng)
    degrees = calibrated(network, held_out, run.rng)
    validation = read_crops(run.data_dir, "heads", ["validate"]) if run.validates else []

    def figures() -> dict[str, Any]:
        made = CropClassifier.heads(run.weights_dir)
        return {
            "seed": SEED,
            "temperature": degrees,
            "started_from": {"name": run.backbone.name, "digest": run.backbone.digest},
            "rows_trained": counts(training),
            "rows_held_out": counts(held_out),
            "rows_validated": counts(validation),
            **{f"held_out{how}": _measured(made, held_out, seen) for how, seen in _VIEWS.items()},
            **{f"validate{how}": _measured(made, validation, seen) for how, seen in _VIEWS.items()},
        }

    files = put_network(_answering(network, degrees), run.weights_dir, "heads")
    put_weights(run.weights_dir, "heads", files, HEAD_CLASSES, LICENCE, figures)


def _answering(network: HelmetNetwork, degrees: float) -> openvino.Model:
    """What is shipped, for one crop at a time."""
    shape = (1, 3, HEAD_PX, HEAD_PX)
    answering = _Answering(network, degrees)
    converted = openvino.convert_model(answering, example_input=torch.zeros(shape))
    converted.reshape(list(shape))
    return converted


_VIEWS: dict[str, Camera | None] = {"": None, "_as_far": _FAR, "_as_night": _NIGHT}


def _measured(made: CropClassifier, crops: Sequence[Crop], seen_as: Camera | None) -> Any:
    """Figures of the shipped classifier for these crops, as they are or worsened."""
    if not crops:
        return None
    rng = np.random.default_rng(SEED + 1)
    images = [
        crop.image if seen_as is None else seen_as.shoot(crop.image, rng, HEAD_PX) for crop in crops
    ]
    found = made.classify(images)
    figures = measured(crops, found, HEAD_CLASSES)
    figures["no_helmet_from"] = thresholds(crops, found, HEAD_CLASSES, "no_helmet")
    say(f"{figures['share']:.4f} of {figures['of']}: {figures['confusion']}")
    return figures


def _balanced(truth: NDArray[np.int64], rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """One epoch of batches, crops of the rarer class drawn as often as those of the other."""
    each = len(truth) // len(HEAD_CLASSES)
    drawn = [
        np.resize(rng.permutation(np.flatnonzero(truth == one)), each)
        for one in range(len(HEAD_CLASSES))
    ]
    order = rng.permutation(np.concatenate(drawn))
    return [order[at : at + BATCH] for at in range(0, len(order) - BATCH + 1, BATCH)]


def _tensor(images: Sequence[Image]) -> Tensor:
    inputs = np.concatenate([network_input(image, HEAD_PX) for image in images])
    return torch.from_numpy(inputs).contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
