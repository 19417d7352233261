"""The one place that builds stores, detectors and clocks from settings.

Imports of what is heavy stand where it is built: most processes need only some of it.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from enforcement.errors import ConfigurationError, SightlineError
from enforcement.footage import Capture
from enforcement.missions import Mission
from enforcement.places import DroneFolder, Feed, FolderSource
from enforcement.rules import Rule
from settings.catalog import SHIPPED_CATALOG, Catalog, load_catalog
from settings.environment import Settings

if TYPE_CHECKING:
    from detectors.cascade import Cascade
    from detectors.detector import Detector
    from storage.evidence_store import EvidenceStore
    from storage.records.database import Database


FolderT = TypeVar("FolderT", FolderSource, DroneFolder)


@dataclass(frozen=True)
class Wiring:
    """What every step needs, built on first use."""

    settings: Settings
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    @cached_property
    def database(self) -> "Database":
        from storage.records.database import Database

        return Database(self.settings.pipeline_database)

    @cached_property
    def catalog(self) -> Catalog:
        return load_catalog(self.settings.catalog_folder)

    @property
    def missions(self) -> tuple[Mission, ...]:
        """Those of the catalog, and those that were given to the API."""
        from storage.records.missions import given

        with self.database.transaction() as connection:
            return self.catalog.with_missions(given(connection)).missions

    @cached_property
    def store(self) -> "EvidenceStore":
        from storage.evidence_store import EvidenceStore
        from storage.seaweed import load_credentials

        settings = self.settings
        if settings.embedded_store:
            keys = load_credentials(s3_folder(settings))
            endpoint, secure = f"127.0.0.1:{settings.s3_port}", False
            access, secret = keys.access_key, keys.secret_key
        else:
            endpoint, secure = str(settings.s3_endpoint), settings.s3_secure
            access, secret = settings.s3_keys
        return EvidenceStore(
            endpoint,
            access,
            secret,
            secure=secure,
            bucket_prefix=settings.s3_bucket_prefix,
            retention_days=settings.retention_days,
        )

    @cache  # noqa: B019 - a wiring lives as long as its process
    def detector(self, model: str) -> "Detector":
        """The detector behind a model name; raises ModelError if its model is not installed."""
        from detectors import flames, helmets, left_behind, thrown, view_health

        if model == view_health.MODEL:
            return view_health.ViewHealthDetector()
        if model == thrown.MODEL:
            return thrown.ThrownDetector()
        from detectors.crops import CropClassifier
        from detectors.models import PEOPLE_AND_VEHICLES, installed
        from detectors.yolo import YoloDetector

        if model == left_behind.MODEL:
            people = installed(PEOPLE_AND_VEHICLES, self.settings.models)
            return left_behind.LeftBehindDetector(classifier=CropClassifier.blobs(people))
        if model == helmets.MODEL:
            return helmets.HelmetDetector(CropClassifier.heads())
        if model == flames.MODEL:
            return flames.FlameDetector(installed(flames.MODEL, self.settings.models))
        if model == flames.SMOKE_MODEL:
            return flames.SmokeDetector(installed(flames.MODEL, self.settings.models))
        return YoloDetector(installed(model, self.settings.models))

    def cascade_for(self, feed: Feed) -> "Cascade":
        """What looks at this feed: the detectors that the rules of its zones ask for."""
        purposes = {zone.purpose for zone in feed.zones}
        rules = (r for r in self.catalog.current_rules if r.kind.is_of_footage)
        return self.cascade(rule for rule in rules if rule.purpose in purposes)

    def cascade(self, rules: Iterable[Rule], *, exhaustive: bool = False) -> "Cascade":
        """The detectors that these rules ask for, and those that they lean on in turn."""
        from detectors import view_health
        from detectors.cascade import Cascade, CascadeConfig

        detectors: dict[str, Detector] = {}
        wanted = sorted({model for rule in rules for model in rule.models})
        while wanted:
            model = wanted.pop(0)
            if model not in detectors:
                detectors[model] = self.detector(model)
                wanted += detectors[model].after
        ordered = [detectors[model] for model in sorted(detectors)]
        if ordered:  # every view is watched, last, when it is known what moves in it
            ordered.append(self.detector(view_health.MODEL))
        return Cascade(ordered, CascadeConfig(exhaustive=exhaustive))

    def in_home(self, path: str) -> Path:
        """A path of the catalog: absolute, from ``~``, or within the home folder."""
        return self.settings.home / Path(path).expanduser()

    def located(self, source: FolderT) -> FolderT:
        """The source with its path made absolute."""
        return source.model_copy(update={"path": str(self.in_home(source.path))})

    @contextmanager
    def work_folder(self) -> Iterator[Path]:
        """A scratch folder on the home's disk, gone at the end."""
        parent = self.settings.home / "work"
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def footage_of(self, capture: Capture) -> Iterator[Path]:
        """The capture's bytes as a local file, verified against their digest."""
        with self.work_folder() as folder:
            path = folder / "original"
            self.store.fetch(capture.object, path)
            yield path


@cache
def wire() -> Wiring:
    """The wiring of this process, from its environment."""
    return Wiring(Settings.load())


def s3_folder(settings: Settings) -> Path:
    """Where the embedded S3 server keeps its data and credentials."""
    return settings.home / "s3"


def prepare(wiring: Wiring) -> None:
    """Make home, catalog, schema and buckets ready; changes nothing that is there already."""
    settings = wiring.settings
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if settings.catalog is None:
        for shipped in sorted(SHIPPED_CATALOG.glob("*.yaml")):
            target = settings.catalog_folder / shipped.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copyfile(shipped, target)
    for feed in wiring.catalog.feeds:
        # A folder elsewhere is the user's: if it is missing, that is an error worth seeing.
        if isinstance(feed.source, FolderSource | DroneFolder):
            folder = wiring.in_home(feed.source.path)
            if folder.is_relative_to(settings.home):
                folder.mkdir(parents=True, exist_ok=True)
    from storage.records.database import Database

    owner = Database(settings.admin_database)
    try:
        owner.migrate()
    finally:
        owner.close()
    wiring.store.ensure_buckets()


@contextmanager
def store_running(wiring: Wiring) -> Iterator[None]:
    """Have an S3 server for the time of one command: the one that runs, or an own child."""
    settings = wiring.settings
    if not settings.embedded_store:
        yield
        return
    from storage.seaweed import SeaweedServer

    server = SeaweedServer(s3_folder(settings), settings.s3_port)
    try:
        server.start()
    except ConfigurationError as taken:
        try:
            # If our keys open whatever listens there, it is this home's own server.
            wiring.store.ensure_buckets()
        except SightlineError:
            raise taken from None
    try:
        yield
    finally:
        server.stop()
