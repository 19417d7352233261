"""The connection to an S3 server: bounded in time, and its errors in our words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from xml.etree.ElementTree import ParseError

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from enforcement.errors import ConfigurationError, EvidenceError, SightlineError, StoreUnavailable

_ENDPOINT = re.compile(r"([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?")

_MISSING = frozenset({"NoSuchKey", "NoSuchVersion", "NoSuchBucket", "MethodNotAllowed"})
"""MethodNotAllowed is the answer to a read of a delete marker."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds until an unanswered connection, or a silence within an answer, is given up."""

    connect_s: float = 3.0
    read_s: float = 20.0


def connect(
    endpoint: str,
    access_key: str,
    secret_key: str,
    *,
    secure: bool,
    region: str,
    timeouts: Timeouts,
) -> Minio:
    """A client; nothing is sent yet. Thread-safe, to be made anew in every process.

    Raises ConfigurationError when ``endpoint`` is not ``host`` or ``host:port``.
    """
    if not _ENDPOINT.fullmatch(endpoint):
        raise ConfigurationError(f"{endpoint!r} is not an S3 endpoint (host:port)")
    try:
        return Minio(
            endpoint,
            access_key,
            secret_key,
            secure=secure,
            region=region,
            http_client=_pool(timeouts),
        )
    except ValueError as exc:
        raise ConfigurationError(f"{endpoint!r} is not an S3 endpoint: {exc}") from exc


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the SDK's and the connection's errors into ours; texts carry codes, never answers."""
    try:
        yield
    except SightlineError:
        raise
    except S3Error as exc:
        raise _from_s3(doing, exc.code or "", exc.response.status) from exc
    except ServerError as exc:
        raise _from_s3(doing, f"HTTP {exc.status_code}", exc.status_code) from exc
    except InvalidResponseError as exc:
        raise StoreUnavailable(f"{doing}: what answers is no S3 server, or is down") from exc
    except (MinioException, urllib3.exceptions.HTTPError) as exc:
        raise StoreUnavailable(
            f"{doing}: the evidence store does not answer ({type(exc).__name__})"
        ) from exc
    except (ParseError, UnicodeDecodeError) as exc:
        raise StoreUnavailable(f"{doing}: the evidence store answers gibberish") from exc


def _from_s3(doing: str, code: str, status: int) -> SightlineError:
    if status >= 500 or code in {"SlowDown", "RequestTimeout"}:
        return StoreUnavailable(f"{doing}: the evidence store is out of order ({code})")
    if code in _MISSING:
        return EvidenceError(f"{doing}: it is not in the evidence store ({code})")
    if status in {401, 403}:
        return ConfigurationError(f"{doing}: the evidence store refuses these credentials ({code})")
    return EvidenceError(f"{doing}: the evidence store refuses ({code})")


def _pool(timeouts: Timeouts) -> urllib3.PoolManager:
    """A connection pool that gives up soon and never repeats a write.

    A repeated PUT could make a second version; only reads are tried twice, since a pooled
    connection may have been closed by the server meanwhile.
    """
    return urllib3.PoolManager(
        maxsize=10,
        timeout=urllib3.Timeout(connect=timeouts.connect_s, read=timeouts.read_s),
        retries=urllib3.Retry(
            total=1,
            connect=1,
            read=1,
            redirect=0,
            status=0,
            other=0,
            allowed_methods={"GET", "HEAD"},
            respect_retry_after_header=False,
        ),
        cert_reqs="CERT_REQUIRED",
    )
