"""Live cameras over RTSP: their footage as they send it, packet by packet, each with its time.

Packets are copied, never re-encoded, over TCP. Sound is left out: nobody agreed to be heard.
"""

import re
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from enforcement.errors import ConfigurationError, CredentialsRefused, FeedUnavailable
from enforcement.places import RtspSource

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_USER_INFO = re.compile(r"(?<=://)[^/]*@")
_SECRET_WORD = re.compile(r"(?i)(pass(?:word|wd)?|pwd|token|secret|auth|key|sig)([=_:])[^&/?]*")
_FIRST_PLAUSIBLE_US = 946_684_800_000_000
"""2000-01-01 in microseconds: a camera whose clock says less has no clock."""
_PARSED = {"h264", "hevc"}
"""FFmpeg hands such a frame out when the next one begins to arrive."""
_GIVEN_UP = 0.9
"""Of the timeout: who waited that long has waited for all of it, give or take rounding."""
_ERRORS_IN_A_ROW = 20
"""So many errors without a packet in between are no noise on the line any more."""

_REFUSALS = (
    (av.HTTPUnauthorizedError, "refuses the credentials (401)"),
    (av.HTTPForbiddenError, "forbids access (403)"),
    (av.HTTPNotFoundError, "has no such stream (404)"),
)

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class LivePacket:
    """A coded frame and when it was."""

    packet: "Packet[VideoStream]"
    """Has a decoding time."""
    stamp_s: float
    """By the counter of the camera's stream, whose zero means nothing."""
    arrived_at: datetime
    """Our clock when the frame came in. Frames that were held back while FFmpeg got to know the
    stream, those of about the first second, were in fact here a little earlier."""
    is_dated: bool
    """Whether the camera's time that goes with the packet may be believed."""

    @property
    def camera_at(self) -> datetime | None:
        """The camera's clock when it took the frame; None before its first RTCP sender report.
        To be asked before the packet is written."""
        return _camera_time(self.packet) if self.is_dated else None


