"""Writing pictures as H.264 in MP4, the one form in which footage leaves this project."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

_TIME_BASE = Fraction(1, 90_000)


def write_h264(
    target: Path,
    pictures: Iterable[tuple[float, VideoFrame]],
    fps: float,
    *,
    preset: str = "veryfast",
    crf: int = 21,
    keyframe_every: int | None = None,
) -> int:
    """Encode timed frames into an MP4 and return how many were written.

    ``keyframe_every`` is the longest distance of key frames, in frames; without it, two seconds.

    The thread count is fixed and no dates or encoder names go into the container, so that the
    same frames give the same bytes on every machine with the same x264.
    """
    written, last_pts = 0, -1
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(target), "w", format="mp4", options=options) as container:
        stream: VideoStream | None = None
        for t_s, frame in pictures:
            if stream is None:
                stream = _h264_stream(container, frame, fps, preset, crf, keyframe_every)
            pts = round(t_s / _TIME_BASE)
            if pts <= last_pts:
                continue
            coded = frame.reformat(width=stream.width, height=stream.height, format="yuv420p")
            coded.pts, coded.time_base = pts, _TIME_BASE
            coded.pict_type = PictureType.NONE
            container.mux(stream.encode(coded))
            written, last_pts = written + 1, pts
        if stream is not None:
            container.mux(stream.encode(None))
    return written


def _h264_stream(
    container: OutputContainer,
    frame: VideoFrame,
    fps: float,
    preset: str,
    crf: int,
    keyframe_every: int | None,
) -> VideoStream:
    """A libx264 stream for frames of this size; odd sizes lose their last row or column."""
    options = {
        "preset": preset,
        "crf": str(crf),
        "bf": "0",
        "g": str(keyframe_every or max(1, round(2 * fps))),
        "x264-params": "threads=2",
    }
    rate = Fraction(min(max(fps, 1.0), 240.0)).limit_denominator(1001)
    stream = container.add_stream("libx264", rate=rate, options=options)
    stream.width, stream.height = max(2, frame.width // 2 * 2), max(2, frame.height // 2 * 2)
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = _TIME_BASE
    return stream
