"""Reading recorded footage: what it is, its frames with true times, and clips cut from it.

Times are seconds from the first frame that decodes, taken from the presentation timestamps and
never counted in frames, because cameras drop frames. Pictures are ``(H, W, 3)`` uint8 BGR.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from enforcement.errors import BadFootage, StoreUnavailable
from media.encoding import write_h264

Image = NDArray[np.uint8]
"""A picture, ``(H, W, 3)`` uint8 BGR."""

_MEDIA_TYPES = {
    "mov": "video/mp4",
    "avi": "video/x-msvideo",
    "gif": "image/gif",
    "mpegts": "video/mp2t",
    "mpeg": "video/mpeg",
    "matroska": "video/x-matroska",
    "flv": "video/x-flv",
    "asf": "video/x-ms-asf",
    "ogg": "video/ogg",
    "h264": "video/h264",
    "hevc": "video/h265",
}
"""FFmpeg demuxer to media type. Nothing else is opened: playlists (HLS, concat, DASH) would let a
dropped file make us read other files or hosts, and FFmpeg reads plain text as terminal footage."""

_OPEN_OPTIONS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,avi,gif,mpegts,mpeg,matroska,webm,flv,asf,ogg,"
    "h264,hevc",
    "protocol_whitelist": "file",
}
_MAX_PIXELS = 8192 * 8192
_FALLBACK_FPS = 25.0
_SEEKABLE = {"mov", "matroska"}
"""Containers with an index, where a seek lands on a key frame at or before the wanted time."""
_SEEK_FROM_S = 10.0
_SEEK_MARGIN_S = 1.0
_LAST_FRAME_HOLDS_S = 1.0
"""How long after the last frame a clip may still begin."""
_EPSILON_S = 1e-4
_FIRST_PLAUSIBLE_YEAR = 2000


@dataclass(frozen=True)
class FootageInfo:
    """What a file holds, read from its packets rather than from its header or its name."""

    width_px: int
    height_px: int
    fps: float
    """Mean frames a second."""
    duration_s: float
    """From the first frame to the end of the last one that the file really holds."""
    frames: int | None
    """Coded frames that the file really holds; None if it does not tell."""
    codec: str
    media_type: str
    """Told by content: ``video/mp4``, ``image/gif``…"""


@dataclass(frozen=True)
class Frame:
    """One decoded picture, ``(H, W, 3)`` uint8 BGR, and its time from the first frame."""

    t_s: float
    image: Image


def probe(path: Path) -> FootageInfo:
    """Say what the file holds. Reads all packets, decodes one frame.

    Raises BadFootage if it is not footage or if not one frame decodes.
    """
    with _opened(path) as (container, stream):
        media_type = _media_type(container, path)
        codec = stream.codec_context.name
        rate = stream.average_rate or stream.guessed_rate
        span_s, packets = _packet_span(container, stream)
    picture = _upright(next(_decoded(path))[1])
    fps = float(rate) if rate else (packets / span_s if span_s > 0 else _FALLBACK_FPS)
    return FootageInfo(
        width_px=picture.width,
        height_px=picture.height,
        fps=fps,
        duration_s=span_s if span_s > 0 else packets / fps,
        frames=packets or None,
        codec=codec,
        media_type=media_type,
    )


@dataclass(frozen=True)
class Header:
    """What a file says of itself; unlike FootageInfo, nothing of it has been checked."""

    created_at: datetime | None
    """Aware UTC; None where the container names no plausible moment."""
    duration_s: float | None


def read_header(path: Path) -> Header:
    """The container's own claims, without reading the footage. Raises BadFootage."""
    with _opened(path) as (container, _):
        duration_s = container.duration / av.time_base if container.duration else None
        return Header(_moment(container.metadata.get("creation_time", "")), duration_s)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    # Cameras without a clock write the zero of their calendar: 1904, 1970 or 1980.
    return moment.astimezone(UTC) if moment.year >= _FIRST_PLAUSIBLE_YEAR else None


def frames(
    path: Path, *, sample_fps: float | None = None, height_px: int | None = None
) -> Iterator[Frame]:
    """Decode the file, at most ``sample_fps`` frames a second, at most ``height_px`` lines high.

    Damaged stretches are left out and truncated files end early. Times never run backwards.
    Raises BadFootage if nothing decodes.
    """
    due_s = 0.0
    for t_s, frame in _decoded(path):
        if sample_fps is not None:
            if t_s + _EPSILON_S < due_s:
                continue
            due_s = (int((t_s + _EPSILON_S) * sample_fps) + 1) / sample_fps
        yield Frame(t_s, _picture(frame, height_px))


