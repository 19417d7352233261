"""Live cameras over RTSP: one window of footage is recorded as the camera sent it.

Packets are copied, never re-encoded, over TCP. Sound is left out: nobody agreed to be heard.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from enforcement.errors import ConfigurationError, FeedUnavailable, StoreUnavailable
from enforcement.places import RtspSource

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_USER_INFO = re.compile(r"(?<=://)[^/]*@")
_SECRET_WORD = re.compile(r"(?i)(pass(?:word|wd)?|pwd|token|secret|auth|key|sig)([=_:])[^&/?]*")
_FRAGMENTED = {
    "movflags": "frag_keyframe+empty_moov+default_base_moof",
    "flush_packets": "1",
}
"""Written fragment by fragment: a killed recorder loses about a second, not the file."""
_EARLY_MARGIN_S = 1.0
_FIRST_PLAUSIBLE_US = 946_684_800_000_000
"""2000-01-01 in microseconds: a camera whose clock says less has no clock."""


_REFUSALS = (
    (av.HTTPUnauthorizedError, "refuses the credentials (401)"),
    (av.HTTPForbiddenError, "forbids access (403)"),
    (av.HTTPNotFoundError, "has no such stream (404)"),
)


@dataclass(frozen=True)
class RecordedWindow:
    """What was recorded, and when."""

    path: Path
    """Fragmented MP4, times from 0, begins with a key frame."""
    captured_at: datetime
    """Moment of the first frame, aware UTC: by the camera's clock if it sends one."""
    captured_at_basis: Literal["camera", "arrival"]
    """``camera``: from RTCP sender reports. ``arrival``: our clock when the frame came in."""
    received_at: datetime
    """Our clock when the first frame came in."""
    duration_s: float
    packets: int
    codec: str
    ended_early: bool
    """The camera stopped sending before the window was full."""


def record_window(
    source: RtspSource, target: Path, *, environ: Mapping[str, str], now: datetime
) -> RecordedWindow:
    """Record ``window_s`` seconds into ``target``, which appears only when complete.

    ``now`` is the present moment; time passed since is measured monotonically. ``{NAME}`` in the
    URL is replaced by ``environ[NAME]``, percent-encoded.

    Raises ConfigurationError for an unset variable, a URL that is not RTSP or a codec that MP4
    can't hold; FeedUnavailable, without any credentials in its text, where the camera does not
    answer, refuses, or ends before the first key frame; StoreUnavailable if writing fails.
    """
    url, label = _expanded(source.url, environ), redacted(source.url)
    began = time.monotonic()
    part = target.with_name(f".{target.name}.part")
    try:
        with av.open(url, options=_options(source), timeout=source.timeout_s) as camera:
            window = _record(camera, part, source, label, began, now)
        os.replace(part, target)
        return replace(window, path=target)
    except av.FFmpegError as error:
        reason = _reason(error, source.timeout_s)
    except OSError as error:
        raise StoreUnavailable(f"The recording {target.name} cannot be written.") from error
    finally:
        part.unlink(missing_ok=True)
    # Raised outside the handler and without a cause: FFmpeg's own errors carry the whole URL,
    # password included, and a logged traceback would print it.
    raise FeedUnavailable(f"The camera {label} {reason}.")


def redacted(url: str) -> str:
    """The URL of a catalog without user, password, query or anything that names a secret.

    Placeholders stay as they are written; their values never get in.
    """
    without_query = _USER_INFO.sub("***@", url).split("?")[0]
    return _SECRET_WORD.sub(r"\1\2***", without_query)


def _expanded(url: str, environ: Mapping[str, str]) -> str:
    if not url.lower().startswith(("rtsp://", "rtsps://")):
        raise ConfigurationError(f"{redacted(url)} is no RTSP address (rtsp:// or rtsps://).")

    def value(match: re.Match[str]) -> str:
        if match[1] not in environ:
            raise ConfigurationError(
                f"The camera {redacted(url)} needs the environment variable {match[1]}."
            )
        return quote(environ[match[1]], safe="")

    return _PLACEHOLDER.sub(value, url)


def _options(source: RtspSource) -> dict[str, str]:
    return {
        "rtsp_transport": "tcp",
        "timeout": str(round(source.timeout_s * 1_000_000)),
        "protocol_whitelist": "rtsp,rtsps,rtp,tcp,tls,crypto",
        "allowed_media_types": "video",
        # Or FFmpeg holds the first twenty frames back to guess a frame rate that nobody asks for.
        "fpsprobesize": "0",
    }


def _reason(error: av.FFmpegError, timeout_s: float) -> str:
    for kind, reason in _REFUSALS:
        if isinstance(error, kind):
            return reason
    if isinstance(error, ConnectionRefusedError):
        return "refuses the connection"
    if isinstance(error, av.ExitError | av.InvalidDataError | TimeoutError):
        return f"does not answer within {timeout_s:g} s"
    if isinstance(error, av.EOFError):
        return "closed the connection"
    return f"cannot be reached ({error.strerror or type(error).__name__})"


