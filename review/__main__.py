"""``python -m review``: the review application on 127.0.0.1, set up from the environment.

Ends within five seconds of SIGTERM. Behind a TLS proxy set ``SIGHTLINE_SECURE_COOKIES=true``.
"""

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import uvicorn

from enforcement.errors import ConfigurationError, SightlineError
from review.app import create_app
from settings.catalog import CatalogFolder
from settings.environment import Settings
from storage.evidence_store import EvidenceStore
from storage.records.database import Database
from storage.verified_cache import VerifiedCache

CACHE_BYTES = 4 * 2**30
"""Local copies of evidence; an original larger than this cannot be shown."""

_STOP_WITHIN_S = 4


def main() -> int:
    """Serve until told to stop; 1 if the settings don't suffice."""
    try:
        settings = Settings.load()
        server = uvicorn.Server(_config(settings))
    except SightlineError as error:
        sys.stderr.write(f"sightline review: {error}\n")
        return 1
    server.run()
    return 0


def _config(settings: Settings) -> uvicorn.Config:
    store = _store(settings)
    app = create_app(
        Database(settings.review_database),
        store,
        VerifiedCache(store, settings.home / "review-cache", CACHE_BYTES),
        CatalogFolder(settings.catalog_folder),
        settings,
        clock=lambda: datetime.now(UTC),
        free_bytes=lambda: _free_bytes(settings.store_folder),
    )
    return uvicorn.Config(
        app,
        host="127.0.0.1",
        port=settings.review_port,
        log_level="info",
        access_log=False,
        server_header=False,
        # Only behind a proxy of ours may a header say where a request comes from.
        proxy_headers=settings.secure_cookies,
        timeout_graceful_shutdown=_STOP_WITHIN_S,
    )


def _free_bytes(folder: Path | None) -> int | None:
    """What is left on the disk of a folder; None without it."""
    try:
        return None if folder is None else shutil.disk_usage(folder).free
    except OSError:
        return None


def _store(settings: Settings) -> EvidenceStore:
    key, secret = settings.s3_access_key, settings.s3_secret_key
    if settings.s3_endpoint is None or key is None or secret is None:
        raise ConfigurationError(
            "set SIGHTLINE_S3_ENDPOINT, SIGHTLINE_S3_ACCESS_KEY and SIGHTLINE_S3_SECRET_KEY "
            "(`sightline up` does)"
        )
    return EvidenceStore(
        settings.s3_endpoint,
        key,
        secret.get_secret_value(),
        secure=settings.s3_secure,
        bucket_prefix=settings.s3_bucket_prefix,
        retention_days=settings.retention_days,
    )


if __name__ == "__main__":
    sys.exit(main())
