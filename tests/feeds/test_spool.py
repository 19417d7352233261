"""What is in the spool survives whatever happens to the process, and comes out oldest first."""

import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from enforcement.errors import EvidenceError, SpoolFull, StoreUnavailable
from feeds.spool import Spool

AT = datetime(2026, 11, 24, 8, 0, 0, 123456, tzinfo=UTC)


def test_batches_come_out_oldest_first_with_all_that_is_known_about_them(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 1000)
    assert spool.oldest_first() == []
    for seconds, feed_id in ((3, "b"), (1, "c-1_x"), (2, "a")):
        spool.put(feed_id, feed_id.encode() * 3, AT + timedelta(seconds=seconds))
    again = Spool(tmp_path / "spool", 1000)
    assert again.used_bytes == 3 + 15 + 3
    found = again.oldest_first()
    assert [(one.feed_id, one.first_received_at) for one in found] == [
        ("c-1_x", AT + timedelta(seconds=1)),
        ("a", AT + timedelta(seconds=2)),
        ("b", AT + timedelta(seconds=3)),
    ]
    assert found[0].read() == b"c-1_x" * 3
    for batch in found:
        again.discard(batch)
        again.discard(batch)
    assert again.oldest_first() == []
    assert again.used_bytes == 0


def test_the_same_batch_twice_is_one(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10)
    spool.put("a", b"1234567", AT)
    spool.put("a", b"1234567", AT)
    assert len(spool.oldest_first()) == 1
    assert spool.used_bytes == 7


def test_a_full_spool_takes_nothing_more_until_there_is_room(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10)
    spool.put("a", b"1234567", AT)
    with pytest.raises(SpoolFull, match="full"):
        spool.put("b", b"1234", AT)
    assert len(spool.oldest_first()) == 1
    spool.put("b", b"123", AT)
    spool.discard(spool.oldest_first()[0])
    spool.put("b", b"1234", AT)
    with pytest.raises(SpoolFull):
        Spool(tmp_path, 10).put("c", b"1234", AT)


def test_a_full_disk_is_a_full_spool(tmp_path: Path) -> None:
    """/dev/full: every write fails as on a full disk."""
    spool = Spool(tmp_path, 10**6)
    spool.put("a", b"first", AT)
    (first,) = spool.oldest_first()
    spool.discard(first)
    (tmp_path / (first.path.name + ".part")).symlink_to("/dev/full")
    with pytest.raises(SpoolFull, match="disk"):
        spool.put("a", b"first", AT)
    assert list(tmp_path.iterdir()) == []
    assert spool.used_bytes == 0


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="out of order"):
        Spool(tmp_path / "file" / "spool", 10)


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    spool.put("a", b"whole", AT)
    (batch,) = spool.oldest_first()
    (tmp_path / (batch.path.name + ".part")).write_bytes(b"ha")
    assert len(Spool(tmp_path, 1000).oldest_first()) == 1
    assert [path.name for path in tmp_path.iterdir()] == [batch.path.name]


def test_damaged_bytes_are_noticed_and_set_aside(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10)
    spool.put("a", b"1234567", AT)
    (batch,) = spool.oldest_first()
    batch.path.write_bytes(b"1234568")
    with pytest.raises(EvidenceError, match="damaged"):
        batch.read()
    spool.set_aside(batch)
    assert spool.oldest_first() == []
    assert len(list(tmp_path.iterdir())) == 1, "kept for a person to look at"
    assert Spool(tmp_path, 10).used_bytes == 7, "it still takes room"


WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from feeds.spool import Spool
spool = Spool(Path(sys.argv[1]), 10**10)
for number in range(10**10):
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    spool.put("a", b"%d\\n" % number * 500_000, at)
    print(number, flush=True)
"""


def test_killed_at_any_moment_it_holds_all_that_it_said_it_holds(tmp_path: Path) -> None:
    for _ in range(4):
        folder = tmp_path / f"{random.getrandbits(32):08x}"
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        said = [int(writer.stdout.readline())]
        time.sleep(random.uniform(0.01, 0.1))
        os.kill(writer.pid, signal.SIGKILL)
        said += [int(line) for line in writer.stdout.read().split("\n") if line]
        writer.stdout.close()
        writer.wait(10)
        spool = Spool(folder, 10**10)
        batches = [batch.read() for batch in spool.oldest_first()]
        assert len(batches) in {len(said), len(said) + 1}
        assert batches == [b"%d\n" % number * 500_000 for number in range(len(batches))]
        assert spool.used_bytes == sum(map(len, batches))
