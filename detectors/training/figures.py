"""What is measured of a classifier: recalls, confusion, intervals, calibration, thresholds."""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.training.archive import Crop

Probabilities = NDArray[np.float32]
"""``(N, classes)``, rows sum to 1."""


def wilson_95(hits: int, of: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927). ``of`` must be positive."""
    z = 1.959964
    share, width = hits / of, z * z / of
    middle = (share + width / 2) / (1 + width)
    half = z * sqrt(share * (1 - share) / of + width / (4 * of)) / (1 + width)
    return round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)


def calibration_error(truth: NDArray[np.int64], found: Probabilities) -> float:
    """Expected calibration error over ten equal bins of the winning probability (Guo 2017)."""
    sure, right = found.max(axis=1), found.argmax(axis=1) == truth
    bins = np.minimum((sure * 10).astype(int), 9)
    gaps = [
        abs(sure[bins == one].mean() - right[bins == one].mean()) * (bins == one).mean()
        for one in np.unique(bins)
    ]
    return round(float(np.sum(gaps)), 4)


def temperature(truth: NDArray[np.int64], logits: NDArray[np.float32]) -> float:
    """The divisor of the logits that makes held-out answers likeliest (Guo 2017), by search."""
    tried = np.exp(np.linspace(np.log(0.25), np.log(8), 400))
    losses = [log_loss(truth, logits / one) for one in tried]
    return round(float(tried[int(np.argmin(losses))]), 4)


def log_loss(truth: NDArray[np.int64], logits: NDArray[np.float32]) -> float:
    """Mean negative log likelihood, in nats."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-logs[np.arange(len(truth)), truth].mean())


def measured(crops: Sequence[Crop], found: Probabilities, classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy with interval, recalls by class, source and kind, confusion, calibration."""
    truth = truth_of(crops, classes)
    hits = found.argmax(axis=1) == truth
    figures = _share(hits)
    figures["recall"] = {name: _share(hits[truth == at]) for at, name in enumerate(classes)}
    figures["recall_by_source"] = _by(hits, [f"{c.source}: {c.label}" for c in crops])
    figures["recall_by_kind"] = _by(
        hits, [f"{c.label}: {c.kind}" if c.kind else c.label for c in crops]
    )
    figures["accuracy_by_source"] = _by(hits, [c.source for c in crops])
    figures["confusion"] = {
        name: {
            other: int((found[truth == at].argmax(axis=1) == at_other).sum())
            for at_other, other in enumerate(classes)
        }
        for at, name in enumerate(classes)
    }
    figures["calibration_error"] = calibration_error(truth, found)
    return figures


def truth_of(crops: Sequence[Crop], classes: Sequence[str]) -> NDArray[np.int64]:
    """Numbers of the crops' classes."""
    return np.array([classes.index(crop.label) for crop in crops], np.int64)


def thresholds(
    crops: Sequence[Crop], found: Probabilities, classes: Sequence[str], wanted: str
) -> dict[str, dict[str, float]]:
    """Asking for at least this probability of ``wanted``: its recall, and how many others pass."""
    truth = truth_of(crops, classes)
    at = list(classes).index(wanted)
    passes = {f"{limit:.2f}": found[:, at] >= limit for limit in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)}
    return {
        limit: {
            "recall": round(float(passed[truth == at].mean()), 4),
            "false_share": round(float(passed[truth != at].mean()), 4),
        }
        for limit, passed in passes.items()
    }


def _share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    right, of = int(hits.sum()), len(hits)
    return {"share": round(right / of, 4), "of": of, "wilson_95": wilson_95(right, of)}


def _by(hits: NDArray[np.bool_], names: Sequence[str]) -> dict[str, Any]:
    labels = np.array(names)
    return {str(name): _share(hits[labels == name]) for name in np.unique(labels)}
