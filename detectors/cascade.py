"""The cascade: one pass over a capture for all detectors of a feed, dear looks only where needed.

Key frames alone are skimmed while nothing happens; around a change the footage is decoded in full
and sampled, and the gate says which regions move. In exhaustive mode every detector sees every
frame in full: the reference that tells what the cascade loses.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated

from pydantic import Field

from detectors import gate
from detectors.detector import (
    Arrays,
    Carried,
    Costs,
    Detector,
    DetectorConfig,
    Moment,
    Watch,
    digest_of,
    source_digest,
)
from detectors.gate import Gate, GateConfig, Settled
from enforcement.footage import Observation
from enforcement.geometry import Box
from media.footage import FootageInfo, Frame, Ticks, frames, probe
from media.skimming import Group, can_skim, groups

Progress = Callable[[float], None]
"""Called now and then with the share of the footage seen so far, 0 to 1."""

_GATE = "gate"


class CascadeConfig(DetectorConfig):
    """What is looked at; part of the configuration of every observation."""

    exhaustive: bool = False
    """Every detector sees every frame, and all of it."""
    sample_fps: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Pictures a second that are looked at where something happens."""
    fast_fps: Annotated[float, Field(gt=0, le=120)] = 15.0
    """Pictures a second there for detectors of fast things."""
    key_spacing_max_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    """With key frames farther apart, everything is decoded."""
    goes_on_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    """For so long after the last motion everything is decoded still."""
    calm_s: Annotated[float, Field(ge=0, le=3600)] = 20.0
    """After so long without motion every second key frame is enough, if they lie close together:
    packets tell of motion in between."""
    burst: Annotated[float, Field(gt=1, le=100)] = 1.6
    """Packets larger by this factor than is usual there mean motion between key frames."""
    burst_s: Annotated[float, Field(gt=0, le=10)] = 0.4
    """For at least so long."""
    gap_max_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """After a longer gap between two captures of a feed nothing is carried over."""
    gate: GateConfig = GateConfig()


@dataclass(frozen=True)
class Looks:
    """All that came of one pass."""

    observations: tuple[Observation, ...]
    """One for each detector, in the order in which they were given."""
    memory: dict[str, Arrays]
    """By model (and for the gate): what the next capture of the feed wants to know."""
    costs: Costs
    duration_s: float
    decoded_s: float
    """Seconds of the footage that were decoded in full; the rest was skimmed."""


@dataclass
class _Activity:
    """Decides group by group whether something happens in it."""

    config: CascadeConfig
    gate: Gate
    until_s: float = 0.0
    """Something happened a moment ago, or nothing is known yet."""
    usual: list[float] = field(default_factory=list)
    """Mean packet sizes of the latest quiet groups."""
    looked_s: list[float] = field(default_factory=list)
    """Starts of the last two groups whose key frames were looked at."""

    def is_active(self, group: Group, following: Group | None, fps: float) -> bool:
        """Whether all of it is to be decoded."""
        near = [group] if following is None else [group, following]
        bursts = self._bursts(group.sizes, fps)
        looked_at = [one for one in near if self._looks_at(one)]
        if any(one.key is None for one in looked_at):
            return True
        if bursts or any(self._moves(one.key) for one in looked_at):
            self.until_s = group.end_s + self.config.goes_on_s
            return True
        if group.sizes:
            self.usual = [*self.usual[-29:], sum(group.sizes) / len(group.sizes)]
        return group.start_s < self.until_s

    def has_looked_at(self, group: Group) -> bool:
        """Whether its key frame was looked at."""
        return group.start_s in self.looked_s

    def _looks_at(self, group: Group) -> bool:
        """Every key frame, but only every second one after a long quiet; remembers which."""
        if self.has_looked_at(group):
            return True
        length_s = group.end_s - group.start_s
        is_calm = group.start_s >= self.until_s + self.config.calm_s
        spared = is_calm and 2 * length_s <= self.config.key_spacing_max_s
        if spared and self.looked_s and group.start_s - self.looked_s[-1] < 1.5 * length_s:
            return False
        self.looked_s = [*self.looked_s[-1:], group.start_s]
        return True

    def _moves(self, key: Frame | None) -> bool:
        return key is not None and bool(self.gate.moving(key.grey(self.config.gate.height_px)))

    def _bursts(self, sizes: Sequence[int], fps: float) -> bool:
        if not self.usual:
            return False
        limit = self.config.burst * median(self.usual)
        number = max(2, round(self.config.burst_s * fps))
        windows = (sizes[n : n + number] for n in range(max(1, len(sizes) - number + 1)))
        return any(len(w) > 0 and sum(w) / len(w) > limit for w in windows)


