"""The demo: its catalog holds together, and its night of noise is one incident, not two."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
from pydantic import SecretStr

from enforcement.cases import Lead
from enforcement.errors import ConfigurationError
from enforcement.evidence import EvidenceKind, Manifest
from enforcement.flights import GroundPoint
from enforcement.fusion import cameras_seeing
from feeds.hj212 import Packet, PacketParser, acknowledgement, packet_of
from media.footage import frames, probe
from pipelines import (
    batches,
    collect,
    correlate,
    demo,
    demo_works,
    observe,
    pull,
    seal,
    sensing,
    windows,
    wiring,
)
from pipelines.processes import StopSign
from pipelines.supervise import run
from pipelines.verify import verify_all
from pipelines.wiring import Wiring
from settings.catalog import load_catalog
from settings.environment import Settings
from storage.canonical import parse_canonical
from storage.records import captures, casebook
from storage.seaweed import SeaweedServer
from tests.feeds.mqtt_broker import wait_for_port

pytestmark = pytest.mark.timeout(120)

NOON = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
"""12:00 at the site."""


@pytest.fixture
def demo_home(
    s3_server: SeaweedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    free_base_port: Callable[[], int],
) -> Iterator[Wiring]:  # fmt: skip
    """A home as `sightline up --demo` makes it ready, on the session's S3 server."""
    settings = Settings(
        home=tmp_path / "home",
        receiver_port=free_base_port(),
        s3_endpoint=s3_server.endpoint,
        s3_access_key=s3_server.credentials.access_key,
        s3_secret_key=SecretStr(s3_server.credentials.secret_key),
        s3_secure=False,
        s3_bucket_prefix="demo",
    )
    demo.write_catalog(settings)
    wired = Wiring(settings)
    wiring.prepare(wired)
    for module in (correlate, observe, pull, seal, sensing, windows):
        monkeypatch.setattr(module, "wire", lambda: wired)
    yield wired
    wired.database.close()


def queue(wired: Wiring) -> list[Lead]:
    with wired.database.transaction() as connection:
        return [lead for lead, _ in casebook.queue(connection)]


def manifest_of(wired: Wiring, lead: Lead) -> Manifest:
    with wired.database.transaction() as connection:
        stored = casebook.current_facts(connection, lead.lead_id).manifest
    return parse_canonical(Manifest, wired.store.read(stored))


def batches_of_noise(wired: Wiring) -> int:
    with wired.database.transaction() as connection:
        filed = captures.all_captures(connection)
    return sum(one.feed_id == demo_works.METER for one in filed)


@pytest.fixture
def collector(demo_home: Wiring) -> Iterator[Wiring]:
    """The home with a collector that listens to the station."""
    stop = StopSign()
    with ThreadPoolExecutor(1) as pool:
        collecting = pool.submit(collect.collect, demo_home, stop)
        try:
            wait_for_port(demo_home.settings.station_port)
            yield demo_home
        finally:
            stop.give()
        collecting.result(30)


def start_demo(wired: Wiring, days_later: int = 0) -> None:
    """What the demo does for its building site at each start, and what the DAGs do then."""
    now = datetime.now(UTC) + timedelta(days=days_later)
    footage = demo_works.film(wired.settings, now)
    # Not a pool: should it never end, the test must.
    reporting = Thread(target=demo_works.report, args=(wired.settings, footage), daemon=True)
    reporting.start()
    until = time.monotonic() + 20
    while reporting.is_alive():
        assert time.monotonic() < until, "the night was never sent"
        pull.pull_feed(demo_works.CAMERA)
        reporting.join(0.1)
    for batch in observe.due_batches():
        batches.observe_all(batch)
        batches.correlate_all(batch)
        batches.seal_all(batch)
    for due in windows.due():
        windows.evaluate_all(due)


