"""How fast messages are collected, beside a bare paho subscriber on the same broker.

    .venv/bin/python -m tests.endurance.message_rate --messages 20000 --rounds 3

Each round fills two sessions of a broker with the same messages while nobody listens, then times
how long the whole collector (real S3 server, records in SQLite, every batch kept before it is
acknowledged) and a subscriber that only counts take to receive and acknowledge all of them, one
after the other, in turns. Prints messages a second and their ratio.
"""

import argparse
import signal
import statistics
import subprocess
import sys
import time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from storage.records import captures
from tests.endurance.collecting import Installation, wait_until
from tests.endurance.no_message_lost import parts
from tests.feeds.mqtt_broker import MOSQUITTO, publish, publisher

WINDOW = 3000
"""Messages under way to the bare subscriber: as many as to the collector."""


def main() -> int:
    """Run the rounds and print the rates."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--messages", type=int, default=20_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--size", type=int, default=120)
    arguments.add_argument("--bare", metavar="PORT:PROTOCOL:SESSION:MESSAGES")
    options = arguments.parse_args()
    if options.bare:
        port, protocol, session, messages = options.bare.split(":")
        print(_bare(int(port), protocol, session, int(messages)))
        return 0
    protocol = "5" if MOSQUITTO else "3.1.1"
    ratios = []
    with parts() as (port, one):
        for number in range(options.rounds):
            sessions = [f"bare-{number}", f"rate-{number}"]
            _fill(one, port, protocol, sessions, options.messages, options.size)
            bare = _bare_rate(port, protocol, sessions[0], options.messages)
            ours = _collected_rate(one, port, protocol, number, options.messages)
            ratios.append(ours / bare)
            print(
                f"round {number + 1}: bare subscriber {bare:.0f}/s, collector {ours:.0f}/s,"
                f" ratio {ours / bare:.2f}",
                flush=True,
            )
    print(f"broker {'mosquitto' if MOSQUITTO else 'rumqttd'}, MQTT {protocol}")
    print(f"median ratio {statistics.median(ratios):.2f}")
    return 0


def _client(protocol: str, session: str) -> paho.Client:
    five = protocol == "5"
    return paho.Client(
        CallbackAPIVersion.VERSION2,
        session,
        clean_session=None if five else False,
        protocol=paho.MQTTv5 if five else paho.MQTTv311,
    )


def _connect(client: paho.Client, port: int, protocol: str) -> None:
    if protocol != "5":
        client.connect("127.0.0.1", port)
        return
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 3600
    properties.ReceiveMaximum = WINDOW
    client.connect("127.0.0.1", port, clean_start=False, properties=properties)


def _fill(
    one: Installation, port: int, protocol: str, sessions: list[str], messages: int, size: int
) -> None:
    """Have both sessions wait for the same messages."""
    for session in sessions:
        client = _client(protocol, session)
        heard: list[int] = []
        client.on_subscribe = lambda *_, heard=heard: heard.append(1)
        _connect(client, port, protocol)
        client.loop_start()
        client.subscribe("rate/#", 1)
        wait_until(lambda heard=heard: bool(heard), "subscribed")  # type: ignore[misc]
        client.disconnect()
        client.loop_stop()
    payloads = [(b"%08d" % number).ljust(size, b".") for number in range(messages)]
    with publisher(port) as client:
        for first in range(0, messages, 1000):
            publish(client, payloads[first : first + 1000], "rate/a")


def _bare(port: int, protocol: str, session: str, messages: int) -> float:
    """Seconds from the first message to the last."""
    times: list[float] = []
    client = _client(protocol, session)
    client.on_message = lambda *_: times.append(time.perf_counter())
    _connect(client, port, protocol)
    client.loop_start()
    wait_until(lambda: len(times) >= messages, "all messages", 300)
    client.disconnect()
    client.loop_stop()
    return times[messages - 1] - times[0]


def _bare_rate(port: int, protocol: str, session: str, messages: int) -> float:
    what = f"{port}:{protocol}:{session}:{messages}"
    printed = subprocess.run(
        [sys.executable, "-m", "tests.endurance.message_rate", "--bare", what],
        capture_output=True, text=True, timeout=400, check=True,
    )  # fmt: skip
    return messages / float(printed.stdout)


def _collected_rate(
    one: Installation, port: int, protocol: str, number: int, messages: int
) -> float:
    """From the arrival of the first message until the last batch is on record."""
    feed_id = f"rate-{number}"
    source = {"kind": "mqtt", "host": "127.0.0.1", "port": port, "topics": ["rate/#"],
              "protocol": protocol, "client_id": feed_id}  # fmt: skip
    one.write_catalog([{"feed_id": feed_id, "source": source}])
    before = one.filed()
    one.start()
    last, since = before, time.monotonic()
    while last == before or time.monotonic() - since < 5.0:
        if (now := one.filed()) != last:
            last, since = now, time.monotonic()
        time.sleep(0.5)
    one.end(signal.SIGTERM)
    if len(set(one.payloads(feed_id))) != messages:
        raise RuntimeError("messages are missing")
    wiring = one.wiring()
    with wiring.database.transaction() as connection:
        filed = [one for one in captures.all_captures(connection) if one.feed_id == feed_id]
    wiring.database.close()
    first, end = (f(moments) for f, moments in (
        (min, [one.captured_at for one in filed]), (max, [one.received_at for one in filed])
    ))  # fmt: skip
    return messages / (end - first).total_seconds()


if __name__ == "__main__":
    sys.exit(main())
