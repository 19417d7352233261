"""The evidence store against a real S3 server: locks, versions, digests, and what may fail."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from minio import Minio
from minio.commonconfig import COMPLIANCE, GOVERNANCE
from minio.error import S3Error
from minio.objectlockconfig import ObjectLockConfig
from minio.retention import Retention

from enforcement.errors import (
    ConfigurationError,
    EvidenceError,
    StoreUnavailable,
)
from enforcement.footage import StoredObject
from storage.canonical import sha256_hex
from storage.evidence_store import BucketRole, EvidenceStore, LockMode
from storage.s3_client import Timeouts
from storage.seaweed import SeaweedServer
from storage.verified_cache import VerifiedCache
from tests.failing_servers import cutting_proxy, silent_server, trickling_server

StoreFactory = Callable[..., EvidenceStore]
Content = Callable[[int], Path]

MIB = 2**20
HASTY = Timeouts(connect_s=0.4, read_s=0.4)


def stored(store: EvidenceStore, data: bytes, prefix: str = "") -> StoredObject:
    return store.put_bytes(BucketRole.EVIDENCE, data, "application/octet-stream", prefix=prefix)


def versions(client: Minio, obj: StoredObject) -> list[str | None]:
    listed = client.list_objects(obj.bucket, prefix=obj.key, include_version=True)
    return [entry.version_id for entry in listed if not entry.is_delete_marker]


def replaced(client: Minio, obj: StoredObject, data: bytes) -> str:
    """PUT other bytes to the object's key; returns the new version."""
    result = client.put_object(obj.bucket, obj.key, BytesIO(data), len(data), obj.media_type)
    assert result.version_id
    return result.version_id


# What a lock keeps


def test_a_locked_version_cannot_be_deleted(evidence_store: EvidenceStore, intruder: Minio) -> None:
    obj = stored(evidence_store, b"locked")
    with pytest.raises(S3Error):
        intruder.remove_object(obj.bucket, obj.key, version_id=obj.version_id)
    assert evidence_store.read(obj) == b"locked"


def test_a_compliance_lock_cannot_be_shortened(
    evidence_store: EvidenceStore, intruder: Minio
) -> None:
    obj = stored(evidence_store, b"not shortened")
    before = evidence_store.lock_of(obj)
    for mode in (GOVERNANCE, COMPLIANCE):
        sooner = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        with pytest.raises(S3Error):
            intruder.set_object_retention(
                obj.bucket, obj.key, Retention(mode, sooner), obj.version_id
            )
    assert evidence_store.lock_of(obj) == before


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 5 * MIB + 1, 11 * MIB])
def test_every_size_comes_back_locked_and_unchanged(
    evidence_store: EvidenceStore, content: Content, size: int
) -> None:
    path = content(size)
    obj = evidence_store.put_file(BucketRole.CAPTURES, path, "video/mp4", prefix="cam-1/2026/11/24")
    assert obj.key == f"cam-1/2026/11/24/{obj.sha256}"
    assert (obj.size, obj.media_type) == (size, "video/mp4")
    lock = evidence_store.lock_of(obj)
    assert lock.mode is LockMode.COMPLIANCE
    assert lock.covers(datetime.now(UTC) + timedelta(days=29, hours=23))
    assert not lock.covers(datetime.now(UTC) + timedelta(days=30, hours=1))
    assert evidence_store.read(obj) == path.read_bytes()


def test_a_delete_of_the_key_does_not_hide_the_version(
    evidence_store: EvidenceStore, intruder: Minio
) -> None:
    obj = stored(evidence_store, b"hidden by a marker")
    intruder.remove_object(obj.bucket, obj.key)
    with pytest.raises(S3Error):
        intruder.stat_object(obj.bucket, obj.key)
    assert evidence_store.read(obj) == b"hidden by a marker"
    assert stored(evidence_store, b"hidden by a marker") == obj


