"""The embedded S3 server as a child process: closed doors, a bounded life, nothing lost."""

import http.client
import json
import os
import random
import shutil
import signal
import socket
import ssl
import stat
import struct
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from minio import Minio
from minio.error import S3Error

from enforcement.errors import ConfigurationError, StoreUnavailable
from storage.evidence_store import BucketRole, EvidenceStore
from storage.seaweed import Ports, SeaweedServer, command, find_binary, load_credentials


def script(folder: Path, body: str) -> Path:
    """A program that stands in for a broken server."""
    path = folder / "weed"
    path.write_text(f"#!/bin/sh\n{body}\n", "utf-8")
    path.chmod(0o755)
    return path


def answer(method: str, endpoint: str, path: str) -> int:
    """The HTTP status of an unsigned request."""
    connection = http.client.HTTPConnection(endpoint, timeout=3)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    finally:
        connection.close()


def kill_nine(server: SeaweedServer) -> None:
    pid = server.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while server.pid() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.pid() is None


def client_of(server: SeaweedServer) -> Minio:
    credentials = server.credentials
    return Minio(
        server.endpoint, credentials.access_key, credentials.secret_key, secure=False, region="x"
    )


def test_everything_the_server_opens_listens_on_loopback(s3_server: SeaweedServer) -> None:
    process = psutil.Process(s3_server.pid())
    listening = [
        connection.laddr
        for connection in process.net_connections(kind="inet")
        if connection.status in {psutil.CONN_LISTEN, psutil.CONN_NONE}
    ]
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert {address.port for address in listening} <= set(s3_server.ports.taken)
    assert s3_server.ports.s3 in {address.port for address in listening}
    for connection in process.net_connections(kind="unix"):
        if connection.laddr:
            assert stat.S_IMODE(os.stat(str(connection.laddr)).st_mode) & 0o077 == 0


def test_telemetry_is_off_and_the_side_doors_are_shut() -> None:
    line = command(Path("weed"), Path("data"), Path("state"), Ports(20_000))
    assert {"-master.telemetry=false", "-disableHttp", "-ip.bind=127.0.0.1"} <= set(line)
    assert {"-webdav=false", "-admin.ui=false", "-s3.autoCreateBucket=false"} <= set(line)


def test_nobody_without_credentials_reads_or_writes(
    s3_server: SeaweedServer, evidence_store: EvidenceStore
) -> None:
    obj = evidence_store.put_bytes(BucketRole.EVIDENCE, b"private", "text/plain")
    bucket, endpoint = f"/{obj.bucket}", s3_server.endpoint
    assert answer("GET", endpoint, f"{bucket}/{obj.key}?versionId={obj.version_id}") == 403
    assert answer("GET", endpoint, bucket) == 403
    assert answer("PUT", endpoint, f"{bucket}/anonymous") == 403
    assert answer("DELETE", endpoint, f"{bucket}/{obj.key}") == 403


def stored_needle(server: SeaweedServer, collection: str) -> str:
    """The volume server's own id of the newest thing it stored for a bucket.

    An entry of a volume's index is key (8 bytes), offset / 8 (4 bytes, then the highest one) and
    size (4 bytes), big-endian; at that offset of the volume lies the cookie (4 bytes).
    """
    index = max(server.data_dir.glob(f"{collection}_*.idx"), key=lambda path: path.stat().st_mtime)
    key, low, high, _ = struct.unpack(">QIBI", index.read_bytes()[-17:])
    offset = (high << 32 | low) * 8
    cookie = index.with_suffix(".dat").read_bytes()[offset : offset + 4]
    return f"{index.stem.rpartition('_')[2]},{key:x}{cookie.hex()}"


