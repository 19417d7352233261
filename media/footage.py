"""Reading recorded footage: what it is, its frames with true times, and clips cut from it.

Times are seconds from the first frame that decodes, taken from the presentation timestamps and
never counted in frames, because cameras drop frames. Pictures are ``(H, W, 3)`` uint8 BGR.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from enforcement.errors import BadFootage, StoreUnavailable
from media.containers import FALLBACK_FPS, demuxer, media_type_of, opened, packets_of
from media.encoding import write_h264

Image = NDArray[np.uint8]
"""A picture, ``(H, W, 3)`` uint8 BGR."""

Grey = NDArray[np.uint8]
"""Brightness alone, ``(H, W)`` uint8."""

_PLANAR = {"yuv420p", "yuvj420p", "nv12", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "gray"}
"""Pixel formats whose first plane is the brightness."""

_OF_THREAD = threading.local()

_SEEKABLE = {"mov", "matroska"}
"""Containers with an index, where a seek lands on a key frame at or before the wanted time."""
_SEEK_FROM_S = 10.0
_SEEK_MARGIN_S = 1.0
_LAST_FRAME_HOLDS_S = 1.0
"""How long after the last frame a clip may still begin."""
HOLE_S = 1.0
"""Without a picture for longer than this, footage has a hole."""
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
    key_spacing_s: float | None
    """Longest time from one key frame to the next; None where the packets don't tell for sure,
    or where pictures lie on their side."""


class Frame:
    """One decoded picture and its time from the first frame; pixels are converted when asked for.

    A size that was asked for once is kept: ask again at no cost, and change none in place.
    """

    def __init__(self, t_s: float, decoded: VideoFrame) -> None:
        self.t_s = t_s
        self._decoded = _upright(decoded)
        self._pictures: dict[int, Image] = {}
        self._greys: dict[int, Grey] = {}

    def still_at(self, t_s: float) -> "Frame":
        """The same picture at a later time, where nothing has changed since."""
        later = copy(self)
        later.t_s = t_s
        return later

    @property
    def image(self) -> Image:
        """The whole picture, ``(H, W, 3)`` uint8 BGR."""
        return self.picture()

    def picture(self, height_px: int | None = None) -> Image:
        """``(H, W, 3)`` uint8 BGR, at most ``height_px`` lines high; never enlarged."""
        height = min(self._decoded.height, height_px or self._decoded.height)
        if height not in self._pictures:
            self._pictures[height] = _picture(self._decoded, height)
        return self._pictures[height]

    def grey(self, height_px: int) -> Grey:
        """Brightness, ``(H, W)`` uint8, at most ``height_px`` lines high; the cheapest look."""
        height = min(self._decoded.height, height_px)
        if height not in self._greys:
            self._greys[height] = _brightness(self._decoded, height)
        return self._greys[height]


def probe(path: Path) -> FootageInfo:
    """Say what the file holds. Reads all packets, decodes one frame.

    Raises BadFootage if it is not footage or if not one frame decodes.
    """
    with opened(path) as (container, stream):
        media_type = media_type_of(container, path)
        codec = stream.codec_context.name
        rate = stream.average_rate or stream.guessed_rate
        span_s, packets, key_spacing_s = _packet_span(container, stream)
    first = next(_decoded(path))[1]
    picture = _upright(first)
    fps = float(rate) if rate else (packets / span_s if span_s > 0 else FALLBACK_FPS)
    return FootageInfo(
        width_px=picture.width,
        height_px=picture.height,
        fps=fps,
        duration_s=span_s if span_s > 0 else packets / fps,
        frames=packets or None,
        codec=codec,
        media_type=media_type,
        key_spacing_s=None if first.rotation else key_spacing_s,
    )


@dataclass(frozen=True)
class Header:
    """What a file says of itself; unlike FootageInfo, nothing of it has been checked."""

    created_at: datetime | None
    """Aware UTC; None where the container names no plausible moment."""
    duration_s: float | None


def read_header(path: Path) -> Header:
    """The container's own claims, without reading the footage. Raises BadFootage."""
    with opened(path) as (container, _):
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


def frames(path: Path, *, sample_fps: float | None = None) -> Iterator[Frame]:
    """Decode the file, at most ``sample_fps`` frames a second.

    Damaged stretches are left out and truncated files end early. Times never run backwards.
    Raises BadFootage if nothing decodes.
    """
    for t_s, frame in sampled(_decoded(path), sample_fps):
        yield Frame(t_s, frame)


