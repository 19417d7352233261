"""Footage group by group gives the same frames as all at once, and key frames by themselves."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from media.encoding import write_h264
from media.footage import frames, probe
from media.skimming import can_skim, copy_start, groups

FPS = 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds, a key frame every two; something moves from 5 to 6 s."""
    path = tmp_path_factory.mktemp("skimming") / "clip.mp4"
    random = np.random.default_rng(1)
    ground = random.integers(60, 190, (96, 128, 3), np.uint8)

    def pictures() -> "list[tuple[float, VideoFrame]]":
        made = []
        for number in range(10 * FPS):
            image = ground.copy()
            if 50 <= number < 60:
                left = (number - 50) * 9
                image[20:70, left : left + 30] = random.integers(0, 255, (50, 30, 3), np.uint8)
            made.append((number / FPS, VideoFrame.from_ndarray(image, format="bgr24")))
        return made

    write_h264(path, pictures(), float(Fraction(FPS)), keyframe_every=2 * FPS)
    return path


def test_groups_hold_the_frames_of_the_file_at_their_times(clip: Path) -> None:
    apart = [frame for group in groups(clip) for frame in group.frames()]
    together = list(frames(clip))
    assert [frame.t_s for frame in apart] == pytest.approx([frame.t_s for frame in together])
    for one, other in zip(apart, together, strict=True):
        assert np.array_equal(one.image, other.image)


def test_a_group_runs_from_key_frame_to_key_frame(clip: Path) -> None:
    made = list(groups(clip))
    assert [group.start_s for group in made] == pytest.approx([0, 2, 4, 6, 8], abs=1e-6)
    assert [group.end_s for group in made] == pytest.approx([2, 4, 6, 8, 10], abs=0.11)
    for group in made:
        assert group.key is not None
        (first, *_) = group.frames()
        assert np.array_equal(group.key.image, first.image)
        assert len(group.sizes) == 2 * FPS - 1


def test_packets_tell_that_something_moves_between_key_frames(clip: Path) -> None:
    busiest = max(groups(clip), key=lambda group: sum(group.sizes))
    assert busiest.start_s == pytest.approx(4.0, abs=1e-6)


def test_groups_may_be_decoded_in_any_order_and_again(clip: Path) -> None:
    made = list(groups(clip))
    late = [frame.image for frame in made[3].frames()]
    list(made[0].frames())
    again = [frame.image for frame in made[3].frames()]
    assert all(np.array_equal(a, b) for a, b in zip(late, again, strict=True))


def test_sampling_takes_the_first_and_then_one_for_each_tick(clip: Path) -> None:
    (first, *_) = groups(clip)
    assert [round(frame.t_s, 1) for frame in first.frames(sample_fps=2.5)] == [
        0.0,
        0.4,
        0.8,
        1.2,
        1.6,
    ]


def test_only_footage_in_short_groups_can_be_skimmed(clip: Path, tmp_path: Path) -> None:
    info = probe(clip)
    assert info.key_spacing_s == pytest.approx(2.0)
    assert can_skim(info, 5.0)
    assert not can_skim(info, 1.5)
    only_keys = tmp_path / "keys.mp4"
    pictures = (
        (frame.t_s, VideoFrame.from_ndarray(frame.image, format="bgr24")) for frame in frames(clip)
    )
    write_h264(only_keys, pictures, float(FPS), keyframe_every=1)
    assert not can_skim(probe(only_keys), 5.0)
    assert not can_skim(replace(info, codec="mpeg4"), 5.0)
    assert not can_skim(replace(info, media_type="video/x-msvideo"), 5.0)
    assert not can_skim(replace(info, key_spacing_s=None), 5.0)


def test_a_damaged_key_frame_ends_nothing(clip: Path, tmp_path: Path) -> None:
    with av.open(str(clip)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.is_keyframe]
    pos, size = packets[2].pos or 0, packets[2].size
    data = bytearray(clip.read_bytes())
    data[pos + 4 : pos + size] = bytes(size - 4)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    made = list(groups(broken))
    assert [group.start_s for group in made if group.start_s != 4.0] == pytest.approx([0, 2, 6, 8])
    assert all(group.key is not None for group in made if group.start_s != 4.0)
    assert len(list(made[-1].frames())) == 2 * FPS


def test_the_start_of_a_file_is_copied_packet_by_packet(clip: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.mp4"
    copy_start(clip, start, 4.0)
    assert [frame.t_s for frame in frames(start)] == pytest.approx(
        [number / FPS for number in range(4 * FPS)], abs=1e-3
    )
