"""Everything that is set by environment variables, each named ``SIGHTLINE_…``.

Nothing needs to be set: the defaults run the whole system on one machine.
"""

import sys
from pathlib import Path
from typing import Annotated, Self

import platformdirs
from pydantic import AnyHttpUrl, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from enforcement.errors import ConfigurationError

Port = Annotated[int, Field(ge=1024, le=65535)]


class Settings(BaseSettings):
    """The environment as Sightline reads it. Unset values depend on ``home``."""

    model_config = SettingsConfigDict(env_prefix="SIGHTLINE_", frozen=True, extra="ignore")

    home: Path = Path(platformdirs.user_data_dir("sightline"))
    """All state of this instance."""
    catalog: Path | None = None
    """Folder of the catalog's YAML files; default ``<home>/catalog``."""
    models: Path = Path(sys.prefix) / "share" / "sightline" / "models"
    """Converted models, shared by all instances of one installation."""

    records_url: SecretStr | None = None
    """SQLAlchemy URL of the pipeline's database role; default SQLite in ``home``."""
    review_records_url: SecretStr | None = None
    """URL of the review application's role; default the same database."""
    admin_records_url: SecretStr | None = None
    """URL of the owner's role, for migrations and accounts; default the same database."""

    s3_endpoint: str | None = None
    """``host:port`` of the S3 server; unset: the embedded one."""
    s3_access_key: str | None = None
    s3_secret_key: SecretStr | None = None
    s3_secure: bool = True
    """Whether the S3 server speaks TLS (the embedded one does not need to)."""
    s3_bucket_prefix: str = "sightline"
    store_folder: Path | None = None
    """Where the store's disk is in reach of this machine, to tell how much room is left; the
    embedded server's own folder. Unset with a server elsewhere: unknown."""
    retention_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """How long captures and unconfirmed evidence are locked."""

    confirmations_required: Annotated[int, Field(ge=1, le=5)] = 2
    """Distinct officers who must confirm before a case leaves."""

    review_port: Port = 8080
    airflow_port: Port = 8081
    s3_port: Port = 8333
    """First of five ports of the embedded S3 server; their gRPC twins lie 10,000 above."""
    receiver_port: Annotated[int, Field(ge=1024, le=65534)] = 8082
    """The demo's receiver of dispatched cases; the demo's noise meter has the next port."""
    review_url: AnyHttpUrl | None = None
    """Where people reach the review application; default the local port."""
    metrics_token: SecretStr | None = None
    """What Prometheus sends as bearer token for ``/metrics``; unset: there are no metrics."""
    secure_cookies: bool = False
    """Set behind TLS: cookies are then sent over HTTPS only."""

    @classmethod
    def load(cls) -> Self:
        """Read the environment; raises ConfigurationError that names the bad variable."""
        try:
            return cls()
        except ValidationError as error:
            problems = "; ".join(
                f"SIGHTLINE_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()
            )
            raise ConfigurationError(problems) from error

    @property
    def catalog_folder(self) -> Path:
        return self.catalog or self.home / "catalog"

    @property
    def pipeline_database(self) -> str:
        return _secret(self.records_url) or f"sqlite:///{self.home / 'records.sqlite'}"

    @property
    def review_database(self) -> str:
        return _secret(self.review_records_url) or self.pipeline_database

    @property
    def admin_database(self) -> str:
        return _secret(self.admin_records_url) or self.pipeline_database

    @property
    def embedded_store(self) -> bool:
        return self.s3_endpoint is None

    @property
    def s3_keys(self) -> tuple[str, str]:
        """Access and secret key; raises ConfigurationError if one is not set."""
        secret = _secret(self.s3_secret_key)
        if not self.s3_access_key or not secret:
            raise ConfigurationError(
                "SIGHTLINE_S3_ENDPOINT is set: set SIGHTLINE_S3_ACCESS_KEY and"
                " SIGHTLINE_S3_SECRET_KEY too"
            )
        return self.s3_access_key, secret

    @property
    def station_port(self) -> int:
        """Where the collector listens to the demo's noise meter."""
        return self.receiver_port + 1

    @property
    def review_link(self) -> str:
        return str(self.review_url or f"http://127.0.0.1:{self.review_port}").rstrip("/")


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value is not None else None
