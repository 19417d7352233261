"""What both trainings begin and end with: arguments and seeds; weights and their card written."""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray

from detectors.crops import WEIGHTS_DIR, WeightsCard, weights_digest
from detectors.models import PEOPLE_AND_VEHICLES, InstalledModel, pull

SEED = 20261124


@dataclass(frozen=True)
class Run:
    """One training run, begun."""

    data_dir: Path
    weights_dir: Path
    backbone: InstalledModel
    validates: bool
    """Whether the rows marked ``validate`` are to be measured."""
    rng: np.random.Generator


def begin(about: str | None) -> Run:
    """Read the command line, seed every generator, allow one thread, pull the backbone."""
    shared = Path(sys.prefix) / "share" / "sightline" / "models"
    models_dir = Path(os.environ.get("SIGHTLINE_MODELS", shared))
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("data_dir", type=Path, help="folder with the crops' .tar and .csv")
    parser.add_argument("--weights-dir", type=Path, default=WEIGHTS_DIR)
    parser.add_argument("--models-dir", type=Path, default=models_dir)
    parser.add_argument("--no-validation", action="store_true", help="leave validate rows unread")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    cv2.setNumThreads(1)
    return Run(
        data_dir=given.data_dir,
        weights_dir=given.weights_dir,
        backbone=pull(PEOPLE_AND_VEHICLES, given.models_dir, say),
        validates=not given.no_validation,
        rng=np.random.default_rng(SEED),
    )


def put_weights(
    weights_dir: Path,
    name: str,
    files: tuple[str, ...],
    classes: tuple[str, ...],
    licence: str,
    measure: Callable[[], dict[str, Any]],
) -> None:
    """Write the card twice: once so that the run-time classifier loads, once with its figures.

    What is measured is thereby what is shipped, not the network that was trained.
    """
    digest = weights_digest([weights_dir / file for file in files])
    card = WeightsCard(
        name=name, classes=classes, digest=digest, files=files, licence=licence, figures={}
    )
    _write(card, weights_dir)
    _write(card.model_copy(update={"figures": measure()}), weights_dir)
    size = sum((weights_dir / file).stat().st_size for file in files)
    say(f"{name}: {size / 1e6:.2f} MB, digest {digest[:12]}…")


def put_network(network: openvino.Model, weights_dir: Path, name: str) -> tuple[str, ...]:
    """Write ``name.xml`` and ``name.bin``, weights stored in half precision."""
    weights_dir.mkdir(parents=True, exist_ok=True)
    openvino.save_model(network, weights_dir / f"{name}.xml", compress_to_fp16=True)
    return f"{name}.xml", f"{name}.bin"


def put_arrays(
    arrays: dict[str, NDArray[np.float32]], weights_dir: Path, name: str
) -> tuple[str, ...]:
    """Write ``name.npz``, full precision."""
    weights_dir.mkdir(parents=True, exist_ok=True)
    np.savez(weights_dir / f"{name}.npz", allow_pickle=False, **arrays)
    return (f"{name}.npz",)


def say(line: str) -> None:
    """Progress, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _write(card: WeightsCard, weights_dir: Path) -> None:
    text = card.model_dump_json(indent=1)
    (weights_dir / f"{card.name}.json").write_text(text + "\n", encoding="utf-8")