def test_an_overwritten_key_still_reads_the_recorded_version(
    evidence_store: EvidenceStore, intruder: Minio
) -> None:
    obj = stored(evidence_store, b"the original")
    replaced(intruder, obj, b"the forgery!")
    assert evidence_store.read(obj) == b"the original"


def test_swapped_bytes_are_noticed(
    evidence_store: EvidenceStore, intruder: Minio, tmp_path: Path
) -> None:
    obj = stored(evidence_store, b"genuine bytes")
    for forged in (b"another bytes", b"genuine", b"genuine bytes and more"):
        swapped = obj.model_copy(update={"version_id": replaced(intruder, obj, forged)})
        with pytest.raises(EvidenceError, match="does not hold the bytes"):
            evidence_store.read(swapped)
        with pytest.raises(EvidenceError, match="does not hold the bytes"):
            evidence_store.verify(swapped)
        with pytest.raises(EvidenceError, match="does not hold the bytes"):
            evidence_store.fetch(swapped, tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_that_fails_leaves_the_older_file_alone(
    evidence_store: EvidenceStore, intruder: Minio, tmp_path: Path
) -> None:
    obj = stored(evidence_store, b"good")
    target = tmp_path / "file"
    evidence_store.fetch(obj, target)
    swapped = obj.model_copy(update={"version_id": replaced(intruder, obj, b"evil")})
    with pytest.raises(EvidenceError):
        evidence_store.fetch(swapped, target)
    assert target.read_bytes() == b"good"
    assert list(tmp_path.iterdir()) == [target]


def test_a_version_that_is_not_there_is_an_evidence_error(
    evidence_store: EvidenceStore, intruder: Minio
) -> None:
    obj = stored(evidence_store, b"present")
    intruder.remove_object(obj.bucket, obj.key)
    marker = next(
        entry.version_id
        for entry in intruder.list_objects(obj.bucket, prefix=obj.key, include_version=True)
        if entry.is_delete_marker
    )
    for change in (
        {"version_id": "0" * 32},
        {"version_id": marker},
        {"key": "nowhere/" + obj.sha256},
        {"bucket": "sightline-nowhere"},
    ):
        absent = obj.model_copy(update=change)
        with pytest.raises(EvidenceError, match="not in the evidence store"):
            evidence_store.read(absent)
        with pytest.raises(EvidenceError, match="not in the evidence store"):
            evidence_store.lock_of(absent)


# Keeping longer


def test_retention_is_extended_and_never_shortened(evidence_store: EvidenceStore) -> None:
    obj = stored(evidence_store, b"kept longer")
    until = datetime(2029, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    assert evidence_store.extend_retention(obj, until).until == until.replace(
        second=1, microsecond=0
    )
    assert evidence_store.extend_retention(obj, until - timedelta(days=90)).covers(until)
    assert evidence_store.lock_of(obj).covers(until)
    with pytest.raises(ValueError, match="aware"):
        evidence_store.extend_retention(obj, until.replace(tzinfo=None))


def test_a_version_without_a_lock_is_not_extended(
    evidence_store: EvidenceStore, intruder: Minio
) -> None:
    intruder.make_bucket("unlocked")
    result = intruder.put_object("unlocked", "k", BytesIO(b"x"), 1)
    obj = stored(evidence_store, b"x").model_copy(
        update={"bucket": "unlocked", "key": "k", "version_id": result.version_id or "null"}
    )
    with pytest.raises(EvidenceError):
        evidence_store.extend_retention(obj, datetime(2030, 1, 1, tzinfo=UTC))
    with pytest.raises(EvidenceError):
        evidence_store.place_legal_hold(obj)


def test_a_legal_hold_is_placed_and_read_back(
    evidence_store: EvidenceStore, intruder: Minio
) -> None:
    obj = stored(evidence_store, b"held")
    assert not evidence_store.lock_of(obj).legal_hold
    assert evidence_store.place_legal_hold(obj).legal_hold
    assert evidence_store.place_legal_hold(obj).legal_hold
    assert intruder.is_object_legal_hold_enabled(obj.bucket, obj.key, obj.version_id)


# The same thing twice


def test_the_same_content_twice_is_one_version(
    evidence_store: EvidenceStore, intruder: Minio, content: Content
) -> None:
    path = content(6 * MIB)
    first = evidence_store.put_file(BucketRole.EVIDENCE, path, "video/mp4")
    assert evidence_store.put_file(BucketRole.EVIDENCE, path, "video/mp4") == first
    assert evidence_store.put_bytes(BucketRole.EVIDENCE, path.read_bytes(), "video/mp4") == first
    assert versions(intruder, first) == [first.version_id]


def test_planted_bytes_under_the_right_key_are_not_taken_for_the_content(
    evidence_store: EvidenceStore, intruder: Minio
) -> None:
    data = b"what the camera sent"
    planted = StoredObject(
        bucket=evidence_store.bucket(BucketRole.EVIDENCE),
        key=sha256_hex(data),
        version_id="",
        sha256=sha256_hex(data),
        size=len(data),
        media_type="application/octet-stream",
    )
    version = replaced(intruder, planted, b"what someone planted")
    obj = stored(evidence_store, data)
    assert obj.version_id != version
    assert evidence_store.read(obj) == data


def test_a_version_about_to_expire_is_renewed_when_its_content_is_stored_again(
    evidence_store: EvidenceStore, intruder: Minio
) -> None:
    data = b"nearly over"
    bucket, key = evidence_store.bucket(BucketRole.EVIDENCE), sha256_hex(data)
    tomorrow = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    old = intruder.put_object(
        bucket, key, BytesIO(data), len(data), retention=Retention(COMPLIANCE, tomorrow)
    )
    obj = stored(evidence_store, data)
    assert obj.version_id == old.version_id
    assert evidence_store.lock_of(obj).covers(datetime.now(UTC) + timedelta(days=29, hours=23))


def test_threads_that_store_the_same_content_all_get_it_back(
    evidence_store: EvidenceStore,
) -> None:
    results: list[StoredObject] = []

    def store() -> None:
        results.append(stored(evidence_store, b"raced"))

    threads = [threading.Thread(target=store) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 4
    assert {evidence_store.read(obj) for obj in results} == {b"raced"}


# Fail closed


def test_an_upload_that_does_not_end_up_locked_is_refused(
    make_store: StoreFactory, intruder: Minio
) -> None:
    store = make_store(bucket_prefix="lockless")
    store.ensure_buckets()
    intruder.delete_object_lock_config("lockless-evidence")
    for size in (10, 6 * MIB):
        with pytest.raises(EvidenceError, match="did not lock"):
            stored(store, b"x" * size)
    store.ensure_buckets()
    assert store.lock_of(stored(store, b"x" * 10)).mode is LockMode.COMPLIANCE


@pytest.mark.parametrize(("mode", "days"), [(GOVERNANCE, 30), (COMPLIANCE, 1)])
def test_an_upload_under_a_weaker_lock_than_configured_is_refused(
    make_store: StoreFactory, intruder: Minio, mode: str, days: int
) -> None:
    store = make_store(bucket_prefix=f"weaker-{mode.lower()}")
    store.ensure_buckets()
    intruder.set_object_lock_config(
        store.bucket(BucketRole.EVIDENCE), ObjectLockConfig(mode, days, "Days")
    )
    with pytest.raises(EvidenceError, match="did not lock"):
        stored(store, b"weak")


def test_a_bucket_without_object_lock_is_refused(make_store: StoreFactory, intruder: Minio) -> None:
    intruder.make_bucket("plain-captures")
    with pytest.raises(ConfigurationError, match="plain-captures exists without Object Lock"):
        make_store(bucket_prefix="plain").ensure_buckets()


def test_a_default_retention_may_be_lengthened_but_not_weakened(
    make_store: StoreFactory, intruder: Minio
) -> None:
    make_store(bucket_prefix="longer", retention_days=20).ensure_buckets()
    make_store(bucket_prefix="longer", retention_days=40).ensure_buckets()
    config = intruder.get_object_lock_config("longer-evidence")
    assert (config.mode, config.duration, config.duration_unit) == (COMPLIANCE, 40, "Days")
    for settings in ({"retention_days": 39}, {"retention_mode": LockMode.GOVERNANCE}):
        with pytest.raises(ConfigurationError, match="longer or harder"):
            make_store(
                bucket_prefix="longer", **{"retention_days": 40, **settings}
            ).ensure_buckets()
    assert intruder.get_object_lock_config("longer-evidence") == config


def test_long_compliance_locks_cannot_be_configured(make_store: StoreFactory) -> None:
    make_store(retention_days=90)
    make_store(retention_days=365, retention_mode=LockMode.GOVERNANCE)
    with pytest.raises(ConfigurationError, match="impossible to erase"):
        make_store(retention_days=91)
    with pytest.raises(ConfigurationError, match="keeps no evidence"):
        make_store(retention_days=0)


@pytest.mark.parametrize("prefix", ["Zhang San", "a//b", "/a", "a/", "../a", "沪A12345"])
def test_a_key_prefix_is_an_id_and_nothing_else(evidence_store: EvidenceStore, prefix: str) -> None:
    with pytest.raises(ValueError, match="no key prefix"):
        stored(evidence_store, b"x", prefix)


def test_a_file_other_than_announced_is_refused(
    evidence_store: EvidenceStore, content: Content
) -> None:
    path = content(1000)
    announced = sha256_hex(path.read_bytes())
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(EvidenceError, match="does not hold these bytes"):
        evidence_store.put_file(BucketRole.CAPTURES, path, "video/mp4", sha256=announced)


# A store that fails


def assert_unavailable(store: EvidenceStore, obj: StoredObject, within_s: float) -> None:
    for act in (
        store.ensure_buckets,
        lambda: stored(store, b"anything"),
        lambda: store.read(obj),
        lambda: store.lock_of(obj),
        lambda: store.place_legal_hold(obj),
    ):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            act()
        assert time.monotonic() - begun < within_s


def test_a_hanging_store_is_given_up_in_time(
    evidence_store: EvidenceStore, make_store: StoreFactory
) -> None:
    obj = stored(evidence_store, b"hang")
    with silent_server() as endpoint:
        assert_unavailable(make_store(endpoint=endpoint, timeouts=HASTY), obj, within_s=2.0)


def test_an_absent_store_is_unavailable(
    evidence_store: EvidenceStore, make_store: StoreFactory
) -> None:
    obj = stored(evidence_store, b"away")
    with silent_server() as endpoint:
        pass
    assert_unavailable(make_store(endpoint=endpoint, timeouts=HASTY), obj, within_s=2.0)


def test_a_trickling_store_is_given_up_in_time(
    evidence_store: EvidenceStore, make_store: StoreFactory
) -> None:
    obj = stored(evidence_store, b"x" * 100)
    begun = time.monotonic()
    with trickling_server(100) as endpoint, pytest.raises(StoreUnavailable, match="longer than"):
        make_store(endpoint=endpoint, timeouts=HASTY).read(obj)
    assert time.monotonic() - begun < 3.0


@pytest.mark.parametrize("size", [MIB, 11 * MIB])
def test_a_truncated_upload_leaves_no_version(
    s3_server: SeaweedServer,
    make_store: StoreFactory,
    evidence_store: EvidenceStore,
    intruder: Minio,
    content: Content,
    size: int,
) -> None:
    path = content(size)
    with cutting_proxy(s3_server.endpoint, up=size * 2 // 3) as endpoint:
        store = make_store(endpoint=endpoint, timeouts=Timeouts(1.0, 3.0))
        with pytest.raises(StoreUnavailable):
            store.put_file(BucketRole.EVIDENCE, path, "video/mp4")
    bucket = evidence_store.bucket(BucketRole.EVIDENCE)
    key = sha256_hex(path.read_bytes())
    assert list(intruder.list_objects(bucket, prefix=key, include_version=True)) == []
    obj = evidence_store.put_file(BucketRole.EVIDENCE, path, "video/mp4")
    assert versions(intruder, obj) == [obj.version_id]
    evidence_store.verify(obj)


def test_a_truncated_download_is_a_failure_to_repeat(
    s3_server: SeaweedServer,
    make_store: StoreFactory,
    evidence_store: EvidenceStore,
    content: Content,
    tmp_path: Path,
) -> None:
    obj = evidence_store.put_file(BucketRole.EVIDENCE, content(3 * MIB), "video/mp4")
    target = tmp_path / "clip.mp4"
    with (
        cutting_proxy(s3_server.endpoint, down=MIB) as endpoint,
        pytest.raises(StoreUnavailable),
    ):
        make_store(endpoint=endpoint).fetch(obj, target)
    assert not target.exists()
    assert not list(tmp_path.glob(".*"))


def test_refused_credentials_are_a_setting_to_fix_and_stay_out_of_the_text(
    s3_server: SeaweedServer, evidence_store: EvidenceStore
) -> None:
    obj = stored(evidence_store, b"mine")
    secret = "0123456789abcdef0123456789abcdef"
    for access_key in (s3_server.credentials.access_key, "somebody-else"):
        store = EvidenceStore(s3_server.endpoint, access_key, secret, secure=False)
        with pytest.raises(ConfigurationError, match="credentials"):
            store.ensure_buckets()
        with pytest.raises(ConfigurationError, match="credentials"):
            store.lock_of(obj)
        with pytest.raises(ConfigurationError, match="credentials") as caught:
            store.read(obj)
        chain = f"{caught.value} {caught.value.__cause__}"
        assert secret not in chain
        assert access_key not in chain
        assert secret not in repr(store)


def test_an_endpoint_with_a_path_is_a_setting_to_fix() -> None:
    for endpoint in ("http://127.0.0.1:1", "127.0.0.1:1/bucket", ""):
        with pytest.raises(ConfigurationError, match="not an S3 endpoint"):
            EvidenceStore(endpoint, "a", "b", secure=False)


@pytest.fixture
def own_server(tmp_path: Path, free_base_port: Callable[[], int]) -> Iterator[SeaweedServer]:
    with SeaweedServer(tmp_path / "own", free_base_port()) as server:
        yield server


def kill_nine(server: SeaweedServer) -> None:
    pid = server.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while server.pid() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.pid() is None


def store_on(server: SeaweedServer, read_s: float = 10.0) -> EvidenceStore:
    return EvidenceStore(
        server.endpoint,
        server.credentials.access_key,
        server.credentials.secret_key,
        secure=False,
        timeouts=Timeouts(1.0, read_s),
    )


def test_what_was_acknowledged_survives_a_kill_in_the_middle_of_uploads(
    own_server: SeaweedServer,
) -> None:
    store = store_on(own_server)
    store.ensure_buckets()
    acknowledged: list[StoredObject] = []

    def upload(writer: int) -> None:
        for number in range(200):
            size = 6 * MIB if number % 5 == 4 else 20_000
            try:
                acknowledged.append(stored(store, f"{writer}-{number}".encode().ljust(size, b".")))
            except StoreUnavailable:
                return

    writers = [threading.Thread(target=upload, args=(writer,)) for writer in range(2)]
    for thread in writers:
        thread.start()
    deadline = time.monotonic() + 20
    while len(acknowledged) < 15 and time.monotonic() < deadline:
        time.sleep(0.01)
    kill_nine(own_server)
    for thread in writers:
        thread.join(20)
    assert 15 <= len(acknowledged) < 400

    own_server.start()
    for obj in acknowledged:
        store.verify(obj)
        assert store.lock_of(obj).covers(datetime.now(UTC) + timedelta(days=29))
    assert store.read(stored(store, b"after")) == b"after"


def test_a_full_disk_is_a_failure_and_never_an_acknowledgement(
    tmp_path: Path, free_base_port: Callable[[], int]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=160m", "none", str(disk)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode != 0:
        pytest.skip("no right to mount a small disk")
    try:
        with SeaweedServer(disk, free_base_port()) as server:
            store = store_on(server, read_s=2.0)
            store.ensure_buckets()
            acknowledged = []
            with pytest.raises((StoreUnavailable, EvidenceError)):  # noqa: PT012
                for number in range(60):
                    acknowledged.append(stored(store, str(number).encode().ljust(4 * MIB, b".")))
            assert acknowledged
            for obj in acknowledged:
                store.verify(obj)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


# Local copies


def test_a_cached_copy_is_verified_again_after_somebody_touched_it(
    evidence_store: EvidenceStore, tmp_path: Path
) -> None:
    obj = stored(evidence_store, b"cached bytes")
    folder = tmp_path / "cache"
    path = VerifiedCache(evidence_store, folder, MIB).path(obj)
    cache = VerifiedCache(evidence_store, folder, MIB)
    assert cache.path(obj) == path
    path.chmod(0o600)
    path.write_bytes(b"forged bytes")
    assert cache.path(obj).read_bytes() == b"cached bytes"
    assert b"".join(cache.open_range(obj, 7, 5)) == b"bytes"


def test_bytes_that_fail_their_digest_never_reach_the_cache(
    evidence_store: EvidenceStore, intruder: Minio, tmp_path: Path
) -> None:
    obj = stored(evidence_store, b"true")
    swapped = obj.model_copy(update={"version_id": replaced(intruder, obj, b"fake")})
    cache = VerifiedCache(evidence_store, tmp_path / "cache", MIB)
    with pytest.raises(EvidenceError):
        cache.path(swapped)
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_least_recently_used_copies_make_room(
    evidence_store: EvidenceStore, tmp_path: Path
) -> None:
    first, second, third = (stored(evidence_store, name * 400) for name in (b"a", b"b", b"c"))
    cache = VerifiedCache(evidence_store, tmp_path, 1000)
    cache.path(first)
    cache.path(second)
    cache.path(first)
    cache.path(third)
    assert {path.name for path in tmp_path.iterdir()} == {first.sha256, third.sha256}
    assert cache.path(second).read_bytes() == b"b" * 400


def test_an_object_larger_than_the_cache_is_a_setting_to_fix(
    evidence_store: EvidenceStore, tmp_path: Path
) -> None:
    obj = stored(evidence_store, b"d" * 1001)
    with pytest.raises(ConfigurationError, match="cannot hold 1001"):
        VerifiedCache(evidence_store, tmp_path, 1000).path(obj)


@pytest.mark.parametrize(("start", "length"), [(-1, 2), (0, 11), (5, 6), (11, 0), (0, -1)])
def test_a_range_outside_the_object_is_refused(
    evidence_store: EvidenceStore, tmp_path: Path, start: int, length: int
) -> None:
    obj = stored(evidence_store, b"0123456789")
    cache = VerifiedCache(evidence_store, tmp_path, 1000)
    with pytest.raises(ValueError, match="lies outside"):
        cache.open_range(obj, start, length)
    assert b"".join(cache.open_range(obj, 0, 10)) == b"0123456789"
    assert b"".join(cache.open_range(obj, 10, 0)) == b""


def test_a_draft_of_another_thread_that_vanishes_meanwhile_hinders_nobody(
    evidence_store: EvidenceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obj = evidence_store.put_bytes(BucketRole.EVIDENCE, os.urandom(100), "x/y")
    draft = tmp_path / ".draft.part"
    draft.touch()
    scan = os.scandir

    def listed_before_it_vanished(folder: Path) -> list[os.DirEntry[str]]:
        entries = list(scan(folder))
        draft.unlink(missing_ok=True)
        return entries

    monkeypatch.setattr("storage.verified_cache.os.scandir", listed_before_it_vanished)
    assert VerifiedCache(evidence_store, tmp_path, 1000).path(obj).is_file()
