"""Facts about whole flights that arrive in a folder or in a bucket."""

import os
import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from minio import Minio

from enforcement.errors import ConfigurationError, CredentialsRefused, StoreUnavailable
from enforcement.places import DroneBucket, DroneFolder
from feeds import drone_bucket, flight_files
from feeds.flight_files import FlightFile, FlightListing, fetched
from storage.seaweed import SeaweedServer
from tests.failing_servers import cutting_proxy, silent_server, trickling_server

FLIGHT = "0d4b7a4e-7b1a-4c9e-9d5e-3f6f3f1f2a10"
MIB = 2**20


def soon(seconds: float = 10.0) -> datetime:
    """A moment by which what was just written has settled."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


# A folder


def put(root: Path, *names: str, data: bytes = b"x") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def nothing_is_done(mission_id: str, flight_id: str) -> bool:
    return False


def in_folder(
    root: Path,
    now: datetime | None = None,
    is_done: Callable[[str, str], bool] = nothing_is_done,
) -> FlightListing:
    return flight_files.flight_files(DroneFolder(path=str(root)), now or soon(), {}, is_done)


def told(listing: FlightListing) -> list[tuple[str, str, str]]:
    return [(file.mission_id, file.flight_id, file.name) for file in listing.files]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "drones"
    folder.mkdir()
    return folder


def test_files_come_by_mission_flight_and_name_however_deep_they_lie(root: Path) -> None:
    put(
        root,
        f"river/{FLIGHT}/DCIM/100MEDIA/DJI_0002.JPG",
        f"river/{FLIGHT}/DCIM/100MEDIA/DJI_0001.JPG",
        f"river/{FLIGHT}/log.srt",
        "quay-2/Flug 7/视频.mp4",
    )
    listing = in_folder(root)
    assert told(listing) == [
        ("quay-2", "Flug 7", "视频.mp4"),
        ("river", FLIGHT, "DCIM/100MEDIA/DJI_0001.JPG"),
        ("river", FLIGHT, "DCIM/100MEDIA/DJI_0002.JPG"),
        ("river", FLIGHT, "log.srt"),
    ]
    assert listing.stray == ()


def test_a_file_tells_its_size_time_and_whole_path(root: Path) -> None:
    put(root, "river/f1/a.mp4", data=b"12345")
    path = root / "river/f1/a.mp4"
    os.utime(path, (1_700_000_000, 1_700_000_000))
    (file,) = in_folder(root).files
    moment = datetime.fromtimestamp(1_700_000_000, UTC)
    assert (file.size, file.modified_at, file.origin) == (5, moment, str(path))


def test_a_file_that_still_grows_is_not_there_yet(root: Path) -> None:
    put(root, "river/f1/a.mp4")
    changed = datetime.fromtimestamp((root / "river/f1/a.mp4").stat().st_ctime, UTC)
    assert told(in_folder(root, changed + timedelta(seconds=4.9))) == []
    assert told(in_folder(root, changed + timedelta(seconds=5.1))) == [("river", "f1", "a.mp4")]


def test_hidden_and_unfinished_things_are_left_out_without_a_word(root: Path) -> None:
    put(
        root,
        ".DS_Store",
        ".Trash/f1/a.mp4",
        "river/.thumbnails/a.mp4",
        "river/f1/.hidden.mp4",
        "river/f1/a.mp4.part",
        "river/f1/DCIM.tmp/a.mp4",
        "river/f1/~a.mp4",
    )
    os.mkfifo(root / "river/f1/pipe.mp4")
    assert in_folder(root) == FlightListing((), ())


def test_what_belongs_to_no_flight_is_told(root: Path) -> None:
    long = "f" * 129
    put(root, "a.mp4", "river/b.mp4", "River/f1/c.mp4", "Süd/d.mp4", f"river/{long}/e.mp4")
    put(root, "river/" + "f" * 128 + "/fits.mp4")
    listing = in_folder(root)
    assert [file.name for file in listing.files] == ["fits.mp4"]
    no_mission = "is no mission id (a-z, 0-9, - and _, at most 64)"
    assert listing.stray == (
        f"River/: {no_mission}",
        f"Süd/: {no_mission}",
        "a.mp4: lies outside MISSION/FLIGHT/",
        "river/b.mp4: lies outside MISSION/FLIGHT/",
        f"river/{long}/: is longer than 128 characters",
    )


def test_a_name_that_is_not_text_is_told_in_ascii(root: Path) -> None:
    put(root, "river/f1/line\nbreak.mp4", "river/f\x1b[31m/a.mp4")
    folder = os.fsencode(root) + b"/river/f1"
    with open(folder + b"/bad\xff.mp4", "wb") as file:
        file.write(b"x")
    listing = in_folder(root)
    assert listing.files == ()
    assert listing.stray == (
        r"'river/f1/bad\udcff.mp4': has a name that is not text",
        r"'river/f1/line\nbreak.mp4': has a name that is not text",
        r"'river/f\x1b[31m/': has a name that is not text",
    )


def test_links_may_not_lead_out_nor_stand_for_folders(root: Path, tmp_path: Path) -> None:
    put(tmp_path, "secret.mp4", "elsewhere/f1/a.mp4")
    put(root, "river/f1/real.mp4")
    (root / "river/f1/inside.mp4").symlink_to(root / "river/f1/real.mp4")
    (root / "river/f1/outside.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "river/f1/nowhere.mp4").symlink_to(tmp_path / "gone.mp4")
    (root / "quay").symlink_to(tmp_path / "elsewhere")
    (root / "river/f1/round").symlink_to(root / "river")
    listing = in_folder(root)
    assert [file.name for file in listing.files] == ["inside.mp4", "real.mp4"]
    assert listing.stray == (
        "quay: is a link to a folder",
        "river/f1/round: is a link to a folder",
    )


def test_eight_parts_below_a_flight_are_the_most(root: Path) -> None:
    deep = "/".join("1234567")
    put(root, f"river/f1/{deep}/a.mp4", f"river/f1/{deep}/8/b.mp4")
    listing = in_folder(root)
    assert told(listing) == [("river", "f1", f"{deep}/a.mp4")]
    assert listing.stray == (f"river/f1/{deep}/8: lies more than 8 folders deep",)


def test_a_flight_that_holds_too_much_is_told_and_holds_no_other_up(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight_files, "FILES_MAX", 4)
    put(root, *(f"river/f1/{number}.mp4" for number in range(4)), "river/f2/a.mp4")
    assert len(in_folder(root).files) == 5
    put(root, "river/f1/.hidden")
    listing = in_folder(root)
    assert told(listing) == [("river", "f2", "a.mp4")]
    assert listing.stray == ("river/f1/: holds more than 4 files: it is not taken in",)


def test_a_flight_of_too_many_folders_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flight_files, "FILES_MAX", 4)
    for number in range(5):
        (root / f"river/f1/{number}").mkdir(parents=True)
    put(root, "river/f2/a.mp4")
    listing = in_folder(root)
    assert told(listing) == [("river", "f2", "a.mp4")]
    assert listing.stray == ("river/f1/: holds more than 4 folders: it is not taken in",)


def test_a_source_of_too_many_flights_is_an_error_that_says_so(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight_files, "FLIGHTS_MAX", 4)
    put(root, *(f"river/f{number}/a.mp4" for number in range(3)))
    assert len(in_folder(root).files) == 3
    put(root, ".hidden")
    with pytest.raises(ConfigurationError, match=r"more than 4 flights: move"):
        in_folder(root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_flight_that_is_done_is_not_even_opened(root: Path) -> None:
    put(root, "river/f1/a.mp4", "river/f2/b.mp4")
    (root / "river/f1").chmod(0)
    try:
        listing = in_folder(root, is_done=lambda mission_id, flight_id: flight_id == "f1")
    finally:
        (root / "river/f1").chmod(0o755)
    assert (told(listing), listing.stray) == ([("river", "f2", "b.mp4")], ())


def test_only_the_flight_of_that_mission_is_done(root: Path) -> None:
    put(root, "river/f1/a.mp4", "river/f2/b.mp4", "quay/f1/c.mp4", "loose.mp4")
    asked = []

    def is_done(mission_id: str, flight_id: str) -> bool:
        asked.append((mission_id, flight_id))
        return (mission_id, flight_id) == ("river", "f1")

    listing = in_folder(root, is_done=is_done)
    assert told(listing) == [("quay", "f1", "c.mp4"), ("river", "f2", "b.mp4")]
    assert listing.stray == ("loose.mp4: lies outside MISSION/FLIGHT/",)
    assert sorted(asked) == [("quay", "f1"), ("river", "f1"), ("river", "f2")]


def test_only_so_many_strays_are_told_one_by_one(root: Path) -> None:
    put(root, *(f"{number:03}.mp4" for number in range(103)))
    stray = in_folder(root).stray
    assert len(stray) == 101
    assert stray[99:] == ("099.mp4: lies outside MISSION/FLIGHT/", "and 3 more")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_entered_is_told_and_holds_nothing_else_up(root: Path) -> None:
    put(root, "river/f1/a.mp4", "river/f2/b.mp4")
    (root / "river/f2").chmod(0)
    try:
        listing = in_folder(root)
    finally:
        (root / "river/f2").chmod(0o755)
    assert told(listing) == [("river", "f1", "a.mp4")]
    assert listing.stray == ("river/f2/: cannot be read: Permission denied",)


@pytest.mark.parametrize("name", ["gone", "file.txt"])
def test_a_folder_that_is_none_is_a_setting_to_correct(root: Path, name: str) -> None:
    put(root, "file.txt")
    with pytest.raises(ConfigurationError, match=f"{name} cannot be read"):
        in_folder(root / name)


def test_a_file_of_a_folder_is_read_where_it_lies(root: Path, tmp_path: Path) -> None:
    put(root, "river/f1/a.mp4", data=b"video")
    (file,) = in_folder(root).files
    with fetched(DroneFolder(path=str(root)), file, tmp_path, {}) as path:
        assert path == root / "river/f1/a.mp4"
    assert path.read_bytes() == b"video"


def test_a_file_that_is_no_longer_what_was_listed_is_not_handed_out(
    root: Path, tmp_path: Path
) -> None:
    put(root, "river/f1/a.mp4", data=b"video")
    put(tmp_path, "other.mp4", data=b"other")
    source, (file,) = DroneFolder(path=str(root)), in_folder(root).files
    path = Path(file.origin)

    def refused() -> str:
        with pytest.raises(StoreUnavailable) as caught, fetched(source, file, tmp_path, {}):
            pass
        return str(caught.value)

    path.write_bytes(b"longer than it was")
    assert "has changed since" in refused()
    path.unlink()
    assert "has gone since" in refused()
    path.symlink_to(tmp_path / "other.mp4")
    assert "has changed since" in refused()


# A bucket


def listing_of(keys: Sequence[str], prefix: str, delimiter: str, name: str) -> bytes:
    """What a server answers that holds these keys."""
    below = {key: key.removeprefix(prefix) for key in keys if key.startswith(prefix)}
    folders = {
        prefix + rest.partition(delimiter)[0] + delimiter
        for rest in below.values()
        if delimiter and delimiter in rest
    }
    entries = "".join(
        f"<Contents><Key>{quote(key)}</Key><Size>1</Size><ETag>e</ETag>"
        "<LastModified>2026-11-24T05:52:18.000Z</LastModified></Contents>"
        for key, rest in below.items()
        if not (delimiter and delimiter in rest)
    ) + "".join(
        f"<CommonPrefixes><Prefix>{quote(folder)}</Prefix></CommonPrefixes>" for folder in folders
    )
    return (
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{name}<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>"
        f"{entries}</ListBucketResult>"
    ).encode()


@contextmanager
def listing_server(keys: Sequence[str], name: str = "<Name>docks</Name>") -> Iterator[str]:
    """Lists these keys, also ones that our own server would not take."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            prefix, delimiter = (asked.get(key, [""])[0] for key in ("prefix", "delimiter"))
            answer = listing_of(keys, prefix, delimiter, name)
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(5)