def test_an_unsigned_request_to_the_services_behind_s3_gets_nothing_and_removes_nothing(
    s3_server: SeaweedServer, evidence_store: EvidenceStore
) -> None:
    data = random.randbytes(30_000)
    obj = evidence_store.put_bytes(BucketRole.EVIDENCE, data, "text/plain")
    needle = stored_needle(s3_server, obj.bucket)
    _, master, volume, filer, _ = (f"127.0.0.1:{port}" for port in s3_server.ports.http)
    assert answer("GET", volume, f"/{needle}") == 401
    assert answer("DELETE", volume, f"/{needle}") == 401
    for endpoint in (master, filer):
        for path in (needle, f"buckets/{obj.bucket}/{obj.key}.versions/?recursive=true"):
            assert answer("GET", endpoint, f"/{path}") == 404
            assert answer("DELETE", endpoint, f"/{path}") == 404
    assert evidence_store.read(obj) == data


def test_a_program_without_the_servers_own_certificate_is_turned_away_from_grpc(
    s3_server: SeaweedServer,
) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    for port in s3_server.ports.taken[5:]:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=3) as plain,
            pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"),
            context.wrap_socket(plain) as encrypted,
        ):
            encrypted.recv(1)


def test_the_servers_own_keys_are_for_its_owner_alone(s3_server: SeaweedServer) -> None:
    for path in s3_server.state_dir.glob("*.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((s3_server.state_dir / "security.toml").stat().st_mode) == 0o600


def test_a_bucket_with_objects_is_not_removed_and_none_appears_by_itself(
    evidence_store: EvidenceStore, intruder: Minio
) -> None:
    evidence_store.put_bytes(BucketRole.EVIDENCE, b"keeps its bucket", "text/plain")
    with pytest.raises(S3Error):
        intruder.remove_bucket(evidence_store.bucket(BucketRole.EVIDENCE))
    intruder.make_bucket("without-locks")
    intruder.put_object("without-locks", "key", BytesIO(b"x"), 1)
    with pytest.raises(S3Error):
        intruder.remove_bucket("without-locks")
    with pytest.raises(S3Error):
        intruder.put_object("by-itself", "key", BytesIO(b""), 0)


def test_secrets_stand_neither_in_the_log_nor_on_the_command_line(
    s3_server: SeaweedServer,
) -> None:
    secret = s3_server.credentials.secret_key
    assert secret not in s3_server.log_file.read_text("utf-8")
    assert secret not in " ".join(psutil.Process(s3_server.pid()).cmdline())
    assert secret not in repr(s3_server.credentials)


def test_credentials_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    first = load_credentials(state_dir)
    assert load_credentials(state_dir) == first
    assert load_credentials(tmp_path / "other") != first
    assert len(first.secret_key) == 64
    (file,) = state_dir.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="by its owner only"):
        load_credentials(state_dir)


@pytest.mark.parametrize("text", ["", "[]", '{"access_key": "a"}', "\x00"])
def test_a_damaged_credentials_file_is_a_setting_to_fix(tmp_path: Path, text: str) -> None:
    load_credentials(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(text)
    with pytest.raises(ConfigurationError, match="no S3 credentials"):
        load_credentials(tmp_path)


@pytest.mark.parametrize("offset", [0, 4, 10_003])
def test_a_taken_port_is_named(
    tmp_path: Path, free_base_port: Callable[[], int], offset: int
) -> None:
    base = free_base_port()
    with socket.create_server(("127.0.0.1", base + offset)):
        server = SeaweedServer(tmp_path, base)
        with pytest.raises(ConfigurationError, match=f"port {base + offset} is taken"):
            server.start()
    assert server.pid() is None


@pytest.mark.parametrize("base", [0, 1023, 55_532, 65_535])
def test_a_base_port_without_room_above_it_is_refused(base: int) -> None:
    with pytest.raises(ConfigurationError, match="base port"):
        Ports(base)


def test_a_server_that_ends_while_starting_tells_its_last_words(
    tmp_path: Path, free_base_port: Callable[[], int]
) -> None:
    server = SeaweedServer(
        tmp_path, free_base_port(), binary=script(tmp_path, "echo no space left; exit 3")
    )
    with pytest.raises(StoreUnavailable, match="no space left"):
        server.start()


def test_a_server_that_never_gets_ready_is_ended_in_time(
    tmp_path: Path, free_base_port: Callable[[], int]
) -> None:
    body = "trap '' TERM; echo $$ > pid; echo still waiting; while true; do sleep 0.2; done"
    server = SeaweedServer(tmp_path, free_base_port(), binary=script(tmp_path, body))
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="still waiting"):
        server.start(timeout_s=0.5)
    assert time.monotonic() - begun < 5
    assert not psutil.pid_exists(int((server.data_dir / "pid").read_text()))


