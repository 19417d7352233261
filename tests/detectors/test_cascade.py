"""What is looked at and what is not, and that nothing depends on where captures begin and end."""

from pathlib import Path

import numpy as np
import pytest

from detectors.cascade import Cascade, CascadeConfig
from detectors.detector import Carried, Detector, DetectorConfig, Moment, Watch
from detectors.gate import Gate, GateConfig
from detectors.left_behind import LeftBehindDetector
from enforcement.footage import Track
from media.footage import FootageInfo, cut_clip
from tests.detectors import footage as scene
from tests.detectors.footage import HEIGHT, WIDTH, Image

GROUND = scene.ground()
RANDOM = np.random.default_rng(3)


class Witness(Detector, Watch):
    """Notes the moments that it is shown."""

    after: tuple[str, ...] = ()

    def __init__(self, name: str = "witness") -> None:
        super().__init__(DetectorConfig())
        self._name = name
        self.moments: list[Moment] = []

    @property
    def model(self) -> str:
        return self._name

    @property
    def model_digest(self) -> str:
        return "0" * 64

    def watch(self, info: FootageInfo, carried: Carried | None) -> Watch:
        return self

    def see(self, moment: Moment) -> None:
        self.moments.append(moment)

    def tracks(self) -> tuple[Track, ...]:
        return ()


def passes(t_s: float) -> Image:
    """Somebody crosses from 21 to 27 s."""
    image = GROUND.copy()
    scene.walker(image, t_s, 21.0)
    return image


def drop(t_s: float) -> Image:
    image = GROUND.copy()
    if t_s >= scene.at_the_bag_s(6.0):
        scene.bag(image)
    scene.walker(image, t_s, 6.0)
    return image


@pytest.fixture(scope="module")
def passing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scene.write(tmp_path_factory.mktemp("cascade") / "passing.mp4", passes, 50.0)


def test_while_nothing_happens_only_key_frames_are_looked_at(passing: Path) -> None:
    witness = Witness()
    looks = Cascade([witness]).look(passing, "c")
    times = [moment.t_s for moment in witness.moments]
    quiet = [t_s for t_s in times if 8.0 < t_s < 16.0 or t_s > 45.0]
    busy = [t_s for t_s in times if 21.5 <= t_s <= 26.0]
    assert len(busy) == pytest.approx(5 * 4.5, abs=2)
    assert np.diff(quiet[:3]).min() > 1.5
    assert looks.decoded_s < 25.0
    assert times[-1] == pytest.approx(49.9, abs=0.01)  # what was there then was there to the end
    assert looks.observations[0].frames_seen == len(times)


def test_the_gate_says_where_something_moves(passing: Path) -> None:
    witness = Witness()
    Cascade([witness]).look(passing, "c")
    for moment in witness.moments:
        if 22.0 < moment.t_s < 25.0:
            assert moment.moving
            left = ((moment.t_s - 21.0) * 80 - 30) / WIDTH
            assert any(box.left - 0.06 <= left <= box.right for box in moment.moving)
            assert sum(box.area for box in moment.moving) < 0.4
        if 10.0 < moment.t_s < 16.0:
            assert moment.moving == ()


def test_exhaustive_means_every_frame_and_all_of_it(passing: Path) -> None:
    witness = Witness()
    looks = Cascade([witness], CascadeConfig(exhaustive=True)).look(passing, "c")
    assert len(witness.moments) == 500
    assert all(moment.moving is None for moment in witness.moments)
    assert looks.decoded_s == pytest.approx(50.0)


def test_what_comes_and_goes_between_two_key_frames_is_told_by_the_packets(tmp_path: Path) -> None:
    """A block that shoots through within a second; key frames lie 2 s apart."""

    def shoots(t_s: float) -> Image:
        image = GROUND.copy()
        if 24.6 <= t_s < 25.6:
            left = round((t_s - 24.6) * WIDTH)
            part = image[60:200, left : left + 60]
            part[:] = RANDOM.integers(0, 255, part.shape, np.uint8)
        return image

    witness = Witness()
    Cascade([witness]).look(scene.write(tmp_path / "c.mp4", shoots, 40.0), "c")
    assert any(24.7 < moment.t_s < 25.5 for moment in witness.moments)
    assert not any(34.1 < moment.t_s < 35.9 for moment in witness.moments)


