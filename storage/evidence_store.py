"""The evidence store: S3 with Object Lock, through the MinIO SDK. One implementation for all sizes.

Object Lock keeps *versions*, not keys: a second PUT becomes the latest, a plain DELETE hides the
object. Hence bytes are named by (bucket, key, version_id, sha256) and read that way only, and
their SHA-256 is checked on every read. Keys are made of a prefix and the content's digest.

Every upload is locked by the bucket's default retention and its lock is read back before the
upload counts: some servers accept a retention header and drop it on multipart uploads.
"""

import hashlib
import os
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from minio.error import S3Error
from minio.objectlockconfig import DAYS, ObjectLockConfig
from minio.retention import Retention

from enforcement.errors import ConfigurationError, EvidenceError, StoreUnavailable
from enforcement.footage import StoredObject
from storage.canonical import sha256_file, sha256_hex
from storage.s3_client import Timeouts, connect, translated

PART_BYTES = 5 * 2**20
"""The smallest part S3 allows; one at a time keeps an upload's memory at about 15 MiB."""

_PIECE_BYTES = 2**20

_SLOWEST_BYTES_S = 64 * 1024
"""A download slower than this on the whole counts as a store that doesn't answer."""

_LOCK_TOLERANCE = timedelta(minutes=15)
"""How far the store's clock may be off; S3 refuses signatures beyond that anyway."""

_LONGEST_COMPLIANCE_DAYS = 90
"""Nobody can shorten a COMPLIANCE lock, and captures and unconfirmed leads must be erasable."""

_KEY_PREFIX_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_/")


class BucketRole(StrEnum):
    CAPTURES = "captures"
    """Bytes as received."""
    EVIDENCE = "evidence"
    """Derivatives, manifests and facts documents of leads."""
    WORKING = "working"
    """What a machine needs to go on where it stopped; no evidence, neither locked nor versioned."""


class LockMode(StrEnum):
    GOVERNANCE = "GOVERNANCE"
    """A privileged account may lift it."""
    COMPLIANCE = "COMPLIANCE"
    """Nobody may lift or shorten it."""


@dataclass(frozen=True)
class Lock:
    """What the store says keeps a version from being deleted."""

    mode: LockMode | None
    until: datetime | None
    legal_hold: bool

    def covers(self, moment: datetime) -> bool:
        """Whether the version's retention reaches to that moment."""
        return self.mode is not None and self.until is not None and self.until >= moment