class Cloud:
    """A bucket on the real server, and the keys to it."""

    def __init__(self, server: SeaweedServer, client: Minio, bucket: str) -> None:
        self.endpoint, self.client, self.bucket = server.endpoint, client, bucket
        self.secrets = {
            "DOCK_ACCESS": server.credentials.access_key,
            "DOCK_SECRET": server.credentials.secret_key,
        }

    def put(self, *keys: str, data: bytes = b"x") -> None:
        for key in keys:
            self.client.put_object(self.bucket, key, BytesIO(data), len(data))

    def source(self, **changes: Any) -> DroneBucket:
        given = {
            "endpoint": self.endpoint,
            "secure": False,
            "bucket": self.bucket,
            "prefix": "docks/",
            "region": "us-east-1",
            "access_key_variable": "DOCK_ACCESS",
            "secret_key_variable": "DOCK_SECRET",
        }
        return DroneBucket.model_validate(given | changes)

    def listing(self, **changes: Any) -> FlightListing:
        return flight_files.flight_files(self.source(**changes), soon(), self.secrets)

    def file(self) -> FlightFile:
        (file,) = self.listing().files
        return file


@pytest.fixture(scope="module")
def bucket(intruder: Minio) -> Iterator[str]:
    """One for all: the server has room for so many only."""
    name = "docks-of-drones"
    intruder.make_bucket(name)
    yield name
    intruder.remove_bucket(name)