def _record(
    camera: InputContainer, part: Path, source: RtspSource, label: str, began: float, now: datetime
) -> RecordedWindow:
    if not camera.streams.video:
        raise FeedUnavailable(f"The camera {label} sends no video.")
    stream = camera.streams.video[0]
    packets = _window(_from_key_frame(_arriving(camera, stream, source)), source.window_s)
    first = next(packets, None)
    if first is None:
        raise FeedUnavailable(f"The camera {label} ended before its first key frame.")
    stamp_s = _seconds(first)
    written = _written(chain([first], packets), stream, part, label)
    received_at = now.astimezone(UTC) + timedelta(seconds=max(0.0, written.arrived - began))
    # Asked for after the recording: the first sender report may come late.
    at_camera = _camera_time(camera, stamp_s)
    return RecordedWindow(
        path=part,
        captured_at=at_camera or received_at,
        captured_at_basis="camera" if at_camera else "arrival",
        received_at=received_at,
        duration_s=written.span_s,
        packets=written.packets,
        codec=stream.codec_context.name,
        ended_early=written.span_s < source.window_s - min(_EARLY_MARGIN_S, source.window_s / 4),
    )


def _arriving(
    camera: InputContainer, stream: VideoStream, source: RtspSource
) -> Iterator["Packet[VideoStream]"]:
    """Packets as they come, until the camera stops or has had time for a whole window.

    A camera that dies sends a clean end of file, a hung one an error: both end the stream here.
    An error before the first packet is raised.
    """
    demuxed = camera.demux(stream)
    deadline = time.monotonic() + source.timeout_s + source.window_s
    begun = False
    while time.monotonic() < deadline:
        try:
            packet = next(demuxed, None)
        except av.FFmpegError:
            if not begun:
                raise
            return
        if packet is None:
            return
        if packet.size and packet.time_base is not None:
            begun = True
            yield packet


def _from_key_frame(
    packets: Iterator["Packet[VideoStream]"],
) -> Iterator["Packet[VideoStream]"]:
    """From the first key frame on, every packet with a decoding time.

    FFmpeg gives none to what comes before its clock is set, which often is the very key frame
    that all depends on: those are counted back from the first two that have one.
    """
    waiting: list[Packet[VideoStream]] = []
    stamps: list[int] = []
    for packet in packets:
        if len(stamps) >= 2:
            if packet.dts is not None:
                yield packet
            continue
        if not waiting and not packet.is_keyframe:
            continue
        waiting.append(packet)
        stamps = [known.dts for known in waiting if known.dts is not None]
        if len(stamps) == 2:
            step = max(1, stamps[1] - stamps[0])
            before = next(n for n, known in enumerate(waiting) if known.dts is not None)
            for number, unknown in enumerate(waiting[:before]):
                unknown.dts = unknown.pts = stamps[0] - step * (before - number)
            yield from (known for known in waiting if known.dts is not None)


def _window(
    packets: Iterator["Packet[VideoStream]"], window_s: float
) -> Iterator["Packet[VideoStream]"]:
    end_s: float | None = None
    for packet in packets:
        if end_s is None:
            end_s = _seconds(packet) + window_s
        if _seconds(packet) >= end_s:
            return
        yield packet


def _seconds(packet: "Packet[VideoStream]") -> float:
    return float((packet.dts or 0) * (packet.time_base or 0))


@dataclass(frozen=True)
class _Written:
    packets: int
    span_s: float
    arrived: float
    """Monotonic time at which the first packet came in: earliest that any packet suggests, for
    the first ones wait in FFmpeg's buffers until it has understood the stream."""


def _written(
    packets: Iterator["Packet[VideoStream]"], stream: VideoStream, part: Path, label: str
) -> _Written:
    """Write the packets with times from 0."""
    number, base, last = 0, 0, -1
    base_s, last_s, arrived = 0.0, 0.0, float("inf")
    try:
        with av.open(str(part), "w", format="mp4", options=_FRAGMENTED) as out:
            copy = _twin(out, stream, label)
            for packet in packets:
                dts = packet.dts or 0
                if number == 0:
                    base, last, base_s = dts, dts - 1, _seconds(packet)
                if dts <= last:
                    continue
                last, last_s, number = dts, _seconds(packet), number + 1
                arrived = min(arrived, time.monotonic() - (last_s - base_s))
                packet.pts = max(packet.pts if packet.pts is not None else dts, dts) - base
                packet.dts = dts - base
                packet.stream = copy
                out.mux(packet)
    except (OSError, av.FFmpegError) as error:
        raise StoreUnavailable(f"The recording of {label} cannot be written.") from error
    return _Written(number, last_s - base_s, arrived)


def _twin(out: OutputContainer, stream: VideoStream, label: str) -> VideoStream:
    try:
        return out.add_stream_from_template(stream)
    except ValueError as error:
        codec = stream.codec_context.name
        raise ConfigurationError(
            f"The camera {label} sends {codec}, which MP4 can't hold: set it to H.264 or H.265."
        ) from error


def _camera_time(camera: InputContainer, stamp_s: float) -> datetime | None:
    """The camera's own time of a frame, once it has sent a report."""
    origin_us = camera.start_time_realtime
    if origin_us is None or origin_us < _FIRST_PLAUSIBLE_US:
        return None
    return datetime.fromtimestamp(origin_us / 1_000_000 + stamp_s, UTC)
