"""A checkpoint whose author saved classes of the training script is converted with their code."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from detectors import models
from enforcement.errors import ModelError

_DEFINITIONS = """
from ultralytics.nn.modules.conv import Conv

class OwnConv(Conv):
    pass
"""

_MAKE_CHECKPOINT = """
import sys
from detectors import convert
convert._stand_in_for_torchvision()
exec(sys.argv[2])
from ultralytics import YOLO
net = YOLO("yolov8n.yaml")
net.model.model[0].__class__ = OwnConv
net.save(sys.argv[1])
"""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel that holds such a checkpoint, and the file that defines its class."""
    folder = tmp_path_factory.mktemp("shelf")
    checkpoint = folder / "net.pt"
    environment = {**os.environ, "YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(folder)}
    command = [sys.executable, "-c", _MAKE_CHECKPOINT, str(checkpoint), _DEFINITIONS]
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=120)
    info = "ownnet-1.0.dist-info"
    with zipfile.ZipFile(folder / "ownnet-1.0-py3-none-any.whl", "w") as archive:
        archive.write(checkpoint, "ownnet/net.pt")
        archive.writestr("ownnet/classes.py", _DEFINITIONS)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: ownnet\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture
def catalog(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The entry of that model, put into force by `write`."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setattr(models, "CATALOG_FILE", tmp_path / "models.yaml")
    return {
        "title": "own classes", "package": "ownnet", "version": "1.0",
        "wheel_sha256": sha256(shelf / "ownnet-1.0-py3-none-any.whl"), "member": "ownnet/net.pt",
        "member_sha256": sha256(shelf / "net.pt"), "licence": "AGPL-3.0",
        "export": "openvino-f32", "input_px": 64, "stride_px": 32, "labels": {0: "fire"},
    }  # fmt: skip


def write(entry: dict[str, object], **changes: str) -> None:
    text = yaml.safe_dump({"own": {**entry, **changes}})
    models.CATALOG_FILE.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_with_the_classes_of_its_author_it_is_converted(
    catalog: dict[str, object], tmp_path: Path
) -> None:
    write(catalog, definitions="ownnet/classes.py")
    pulled = models.pull("own", tmp_path / "models")
    assert pulled.xml.is_file()
    assert "OwnConv" not in sys.modules["__main__"].__dict__, "their code runs in no other process"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "cannot convert own"),
        ({"definitions": "ownnet/missing.py"}, "does not hold ownnet/missing.py"),
    ],
)
def test_without_them_it_is_an_error_that_says_so(
    changes: dict[str, str], said: str, catalog: dict[str, object], tmp_path: Path
) -> None:
    write(catalog, **changes)
    with pytest.raises(ModelError, match=said):
        models.pull("own", tmp_path / "models")


def test_the_shipped_network_for_fire_names_its_classes_by_number() -> None:
    entry = models.entry_of("yolov8-flames")
    assert {number: label.value for number, label in entry.labels.items()} == {
        0: "smoke", 1: "fire",
    }  # fmt: skip