class Cascade:
    """Looks at captures with all detectors of a feed at once."""

    def __init__(self, detectors: Sequence[Detector], config: CascadeConfig | None = None) -> None:
        self.config = config or CascadeConfig()
        self.detectors = tuple(detectors)
        flat = self.config.model_dump(mode="json", exclude={"gate"}) | {
            f"gate.{name}": value for name, value in self.config.gate.model_dump().items()
        }
        flat["source"] = source_digest(__file__, gate.__file__)
        self._recorded = {f"cascade.{name}": value for name, value in flat.items()}

    def recorded(self, detector: Detector) -> dict[str, float | int | str | bool]:
        """All that the detector's observation depends on, beside model, capture and memory."""
        others = {
            f"after.{other.model}": f"{other.model_digest} {other.config_digest}"
            for other in self.detectors
            if other.model in detector.after
        }
        return {**detector.recorded, **self._recorded, **others}

    def config_digest(self, detector: Detector) -> str:
        """Digest of `recorded`."""
        return digest_of(self.recorded(detector))

    @property
    def digest(self) -> str:
        """Of everything that its memory depends on, beside the footage."""
        return digest_of(
            {one.model: [one.model_digest, self.config_digest(one)] for one in self.detectors}
        )

    def look(
        self,
        path: Path,
        capture_id: str,
        memory: Mapping[str, Arrays] | None = None,
        gap_s: float = 0.0,
        progress: Progress | None = None,
    ) -> Looks:
        """One pass over the file.

        ``memory`` comes from the capture just before, if there is one, which ended ``gap_s``
        before this one starts.

        Raises BadFootage if nothing decodes, ModelError.
        """
        carried = {name: Carried(arrays, gap_s) for name, arrays in (memory or {}).items()}
        info = probe(path)
        costs = Costs()
        watches = [(one, one.watch(info, carried.get(one.model))) for one in self.detectors]
        fast = [watch for one, watch in watches if one.fast]
        settled_before = _settled(carried.get(_GATE))
        watching = _Pass(self.config, self._in_order(watches), fast, costs, settled_before)
        with costs.of("decode"):
            watching.run(path, info, progress or (lambda _: None))
        observations = tuple(
            self._observation(detector, watch, capture_id, info, watching.seen)
            for detector, watch in watches
        )
        kept = {one.model: watch.carried(info.duration_s) for one, watch in watches}
        if (settled := watching.gate.settled) is not None:
            kept[_GATE] = {
                "ground": settled.ground.astype("float16"),
                "noise": settled.noise.astype("float16"),
            }
        return Looks(observations, kept, costs, info.duration_s, watching.decoded_s)

    def _in_order(self, watches: Sequence[tuple[Detector, Watch]]) -> list[Watch]:
        """Those whose results others use come first."""
        used = {model for one in self.detectors for model in one.after}
        return [w for _, w in sorted(watches, key=lambda pair: pair[0].model not in used)]

    def _observation(
        self, detector: Detector, watch: Watch, capture_id: str, info: FootageInfo, seen: int
    ) -> Observation:
        return Observation(
            capture_id=capture_id,
            model=detector.model,
            model_digest=detector.model_digest,
            config_digest=self.config_digest(detector),
            config=self.recorded(detector),
            width_px=info.width_px,
            height_px=info.height_px,
            duration_s=info.duration_s,
            frames_seen=seen,
            sample_fps=info.fps if self.config.exhaustive else self.config.sample_fps,
            tracks=watch.tracks(),
            unsteady_s=watch.unsteady_s(info.duration_s),
            view=watch.view(info.duration_s),
        )