@pytest.fixture
def cloud(s3_server: SeaweedServer, intruder: Minio, bucket: str) -> Iterator[Cloud]:
    yield Cloud(s3_server, intruder, bucket)
    for one in intruder.list_objects(bucket, recursive=True):
        intruder.remove_object(bucket, one.object_name or "")


@pytest.mark.parametrize("prefix", ["docks", "docks/"])
def test_objects_below_the_prefix_are_the_files(cloud: Cloud, prefix: str) -> None:
    cloud.put(
        f"docks/river/{FLIGHT}/DCIM/DJI_0002.JPG",
        f"docks/river/{FLIGHT}/DCIM/DJI_0001.JPG",
        "docks/quay/飞行 1/视频+%2F?.mp4",
        "docks-old/river/f1/a.mp4",
        "elsewhere/river/f1/a.mp4",
    )
    listing = cloud.listing(prefix=prefix)
    assert told(listing) == [
        ("quay", "飞行 1", "视频+%2F?.mp4"),
        ("river", FLIGHT, "DCIM/DJI_0001.JPG"),
        ("river", FLIGHT, "DCIM/DJI_0002.JPG"),
    ]
    assert listing.stray == ()
    file = listing.files[1]
    assert (file.size, file.origin) == (1, f"docks/river/{FLIGHT}/DCIM/DJI_0001.JPG")
    assert abs(file.modified_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert file.modified_at.utcoffset() == timedelta(0)


def test_without_a_prefix_the_whole_bucket_counts(cloud: Cloud) -> None:
    cloud.put("river/f1/a.mp4")
    assert told(cloud.listing(prefix="")) == [("river", "f1", "a.mp4")]


def test_a_server_that_tells_its_region_needs_none_in_the_catalog(cloud: Cloud) -> None:
    cloud.put("docks/river/f1/a.mp4")
    assert told(cloud.listing(region=None)) == [("river", "f1", "a.mp4")]


def test_more_objects_than_one_answer_holds_are_all_listed(cloud: Cloud) -> None:
    cloud.put(*(f"docks/river/f1/{number:04}.jpg" for number in range(1005)))
    assert len(cloud.listing().files) == 1005


def test_folder_markers_and_hidden_objects_are_left_out_and_strays_are_told(cloud: Cloud) -> None:
    cloud.put("docks/river/f1/", "docks/river/", "docks/Emptied/", data=b"")
    cloud.put("docks/river/f1/.cache", "docks/river/f1/a.mp4.part")
    cloud.put("docks/a.mp4", "docks/river/b.mp4", "docks/River/f1/c.mp4", "docks/river/f1/d.mp4")
    listing = cloud.listing()
    assert told(listing) == [("river", "f1", "d.mp4")]
    assert listing.stray == (
        "River/: is no mission id (a-z, 0-9, - and _, at most 64)",
        "a.mp4: lies outside MISSION/FLIGHT/",
        "river/b.mp4: lies outside MISSION/FLIGHT/",
    )


def test_objects_may_lie_as_deep_as_files(cloud: Cloud) -> None:
    deep = "/".join("1234567")
    cloud.put(f"docks/river/f1/{deep}/a.mp4", f"docks/river/f1/{deep}/8/b.mp4")
    listing = cloud.listing()
    assert told(listing) == [("river", "f1", f"{deep}/a.mp4")]
    assert listing.stray == (f"river/f1/{deep}/8/b.mp4: lies more than 8 folders deep",)


KEY = st.lists(
    st.sampled_from(["river", "f1", "", ".", "..", ".x", "a.mp4", "a.part", "A", "视频", "&<>\"'"])
    | st.text(st.characters(exclude_categories=("Cs", "Cc"))),
    min_size=1,
    max_size=12,
).map("/".join)


def docks_at(endpoint: str) -> DroneBucket:
    return DroneBucket(
        endpoint=endpoint, secure=False, bucket="docks", prefix="docks", region="us-east-1",
        access_key_variable="A", secret_key_variable="B",
    )  # fmt: skip


def test_an_answer_that_is_no_listing_is_unavailable() -> None:
    with listing_server([], name="") as endpoint, pytest.raises(StoreUnavailable, match="gibber"):
        flight_files.flight_files(docks_at(endpoint), soon(), {"A": "a", "B": "b"})


@given(st.lists(KEY, max_size=6))
@example(["river//a.mp4", "river/../a.mp4", "river/f1/./a.mp4", "/river/f1/a.mp4", "/"])
@settings(max_examples=60, deadline=None)
def test_whatever_keys_a_server_lists_each_is_a_file_of_a_flight_or_is_not(
    keys: list[str],
) -> None:
    with listing_server([f"docks/{key}" for key in keys]) as endpoint:
        listing = flight_files.flight_files(docks_at(endpoint), soon(), {"A": "a", "B": "b"})
    for file in listing.files:
        parts = [file.mission_id, file.flight_id, *file.name.split("/")]
        assert file.origin == f"docks/{'/'.join(parts)}"
        assert not [part for part in parts if part == "" or part.startswith(".")]
        assert "/".join(parts) in keys
    assert all(line.isprintable() for line in listing.stray)
    odd = {"", ".", ".."}
    taken = {file.origin.removeprefix("docks/") for file in listing.files}
    assert not [key for key in taken if odd & set(key.split("/"))]
    named = [key.split("/") for key in keys if not key.endswith("/")]
    for first in {parts[0] for parts in named if len(parts) > 1} & odd:
        assert f"{first}/: is no path" in listing.stray


def test_a_listing_that_takes_too_long_is_given_up(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.put("docks/river/f1/a.mp4")
    monkeypatch.setattr(drone_bucket, "_LISTING_S", -100.0)
    with pytest.raises(StoreUnavailable, match="takes too long"):
        cloud.listing()


def test_a_flight_in_a_bucket_that_holds_too_much_is_told_and_holds_no_other_up(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight_files, "FILES_MAX", 2)
    cloud.put("docks/river/f1/1", "docks/river/f1/2", "docks/river/f2/1")
    assert len(cloud.listing().files) == 3
    cloud.put("docks/river/f1/3")
    listing = cloud.listing()
    assert told(listing) == [("river", "f2", "1")]
    assert listing.stray == ("river/f1/: holds more than 2 objects: it is not taken in",)


def test_a_bucket_of_too_many_flights_is_an_error_that_says_so(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight_files, "FLIGHTS_MAX", 3)
    # The server lists emptied folders for a while: prefixes that no other test uses.
    cloud.put("few/river/f1/1", "few/river/f2/1")
    assert len(cloud.listing(prefix="few").files) == 2
    cloud.put("few/quay/f1/1")
    with pytest.raises(ConfigurationError, match=r"few.*more than 3 flights: move"):
        cloud.listing(prefix="few")


def test_a_flight_in_a_bucket_that_is_done_is_not_listed() -> None:
    asked = []

    def is_done(mission_id: str, flight_id: str) -> bool:
        asked.append((mission_id, flight_id))
        return flight_id == "f1"

    # The stray object tells whether the flight was entered.
    keys = ["docks/river/f1//stray", "docks/river/f1/a", "docks/river/f2/b", "docks/quay/f3/c"]
    with listing_server(keys) as endpoint:
        listing = flight_files.flight_files(
            docks_at(endpoint), soon(), {"A": "a", "B": "b"}, is_done
        )
    assert told(listing) == [("quay", "f3", "c"), ("river", "f2", "b")]
    assert listing.stray == ()
    assert sorted(asked) == [("quay", "f3"), ("river", "f1"), ("river", "f2")]


def test_more_flights_than_one_answer_holds_are_all_found(cloud: Cloud) -> None:
    cloud.put(*(f"many/river/{number:04}/a.jpg" for number in range(1005)))
    flights = []

    def is_done(mission_id: str, flight_id: str) -> bool:
        flights.append(flight_id)
        return True

    source = cloud.source(prefix="many")
    assert flight_files.flight_files(source, soon(), cloud.secrets, is_done).files == ()
    assert sorted(flights) == [f"{number:04}" for number in range(1005)]


@pytest.mark.parametrize("size", [0, 1, 3 * MIB])
def test_a_fetched_object_is_a_local_file_until_the_end(
    cloud: Cloud, tmp_path: Path, size: int
) -> None:
    data = random.randbytes(size)
    cloud.put("docks/river/f1/视频.MP4", data=data)
    with fetched(cloud.source(), cloud.file(), tmp_path, cloud.secrets) as path:
        assert path.read_bytes() == data
        assert path.suffix == ".MP4"
        assert path.stat().st_mtime == cloud.file().modified_at.timestamp()
        assert path.is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_object_key_can_lead_out_of_the_folder(cloud: Cloud, tmp_path: Path) -> None:
    cloud.put("docks/river/f1/a.b\\c..;x")
    with fetched(cloud.source(), cloud.file(), tmp_path, cloud.secrets) as path:
        assert path.name == "original"


def test_a_download_that_is_cut_off_is_a_failure_to_repeat(cloud: Cloud, tmp_path: Path) -> None:
    cloud.put("docks/river/f1/a.mp4", data=random.randbytes(3 * MIB))
    file = cloud.file()
    with (
        cutting_proxy(cloud.endpoint, down=MIB) as endpoint,
        pytest.raises(StoreUnavailable, match="does not answer"),
        fetched(cloud.source(endpoint=endpoint), file, tmp_path, cloud.secrets),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("size", "told"), [(2, "2 of 3"), (4, "more than 3")])
def test_an_object_of_another_size_than_listed_is_not_handed_out(
    cloud: Cloud, tmp_path: Path, size: int, told: str
) -> None:
    cloud.put("docks/river/f1/a.mp4", data=b"abc")
    file = cloud.file()
    cloud.put("docks/river/f1/a.mp4", data=b"x" * size)
    with (
        pytest.raises(StoreUnavailable, match=f"gave {told} bytes"),
        fetched(cloud.source(), file, tmp_path, cloud.secrets),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_has_gone_is_looked_for_again_later(cloud: Cloud, tmp_path: Path) -> None:
    cloud.put("docks/river/f1/a.mp4")
    file = cloud.file()
    cloud.client.remove_object(cloud.bucket, file.origin)
    with (
        pytest.raises(StoreUnavailable, match="has gone since"),
        fetched(cloud.source(), file, tmp_path, cloud.secrets),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none-there", "no such bucket"),
        ("No_Bucket", "(refuses|no such)"),
        ("192.168.1.1", "no S3 bucket"),
    ],
)
def test_a_missing_or_impossible_bucket_is_a_setting_to_correct(
    cloud: Cloud, name: str, why: str
) -> None:
    for region in ("us-east-1", None):
        with pytest.raises(ConfigurationError, match=rf"{name}.*{why}"):
            cloud.listing(bucket=name, region=region)


@pytest.mark.parametrize("wrong", ["DOCK_ACCESS", "DOCK_SECRET"])
def test_wrong_keys_are_told_by_their_variables_and_never_by_themselves(
    cloud: Cloud, tmp_path: Path, wrong: str
) -> None:
    cloud.put("docks/river/f1/a.mp4")
    file = cloud.file()
    cloud.secrets[wrong] = "k3y-that-nobody-may-see"
    with pytest.raises(CredentialsRefused, match="DOCK_ACCESS and DOCK_SECRET") as listing:
        cloud.listing()
    with (
        pytest.raises(CredentialsRefused, match="DOCK_ACCESS and DOCK_SECRET") as fetching,
        fetched(cloud.source(), file, tmp_path, cloud.secrets),
    ):
        pass
    for caught in (listing, fetching):
        text = "".join(traceback.format_exception(caught.value))
        assert not [secret for secret in cloud.secrets.values() if secret in text]


@pytest.mark.parametrize("missing", ["DOCK_ACCESS", "DOCK_SECRET"])
@pytest.mark.parametrize("value", ["", None])
def test_a_missing_key_is_told_by_its_variable(
    cloud: Cloud, missing: str, value: str | None
) -> None:
    del cloud.secrets[missing]
    if value is not None:
        cloud.secrets[missing] = value
    with pytest.raises(ConfigurationError, match=f"needs the environment variable {missing}"):
        cloud.listing()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drone_bucket, "_CONNECT_S", 0.4)
    monkeypatch.setattr(drone_bucket, "_READ_S", 0.4)


@pytest.mark.usefixtures("hasty")
def test_a_server_that_hangs_or_is_not_there_does_not_hold_us_up(
    cloud: Cloud, tmp_path: Path
) -> None:
    cloud.put("docks/river/f1/a.mp4")
    file = cloud.file()

    def download(source: DroneBucket) -> None:
        with fetched(source, file, tmp_path, cloud.secrets):
            pass

    def listing(source: DroneBucket) -> None:
        flight_files.flight_files(source, soon(), cloud.secrets)

    acts: tuple[Callable[[DroneBucket], None], ...] = (listing, download)
    with silent_server() as endpoint:
        for act in acts:
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable, match="does not answer"):
                act(cloud.source(endpoint=endpoint))
            assert time.monotonic() - begun < 2.0
    for act in acts:  # nobody listens there any more
        with pytest.raises(StoreUnavailable, match="does not answer"):
            act(cloud.source(endpoint=endpoint))


