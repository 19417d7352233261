"""The bucket into which docks upload by themselves: what lies there, and one object of it.

The bucket is the operator's, not the evidence store: it is only read, so reads may be repeated,
and what is missing there is a setting to correct rather than evidence that is gone.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple
from xml.etree.ElementTree import ParseError

import urllib3
from minio import Minio
from minio.datatypes import Object
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from minio.helpers import check_bucket_name

from enforcement.errors import (
    ConfigurationError,
    CredentialsRefused,
    SightlineError,
    StoreUnavailable,
)
from enforcement.places import DroneBucket

_CONNECT_S, _READ_S = 3.0, 20.0
"""Until an unanswered connection, or a silence within an answer, is given up."""

_TRIES = 2
_LISTING_S, _EACH_LISTING_S = 180.0, 0.5
"""In which a source must be listed, and what each listing of a part of it adds to that."""

_PIECE_BYTES = 2**20
_SLOWEST_BYTES_S = 64 * 1024
"""A download slower than this on the whole counts as a store that does not answer."""

_REFUSED = frozenset({401, 403})


class BucketObject(NamedTuple):
    """One object as the bucket lists it."""

    key: str
    size: int
    modified_at: datetime
    """By the server's clock, aware UTC."""


def prefix_of(source: DroneBucket) -> str:
    """What the keys of the source begin with; empty for the whole bucket."""
    bare = source.prefix.rstrip("/")
    return f"{bare}/" if bare else ""


class BucketLister:
    """Lists parts of a bucket one after the other over one connection; see :func:`lister`."""

    def __init__(self, client: Minio, source: DroneBucket) -> None:
        self._client, self._source = client, source
        self._prefix = prefix_of(source)
        self._deadline = time.monotonic() + _LISTING_S

    def level(self, below: str) -> Iterator[str | BucketObject]:
        """What lies right below ``below`` (empty, or a path with ``/`` at its end): names of
        folders and objects, in the server's order."""
        start = self._prefix + below
        for entry in self._entries(below, recursive=False):
            name = (entry.object_name or "").removeprefix(start)
            if name.endswith("/"):
                yield name[:-1]
            elif (found := _object(entry)) is not None:
                yield found

    def everything(self, below: str) -> Iterator[BucketObject]:
        """All objects below, however deep; markers of empty folders are left out."""
        for entry in self._entries(below, recursive=True):
            if (found := _object(entry)) is not None:
                yield found

    def _entries(self, below: str, *, recursive: bool) -> Iterator[Object]:
        self._deadline += _EACH_LISTING_S
        source = self._source
        with _translated(source, "listing it"):
            for entry in self._client.list_objects(
                source.bucket, self._prefix + below, recursive=recursive
            ):
                if time.monotonic() > self._deadline:
                    raise StoreUnavailable(f"{_title(source)}: listing it takes too long")
                yield entry


def _object(entry: Object) -> BucketObject | None:
    key, modified_at = entry.object_name, entry.last_modified
    if key is None or modified_at is None or key.endswith("/"):
        return None
    return BucketObject(key, entry.size or 0, modified_at.astimezone(UTC))


@contextmanager
def lister(source: DroneBucket, secrets: Mapping[str, str]) -> Iterator[BucketLister]:
    """Raises StoreUnavailable (retry), CredentialsRefused (retry rarely), ConfigurationError, and
    what it gives does as well."""
    with _connected(source, secrets) as client:
        yield BucketLister(client, source)


def download(
    source: DroneBucket, key: str, size: int, target: Path, secrets: Mapping[str, str]
) -> None:
    """Write an object of ``size`` bytes to ``target``; on any failure nothing stays there.

    Raises StoreUnavailable if it came short, is larger, has gone or cannot be written;
    CredentialsRefused and ConfigurationError as for :func:`lister`.
    """
    doing = f"reading {key!a}"
    try:
        with (
            _connected(source, secrets) as client,
            _translated(source, doing),
            target.open("wb") as file,
        ):
            _copy(client, source, key, size, file)
    except SightlineError:
        target.unlink(missing_ok=True)
        raise
    except OSError as error:
        target.unlink(missing_ok=True)
        reason = error.strerror or type(error).__name__
        raise StoreUnavailable(f"cannot write into {target.parent}: {reason}") from error