class _Pass:
    """One pass over one capture."""

    def __init__(
        self,
        config: CascadeConfig,
        watches: Sequence[Watch],
        fast: Sequence[Watch],
        costs: Costs,
        settled: Settled | None,
    ) -> None:
        self._config, self._watches, self._fast, self._costs = config, watches, fast, costs
        self.gate = Gate(config.gate, settled)
        self._moving: tuple[Box, ...] | None = None
        self.seen = 0
        self.decoded_s = 0.0

    def run(self, path: Path, info: FootageInfo, progress: Progress) -> None:
        for frame, in_turn in self._frames(path, info):
            if in_turn:
                self._look(frame)
            else:
                self._glance(frame)
            if info.duration_s > 0:
                progress(min(1.0, frame.t_s / info.duration_s))

    def _frames(self, path: Path, info: FootageInfo) -> Iterator[tuple[Frame, bool]]:
        """All frames that are worth a look, and whether all detectors look or only fast ones."""
        config = self._config
        if config.exhaustive:
            self.decoded_s = info.duration_s
            yield from ((frame, True) for frame in frames(path))
            return
        if not can_skim(info, config.key_spacing_max_s):
            self.decoded_s = info.duration_s
            yield from self._sampled(lambda fps: frames(path, sample_fps=fps))
            return
        warm_s = 0.0 if self.gate.settled is not None else config.goes_on_s
        activity = _Activity(config, self.gate, until_s=warm_s)
        latest: Frame | None = None
        for group, following in _with_next(groups(path)):
            if activity.is_active(group, following, info.fps):
                self.decoded_s += group.end_s - group.start_s
                latest = None
                yield from self._sampled(group.frames)
            elif activity.has_looked_at(group) and group.key is not None:
                latest = group.key
                yield latest, True
        if latest is not None:  # what was there then was there to the end
            yield latest.still_at(max(latest.t_s, info.duration_s - 1 / info.fps)), True

    def _sampled(
        self, decoded: Callable[[float | None], Iterator[Frame]]
    ) -> Iterator[tuple[Frame, bool]]:
        """Frames at the rate for all, and between them those for fast detectors only."""
        config = self._config
        if not self._fast or config.fast_fps <= config.sample_fps:
            yield from ((frame, True) for frame in decoded(config.sample_fps))
            return
        all_due, fast_due = Ticks(config.sample_fps), Ticks(config.fast_fps)
        for frame in decoded(None):
            in_turn, fast_turn = all_due.falls_on(frame.t_s), fast_due.falls_on(frame.t_s)
            if in_turn or fast_turn:
                yield frame, in_turn

    def _look(self, frame: Frame) -> None:
        self.seen += 1
        moving = None
        if not self._config.exhaustive:
            with self._costs.of("decode"):
                grey = frame.grey(self._config.gate.height_px)
            with self._costs.of("gate"):
                moving = self.gate.see(grey, frame.t_s)
        self._moving = moving
        moment = Moment(frame, moving, self._costs)
        for watch in self._watches:
            watch.see(moment)

    def _glance(self, frame: Frame) -> None:
        """Between two looks; what moves is known from the one before."""
        moment = Moment(frame, self._moving, self._costs)
        for watch in self._fast:
            watch.see(moment)


def _with_next(given: Iterator[Group]) -> Iterator[tuple[Group, Group | None]]:
    """Each group with the one that follows it."""
    held = next(given, None)
    while held is not None:
        following = next(given, None)
        yield held, following
        held = following


def _settled(carried: Carried | None) -> Settled | None:
    if carried is None:
        return None
    ground, noise = carried.arrays["ground"], carried.arrays["noise"]
    return Settled(ground.astype("float32"), noise.astype("float32"))