def frame_at(path: Path, t_s: float) -> Image:
    """The picture on screen at ``t_s``; after the end, the last one. Raises BadFootage."""
    shown: VideoFrame | None = None
    for frame_s, frame in _decoded(path, start_s=t_s):
        if shown is not None and frame_s > t_s + _EPSILON_S:
            break
        shown = frame
    if shown is None:
        raise BadFootage(f"{path.name}: no frame decodes at {t_s:.2f} s.")
    return _picture(shown, None)


def cut_clip(source: Path, target: Path, start_s: float, end_s: float) -> None:
    """Write ``[start_s, end_s]`` as an MP4 that every browser plays; its time 0 is ``start_s``.

    Re-encoded as H.264 4:2:0 without sound, index in front. The frame on screen at ``start_s``
    opens the clip. The same source gives the same bytes. ``target`` appears only when complete.

    Raises ValueError for an empty interval, BadFootage if no frame lies in it, StoreUnavailable
    if the target can't be written.
    """
    if not 0 <= start_s < end_s:
        raise ValueError(f"no such interval: {start_s} to {end_s} s")
    fps = probe(source).fps
    part = target.with_name(f".{target.name}.part")
    try:
        if write_h264(part, _window(source, start_s, end_s), fps) == 0:
            raise BadFootage(f"{source.name}: no frame between {start_s:.2f} and {end_s:.2f} s.")
        os.replace(part, target)
    except OSError as error:
        raise StoreUnavailable(f"The clip {target.name} cannot be written: {error}.") from error
    except av.FFmpegError as error:
        raise BadFootage(f"{source.name}: cannot be re-encoded ({error.strerror}).") from error
    finally:
        part.unlink(missing_ok=True)


def _window(source: Path, start_s: float, end_s: float) -> Iterator[tuple[float, VideoFrame]]:
    """Upright frames of ``[start_s, end_s]`` with times from ``start_s``."""
    shown: VideoFrame | None = None
    shown_s = 0.0
    for t_s, frame in _decoded(source, start_s=start_s):
        if t_s <= start_s + _EPSILON_S:
            shown, shown_s = frame, t_s
            continue
        if shown is not None:
            yield 0.0, _upright(shown)
            shown = None
        if t_s > end_s + _EPSILON_S:
            return
        yield t_s - start_s, _upright(frame)
    if shown is not None and start_s - shown_s < _LAST_FRAME_HOLDS_S:
        yield 0.0, _upright(shown)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first video stream; FFmpeg's errors become BadFootage."""
    try:
        # The prefix keeps a name such as "http:x" from being taken for a protocol.
        with av.open(f"file:{path.absolute()}", options=_OPEN_OPTIONS) as container:
            if not container.streams.video:
                raise BadFootage(f"{path.name}: holds no video.")
            stream = container.streams.video[0]
            width_px, height_px = stream.codec_context.width, stream.codec_context.height
            if width_px * height_px > _MAX_PIXELS:
                raise BadFootage(f"{path.name}: {width_px}×{height_px} pixels are too many.")
            stream.thread_type = "AUTO"
            yield container, stream
    except av.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise BadFootage(f"{path.name}: cannot be read as footage ({reason}).") from error


def _decoded(path: Path, start_s: float = 0.0) -> Iterator[tuple[float, VideoFrame]]:
    """All frames with their times; from a key frame at or before ``start_s`` where that is safe.

    Raises BadFootage if not one frame decodes.
    """
    with _opened(path) as (container, stream):
        step_s = 1 / float(stream.average_rate or stream.guessed_rate or _FALLBACK_FPS)
        decoding = _raw_frames(container, stream)
        first = next(decoding, None)
        if first is None:
            raise BadFootage(f"{path.name}: not one frame can be decoded.")
        clock = _Clock(first, step_s, by_decoding=_demuxer(container) == "avi")
        yield clock.time_of(first), first
        can_seek = _demuxer(container) in _SEEKABLE and first.pts is not None
        if start_s > _SEEK_FROM_S and can_seek and first.time_base is not None:
            wanted = int((start_s - _SEEK_MARGIN_S) / first.time_base) + (first.pts or 0)
            container.seek(wanted, stream=stream, backward=True)
            decoding = _raw_frames(container, stream)
        for frame in decoding:
            yield clock.time_of(frame), frame