def _copy(client: Minio, source: DroneBucket, key: str, size: int, file: BinaryIO) -> None:
    deadline = time.monotonic() + _READ_S + size / _SLOWEST_BYTES_S
    came = 0
    response = client.get_object(source.bucket, key)
    try:
        # read1 returns what has arrived, so that a trickle can't outrun the deadline; and nothing
        # is decoded: the capture is the object as it lies there.
        while came <= size and (piece := response.read1(_PIECE_BYTES, decode_content=False)):
            came += len(piece)
            file.write(piece)
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"{_title(source)}: {key!a} comes too slowly")
    finally:
        response.close()
        response.release_conn()
    if came != size:
        much = "more than" if came > size else f"{came} of"
        raise StoreUnavailable(f"{_title(source)}: {key!a} gave {much} {size} bytes")


@contextmanager
def _connected(source: DroneBucket, secrets: Mapping[str, str]) -> Iterator[Minio]:
    pool = urllib3.PoolManager(
        maxsize=2,
        timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
        retries=urllib3.Retry(
            total=_TRIES - 1, redirect=0, status=0, other=0, respect_retry_after_header=False
        ),
        cert_reqs="CERT_REQUIRED",
    )
    access = _secret(source, source.access_key_variable, secrets)
    secret = _secret(source, source.secret_key_variable, secrets)
    try:
        client = Minio(
            source.endpoint,
            access,
            secret,
            secure=source.secure,
            region=source.region,
            http_client=pool,
        )
        check_bucket_name(source.bucket)
    except ValueError as error:
        raise ConfigurationError(f"{_title(source)} is no S3 bucket: {error}") from error
    try:
        yield client
    finally:
        pool.clear()


def _secret(source: DroneBucket, variable: str, secrets: Mapping[str, str]) -> str:
    # Without a key the SDK would ask anonymously.
    if not (found := secrets.get(variable)):
        raise ConfigurationError(f"{_title(source)} needs the environment variable {variable}")
    return found


@contextmanager
def _translated(source: DroneBucket, doing: str) -> Iterator[None]:
    """Turn the SDK's and the connection's errors into ours; texts carry codes, never answers."""
    where = f"{_title(source)}: {doing}"
    try:
        yield
    except SightlineError:
        raise
    except S3Error as error:
        raise _from_s3(source, where, error.code or "", error.response.status) from error
    except ServerError as error:
        code = f"HTTP {error.status_code}"
        raise _from_s3(source, where, code, error.status_code) from error
    except InvalidResponseError as error:
        raise StoreUnavailable(f"{where}: what answers is no S3 server, or is down") from error
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        kind = type(getattr(error, "reason", error)).__name__
        raise StoreUnavailable(f"{where}: the server does not answer ({kind})") from error
    except (ParseError, ValueError) as error:
        raise StoreUnavailable(f"{where}: the server answers gibberish") from error


def _from_s3(source: DroneBucket, where: str, code: str, status: int) -> SightlineError:
    if status >= 500 or code in {"SlowDown", "RequestTimeout"}:
        return StoreUnavailable(f"{where}: the server is out of order ({code})")
    if code == "NoSuchBucket":
        return ConfigurationError(f"{where}: there is no such bucket")
    if code in {"NoSuchKey", "MethodNotAllowed"}:
        return StoreUnavailable(f"{where}: it has gone since it was listed")
    if status in _REFUSED:
        return CredentialsRefused(
            f"{where}: the server refuses the keys in {source.access_key_variable} and"
            f" {source.secret_key_variable} ({code})"
        )
    return ConfigurationError(f"{where}: the server refuses ({code})")


def _title(source: DroneBucket) -> str:
    return f"bucket {source.bucket} at {source.endpoint}"
