"""Where the tests of detectors find a pulled model."""

import os
import sys
from pathlib import Path

import pytest

from detectors.models import InstalledModel, pull


@pytest.fixture(scope="session")
def yolo_model(tmp_path_factory: pytest.TempPathFactory) -> InstalledModel:
    """The real model: from SIGHTLINE_MODELS or the environment's share, else pulled now."""
    shared = Path(sys.prefix) / "share" / "sightline" / "models"
    models_dir = Path(os.environ.get("SIGHTLINE_MODELS", shared))
    if not models_dir.is_dir():
        models_dir = tmp_path_factory.mktemp("models")
    return pull("yolov8n-coco", models_dir)
