"""Real MQTT brokers on loopback: rumqttd, which a wheel brings along, and mosquitto where it is
installed."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")

_ROUTER = """
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
"""
_LISTENER = """
[v{version}.{number}]
name = "{version}-{number}"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v{version}.{number}.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, within_s: float = 15.0) -> None:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        with socket.socket() as attempt:
            attempt.settimeout(0.5)
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


@dataclass
class Broker:
    """A broker with one port for each version of the protocol. Sessions are in memory only."""

    folder: Path
    users: dict[str, str] = field(default_factory=dict)
    certificate: tuple[Path, Path] | None = None
    """Certificate and key in PEM, for a third port with TLS, which speaks 3.1.1."""
    ports: dict[str, int] = field(
        default_factory=lambda: {name: free_port() for name in ("3.1.1", "5", "tls")}
    )
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        config = self.folder / "broker.toml"
        config.write_text(_ROUTER + self._listener(4, 1, "3.1.1") + self._listener(5, 1, "5"))
        if self.certificate is not None:
            chain, key = self.certificate
            secure = f'[v4.2.tls]\ncertpath = "{chain}"\nkeypath = "{key}"\n'
            with config.open("a") as file:
                file.write(self._listener(4, 2, "tls") + secure)
        command = [sys.executable, "-m", "iotcore", "--config", str(config), "--log-level", "ERROR"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder
        )
        wait_for_port(self.ports["5"])
        wait_for_port(self.ports["tls" if self.certificate else "3.1.1"])

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def _listener(self, version: int, number: int, name: str) -> str:
        text = _LISTENER.format(version=version, number=number, port=self.ports[name])
        if self.users:
            users = "".join(f'"{user}" = "{password}"\n' for user, password in self.users.items())
            text += f"[v{version}.{number}.connections.auth]\n{users}"
        return text


@contextmanager
def broker_in(folder: Path, **settings: object) -> Iterator[Broker]:
    broker = Broker(folder, **settings)  # type: ignore[arg-type]
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@contextmanager
def mosquitto_in(folder: Path) -> Iterator[int]:
    """Mosquitto on one port, for both versions of the protocol."""
    assert MOSQUITTO is not None
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        "max_queued_messages 0\nmax_queued_bytes 0\n"
    )
    process = subprocess.Popen(
        [MOSQUITTO, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for_port(port)
        yield port
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def publisher(
    port: int, *, user: str | None = None, password: str | None = None, protocol: str = "3.1.1"
) -> Iterator[paho.Client]:
    """A connected client."""
    client = paho.Client(
        CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5 if protocol == "5" else paho.MQTTv311
    )
    client.username_pw_set(user, password)
    client.max_inflight_messages_set(200)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def publish(client: paho.Client, payloads: list[bytes], topic: str = "site/noise") -> None:
    """Publish at QoS 1, and return once the broker has all of them."""
    sent = [client.publish(topic, payload, qos=1) for payload in payloads]
    for one in sent:
        one.wait_for_publish(60)
        assert one.is_published()