def test_detectors_that_others_lean_on_look_first(tmp_path: Path) -> None:
    order: list[str] = []

    class Named(Witness):
        def see(self, moment: Moment) -> None:
            order.append(self.model)

    leaning, leaned_on = Named("a"), Named("b")
    leaning.after = ("b",)
    Cascade([leaning, leaned_on]).look(scene.write(tmp_path / "c.mp4", passes, 1.0), "c")
    assert order[:2] == ["b", "a"]


def test_the_same_capture_gives_the_same_observation_again(passing: Path) -> None:
    cascade = Cascade([LeftBehindDetector()])
    first, again = (cascade.look(passing, "c").observations for _ in range(2))
    assert first == again


def test_what_can_change_an_observation_changes_its_digest() -> None:
    detector = LeftBehindDetector()
    plain = Cascade([detector]).config_digest(detector)
    others = [
        CascadeConfig(exhaustive=True),
        CascadeConfig(sample_fps=4.0),
        CascadeConfig(gate=GateConfig(differs_min=11.0)),
    ]
    digests = {Cascade([detector], config).config_digest(detector) for config in others}
    assert len(digests | {plain}) == 4


def test_a_find_is_the_same_whether_its_footage_comes_in_one_piece_or_in_three(
    tmp_path: Path,
) -> None:
    """The bag is put down at about 9 s: its captures end at 10 and at 16 s."""
    whole = scene.write(tmp_path / "whole.mp4", drop, 24.0)
    cascade = Cascade([LeftBehindDetector()])
    (alone,) = cascade.look(whole, "whole").observations[0].tracks
    memory, found = None, []
    for number, (start_s, end_s) in enumerate(((0.0, 10.0), (10.0, 16.0), (16.0, 24.0))):
        piece = tmp_path / f"{number}.mp4"
        cut_clip(whole, piece, start_s, end_s - 0.05)
        looks = cascade.look(piece, str(number), memory=memory)
        memory = looks.memory
        found.append(looks.observations[0].tracks)
    (last,) = found[2]
    assert last.traits["appeared_s"] + 16.0 == pytest.approx(alone.traits["appeared_s"], abs=1.0)
    assert last.last_s + 16.0 == pytest.approx(alone.last_s, abs=0.6)
    assert last.points[-1].box == pytest.approx(alone.points[-1].box, abs=0.03)


def gate_after(pictures: list[Image], step_s: float = 0.2) -> Gate:
    gate = Gate(GateConfig())
    for number, picture in enumerate(pictures):
        gate.see(grey(picture), number * step_s)
    return gate


def grey(image: Image) -> Image:
    return np.asarray(image[::2, ::2].mean(axis=2), np.uint8)


def noisy(image: Image, spread: float = 3.0) -> Image:
    return np.clip(image + RANDOM.normal(0, spread, image.shape), 0, 255).astype(np.uint8)


def test_noise_and_a_change_of_exposure_are_no_motion() -> None:
    gate = gate_after([noisy(GROUND) for _ in range(40)])
    assert gate.moving(grey(noisy(GROUND))) == ()
    assert gate.moving(grey(np.clip(noisy(GROUND) * 0.8, 0, 255).astype(np.uint8))) == ()


def test_something_small_is_motion_where_it_is() -> None:
    gate = gate_after([noisy(GROUND) for _ in range(40)])
    image = noisy(GROUND)
    scene.block(image, (200, 100, 214, 124), (20, 20, 24))
    (box,) = gate.moving(grey(image))
    assert box.left * WIDTH == pytest.approx(200, abs=8)
    assert box.bottom * HEIGHT == pytest.approx(124, abs=8)


def test_a_place_that_never_rests_is_soon_no_motion_but_a_person_there_is() -> None:
    def leaves(number: int) -> Image:
        image = GROUND.copy()
        image[40:120, 40:140] = np.clip(
            image[40:120, 40:140] + 18 * np.sin(number * 1.7 + np.arange(100)[:, None] / 5), 0, 255
        )
        return noisy(image, 1.0)

    gate = gate_after([leaves(number) for number in range(150)])
    assert gate.moving(grey(leaves(151))) == ()
    person = leaves(152)
    scene.block(person, (70, 50, 90, 115), (230, 230, 235))
    assert gate.moving(grey(person)) != ()


def test_what_has_come_to_rest_moves_no_more_and_is_background_before_long() -> None:
    bag, gone = GROUND.copy(), GROUND
    scene.bag(bag)
    assert gate_after([GROUND] * 20 + [bag] * 2).moving(grey(bag)) != ()
    assert gate_after([GROUND] * 20 + [bag] * 6).moving(grey(bag)) == ()
    assert gate_after([GROUND] * 20 + [bag] * 125).moving(grey(gone)) != ()