class EvidenceStore:
    """Put, read, verify and lock evidence. Thread-safe; make a new one in every process.

    ``endpoint`` is ``host:port``. ``retention_days`` is the short fixed retention that everything
    gets at first; confirmation extends it (:meth:`extend_retention`, :meth:`place_legal_hold`).

    Every method raises StoreUnavailable when the store doesn't answer or is out of order (retry),
    ConfigurationError when it refuses the credentials or isn't set up as evidence needs it, and
    EvidenceError when bytes or lock are not what was recorded.
    """

    def __init__(
        self,
        endpoint: str,
        access_key: str,
        secret_key: str,
        *,
        secure: bool,
        bucket_prefix: str = "sightline",
        retention_days: int = 30,
        retention_mode: LockMode = LockMode.COMPLIANCE,
        region: str = "us-east-1",
        timeouts: Timeouts | None = None,
    ) -> None:
        _check_retention(retention_mode, retention_days)
        self._timeouts = timeouts or Timeouts()
        self._mode = retention_mode
        self._retention = timedelta(days=retention_days)
        self._prefix = bucket_prefix
        self._client = connect(
            endpoint, access_key, secret_key, secure=secure, region=region, timeouts=self._timeouts
        )

    def bucket(self, role: BucketRole) -> str:
        """The bucket's name."""
        return f"{self._prefix}-{role}"

    def ensure_buckets(self) -> None:
        """Create the buckets with lock, versioning and default retention; idempotent.

        A default retention may be lengthened here, never weakened: that would be undone silently
        by whichever process has the laxer setting. Raises ConfigurationError then, and for a
        bucket that exists without Object Lock or versioning (a lock can't be added later).
        """
        with translated(f"setting up bucket {self.bucket(BucketRole.WORKING)}"):
            self._create(self.bucket(BucketRole.WORKING), object_lock=False)
        for role in (BucketRole.CAPTURES, BucketRole.EVIDENCE):
            with translated(f"setting up bucket {self.bucket(role)}"):
                self._ensure_bucket(self.bucket(role))

    def put_bytes(
        self, role: BucketRole, data: bytes, media_type: str, *, prefix: str = ""
    ) -> StoredObject:
        """Store ``data`` under ``<prefix>/<sha256>``; see :meth:`put_file`."""
        wanted = self._wanted(role, prefix, sha256_hex(data), len(data), media_type)
        return self._put(wanted, BytesIO(data))

    def put_file(
        self,
        role: BucketRole,
        path: Path,
        media_type: str,
        *,
        sha256: str | None = None,
        prefix: str = "",
    ) -> StoredObject:
        """Store a file under ``<prefix>/<sha256>`` and confirm its lock before returning.

        The same content twice under the same prefix is one version: an existing one with these
        very bytes is returned, its retention brought up to what a new upload would have.
        ``sha256`` is what the file should hold, if known. ``prefix`` is made of lower-case
        letters, digits, ``-``, ``_`` and ``/``, e.g. feed and day; never anything personal.

        Raises EvidenceError when the file doesn't hold ``sha256``, changes while it is stored, or
        the lock isn't there afterwards; OSError when the file can't be read.
        """
        digest = sha256 or sha256_file(path)
        with path.open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            return self._put(self._wanted(role, prefix, digest, size, media_type), source)

    def read(self, obj: StoredObject) -> bytes:
        """The object's bytes, verified. For small objects; :meth:`fetch` streams."""
        buffer = BytesIO()
        self._copy(obj, buffer)
        return buffer.getvalue()

    def fetch(self, obj: StoredObject, target: Path) -> None:
        """Write the object to ``target``, which appears whole and verified or not at all."""
        draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            with draft.open("xb") as file:
                self._copy(obj, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        except OSError as exc:
            raise StoreUnavailable(f"cannot write {obj.key} into {target.parent}: {exc}") from exc
        finally:
            draft.unlink(missing_ok=True)

    def keep(self, key: str, data: bytes) -> None:
        """Write a working object under a name of its own, in place of what was there."""
        bucket = self.bucket(BucketRole.WORKING)
        with translated(f"keeping {key}"):
            self._client.put_object(bucket, key, BytesIO(data), len(data))

    def kept(self, key: str) -> bytes | None:
        """The working object of that name; None if there is none."""
        with translated(f"reading {key}"):
            try:
                response = self._client.get_object(self.bucket(BucketRole.WORKING), key)
            except S3Error as exc:
                if exc.code == "NoSuchKey":
                    return None
                raise
            try:
                return response.read()
            finally:
                response.close()
                response.release_conn()

    def verify(self, obj: StoredObject) -> None:
        """Download and hash the object without keeping it; raises like :meth:`read`."""
        self._copy(obj, None)

    def lock_of(self, obj: StoredObject) -> Lock:
        """The lock of that very version, as the store reports it now."""
        with translated(f"reading the lock of {obj.key}"):
            return self._stat(obj.bucket, obj.key, obj.version_id)[0]

    def extend_retention(self, obj: StoredObject, until: datetime) -> Lock:
        """Lengthen the version's retention to ``until`` (aware; rounded up to whole seconds).

        A lock that already reaches further stays as it is. Raises EvidenceError when the version
        has no lock to extend, or the longer one can't be read back.
        """
        if until.utcoffset() is None:
            raise ValueError("until must be an aware moment")
        wanted = _whole_seconds_up(until)
        with translated(f"extending the retention of {obj.key}"):
            lock, _ = self._stat(obj.bucket, obj.key, obj.version_id)
            if lock.mode is None:
                raise EvidenceError(f"{obj.key} version {obj.version_id} is not locked")
            if not lock.covers(wanted):
                self._client.set_object_retention(
                    obj.bucket, obj.key, Retention(lock.mode, wanted), obj.version_id
                )
                lock, _ = self._stat(obj.bucket, obj.key, obj.version_id)
        if not lock.covers(wanted):
            raise EvidenceError(f"{obj.key}: the store did not take the longer retention")
        return lock

    def place_legal_hold(self, obj: StoredObject) -> Lock:
        """Keep the version without end, whatever its retention. Idempotent."""
        with translated(f"placing a legal hold on {obj.key}"):
            self._client.enable_object_legal_hold(obj.bucket, obj.key, obj.version_id)
            lock, _ = self._stat(obj.bucket, obj.key, obj.version_id)
        if not lock.legal_hold:
            raise EvidenceError(f"{obj.key}: the store did not take the legal hold")
        return lock

    def _put(self, wanted: StoredObject, source: BinaryIO) -> StoredObject:
        started = datetime.now(UTC)
        needed_until = started + self._retention - _LOCK_TOLERANCE
        with translated(f"storing {wanted.key}"):
            if existing := self._existing(wanted):
                if not self.lock_of(existing).covers(needed_until):
                    self.extend_retention(existing, started + self._retention)
                return existing
            stored = self._upload(wanted, source)
            lock, size = self._stat(stored.bucket, stored.key, stored.version_id)
        if size != wanted.size:
            raise EvidenceError(f"{stored.key}: stored {size} of {wanted.size} bytes")
        if not self._suffices(lock) or not lock.covers(needed_until):
            raise EvidenceError(f"{stored.key}: the store did not lock it as configured")
        return stored

    def _upload(self, wanted: StoredObject, source: BinaryIO) -> StoredObject:
        reader = _HashingReader(source)
        try:
            result = self._client.put_object(
                wanted.bucket,
                wanted.key,
                reader,  # type: ignore[arg-type]  # the SDK only ever calls read()
                wanted.size,
                content_type=wanted.media_type,
                part_size=PART_BYTES,
                num_parallel_uploads=1,
            )
        except OSError as exc:
            raise EvidenceError(f"{wanted.key}: its source ended or failed midway") from exc
        if reader.sha256 != wanted.sha256:
            raise EvidenceError(f"{wanted.key}: its source does not hold these bytes")
        if not result.version_id:
            raise ConfigurationError(f"bucket {wanted.bucket} keeps no versions")
        return wanted.model_copy(update={"version_id": result.version_id})

    def _existing(self, wanted: StoredObject) -> StoredObject | None:
        """A locked version of the same key that holds the very same bytes.

        They are downloaded and hashed: whoever can write could have put other bytes there.
        """
        versions = self._client.list_objects(wanted.bucket, prefix=wanted.key, include_version=True)
        for version in versions:
            if version.object_name != wanted.key or version.is_delete_marker:
                continue
            if version.size != wanted.size or not version.version_id:
                continue
            candidate = wanted.model_copy(update={"version_id": version.version_id})
            stat = self._client.stat_object(
                wanted.bucket, wanted.key, version_id=version.version_id
            )
            lock = _lock_from(dict(stat.metadata or {}))
            if not self._suffices(lock) or stat.content_type != wanted.media_type:
                continue
            try:
                self._copy(candidate, None)
            except (EvidenceError, StoreUnavailable):
                # Damaged or unreadable there: the content in hand repairs that.
                continue
            return candidate
        return None

    def _suffices(self, lock: Lock) -> bool:
        """Whether its mode is the one configured or the stronger one."""
        return lock.until is not None and lock.mode in {self._mode, LockMode.COMPLIANCE}

    def _wanted(
        self, role: BucketRole, prefix: str, sha256: str, size: int, media_type: str
    ) -> StoredObject:
        """What an upload should become; its version is not known yet."""
        return StoredObject(
            bucket=self.bucket(role),
            key=_key(prefix, sha256),
            version_id="",
            sha256=sha256,
            size=size,
            media_type=media_type,
        )

    def _copy(self, obj: StoredObject, target: BinaryIO | None) -> None:
        """Stream the version into ``target``, checking length, digest and pace."""
        digest, size = hashlib.sha256(), 0
        allowed_s = self._timeouts.read_s + obj.size / _SLOWEST_BYTES_S
        deadline = time.monotonic() + allowed_s
        with translated(f"reading {obj.key}"):
            response = self._client.get_object(obj.bucket, obj.key, version_id=obj.version_id)
            try:
                # read1 returns what has arrived, so that a trickle can't outrun the deadline; and
                # nothing is decoded: the digest is over the bytes as stored.
                while piece := response.read1(_PIECE_BYTES, decode_content=False):
                    digest.update(piece)
                    size += len(piece)
                    if size > obj.size:
                        break
                    if time.monotonic() > deadline:
                        raise StoreUnavailable(f"{obj.key} took longer than {allowed_s:.0f} s")
                    if target is not None:
                        target.write(piece)
            finally:
                response.close()
                response.release_conn()
        if size != obj.size or digest.hexdigest() != obj.sha256:
            raise EvidenceError(
                f"{obj.key} version {obj.version_id} does not hold the bytes that were recorded"
            )

    def _stat(self, bucket: str, key: str, version_id: str) -> tuple[Lock, int]:
        """Lock and size of one version."""
        stat = self._client.stat_object(bucket, key, version_id=version_id)
        return _lock_from(dict(stat.metadata or {})), stat.size or 0

    def _create(self, bucket: str, *, object_lock: bool) -> None:
        if not self._client.bucket_exists(bucket):
            try:
                self._client.make_bucket(bucket, object_lock=object_lock)
            except S3Error as exc:
                # Another process was faster; what it made is checked afterwards like any other.
                if exc.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                    raise

    def _ensure_bucket(self, bucket: str) -> None:
        self._create(bucket, object_lock=True)
        try:
            current = self._client.get_object_lock_config(bucket)
        except S3Error as exc:
            if exc.code != "ObjectLockConfigurationNotFoundError":
                raise
            raise ConfigurationError(
                f"bucket {bucket} exists without Object Lock; name another bucket prefix"
            ) from exc
        if self._client.get_bucket_versioning(bucket).status != "Enabled":
            raise ConfigurationError(f"bucket {bucket} has no versioning; evidence needs it")
        wanted = ObjectLockConfig(self._mode, self._retention.days, DAYS)
        if _is_weaker(wanted, current):
            raise ConfigurationError(
                f"bucket {bucket} keeps objects {current.duration} {current.duration_unit} under "
                f"{current.mode}, longer or harder than configured; change it there first"
            )
        if current != wanted:
            self._client.set_object_lock_config(bucket, wanted)


class _HashingReader:
    """Hashes what an upload reads, so that the bytes sent are the bytes named."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._digest.update(data)
        return data

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _check_retention(mode: LockMode, days: int) -> None:
    if days < 1:
        raise ConfigurationError(f"a retention of {days} days keeps no evidence")
    if mode is LockMode.COMPLIANCE and days > _LONGEST_COMPLIANCE_DAYS:
        raise ConfigurationError(
            f"{days} days under COMPLIANCE would make unconfirmed footage impossible to erase; "
            f"at most {_LONGEST_COMPLIANCE_DAYS}, confirmed evidence is extended by itself"
        )


def _is_weaker(wanted: ObjectLockConfig, current: ObjectLockConfig) -> bool:
    if current.duration is None or wanted.duration is None:
        return False
    days = current.duration * (1 if current.duration_unit == DAYS else 365)
    softer = current.mode == LockMode.COMPLIANCE and wanted.mode == LockMode.GOVERNANCE
    return softer or wanted.duration < days


def _key(prefix: str, sha256: str) -> str:
    if not prefix:
        return sha256
    if not set(prefix) <= _KEY_PREFIX_CHARACTERS or "" in prefix.split("/"):
        raise ValueError(f"{prefix!r} is no key prefix: a-z, 0-9, - and _, parted by /")
    return f"{prefix}/{sha256}"


def _lock_from(headers: dict[str, str]) -> Lock:
    """The lock in the headers of a HEAD answer; anything that can't be read is no lock."""
    values = {name.lower(): value for name, value in headers.items()}
    mode = values.get("x-amz-object-lock-mode", "").upper()
    try:
        until = datetime.fromisoformat(values.get("x-amz-object-lock-retain-until-date", ""))
    except ValueError:
        return Lock(None, None, values.get("x-amz-object-lock-legal-hold", "") == "ON")
    return Lock(
        LockMode(mode) if mode in set(LockMode) else None,
        until.astimezone(UTC) if until.utcoffset() is not None else None,
        values.get("x-amz-object-lock-legal-hold", "").upper() == "ON",
    )


def _whole_seconds_up(moment: datetime) -> datetime:
    """Fractions of a second break some servers' parsers of retention dates."""
    floor = moment.astimezone(UTC).replace(microsecond=0)
    return floor if floor == moment else floor + timedelta(seconds=1)