def sampled(
    decoded: Iterable[tuple[float, VideoFrame]], sample_fps: float | None
) -> Iterator[tuple[float, VideoFrame]]:
    """At most ``sample_fps`` a second, as `Ticks` has it; without a rate, all."""
    ticks = None if sample_fps is None else Ticks(sample_fps)
    return ((t_s, frame) for t_s, frame in decoded if ticks is None or ticks.falls_on(t_s))


class Ticks:
    """Picks the first frame, and then the first one after each tick of a clock."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._due_s = 0.0

    def falls_on(self, t_s: float) -> bool:
        """Whether this frame is one of them; to be asked in the order of time."""
        if t_s + _EPSILON_S < self._due_s:
            return False
        self._due_s = (int((t_s + _EPSILON_S) * self._fps) + 1) / self._fps
        return True


def frame_at(path: Path, t_s: float) -> Image:
    """The picture on screen at ``t_s``; after the end, the last one. Raises BadFootage."""
    shown: VideoFrame | None = None
    for frame_s, frame in _decoded(path, start_s=t_s):
        if shown is not None and frame_s > t_s + _EPSILON_S:
            break
        shown = frame
    if shown is None:
        raise BadFootage(f"{path.name}: no frame decodes at {t_s:.2f} s.")
    return Frame(t_s, shown).image


@dataclass(frozen=True)
class Piece:
    """A file that holds a part of what a clip shows."""

    path: Path
    starts_s: float
    """Its first frame, in the seconds in which the clip's start and end are given."""


def cut_clip(source: Path, target: Path, start_s: float, end_s: float) -> None:
    """Write ``[start_s, end_s]`` of one file as a clip: see ``join_clip``."""
    join_clip([Piece(source, 0.0)], target, start_s, end_s)


def join_clip(pieces: Sequence[Piece], target: Path, start_s: float, end_s: float) -> None:
    """Write ``[start_s, end_s]`` as an MP4 that every browser plays; its time 0 is ``start_s``.

    Re-encoded as H.264 4:2:0 without sound, index in front. The frame on screen at ``start_s``
    opens the clip. The same files give the same bytes. ``target`` appears only when complete.
    ``pieces`` in the order of time; where they overlap, the later one is shown. While there is no
    footage between two of them, the clip is black.

    Raises ValueError for an empty interval or one that begins before all footage, BadFootage if
    no frame lies in it, StoreUnavailable if the target can't be written.
    """
    if not pieces or not pieces[0].starts_s <= start_s < end_s:
        raise ValueError(f"no such interval: {start_s} to {end_s} s")
    source = pieces[-1].path
    fps = probe(source).fps
    part = target.with_name(f".{target.name}.part")
    try:
        if write_h264(part, _joined(pieces, start_s, end_s, 1 / fps), fps) == 0:
            raise BadFootage(f"{source.name}: no frame between {start_s:.2f} and {end_s:.2f} s.")
        os.replace(part, target)
    except OSError as error:
        raise StoreUnavailable(f"The clip {target.name} cannot be written: {error}.") from error
    except av.FFmpegError as error:
        raise BadFootage(f"{source.name}: cannot be re-encoded ({error.strerror}).") from error
    finally:
        part.unlink(missing_ok=True)


def _joined(
    pieces: Sequence[Piece], start_s: float, end_s: float, frame_s: float
) -> Iterator[tuple[float, VideoFrame]]:
    """Upright frames of all pieces with times from ``start_s``, and a black one in each hole."""
    last_s: float | None = None
    for number, piece in enumerate(pieces):
        # What belongs to the next piece is left to it.
        borders = [later.starts_s - 2 * _EPSILON_S for later in pieces[number + 1 :]]
        from_s, until_s = max(start_s, piece.starts_s), min([end_s, *borders])
        if from_s >= until_s:
            continue
        begun = False
        for t_s, frame in _window(piece.path, from_s - piece.starts_s, until_s - piece.starts_s):
            at_s = from_s - start_s + t_s
            if not begun and last_s is not None and at_s - last_s > max(HOLE_S, 2 * frame_s):
                yield last_s + frame_s, _black(frame)
            yield at_s, frame
            begun, last_s = True, at_s


def _black(like: VideoFrame) -> VideoFrame:
    nothing = np.zeros((like.height, like.width, 3), np.uint8)
    return VideoFrame.from_ndarray(nothing, format="bgr24")


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


