"""A live camera for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.feeds.recording import FPS, GOP, MADE, SECRETS
from tests.feeds.rtsp_peer import Peer, write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds, a key frame every half second."""
    path = tmp_path_factory.mktemp("camera") / "clip.mp4"
    write_clip(path, width=160, height=96, fps=FPS, seconds=4, gop=GOP)
    return path


@pytest.fixture(autouse=True)
def none_goes_on() -> Iterator[None]:
    """A test that fails leaves no recorder behind."""
    yield
    while MADE:
        MADE.pop().stop()


@pytest.fixture
def peer(clip: Path, tmp_path: Path) -> Iterator[Peer]:
    arguments = ("--user", "viewer", "--clock-offset-s", "3")
    with Peer(clip, tmp_path / "sent.jsonl", *arguments, password=SECRETS[0]) as started:
        yield started
