"""Kill the collector five times and take the store away: count what is lost of 100,000 messages.

    .venv/bin/python -m tests.endurance.no_message_lost --messages 100000 --kills 5 --away-s 30

A real broker (mosquitto where it is installed, rumqttd otherwise), a real S3 server, records in
SQLite. Publishes numbered QoS 1 messages at ``--rate`` a second. Exit code 0 if none is lost.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.seaweed import SeaweedServer
from tests.endurance.collecting import Installation, collect_under_attack, installation
from tests.feeds.mqtt_broker import MOSQUITTO, broker_in, mosquitto_in


def main() -> int:
    """Run the attack and print the counts."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--messages", type=int, default=100_000)
    arguments.add_argument("--kills", type=int, default=5)
    arguments.add_argument("--away-s", type=float, default=30.0)
    arguments.add_argument("--rate", type=float, default=1000.0)
    options = arguments.parse_args()
    with parts() as (port, one):
        began = time.monotonic()
        outcome = collect_under_attack(
            one, port, options.messages, options.kills, options.away_s, options.rate
        )
        print(f"broker {'mosquitto' if MOSQUITTO else 'rumqttd'}, {outcome}")
        print(f"captures {one.filed()}, {time.monotonic() - began:.0f} s")
        crashed = b"Traceback" in one.log.read_bytes()
    whole = not outcome.lost and not outcome.strange and not outcome.exit_code and not crashed
    return 0 if whole else 1


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """A broker's port for MQTT 3.1.1; mosquitto speaks 5 on it too."""
    if MOSQUITTO is not None:
        with mosquitto_in(folder) as port:
            yield port
        return
    with broker_in(folder) as rumqttd:
        yield rumqttd.ports["3.1.1"]


@contextmanager
def parts() -> Iterator[tuple[int, Installation]]:
    """A broker's port and an installation on an S3 server of its own."""
    base_port = random.randrange(10_500, 22_000, 20)
    with (
        tempfile.TemporaryDirectory(prefix="collecting-") as name,
        broker(Path(name)) as port,
        SeaweedServer(Path(name) / "s3", base_port) as s3,
        installation(Path(name) / "home", s3) as one,
    ):
        yield port, one


if __name__ == "__main__":
    sys.exit(main())
