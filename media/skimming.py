"""Footage group by group, from one key frame to the next: look at the key frame, decode on demand.

A key frame decodes by itself at about a tenth of the cost of all frames of its group, and the
sizes of the other packets, which cost nothing to read, tell how much moves between key frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from enforcement.errors import BadFootage
from media.containers import demuxer, opened, packets_of
from media.footage import FootageInfo, Frame, sampled

_CUT_INTO_GROUPS = {"mov", "matroska", "mpegts"}
_MEDIA_TYPES = {
    "video/mp4", "video/quicktime", "video/x-matroska", "video/webm", "video/mp2t",
}  # fmt: skip
"""What `probe` calls those."""
_CODECS = {"h264", "hevc"}

_KEY_SPACING_MIN_S = 0.3
"""Key frames closer than this (every frame is one, say) save nothing."""


def can_skim(info: FootageInfo, key_spacing_max_s: float) -> bool:
    """Whether the file is made of groups short enough that key frames alone tell what happens."""
    spacing_s = info.key_spacing_s
    return (
        info.codec in _CODECS
        and info.media_type in _MEDIA_TYPES
        and spacing_s is not None
        and _KEY_SPACING_MIN_S <= spacing_s <= key_spacing_max_s
    )


@dataclass
class Group:
    """Footage from one key frame up to, but without, the next; times from the first frame."""

    start_s: float
    end_s: float
    sizes: tuple[int, ...]
    """Bytes of each packet after the key frame's, in the order of decoding."""
    _packets: "list[Packet[VideoStream]]" = field(repr=False)
    _keys: VideoCodecContext = field(repr=False)
    _decoder: VideoCodecContext = field(repr=False)
    _origin_s: float = field(repr=False)

    @cached_property
    def key(self) -> Frame | None:
        """The key frame, decoded by itself when asked for; None if it does not decode."""
        picture = next(iter(list(_through(self._keys, self._packets[:1]))), None)
        return None if picture is None else Frame(self.start_s, picture)

    def frames(self, sample_fps: float | None = None) -> Iterator[Frame]:
        """Decode the group, the key frame included; what is damaged is left out."""
        for t_s, frame in sampled(self._decoded(), sample_fps):
            yield Frame(t_s, frame)

    def _decoded(self) -> Iterator[tuple[float, VideoFrame]]:
        last_s = self.start_s - 1.0
        for frame in _through(self._decoder, self._packets):
            t_s = _seconds(frame, self._packets[0]) - self._origin_s
            if t_s > last_s and t_s >= self.start_s - 1e-6:
                last_s = t_s
                yield max(t_s, 0.0), frame


def groups(path: Path) -> Iterator[Group]:
    """All groups of a file that `can_skim`, in order. Raises BadFootage."""
    with opened(path) as (container, stream):
        if demuxer(container) not in _CUT_INTO_GROUPS:
            raise BadFootage(f"{path.name}: is not cut into groups.")
        keys, full = _decoder(stream), _decoder(stream)
        origin_s: float | None = None
        held: list[Packet[VideoStream]] = []
        for packet in packets_of(container, stream):
            if packet.is_keyframe and held:
                origin_s = _stamp_s(held[0]) if origin_s is None else origin_s
                yield _group(held, _stamp_s(packet), keys, full, origin_s)
                held = []
            held.append(packet)
        if held:
            origin_s = _stamp_s(held[0]) if origin_s is None else origin_s
            end_s = max(_stamp_s(packet) + _length_s(packet) for packet in held)
            yield _group(held, end_s, keys, full, origin_s)


def copy_start(source: Path, target: Path, seconds: float) -> None:
    """Write the first seconds of a file, packets as they are. Raises BadFootage."""
    with opened(source) as (container, stream), av.open(str(target), "w", format="mp4") as copy:
        written = copy.add_stream_from_template(stream)
        first_s: float | None = None
        for packet in packets_of(container, stream):
            at_s = _stamp_s(packet)
            first_s = at_s if first_s is None else first_s
            if at_s - first_s >= seconds:
                break
            packet.stream = written
            copy.mux(packet)


def _group(
    packets: "list[Packet[VideoStream]]",
    end_s: float,
    keys: VideoCodecContext,
    full: VideoCodecContext,
    origin_s: float,
) -> Group:
    return Group(
        start_s=_stamp_s(packets[0]) - origin_s,
        end_s=end_s - origin_s,
        sizes=tuple(packet.size for packet in packets[1:]),
        _packets=packets,
        _keys=keys,
        _decoder=full,
        _origin_s=origin_s,
    )


def _decoder(stream: VideoStream) -> VideoCodecContext:
    """A decoder of its own, on one thread, for packets of this stream."""
    context = av.CodecContext.create(stream.codec_context.name, "r")
    if not isinstance(context, VideoCodecContext):  # a video stream's codec decodes video
        raise AssertionError
    context.extradata = stream.codec_context.extradata
    context.thread_type = "NONE"
    return context


def _through(
    decoder: VideoCodecContext, packets: "list[Packet[VideoStream]]"
) -> Iterator[VideoFrame]:
    """Decode packets that begin with a key frame, from a clean start."""
    decoder.flush_buffers()
    for packet in [*packets, None]:
        try:
            yield from decoder.decode(packet)
        except av.FFmpegError:
            continue


def _stamp_s(packet: "Packet[VideoStream]") -> float:
    return float((packet.pts or 0) * packet.time_base)


def _length_s(packet: "Packet[VideoStream]") -> float:
    return float((packet.duration or 0) * packet.time_base)


def _seconds(frame: VideoFrame, packet: "Packet[VideoStream]") -> float:
    return float((frame.pts or 0) * packet.time_base)
