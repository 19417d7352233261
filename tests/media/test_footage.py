"""Facts about reading and cutting footage, on footage that the tests encode themselves."""

import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from enforcement.errors import BadFootage, StoreUnavailable
from media.encoding import write_h264
from media.footage import Image, cut_clip, frame_at, frames, probe, read_header

FPS = 10.0


def numbered(number: int, width: int = 128, height: int = 96) -> Image:
    """A picture that tells its number: eight bars, bright for a one, lowest bit on the left."""
    bars = np.array([210 if number >> bit & 1 else 40 for bit in range(8)], np.uint8)
    columns = bars[np.arange(width) * 8 // width]
    return np.repeat(np.repeat(columns[None, :, None], height, 0), 3, 2)


def number_in(image: Image) -> int:
    columns = image.mean(axis=(0, 2))
    width = len(columns)
    return sum(1 << bit for bit in range(8) if columns[(2 * bit + 1) * width // 16] > 125)


def pictures(
    times: Sequence[float], size: tuple[int, int] = (128, 96)
) -> Iterator[tuple[float, VideoFrame]]:
    for number, t_s in enumerate(times):
        yield t_s, VideoFrame.from_ndarray(numbered(number, *size), format="bgr24")


def steady(count: int, fps: float = FPS) -> list[float]:
    return [number / fps for number in range(count)]


def encode(path: Path, container: str, codec: str, count: int, **options: str) -> Path:
    """Footage in any container, straight from PyAV."""
    pix_fmt = options.pop("pix_fmt", "yuv420p")
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=10, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 128, 96, pix_fmt
        stream.codec_context.time_base = Fraction(1, 10)
        for number, (_, frame) in enumerate(pictures(steady(count))):
            coded = frame.reformat(format=pix_fmt)
            coded.pts, coded.time_base = number, Fraction(1, 10)
            out.mux(stream.encode(coded))
        out.mux(stream.encode(None))
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Sixty frames at 10 a second, 128×96."""
    path = tmp_path / "clip.mp4"
    assert write_h264(path, pictures(steady(60)), FPS) == 60
    return path


def test_probe_says_what_a_file_holds(clip: Path) -> None:
    info = probe(clip)
    assert (info.width_px, info.height_px) == (128, 96)
    assert info.fps == pytest.approx(FPS, abs=0.1)
    assert info.duration_s == pytest.approx(6.0, abs=0.11)
    assert (info.frames, info.codec, info.media_type) == (60, "h264", "video/mp4")


@pytest.mark.parametrize(
    ("container", "codec", "options", "media_type"),
    [
        ("avi", "mpeg4", {}, "video/x-msvideo"),
        ("avi", "libx264", {"bf": "2"}, "video/x-msvideo"),
        ("mpegts", "libx264", {"bf": "2"}, "video/mp2t"),
        ("mov", "libx264", {}, "video/quicktime"),
        ("matroska", "libx264", {}, "video/x-matroska"),
        ("gif", "gif", {"pix_fmt": "rgb8"}, "image/gif"),
    ],
)
def test_every_container_is_told_by_content_and_timed_from_its_first_frame(
    tmp_path: Path, container: str, codec: str, options: dict[str, str], media_type: str
) -> None:
    path = encode(tmp_path / "misnamed.mp4", container, codec, 30, **options)
    assert probe(path).media_type == media_type
    read = list(frames(path))
    assert len(read) >= 28
    assert read[0].t_s == 0.0
    gaps = np.diff([frame.t_s for frame in read])
    assert gaps == pytest.approx(np.full(len(gaps), 0.1), abs=0.011)
    shown = [number_in(frame.image) for frame in read]
    assert shown == list(range(shown[0], shown[0] + len(shown)))


def test_frames_come_as_bgr_with_the_time_at_which_they_were_taken(clip: Path) -> None:
    read = list(frames(clip))
    assert [frame.t_s for frame in read] == pytest.approx(steady(60), abs=1e-3)
    assert [number_in(frame.image) for frame in read] == list(range(60))
    assert read[0].image.shape == (96, 128, 3)
    assert read[0].image.dtype == np.uint8


def test_colours_are_blue_green_red(tmp_path: Path) -> None:
    image = np.zeros((96, 128, 3), np.uint8)
    image[..., 0] = 200
    path = tmp_path / "blue.mp4"
    write_h264(path, iter([(0.0, VideoFrame.from_ndarray(image, format="bgr24"))]), FPS)
    blue, green, red = next(frames(path)).image.mean(axis=(0, 1))
    assert blue > 150 > 60 > max(green, red)


def test_a_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.5, 2.0, 2.05, 4.0]
    path = tmp_path / "variable.mp4"
    write_h264(path, pictures(times), FPS)
    assert [frame.t_s for frame in frames(path)] == pytest.approx(times, abs=1e-3)


def test_sampling_takes_the_first_frame_of_each_tick(clip: Path) -> None:
    read = list(frames(clip, sample_fps=2))
    assert [frame.t_s for frame in read] == pytest.approx([n / 2 for n in range(12)], abs=1e-3)
    assert [number_in(frame.image) for frame in read] == list(range(0, 60, 5))


def test_sampling_above_the_rate_takes_every_frame_once(clip: Path) -> None:
    assert len(list(frames(clip, sample_fps=50))) == 60


def test_pictures_are_scaled_down_but_never_up(clip: Path) -> None:
    assert next(frames(clip)).picture(48).shape == (48, 64, 3)
    assert next(frames(clip)).picture(500).shape == (96, 128, 3)


def test_the_frame_at_a_moment_is_the_one_on_screen(clip: Path) -> None:
    assert number_in(frame_at(clip, 2.0)) == 20
    assert number_in(frame_at(clip, 2.09)) == 20
    assert number_in(frame_at(clip, 99.0)) == 59


def test_a_clip_starts_exactly_where_it_was_asked_to(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "cut.mp4"
    cut_clip(clip, target, 1.25, 3.0)
    read = list(frames(target))
    assert [number_in(frame.image) for frame in read] == list(range(12, 31))
    assert read[0].t_s == 0.0
    assert read[1].t_s == pytest.approx(0.05, abs=2e-3)
    assert read[-1].t_s == pytest.approx(1.75, abs=2e-3)


def test_a_clip_far_into_the_footage_is_as_exact(tmp_path: Path) -> None:
    source, target = tmp_path / "long.mp4", tmp_path / "cut.mp4"
    write_h264(source, pictures(steady(100, 5.0)), 5.0)
    cut_clip(source, target, 14.3, 16.0)
    assert [number_in(frame.image) for frame in frames(target)] == list(range(71, 81))
    assert number_in(frame_at(source, 14.3)) == 71


def test_a_clip_plays_in_every_browser(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "cut.mp4"
    cut_clip(clip, target, 0.0, 2.0)
    data = target.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")
    with av.open(str(target)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.start_time in (0, None)


def test_the_same_cut_gives_the_same_bytes(clip: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.mp4", tmp_path / "two.mp4"
    cut_clip(clip, one, 1.0, 3.0)
    cut_clip(clip, two, 1.0, 3.0)
    assert one.read_bytes() == two.read_bytes()


def test_footage_of_odd_size_can_be_cut(tmp_path: Path) -> None:
    source, target = tmp_path / "odd.gif", tmp_path / "cut.mp4"
    with av.open(str(source), "w", format="gif") as out:
        stream = out.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 81, 61, "rgb8"
        for _, frame in pictures(steady(10), (81, 61)):
            out.mux(stream.encode(frame.reformat(format="rgb8")))
        out.mux(stream.encode(None))
    cut_clip(source, target, 0.0, 0.5)
    assert (probe(target).width_px, probe(target).height_px) == (80, 60)


def test_a_cut_outside_the_footage_leaves_nothing_behind(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "cut.mp4"
    with pytest.raises(BadFootage, match="no frame between"):
        cut_clip(clip, target, 50.0, 60.0)
    with pytest.raises(ValueError, match="no such interval"):
        cut_clip(clip, target, 3.0, 3.0)
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        cut_clip(clip, tmp_path / "missing" / "cut.mp4", 0.0, 1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize(("container", "codec"), [("mpegts", "libx264"), ("avi", "mpeg4")])
def test_truncated_footage_yields_what_decodes(tmp_path: Path, container: str, codec: str) -> None:
    path = encode(tmp_path / "whole", container, codec, 60)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    read = list(frames(path))
    assert 5 < len(read) < 58
    assert number_in(read[0].image) == 0


def test_a_truncated_file_is_as_long_as_what_is_left(clip: Path) -> None:
    data = clip.read_bytes()
    clip.write_bytes(data[: data.find(b"mdat") + (len(data) - data.find(b"mdat")) // 2])
    left = len(list(frames(clip)))
    info = probe(clip)
    assert 5 < left < 58
    assert info.frames is not None
    assert info.frames < 60
    assert info.duration_s == pytest.approx(left / FPS, abs=0.5)


def test_damage_in_the_middle_costs_only_a_stretch(tmp_path: Path) -> None:
    path = encode(tmp_path / "damaged", "mpegts", "libx264", 60, g="10")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    read = list(frames(path))
    times = [frame.t_s for frame in read]
    assert len(read) > 40
    assert times == sorted(set(times))
    assert number_in(read[-1].image) >= 55


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not footage at all\n" * 400,
        bytes(range(256)) * 64,
        b"\x00\x00\x00\x20ftypisom" + bytes(900),
    ],
)
def test_what_is_not_footage_is_refused_in_plain_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dropped.mp4"
    path.write_bytes(content)
    for read in (probe, lambda p: list(frames(p)), lambda p: frame_at(p, 0.0), read_header):
        with pytest.raises(BadFootage, match=r"dropped\.mp4"):
            read(path)


def test_an_index_that_was_never_written_is_bad_footage(tmp_path: Path) -> None:
    path = encode(tmp_path / "killed.mp4", "mp4", "libx264", 60)
    data = path.read_bytes()
    path.write_bytes(data[: data.find(b"moov") - 4])
    with pytest.raises(BadFootage):
        probe(path)


def test_a_playlist_cannot_make_us_read_other_files(clip: Path, tmp_path: Path) -> None:
    concat = tmp_path / "list.mp4"
    concat.write_text(f"ffconcat version 1.0\nfile {clip.name}\n")
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n{clip}\n#EXT-X-ENDLIST\n")
    for path in (concat, playlist):
        with pytest.raises(BadFootage):
            probe(path)


def test_a_name_with_a_protocol_in_it_is_still_a_file(clip: Path) -> None:
    odd = clip.rename(clip.with_name("concat:http:a|b.mp4"))
    assert probe(odd).frames == 60


def test_a_missing_file_is_bad_footage_and_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(BadFootage, match="No such file"):
        probe(tmp_path / "gone.mp4")


def test_footage_filmed_upright_is_turned_upright(tmp_path: Path) -> None:
    image = np.full((96, 128, 3), 40, np.uint8)
    image[:32, :32] = 230
    path = tmp_path / "phone.mp4"
    one = [(n / FPS, VideoFrame.from_ndarray(image, format="bgr24")) for n in range(5)]
    write_h264(path, iter(one), FPS)
    data = bytearray(path.read_bytes())
    matrix = data.find(b"tkhd") + 4 + 40
    # A quarter turn clockwise, as telephones write it (ISO 14496-12, 16.16 and 2.30 fixed point).
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    picture = next(frames(path)).image
    assert picture.shape == (128, 96, 3)
    assert picture[:24, -24:].mean() > 200
    assert picture[:24, :24].mean() < 80
    info = probe(path)
    assert (info.width_px, info.height_px) == (96, 128)
    target = tmp_path / "cut.mp4"
    cut_clip(path, target, 0.0, 0.4)
    assert next(frames(target)).image.shape == (128, 96, 3)


def test_a_header_names_the_moment_of_recording_if_it_is_a_plausible_one(tmp_path: Path) -> None:
    def stamped(name: str, stamp: str) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w", format="mp4") as out:
            out.metadata["creation_time"] = stamp
            stream = out.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            for _, frame in pictures(steady(20)):
                out.mux(stream.encode(frame.reformat(format="yuv420p")))
            out.mux(stream.encode(None))
        return path

    header = read_header(stamped("a.mp4", "2026-11-24T05:52:18Z"))
    assert header.created_at == datetime(2026, 11, 24, 5, 52, 18, tzinfo=UTC)
    assert header.duration_s == pytest.approx(2.0, abs=0.11)
    assert read_header(stamped("b.mp4", "1970-01-01T00:00:00Z")).created_at is None
