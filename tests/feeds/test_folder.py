"""Facts about files that drop into a folder."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from enforcement.errors import ConfigurationError
from enforcement.places import FolderSource
from feeds.folder import DroppedFile, dropped_file, finished_files, time_in_name
from media.encoding import write_h264


def soon(seconds: float = 10.0) -> datetime:
    """A moment by which what was just written has settled."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


def listed(folder: Path, now: datetime | None = None, pattern: str = "*") -> list[DroppedFile]:
    source = FolderSource(path=str(folder), pattern=pattern, settle_s=2.0)
    return finished_files(source, now or soon())


def names(folder: Path, now: datetime | None = None, pattern: str = "*") -> list[str]:
    return [file.name for file in listed(folder, now, pattern)]


def footage(path: Path, seconds: int, created: str = "") -> Path:
    def pictures() -> Iterator[tuple[float, VideoFrame]]:
        for number in range(seconds * 10):
            image = np.full((48, 64, 3), number, np.uint8)
            yield number / 10, VideoFrame.from_ndarray(image, format="bgr24")

    if not created:
        write_h264(path, pictures(), 10.0)
        return path
    with av.open(str(path), "w", format="mp4") as out:
        out.metadata["creation_time"] = created
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _, frame in pictures():
            out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    return path


def test_a_file_is_finished_once_it_has_not_changed_for_the_settling_time(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x" * 10)
    changed = datetime.fromtimestamp(path.stat().st_ctime, UTC)
    assert names(tmp_path, changed + timedelta(seconds=1.9)) == []
    assert names(tmp_path, changed + timedelta(seconds=2.1)) == ["a.mp4"]


def test_an_old_modification_time_does_not_make_a_growing_file_finished(tmp_path: Path) -> None:
    path = tmp_path / "copied.mp4"
    path.write_bytes(b"x" * 10)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert names(tmp_path, datetime.now(UTC)) == []
    (file,) = listed(tmp_path)
    assert file.modified_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert (file.size, file.path) == (10, path)


def test_a_clock_that_runs_ahead_does_not_hold_a_file_back_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "future.mp4"
    path.write_bytes(b"x")
    ahead = soon(86_400 * 365).timestamp()
    os.utime(path, (ahead, ahead))
    assert names(tmp_path) == ["future.mp4"]


def test_unfinished_hidden_and_foreign_things_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    for name in (".hidden.mp4", "a.mp4.part", "b.tmp", "c.crdownload", "~d.mp4", "e.mp4~",
                 "f.PARTIAL", "line\nbreak.mp4"):  # fmt: skip
        (folder / name).write_bytes(b"x")
    (folder / "sub.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    with open(os.fsencode(folder) + b"/bad\xff.mp4", "wb") as file:
        file.write(b"x")
    (folder / "good.mp4").write_bytes(b"x")
    assert names(folder) == ["good.mp4"]


def test_a_link_may_point_inside_the_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (folder / "real.mp4").write_bytes(b"x")
    (folder / "inside.mp4").symlink_to(folder / "real.mp4")
    (folder / "outside.mp4").symlink_to(tmp_path / "secret.mp4")
    (folder / "nowhere.mp4").symlink_to(tmp_path / "gone.mp4")
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    assert sorted(names(folder)) == ["inside.mp4", "real.mp4"]


def test_the_pattern_of_the_feed_chooses_whatever_the_case(tmp_path: Path) -> None:
    for name in ("a.mp4", "B.MP4", "c.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert sorted(names(tmp_path, pattern="*.mp4")) == ["B.MP4", "a.mp4"]


def test_an_empty_file_is_waited_for_and_then_reported_as_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert names(tmp_path, soon(30)) == []
    (file,) = listed(tmp_path, soon(62))
    assert (file.size, file.captured_at_basis) == (0, "mtime")
    (tmp_path / "empty.mp4").write_bytes(b"grown")
    (file,) = listed(tmp_path)
    assert file.size > 0


@pytest.mark.parametrize("path", ["gone", "file.txt"])
def test_a_folder_that_is_none_is_a_configuration_error(tmp_path: Path, path: str) -> None:
    (tmp_path / "file.txt").touch()
    with pytest.raises(ConfigurationError, match=f"{path}.*cannot be read"):
        listed(tmp_path / path)


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("20261124T055218Z.mp4", datetime(2026, 11, 24, 5, 52, 18, tzinfo=UTC)),
        ("cam3_2026-11-24_05-52-18.avi", datetime(2026, 11, 24, 5, 52, 18, tzinfo=UTC)),
        ("DJI_20261124055218_0001_V.MP4", datetime(2026, 11, 24, 5, 52, 18, tzinfo=UTC)),
        ("2026-11-24T05:52:18.250Z.ts", datetime(2026, 11, 24, 5, 52, 18, 250_000, tzinfo=UTC)),
        ("x-20261124T135218+0800.mp4", datetime(2026, 11, 24, 5, 52, 18, tzinfo=UTC)),
        ("x-20261124T135218+08:00.mp4", datetime(2026, 11, 24, 5, 52, 18, tzinfo=UTC)),
        ("20261324T055218Z.mp4", None),
        ("20261124T245218Z.mp4", None),
        ("120261124055218.mp4", None),
        ("202611240552181.mp4", None),
        ("2026-11-24.mp4", None),
        ("clip.mp4", None),
    ],
)
def test_a_name_tells_a_time_only_if_it_holds_a_whole_valid_one(
    name: str, moment: datetime | None
) -> None:
    assert time_in_name(name) == moment


def test_capture_time_comes_from_name_then_container_then_file(tmp_path: Path) -> None:
    stamp = "2025-03-01T10:00:00Z"
    footage(tmp_path / "cam_20250201T000000Z.mp4", 1, created=stamp)
    footage(tmp_path / "plain.mp4", 1, created=stamp)
    footage(tmp_path / "bare.mp4", 3)
    os.utime(tmp_path / "bare.mp4", (1_700_000_000, 1_700_000_000))
    (tmp_path / "noise.mp4").write_bytes(b"no footage" * 50)
    found = {file.name: file for file in listed(tmp_path)}
    named, plain = found["cam_20250201T000000Z.mp4"], found["plain.mp4"]
    assert (named.captured_at, named.captured_at_basis) == (
        datetime(2025, 2, 1, tzinfo=UTC),
        "name",
    )
    assert plain.captured_at == datetime(2025, 3, 1, 10, tzinfo=UTC)
    assert plain.captured_at_basis == "container"
    bare, noise = found["bare.mp4"], found["noise.mp4"]
    assert bare.captured_at_basis == "mtime"
    assert 1_700_000_000 - bare.captured_at.timestamp() == pytest.approx(3.0, abs=0.15)
    assert (noise.captured_at, noise.captured_at_basis) == (noise.modified_at, "mtime")


def test_a_time_that_lies_ahead_of_us_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "20991231T000000Z.mp4").write_bytes(b"x")
    (file,) = listed(tmp_path)
    assert file.captured_at_basis == "mtime"


def test_files_come_oldest_capture_first(tmp_path: Path) -> None:
    for name in ("a_20250301T000000Z.mp4", "b_20250101T000000Z.mp4", "c_20250201T000000Z.mp4"):
        (tmp_path / name).write_bytes(b"x")
    assert [name[0] for name in names(tmp_path)] == ["b", "c", "a"]


def test_a_file_that_somebody_names_need_not_settle(tmp_path: Path) -> None:
    path = tmp_path / "cam_20250201T000000Z.mp4"
    path.write_bytes(b"x")
    file = dropped_file(path, datetime.now(UTC))
    assert (file.path, file.size, file.captured_at_basis) == (path, 1, "name")
    for wrong in (tmp_path / "gone.mp4", tmp_path):
        with pytest.raises(ConfigurationError, match=str(wrong)):
            dropped_file(wrong, datetime.now(UTC))
