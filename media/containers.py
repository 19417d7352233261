"""Opening footage with FFmpeg: which containers, what in them, and their packets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from enforcement.errors import BadFootage

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
FALLBACK_FPS = 25.0


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
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


def packets_of(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
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


def demuxer(container: InputContainer) -> str:
    """FFmpeg's name of the format, the first where it has several."""
    return container.format.name.split(",")[0]


def media_type_of(container: InputContainer, path: Path) -> str:
    """Told by content; ``application/octet-stream`` where it is none that is known."""
    name = demuxer(container)
    with path.open("rb") as file:
        head = file.read(64)
    if name == "mov" and (head[4:8] != b"ftyp" or head[8:12] == b"qt  "):
        return "video/quicktime"
    if name == "matroska" and b"webm" in head:
        return "video/webm"
    return _MEDIA_TYPES.get(name, "application/octet-stream")