@pytest.mark.usefixtures("hasty")
def test_a_download_that_trickles_is_given_up(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.put("docks/river/f1/a.mp4", data=b"x" * 100)
    file = cloud.file()
    begun = time.monotonic()
    with (
        trickling_server(100) as endpoint,
        pytest.raises(StoreUnavailable, match="too slowly"),
        fetched(cloud.source(endpoint=endpoint), file, tmp_path, cloud.secrets),
    ):
        pass
    assert time.monotonic() - begun < 3.0


def test_what_is_no_s3_server_is_unavailable(cloud: Cloud) -> None:
    host, port = cloud.endpoint.split(":")
    filer = f"{host}:{int(port) + 1}"
    with pytest.raises((StoreUnavailable, ConfigurationError)):
        cloud.listing(endpoint=filer)


def test_a_server_that_stopped_is_unavailable_and_its_objects_come_back_with_it(
    tmp_path: Path, free_base_port: Callable[[], int]
) -> None:
    server = SeaweedServer(tmp_path / "s3", free_base_port())
    with server:
        keys = server.credentials
        client = Minio(
            server.endpoint, keys.access_key, keys.secret_key, secure=False, region="us-east-1"
        )
        client.make_bucket("docks")
        cloud = Cloud(server, client, "docks")
        cloud.put("docks/river/f1/a.mp4", data=b"video")
    with pytest.raises(StoreUnavailable):
        cloud.listing()
    with server, fetched(cloud.source(), cloud.file(), tmp_path, cloud.secrets) as path:
        assert path.read_bytes() == b"video"