class LiveCamera:
    """An open stream. Iterate over ``packets`` and read ``ended`` afterwards."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, source: RtspSource, clock: Clock
    ) -> None:
        self.label = redacted(source.url)
        self.stream = stream
        self.ended = ""
        """Why the stream is over, to follow "The camera …"."""
        self._container, self._source, self._clock = container, source, clock

    def packets(self) -> Iterator[LivePacket]:
        """From the first key frame on, every packet, until the stream ends. Raises nothing.

        FFmpeg gives no time to what comes before its clock is set, which often is the very key
        frame that all depends on: those are counted back from the first two that have one.
        """
        waiting: list[tuple[Packet[VideoStream], datetime, bool]] = []
        known: list[int] = []
        for arrived in self._arriving():
            packet = arrived[0]
            if len(known) >= 2:
                if packet.dts is not None:
                    yield _live(*arrived)
                continue
            if not waiting and not packet.is_keyframe:
                continue
            waiting.append(arrived)
            known = [one.dts for one, _, _ in waiting if one.dts is not None]
            if len(known) == 2:
                _count_back([one for one, _, _ in waiting], known)
                yield from (_live(*one) for one in waiting if one[0].dts is not None)

    def _arriving(self) -> Iterator[tuple["Packet[VideoStream]", datetime, bool]]:
        """Packets as they come, when they came, and whether their camera time may be believed.

        With the first report FFmpeg marks a frame with the time of the one after.
        """
        is_parsed = self.stream.codec_context.name in _PARSED
        reported, before = False, None
        for packet in self._demuxed():
            now = self._clock()
            has_time = packet.has_sidedata("prft")
            yield packet, (before or now) if is_parsed else now, reported and has_time
            reported, before = has_time, now

    def _demuxed(self) -> Iterator["Packet[VideoStream]"]:
        """A camera that dies sends a clean end of file, a hung one an error, and noise on the line
        an error too, after which there is more to read."""
        demuxed, errors = self._container.demux(self.stream), 0
        timeout_s = self._source.timeout_s
        while True:
            asked = time.monotonic()
            packet, self.ended = None, "closed the connection"
            try:
                packet = next(demuxed, None)
            except av.FFmpegError as error:
                errors, self.ended = errors + 1, _reason(error, timeout_s)
                demuxed = self._container.demux(self.stream)
            else:
                errors = 0
            waited_s = time.monotonic() - asked
            if packet is not None and packet.size and packet.time_base is not None:
                yield packet
            # When nothing more comes, FFmpeg first hands out the frame that it still has.
            if waited_s >= _GIVEN_UP * timeout_s:
                self.ended = f"does not answer within {timeout_s:g} s"
                return
            if (packet is None and not errors) or errors >= _ERRORS_IN_A_ROW:
                return


@contextmanager
def live_camera(
    source: RtspSource, *, environ: Mapping[str, str], clock: Clock
) -> Iterator[LiveCamera]:
    """Connect to a camera. ``{NAME}`` in the URL is replaced by ``environ[NAME]``,
    percent-encoded; ``clock`` gives the present moment, aware.

    Raises ConfigurationError for an unset variable or a URL that is not RTSP; CredentialsRefused;
    FeedUnavailable where the camera does not answer, refuses, or sends no video. None of them has
    any credentials in its text.
    """
    container = _opened(source, expanded(source.url, environ))
    try:
        if not container.streams.video:
            raise FeedUnavailable(f"The camera {redacted(source.url)} sends no video.")
        yield LiveCamera(container, container.streams.video[0], source, clock)
    finally:
        container.close()


def _opened(source: RtspSource, url: str) -> InputContainer:
    try:
        return av.open(url, options=_options(source), timeout=source.timeout_s)
    except av.FFmpegError as error:
        reason = _reason(error, source.timeout_s)
        refused = isinstance(error, av.HTTPUnauthorizedError | av.HTTPForbiddenError)
    # Raised outside the handler and without a cause: FFmpeg's own errors carry the whole URL,
    # password included, and a logged traceback would print it.
    text = f"The camera {redacted(source.url)} {reason}."
    raise CredentialsRefused(text) if refused else FeedUnavailable(text)


def redacted(url: str) -> str:
    """The URL of a catalog without user, password, query or anything that names a secret.

    Placeholders stay as they are written; their values never get in.
    """
    without_query = _USER_INFO.sub("***@", url).split("?")[0]
    return _SECRET_WORD.sub(r"\1\2***", without_query)


def expanded(url: str, environ: Mapping[str, str]) -> str:
    """The URL with its placeholders filled in: a secret. Raises ConfigurationError."""
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


def _count_back(waiting: list["Packet[VideoStream]"], known: list[int]) -> None:
    """Give the first packets the times that FFmpeg did not."""
    step = max(1, known[1] - known[0])
    before = next(number for number, one in enumerate(waiting) if one.dts is not None)
    for number, unknown in enumerate(waiting[:before]):
        unknown.dts = unknown.pts = known[0] - step * (before - number)


def _live(packet: "Packet[VideoStream]", arrived_at: datetime, is_dated: bool) -> LivePacket:
    stamp_s = float((packet.dts or 0) * (packet.time_base or 0))
    return LivePacket(packet, stamp_s, arrived_at, is_dated)


def _camera_time(packet: "Packet[VideoStream]") -> datetime | None:
    """The camera's own time of a frame, reckoned by FFmpeg from the latest sender report.

    The first field of its AVProducerReferenceTime: microseconds since 1970. Unlike
    ``start_time_realtime``, which knows the first report only, it follows the camera's clock.
    """
    (wall_us,) = struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))
    if wall_us < _FIRST_PLAUSIBLE_US:
        return None
    return datetime.fromtimestamp(wall_us / 1_000_000, UTC)
