"""Pull, observe, correlate, seal on real parts: nothing lost, nothing doubled, whatever happens."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from enforcement.cases import CaseState
from enforcement.errors import StepsFailed
from enforcement.footage import Capture
from feeds.segments import Gap, Segment
from media.footage import cut_clip, probe
from media.scenes import SCENES, render
from pipelines import batches, collect, correlate, observe, pull, seal, wiring
from pipelines.ingest import ingest_file
from pipelines.processes import StopSign
from pipelines.verify import verify_all
from pipelines.wiring import Wiring
from settings.environment import Settings
from storage.records import captures, casebook, feeds
from storage.seaweed import SeaweedServer
from tests.feeds.test_rtsp import camera_on

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A rendered scene, rendered once a session."""
    folder = tmp_path_factory.mktemp("footage")

    def of(scene: str) -> Path:
        path = folder / f"{scene}_20260601T080000Z.mp4"
        if not path.exists():
            render(scene, path)
        return path

    return of


@pytest.fixture(scope="module")
def short(footage: Callable[[str], Path]) -> Path:
    """Seven seconds in which a person enters the closed zone: quick to look at."""
    path = footage("closed-zone-person").with_name("short_20260601T080007Z.mp4")
    if not path.exists():
        cut_clip(footage("closed-zone-person"), path, 7.0, 14.0)
    return path


@pytest.fixture
def environment(s3_server: SeaweedServer, tmp_path: Path) -> dict[str, str]:
    """What a fresh installation on the session's S3 server has in its environment."""
    home = tmp_path / "home"
    (home / "catalog").mkdir(parents=True)
    feeds = [
        {
            "feed_id": name,
            "title": name,
            # At one site, what two cameras see at one time is one incident.
            "site_id": name,
            "source": {"kind": "folder", "path": f"cameras/{name}", "settle_s": 0},
            "zones": [zone.model_dump(mode="json") for zone in scene.zones],
        }
        for name, scene in SCENES.items()
    ]
    live = {"kind": "rtsp", "url": "rtsp://127.0.0.1:{CAMERA_PORT}/cam.mp4", "window_s": 2}
    feeds.append({"feed_id": "live", "title": "Live", "site_id": "town", "source": live})
    (home / "catalog" / "town.yaml").write_text(
        json.dumps(
            {
                "sites": [{"site_id": one, "title": one} for one in ("town", *SCENES)],
                "feeds": feeds,
            }
        )
    )
    return {k: v for k, v in os.environ.items() if not k.startswith("SIGHTLINE_")} | {
        "SIGHTLINE_HOME": str(home),
        "SIGHTLINE_S3_ENDPOINT": s3_server.endpoint,
        "SIGHTLINE_S3_ACCESS_KEY": s3_server.credentials.access_key,
        "SIGHTLINE_S3_SECRET_KEY": s3_server.credentials.secret_key,
        "SIGHTLINE_S3_SECURE": "false",
        "SIGHTLINE_S3_BUCKET_PREFIX": f"way-{random.getrandbits(32):08x}",
    }


@pytest.fixture
def wired(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Wiring]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    wiring.wire.cache_clear()
    wired = wiring.wire()
    wiring.prepare(wired)
    yield wired
    wired.database.close()
    wiring.wire.cache_clear()


def leads(wired: Wiring) -> list[tuple[str, str, CaseState]]:
    with wired.database.transaction() as connection:
        return [(x.feed_id, x.rule_id, case.state) for x, case in casebook.queue(connection)]


def test_each_demo_scene_raises_its_events_and_nothing_else(
    wired: Wiring, footage: Callable[[str], Path]
) -> None:
    rules = {rule.kind.value: rule.rule_id for rule in wired.catalog.current_rules}
    for name, scene in SCENES.items():
        found = ingest_file(wired, footage(name), name).leads
        expected = [(rules[event.rule_family], event.onset_s) for event in scene.truth().events]
        assert [lead.rule_id for lead in found] == [rule for rule, _ in expected], name
        for lead, (_, onset_s) in zip(found, expected, strict=True):
            assert onset_s - 0.5 <= lead.alarm_at_s <= onset_s + 10, name


def test_the_same_file_twice_is_one_capture_and_one_lead(
    wired: Wiring, short: Path, tmp_path: Path
) -> None:
    first = ingest_file(wired, short, "closed-zone-person")
    copy = tmp_path / "other-name_20260602T080000Z.mp4"
    copy.write_bytes(short.read_bytes())
    second = ingest_file(wired, copy, "closed-zone-person")
    assert (first.new, second.new) == (True, False)
    assert first.leads == second.leads
    assert len(leads(wired)) == 1


def test_a_window_run_again_raises_no_second_lead(wired: Wiring, short: Path) -> None:
    capture_id = ingest_file(wired, short, "closed-zone-person").capture_id
    for _ in range(2):
        observe.observe(capture_id)
        correlate.correlate(capture_id)
        seal.seal_capture(capture_id)
    assert len(leads(wired)) == 1