def test_the_server_inherits_nothing_from_the_environment(
    tmp_path: Path, free_base_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEED_FILER_OPTIONS_RECURSIVE_DELETE", "true")
    monkeypatch.setenv("S3_BUCKET", "surprise")
    server = SeaweedServer(tmp_path, free_base_port(), binary=script(tmp_path, "env; exit 1"))
    with pytest.raises(StoreUnavailable):
        server.start()
    log = server.log_file.read_text()
    assert "AWS_ACCESS_KEY_ID" in log
    assert "WEED_" not in log
    assert "surprise" not in log


def test_a_missing_binary_is_a_setting_to_fix(
    tmp_path: Path, free_base_port: Callable[[], int]
) -> None:
    with pytest.raises(ConfigurationError, match="cannot run"):
        SeaweedServer(tmp_path, free_base_port(), binary=tmp_path / "none").start()


def test_the_binary_comes_with_the_package() -> None:
    assert os.access(find_binary(), os.X_OK)


def test_after_a_kill_data_locks_and_credentials_are_as_before(
    tmp_path: Path, free_base_port: Callable[[], int]
) -> None:
    with SeaweedServer(tmp_path, free_base_port()) as server:
        store = EvidenceStore(
            server.endpoint,
            server.credentials.access_key,
            server.credentials.secret_key,
            secure=False,
        )
        store.ensure_buckets()
        objects = [
            store.put_bytes(BucketRole.EVIDENCE, bytes([n]) * (3 * 2**20 * n + 1), "text/plain")
            for n in range(4)
        ]
        locks = [store.place_legal_hold(obj) for obj in objects]
        kill_nine(server)

    with SeaweedServer(tmp_path, free_base_port()) as server:
        client = client_of(server)
        store = EvidenceStore(
            server.endpoint,
            server.credentials.access_key,
            server.credentials.secret_key,
            secure=False,
        )
        store.ensure_buckets()
        for obj, lock in zip(objects, locks, strict=True):
            store.verify(obj)
            assert store.lock_of(obj) == lock
            with pytest.raises(S3Error):
                client.remove_object(obj.bucket, obj.key, version_id=obj.version_id)
    assert server.pid() is None


def test_starting_twice_is_starting_once(s3_server: SeaweedServer) -> None:
    before = s3_server.pid()
    s3_server.start()
    assert s3_server.pid() == before
    assert json.loads((s3_server.state_dir / "s3-credentials.json").read_text())


def test_a_full_disk_is_named_when_the_server_cannot_start(
    tmp_path: Path, free_base_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing = tmp_path / "weed"
    crashing.write_text("#!/bin/sh\nexit 1\n")
    crashing.chmod(0o755)
    server = SeaweedServer(tmp_path / "s3", free_base_port(), binary=crashing)
    with pytest.raises(StoreUnavailable, match=r"ended while starting:\n"):
        server.start()
    usage = shutil.disk_usage(tmp_path)._replace(free=31 * 2**20)
    monkeypatch.setattr("storage.seaweed.shutil.disk_usage", lambda _: usage)
    with pytest.raises(StoreUnavailable, match=r"only 31 MiB are free .* make room"):
        server.start()
