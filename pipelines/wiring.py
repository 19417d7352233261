"""The one place that builds stores, detectors and clocks from settings."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path

from detectors.detector import Detector
from enforcement.errors import ConfigurationError, SightlineError
from enforcement.footage import Capture
from enforcement.places import Feed, FolderSource
from settings.catalog import SHIPPED_CATALOG, Catalog, load_catalog
from settings.environment import Settings
from storage.evidence_store import EvidenceStore
from storage.records.database import Database
from storage.seaweed import SeaweedServer, load_credentials


@dataclass(frozen=True)
class Wiring:
    """What every step needs, built on first use."""

    settings: Settings
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    @cached_property
    def database(self) -> Database:
        return Database(self.settings.pipeline_database)

    @cached_property
    def catalog(self) -> Catalog:
        return load_catalog(self.settings.catalog_folder)

    @cached_property
    def store(self) -> EvidenceStore:
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
    def detector(self, model: str) -> Detector:
        """The detector behind a model name; raises ModelError if its model is not installed."""
        # Here, because OpenCV, OpenVINO and SciPy take seconds to import, and most tasks need none.
        from detectors import left_behind

        if model == left_behind.MODEL:
            return left_behind.LeftBehindDetector()
        from detectors.models import installed
        from detectors.yolo import YoloDetector

        return YoloDetector(installed(model, self.settings.models))

    def detectors_for(self, feed: Feed) -> list[Detector]:
        """The detectors that the rules of this feed's zones ask for."""
        purposes = {zone.purpose for zone in feed.zones}
        rules = [rule for rule in self.catalog.current_rules if rule.purpose in purposes]
        return [self.detector(name) for name in sorted({m for rule in rules for m in rule.models})]

    def in_home(self, path: str) -> Path:
        """A path of the catalog: absolute, from ``~``, or within the home folder."""
        return self.settings.home / Path(path).expanduser()

    def located(self, source: FolderSource) -> FolderSource:
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
        if isinstance(feed.source, FolderSource):
            folder = wiring.in_home(feed.source.path)
            if folder.is_relative_to(settings.home):
                folder.mkdir(parents=True, exist_ok=True)
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