def test_steps_that_run_at_the_same_time_raise_one_lead(wired: Wiring, short: Path) -> None:
    feed = wired.catalog.feed("closed-zone-person")
    arrival = pull.Arrival(short, "a.mp4", wired.clock())
    capture_id, _ = pull.file_arrival(wired, feed, arrival)
    observe.observe(capture_id)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(correlate.correlate, [capture_id] * 4))
        list(pool.map(seal.seal_capture, [capture_id] * 4))
    assert len(leads(wired)) == 1
    assert verify_all(wired).damaged == ()


def test_a_file_that_nobody_can_decode_is_kept_and_set_aside(wired: Wiring, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"this is no video" * 100)
    result = ingest_file(wired, bad, "quiet-yard")
    assert result.quarantined
    assert result.leads == ()
    with wired.database.transaction() as connection:
        (capture,) = captures.all_captures(connection)
        assert captures.due_by_feed(connection, 10) == []
    assert wired.store.read(capture.object) == bad.read_bytes()


def test_a_sweep_of_a_folder_files_each_file_once(
    wired: Wiring, footage: Callable[[str], Path]
) -> None:
    folder = wired.in_home("cameras/quiet-yard")
    (folder / "one_20260601T080000Z.mp4").write_bytes(footage("quiet-yard").read_bytes())
    assert len(pull.pull_feed("quiet-yard")) == 1
    assert pull.pull_feed("quiet-yard") == []
    assert [len(batch) for batch in observe.due_batches()] == [1]