def _raw_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decoded frames in order of presentation; packets that don't decode are left out."""
    for packet in _packets(container, stream):
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue
    try:
        for frame in stream.decode(None):
            if frame.time_base is None and stream.time_base is not None:
                # What the decoder still held comes out without it.
                frame.time_base = stream.time_base
            yield frame
    except av.FFmpegError:
        return


def _packets(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
    """Packets up to the end or to the place where the container breaks off."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None or (packet.size == 0 and packet.pts is None):
            return
        yield packet


class _Clock:
    """Turns timestamps into seconds from the first frame, never running backwards.

    A frame without a timestamp comes one frame after the one before it. Where timestamps jump
    back (a stream that was restarted or that wrapped), time goes on from there. AVI stores no
    times of presentation, only an order of decoding, and what FFmpeg derives for B-frames there
    runs to and fro: its decoding times are the right ones.
    """

    def __init__(self, first: VideoFrame, step_s: float, *, by_decoding: bool) -> None:
        self._step_s = step_s
        self._by_decoding = by_decoding
        self._origin_s = self._stamp_s(first)
        self._last_s: float | None = None

    def time_of(self, frame: VideoFrame) -> float:
        """Seconds from the first frame."""
        stamp_s = self._stamp_s(frame)
        if stamp_s is None or self._origin_s is None:
            t_s = 0.0 if self._last_s is None else self._last_s + self._step_s
            self._origin_s = None if stamp_s is None else stamp_s - t_s
        else:
            t_s = stamp_s - self._origin_s
        if self._last_s is not None and t_s <= self._last_s:
            t_s = self._last_s + self._step_s
            self._origin_s = None if stamp_s is None else stamp_s - t_s
        self._last_s = t_s
        return t_s

    def _stamp_s(self, frame: VideoFrame) -> float | None:
        stamp = frame.dts if self._by_decoding and frame.dts is not None else frame.pts
        if stamp is None or frame.time_base is None:
            return None
        return float(stamp * frame.time_base)


def _packet_span(container: InputContainer, stream: VideoStream) -> tuple[float, int]:
    """Seconds from the first to the end of the last packet (0 if unstamped), and their number."""
    starts: list[int] = []
    ends: list[int] = []
    number = 0
    for packet in _packets(container, stream):
        number += 1
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            starts.append(stamp)
            ends.append(stamp + (packet.duration or 0))
    if not starts or stream.time_base is None:
        return 0.0, number
    span = max(ends) - min(starts)
    if max(ends) == max(starts) and len(starts) > 1:
        span += span // (len(starts) - 1)
    return float(span * stream.time_base), number


def _demuxer(container: InputContainer) -> str:
    return container.format.name.split(",")[0]


def _media_type(container: InputContainer, path: Path) -> str:
    demuxer = _demuxer(container)
    with path.open("rb") as file:
        head = file.read(64)
    if demuxer == "mov" and (head[4:8] != b"ftyp" or head[8:12] == b"qt  "):
        return "video/quicktime"
    if demuxer == "matroska" and b"webm" in head:
        return "video/webm"
    return _MEDIA_TYPES.get(demuxer, "application/octet-stream")


def _upright(frame: VideoFrame) -> VideoFrame:
    """The frame turned by the quarter turns that a telephone or drone wrote beside it."""
    turns = round(frame.rotation / 90) % 4
    if turns == 0:
        return frame
    picture = cast(Image, frame.to_ndarray(format="bgr24"))
    turned: Image = np.ascontiguousarray(np.rot90(picture, turns))
    return VideoFrame.from_ndarray(turned, format="bgr24")


def _picture(frame: VideoFrame, height_px: int | None) -> Image:
    frame = _upright(frame)
    if height_px is not None and height_px < frame.height:
        width_px = max(1, round(frame.width * height_px / frame.height))
        frame = frame.reformat(width=width_px, height=height_px, interpolation=Interpolation.AREA)
    return cast(Image, frame.to_ndarray(format="bgr24"))