def test_a_night_of_noise_sent_twice_is_one_incident_with_its_trace_and_its_clip(
    collector: Wiring,
) -> None:
    start_demo(collector)
    [lead] = queue(collector)
    filed = batches_of_noise(collector)
    start_demo(collector, days_later=1)
    assert batches_of_noise(collector) == filed, "nothing was left to be sent"
    # As after a crash before the station noted the acknowledgements.
    (collector.settings.home / "demo" / "noise-is-sent").unlink()
    start_demo(collector, days_later=2)
    assert batches_of_noise(collector) > filed
    assert queue(collector) == [lead]
    assert (lead.rule_id, lead.feed_id) == ("construction-noise", demo_works.METER)
    manifest = manifest_of(collector, lead)
    trace, alarm = manifest.of_kind(EvidenceKind.KEY_FRAME)
    assert collector.store.read(trace.object).startswith(b"\x89PNG")
    assert collector.store.read(alarm.object).startswith(b"\xff\xd8")
    [clip] = manifest.of_kind(EvidenceKind.CLIP)
    path = collector.settings.home / "clip.mp4"
    path.write_bytes(collector.store.read(clip.object))
    assert probe(path).duration_s == pytest.approx(26.0, abs=0.3), "to six seconds after the alarm"
    shown = [one.image.mean() for one in frames(path, sample_fps=1.0)]
    assert 20 < min(shown) <= max(shown) < 110, "it is night, and not black"
    [note] = manifest.notes
    assert note.startswith(f"camera {demo_works.CAMERA}, 16 m away, has the place in view")
    with collector.database.transaction() as connection:
        assert captures.quarantined(connection) == []
    assert verify_all(collector).damaged == ()


def test_the_station_waits_until_the_footage_is_on_record(
    collector: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the lead would come without its clip."""
    monkeypatch.setattr(demo_works, "_LOOK_EVERY_S", 0.1)
    footage = demo_works.film(collector.settings, datetime.now(UTC))
    with ThreadPoolExecutor(1) as pool:
        reporting = pool.submit(demo_works.report, collector.settings, footage)
        time.sleep(1.5)
        assert not reporting.done()
        assert batches_of_noise(collector) == 0
        while not pull.pull_feed(demo_works.CAMERA):
            time.sleep(0.1)
        reporting.result(30)
    assert batches_of_noise(collector) > 0


def test_the_demos_catalog_is_valid_and_its_camera_sees_the_meter(demo_home: Wiring) -> None:
    catalog = load_catalog(demo_home.settings.catalog_folder)
    [meter] = catalog.feed(demo_works.METER).sensors
    place = catalog.device(meter).place
    assert isinstance(place, GroundPoint)
    [camera] = cameras_seeing(place, catalog.feeds, catalog.devices)
    assert camera.feed.feed_id == demo_works.CAMERA
    assert demo_home.cascade_for(camera.feed).detectors == ()
    assert catalog.feed(demo_works.METER).site_id == camera.feed.site_id


@pytest.mark.parametrize("name", ["review_port", "airflow_port", "s3_port"])
def test_a_port_that_the_meter_and_another_part_want_is_told(tmp_path: Path, name: str) -> None:
    settings = Settings(home=tmp_path, receiver_port=21_000).model_copy(update={name: 21_001})
    with pytest.raises(ConfigurationError, match=r"SIGHTLINE_RECEIVER_PORT.* both want port 21001"):
        run(settings, echo=print, prepare=lambda: pytest.fail("started"), peers=demo.peers())


@pytest.mark.parametrize(
    ("now", "began"),
    [
        (NOON, NOON - timedelta(hours=14)),
        (NOON + timedelta(hours=17, minutes=59), NOON - timedelta(hours=14)),
        (NOON + timedelta(hours=18), NOON + timedelta(hours=10)),
    ],
    ids=["noon", "before six", "at six"],
)
def test_the_last_night_is_over_whatever_the_time(now: datetime, began: datetime) -> None:
    assert demo_works.last_night(now) == began
    last = packet_of(demo_works.packets(began)[-1])
    assert last.sent_at is not None
    assert last.sent_at <= now


def test_the_station_goes_on_with_what_was_not_acknowledged() -> None:
    """The first connection breaks off after two answers, the second answers everything."""
    night = demo_works.packets(NOON - timedelta(hours=14))
    assert len({packet_of(one).key for one in night}) == len(night) == 54
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        server.settimeout(20)
        port = server.getsockname()[1]
        first = pool.submit(answering, server, 54, 2)
        left = demo_works.deliver(port, night)
        assert first.result(20) == night
        assert left == night[2:]
        second = pool.submit(answering, server, 52, 52)
        assert demo_works.deliver(port, left) == []
        assert second.result(20) == left
    assert demo_works.deliver(port, night) == night, "nobody listens"


def answering(server: socket.socket, packets: int, answers: int) -> list[bytes]:
    """Take so many packets of one station, acknowledge so many, hang up; returns what came."""
    taken: list[Packet] = []
    parser = PacketParser()
    station, _ = server.accept()
    with station:
        station.settimeout(20)
        while len(taken) < packets:
            taken += parser.feed(station.recv(65536))
        station.sendall(b"".join(acknowledgement(one) for one in taken[:answers]))
    return [one.raw for one in taken]