def test_a_live_camera_is_collected_segment_by_segment(
    wired: Wiring, footage: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "live" not in pull.enabled_feeds()
    folder = tmp_path / "camera"
    folder.mkdir()
    shutil.copy(footage("quiet-yard"), folder / "cam.mp4")
    stop = StopSign()
    with camera_on(folder) as (port, _), ThreadPoolExecutor(1) as pool:
        monkeypatch.setenv("CAMERA_PORT", str(port))
        collecting = pool.submit(collect.collect, wired, stop)
        until = time.monotonic() + 40
        while time.monotonic() < until and (
            len(of_feed(wired, "live")) < 2 or state_of(wired, "live") != "recording"
        ):
            time.sleep(0.2)
        state = state_of(wired, "live")
        stop.give()
        collecting.result(30)
    first, second, *_ = of_feed(wired, "live")
    assert state == "recording"
    assert state_of(wired, "live") == "stopped"
    for capture in (first, second):
        assert abs(capture.captured_at - capture.received_at) < timedelta(seconds=40)
        with wired.footage_of(capture) as path:
            assert probe(path).duration_s >= 1.5
    assert 1.5 <= (second.captured_at - first.captured_at).total_seconds() <= 8
    assert list((wired.settings.home / "camera-spool" / "live").glob("*.mp4")) == []


def test_a_segment_is_filed_with_the_cameras_offset_and_its_gaps_in_true_time(
    wired: Wiring, short: Path
) -> None:
    now = wired.clock()
    ahead = timedelta(seconds=5)
    by_camera = Gap(
        from_at=now - timedelta(seconds=60) + ahead, to_at=now - timedelta(seconds=40) + ahead,
        basis="camera", reason="does not answer within 5 s",
    )  # fmt: skip
    by_arrival = Gap(
        from_at=now - timedelta(seconds=90), to_at=now - timedelta(seconds=80),
        basis="arrival", reason="spool full",
    )  # fmt: skip
    segment = Segment(
        feed_id="live", path=short, captured_at=now - timedelta(seconds=30) + ahead,
        captured_at_basis="camera", received_at=now - timedelta(seconds=30), camera_ahead_s=5.0,
        codec="h264", gaps=(by_arrival, by_camera),
    )  # fmt: skip
    feed = wired.catalog.feed("live")
    (first, is_new), again = (pull.file_segment(wired, feed, segment) for _ in range(2))
    assert is_new
    assert again == (first, False)
    (capture,) = of_feed(wired, "live")
    true_at = capture.captured_at + timedelta(seconds=capture.clock_offset_s)
    assert true_at == now - timedelta(seconds=30)
    with wired.database.transaction() as connection:
        gaps = feeds.gaps_since(connection, now - timedelta(hours=1))["live"]
    assert [(now - gap.from_at, gap.duration_s) for gap in gaps] == [
        (timedelta(seconds=90), 10.0),
        (timedelta(seconds=60), 20.0),
    ]


def state_of(wired: Wiring, feed_id: str) -> str | None:
    """What the collector last said of it."""
    with wired.database.transaction() as connection:
        known = feeds.health(connection, wired.clock()).get(feed_id)
    return known.collector.state if known is not None and known.collector else None


def of_feed(wired: Wiring, feed_id: str) -> list[Capture]:
    """Its captures, the earliest first."""
    with wired.database.transaction() as connection:
        mine = [one for one in captures.all_captures(connection) if one.feed_id == feed_id]
    return sorted(mine, key=lambda one: one.captured_at)


def test_a_lead_without_its_package_is_sealed_by_a_later_sweep(wired: Wiring, short: Path) -> None:
    feed = wired.catalog.feed("closed-zone-person")
    arrival = pull.Arrival(short, "a.mp4", wired.clock())
    capture_id, _ = pull.file_arrival(wired, feed, arrival)
    observe.observe(capture_id)
    correlate.correlate(capture_id)
    assert leads(wired) == []
    assert observe.due_batches() == [[capture_id]]
    seal.seal_capture(capture_id)
    assert len(leads(wired)) == 1
    assert observe.due_batches() == []


def parts(whole: Path, cuts_s: list[float], gap_s: float = 0.0) -> list[Path]:
    """The footage as a camera delivers it: in pieces, each named by its start."""
    pieces = []
    begins = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
    for number, (start_s, end_s) in enumerate(itertools.pairwise(cuts_s)):
        at = begins + timedelta(seconds=start_s + number * gap_s)
        path = whole.with_name(f"part{number}-{gap_s:.0f}_{at:%Y%m%dT%H%M%SZ}.mp4")
        cut_clip(whole, path, start_s, end_s - 0.01)
        pieces.append(path)
    return pieces


def test_what_begins_in_one_capture_and_ends_in_the_next_raises_one_lead(
    wired: Wiring, footage: Callable[[str], Path]
) -> None:
    """The bag is put down at 10 s; its owner is still there when the first capture ends."""
    first, second, third = parts(footage("layby-bag"), [0.0, 11.0, 22.0, 34.0])
    assert ingest_file(wired, first, "layby-bag").leads == ()
    (lead,) = ingest_file(wired, second, "layby-bag").leads
    assert lead.rule_id == "object-left-behind"
    assert -3.0 < lead.onset_s < 0.0
    assert lead.alarm_at_s < 5.0
    assert ingest_file(wired, third, "layby-bag").leads == ()
    assert verify_all(wired).damaged == ()


def test_after_a_gap_nothing_is_carried_over(wired: Wiring, footage: Callable[[str], Path]) -> None:
    first, second = parts(footage("layby-bag"), [0.0, 11.0, 34.0], gap_s=60.0)
    for piece in (first, second):
        assert ingest_file(wired, piece, "layby-bag").leads == ()


def test_late_footage_does_not_disturb_what_is_carried_over(
    wired: Wiring, footage: Callable[[str], Path]
) -> None:
    first, second, third = parts(footage("layby-bag"), [0.0, 4.0, 11.0, 34.0])
    for piece in (second, first):
        assert ingest_file(wired, piece, "layby-bag").leads == ()
    (lead,) = ingest_file(wired, third, "layby-bag").leads
    assert lead.onset_s < 0.0


def test_damaged_memory_costs_the_memory_and_no_capture(
    wired: Wiring, footage: Callable[[str], Path]
) -> None:
    first, second = parts(footage("layby-bag"), [0.0, 11.0, 34.0])
    ingest_file(wired, first, "layby-bag")
    feed = wired.catalog.feed("layby-bag")
    wired.store.keep(f"layby-bag/memory/{wired.cascade_for(feed).digest}", b"PK\x03\x04 torn")
    assert ingest_file(wired, second, "layby-bag").leads == ()


def test_a_capture_that_fails_holds_up_no_other_of_its_feed(
    wired: Wiring, footage: Callable[[str], Path], short: Path
) -> None:
    feed = wired.catalog.feed("closed-zone-person")
    ids = []
    for number, path in enumerate((footage("closed-zone-person"), short)):
        at = datetime(2026, 6, 1, 8, number, tzinfo=UTC)
        ids.append(pull.file_arrival(wired, feed, pull.Arrival(path, path.name, at))[0])
    assert observe.due_batches() == [ids]
    batches.observe_all(ids[1:])
    with pytest.raises(StepsFailed, match=ids[0]):
        batches.correlate_all(ids)
    with pytest.raises(StepsFailed, match="not been correlated"):
        batches.seal_all(ids)
    assert len(leads(wired)) == 1
    assert observe.due_batches() == [ids[:1]]


def test_killed_at_any_moment_the_way_is_finished_later(
    environment: dict[str, str], short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [
        sys.executable, "-m", "pipelines.cli", "ingest", str(short),
        "--feed", "closed-zone-person", "--json",
    ]  # fmt: skip
    began = time.monotonic()
    elsewhere = ["quiet-yard" if part == "closed-zone-person" else part for part in command]
    subprocess.run(elsewhere, env=environment, check=True, timeout=120, stdout=subprocess.DEVNULL)
    whole_s = time.monotonic() - began
    for _ in range(4):
        run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        time.sleep(random.uniform(0.2, 0.95) * whole_s)
        run.send_signal(signal.SIGKILL)
        run.wait(30)
    subprocess.run(command, env=environment, check=True, timeout=120, stdout=subprocess.DEVNULL)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    wired = Wiring(Settings.load())
    try:
        with wired.database.transaction() as connection:
            filed = [c.feed_id for c in captures.all_captures(connection)]
        assert sorted(filed) == ["closed-zone-person", "quiet-yard"]
        assert sorted(feed for feed, _, _ in leads(wired)) == ["closed-zone-person", "quiet-yard"]
        assert verify_all(wired).damaged == ()
    finally:
        wired.database.close()