def _decoded(path: Path, start_s: float = 0.0) -> Iterator[tuple[float, VideoFrame]]:
    """All frames with their times; from a key frame at or before ``start_s`` where that is safe.

    Raises BadFootage if not one frame decodes.
    """
    with opened(path) as (container, stream):
        step_s = 1 / float(stream.average_rate or stream.guessed_rate or FALLBACK_FPS)
        decoding = _raw_frames(container, stream)
        first = next(decoding, None)
        if first is None:
            raise BadFootage(f"{path.name}: not one frame can be decoded.")
        clock = _Clock(first, step_s, by_decoding=demuxer(container) == "avi")
        yield clock.time_of(first), first
        can_seek = demuxer(container) in _SEEKABLE and first.pts is not None
        if start_s > _SEEK_FROM_S and can_seek and first.time_base is not None:
            wanted = int((start_s - _SEEK_MARGIN_S) / first.time_base) + (first.pts or 0)
            container.seek(wanted, stream=stream, backward=True)
            decoding = _raw_frames(container, stream)
        for frame in decoding:
            yield clock.time_of(frame), frame


def _raw_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decoded frames in order of presentation; packets that don't decode are left out."""
    for packet in packets_of(container, stream):
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


def _packet_span(container: InputContainer, stream: VideoStream) -> tuple[float, int, float | None]:
    """Seconds from the first to the end of the last packet (0 if unstamped), their number, and
    the longest time between key frames (None where the file is not cut into such groups)."""
    starts: list[int] = []
    ends: list[int] = []
    keys: list[int | None] = []
    number = 0
    for packet in packets_of(container, stream):
        if packet.is_keyframe:
            keys.append(packet.pts)
        elif number == 0:
            keys.append(None)
        number += 1
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            starts.append(stamp)
            ends.append(stamp + (packet.duration or 0))
    if not starts or stream.time_base is None:
        return 0.0, number, None
    span = max(ends) - min(starts)
    if max(ends) == max(starts) and len(starts) > 1:
        span += span // (len(starts) - 1)
    spacing = _spacing(keys, max(ends), stamped=len(starts) == number)
    return (
        float(span * stream.time_base),
        number,
        None if spacing is None else float(spacing * stream.time_base),
    )


def _spacing(keys: list[int | None], end: int, *, stamped: bool) -> int | None:
    """Longest way from a key frame to the next or to the end; None unless all are in order."""
    stamps = [stamp for stamp in keys if stamp is not None]
    steps = [later - earlier for earlier, later in pairwise([*stamps, end])]
    if not stamped or not stamps or len(stamps) < len(keys) or min(steps) < 0:
        return None
    return max(steps)


def _upright(frame: VideoFrame) -> VideoFrame:
    """The frame turned by the quarter turns that a telephone or drone wrote beside it."""
    turns = round(frame.rotation / 90) % 4
    if turns == 0:
        return frame
    picture = cast(Image, frame.to_ndarray(format="bgr24"))
    turned: Image = np.ascontiguousarray(np.rot90(picture, turns))
    return VideoFrame.from_ndarray(turned, format="bgr24")


def _picture(frame: VideoFrame, height_px: int) -> Image:
    """A picture of an upright frame, scaled to that height."""
    width_px = max(1, round(frame.width * height_px / frame.height))
    return cast(Image, _scaled(frame, width_px, height_px, "bgr24").to_ndarray())


def _scaled(frame: VideoFrame, width_px: int, height_px: int, pixels: str) -> VideoFrame:
    """On one thread, by a scaler that is set up once for each pair of sizes: setting it up and
    waking threads would cost more than scaling."""
    key = (frame.width, frame.height, frame.format.name, width_px, height_px, pixels)
    scalers: dict[object, VideoReformatter] = _OF_THREAD.__dict__.setdefault("scalers", {})
    if key not in scalers:
        scalers[key] = VideoReformatter()
    return scalers[key].reformat(
        frame,
        width=width_px,
        height=height_px,
        format=pixels,
        interpolation=Interpolation.AREA,
        threads=1,
    )


def _brightness(frame: VideoFrame, height_px: int) -> Grey:
    width_px = max(1, round(frame.width * height_px / frame.height))
    if frame.format.name not in _PLANAR:
        return cast(Grey, _scaled(frame, width_px, height_px, "gray").to_ndarray())
    plane = frame.planes[0]
    lines = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    size = (width_px, height_px)
    small_grey = cv2.resize(lines[:, : plane.width], size, interpolation=cv2.INTER_AREA)
    return np.asarray(small_grey, np.uint8)
