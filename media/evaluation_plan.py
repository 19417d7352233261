"""Which clips the evaluation sets hold: a table of deeds and conditions, filled by chance.

Both splits follow the same table with other ensembles, places and seeds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from media.actors import Actor
from media.compositing import View
from media.deeds import Director
from media.ensembles import HELD_BACK, TUNING
from media.evaluation_clips import EvaluationClip, Split
from media.localities import HELD_BACK_PLACES, TUNING_PLACES
from media.weather import Conditions, Sweep

_SEEDS = {"tuning": 41_000, "held-back": 87_000}
_SIZES = ((1280, 720), (960, 540), (854, 480), (640, 360), (1024, 576))

Act = Callable[[Director, float], tuple[Actor, ...]]


@dataclass(frozen=True)
class _Row:
    """One line of the table: what happens, when within the clip, under what conditions."""

    deed: str
    act: Act
    conditions: Conditions
    at_s: tuple[float, float] = (9.0, 14.0)
    after_s: tuple[float, float] = (14.0, 22.0)
    """Footage after the deed."""
    high: bool = False
    """Needs a window to fall from."""


_DAY, _DUSK, _NIGHT = Conditions(), Conditions(daytime="dusk", noise=4.5), Conditions(
    daytime="night", noise=7.0
)  # fmt: skip
_HEADLIGHTS = (Sweep(3.0, 6.5, -16, 14, 15.0), Sweep(17.0, 21.0, 18, -14, 13.5),
               Sweep(26.0, 29.0, -16, 16, 17.0))  # fmt: skip


def _fall(*, seen: bool) -> Act:
    return lambda d, t: d.drop_from_height(t, seen=seen)


_DUMPINGS: tuple[_Row, ...] = (
    _Row("bag by day", lambda d, t: d.leave_behind(t), replace(_DAY, caption="CAM 03")),
    _Row(
        "bag in the rain",
        lambda d, t: d.leave_behind(t),
        replace(_DAY, rain=0.7, wet=True, puddles=3),
    ),
    _Row("bag far away", lambda d, t: d.leave_behind(t, far=True), replace(_DAY, clouds=0.35)),
    _Row(
        "bulky thing",
        lambda d, t: d.leave_behind(t, bulky=True),
        replace(_DAY, wind_px=6.0, leaf_shade=0.6),
    ),
    _Row("bag at dusk", lambda d, t: d.leave_behind(t), replace(_DUSK, headlights=_HEADLIGHTS[:2])),
    _Row("bag at night", lambda d, t: d.leave_behind(t), replace(_NIGHT, insects=3)),
    _Row(
        "stands beside it first",
        lambda d, t: d.leave_behind(t, lingers_s=6.0),
        replace(_DAY, shake_px=1.5),
        after_s=(24, 27),
    ),
    _Row("two people", lambda d, t: d.leave_behind(t, company=True), replace(_DAY, blocky=True)),
    _Row(
        "bag among passers-by",
        lambda d, t: (*d.leave_behind(t), *d.passers(2, t + 16, 8)),
        replace(_DAY, noise=5.0, dropped_s=((6.0, 6.9),)),
    ),
    _Row(
        "light switched on",
        lambda d, t: d.leave_behind(t),
        replace(_NIGHT, noise=5.0, light_steps=((5.0, 1.6),)),
    ),
    *(
        _Row(f"throw in passing {number + 1}", lambda d, t: d.throw(t), conditions)
        for number, conditions in enumerate(
            (
                replace(_DAY, drift=0.06),
                replace(_DAY, rain=0.5, noise=4.5),
                replace(_DUSK, web=True),
                replace(_DAY, wind_px=5.0, caption="GATE B"),
                replace(_NIGHT, noise=5.5, wet=True),
            )
        )
    ),
    _Row("throw out of a car", lambda d, t: d.throw_from_car(t), replace(_DAY, clouds=0.3)),
    _Row(
        "throw out of a car in traffic",
        lambda d, t: (*d.throw_from_car(t), *d.traffic(t + 5, t + 14, 5)),
        replace(_DAY, blocky=True, caption="R7"),
    ),
    *(
        _Row(
            f"fall from a window {number + 1}",
            _fall(seen=number % 2 == 0),
            conditions,
            high=True,
        )
        for number, conditions in enumerate(
            (
                replace(_DAY, caption="YARD 1"),
                replace(_DAY, rain=0.6),
                replace(_DUSK, shake_px=1.0),
                replace(_NIGHT, noise=6.0),
                replace(_DAY, leaf_shade=0.5, drift=0.05),
            )
        )
    ),
    _Row("one bag unloaded", lambda d, t: d.unload(t), replace(_DAY, clouds=0.3)),
    _Row(
        "several things unloaded",
        lambda d, t: d.unload(t, pieces=3),
        replace(_DAY, noise=4.5),
        after_s=(24, 28),
    ),
    _Row(
        "bulky things unloaded",
        lambda d, t: d.unload(t, pieces=2, bulky=True),
        replace(_DUSK, rain=0.4),
        after_s=(22, 26),
    ),
    _Row("load slides off", lambda d, t: d.slide_off(t), replace(_DAY, wind_px=5.0)),
    _Row(
        "load slides off at night",
        lambda d, t: d.slide_off(t),
        replace(_NIGHT, noise=5.0, insects=2),
    ),
)


_LAWFUL: tuple[_Row, ...] = (
    _Row(
        "bag put down and taken after 3 s",
        lambda d, t: d.put_and_take(t, 3.0),
        replace(_DAY, caption="CAM 11"),
    ),
    _Row(
        "bag put down and taken after 8 s",
        lambda d, t: d.put_and_take(t, 8.0),
        replace(_DAY, rain=0.5),
    ),
    _Row(
        "bag put down and taken after 14 s",
        lambda d, t: d.put_and_take(t, 14.0),
        replace(_DUSK, shake_px=1.0),
        after_s=(22, 26),
    ),
    _Row(
        "sanitation crew",
        lambda d, t: d.sweep(t, 14.0),
        replace(_DAY, wind_px=5.0),
        after_s=(24, 28),
    ),
    _Row("sanitation crew at dusk", lambda d, t: d.sweep(t, 12.0), _DUSK, after_s=(24, 28)),
    _Row(
        "refuse collection", lambda d, t: d.collect(t), replace(_DAY, noise=4.5), after_s=(28, 31)
    ),
    _Row(
        "refuse collection in the rain",
        lambda d, t: d.collect(t, 3),
        replace(_DAY, rain=0.6, wet=True),
        at_s=(7, 9),
        after_s=(31, 35),
    ),
    _Row("vehicle stops and goes", lambda d, t: d.stop_and_go(t, 9.0), replace(_DAY, clouds=0.35)),
    _Row(
        "driver steps out",
        lambda d, t: d.stop_and_go(t, 13.0, steps_out=True),
        replace(_DAY, blocky=True),
        after_s=(22, 26),
    ),
    _Row("parked car leaves", lambda d, t: d.drive_off(t), replace(_DAY, drift=0.06)),
    _Row("parked car leaves by night", lambda d, t: d.drive_off(t), _NIGHT),
    _Row(
        "car parks and stays",
        lambda d, t: d.park(t),
        replace(_DAY, leaf_shade=0.6),
        after_s=(22, 26),
    ),
    _Row(
        "owner takes a bag away",
        lambda d, t: d.take_away(t, waits=True),
        replace(_DAY, caption="CAM 02"),
    ),
    _Row(
        "bag taken away later", lambda d, t: d.take_away(t), replace(_DUSK, headlights=_HEADLIGHTS)
    ),
    _Row(
        "somebody stands for long",
        lambda d, t: d.linger(t, 18.0),
        replace(_DAY, web=True),
        after_s=(26, 30),
    ),
    _Row(
        "two people talk",
        lambda d, t: d.linger(t, 15.0, pair=True),
        replace(_DAY, shake_px=2.0),
        after_s=(24, 28),
    ),
    _Row(
        "somebody sits",
        lambda d, t: d.linger(t, 16.0, sits=True),
        replace(_DAY, light_steps=((12.0, 0.72), (21.0, 1.0))),
        after_s=(24, 28),
    ),
    _Row(
        "passers-by and cyclists",
        lambda d, t: d.passers(0, t + 14, 16, cyclists=0.4),
        replace(_DAY, dropped_s=((7.0, 8.2), (15.0, 15.6))),
    ),
    _Row("crowd by night", lambda d, t: d.passers(0, t + 14, 18), replace(_NIGHT, noise=8.0)),
    _Row("nobody, wind", lambda d, t: (), replace(_DAY, wind_px=9.0, leaf_shade=0.7)),
    _Row("nobody, headlights", lambda d, t: (), replace(_NIGHT, headlights=_HEADLIGHTS, insects=4)),
    _Row(
        "light switched off",
        lambda d, t: d.passers(2, t + 10, 6),
        replace(_DUSK, light_steps=((8.0, 0.45), (19.0, 1.0))),
    ),
)


def _views() -> Iterator[_Row]:
    """What is wrong with the view."""
    for finding, conditions in (
        ("covered", replace(_DAY, covered_s=14.0)),
        ("black", replace(_DAY, black_s=13.0)),
        ("frozen", replace(_DAY, frozen_s=12.0, caption="CAM 05")),
        ("turned", replace(_DAY, turned_s=13.0)),
        ("defocused", replace(_DAY, defocused_s=14.0)),
        ("covered", replace(_DUSK, covered_s=16.0)),
    ):
        yield _Row(f"view {finding}", lambda d, t: d.passers(1, t + 12, 8), conditions,
                   after_s=(18, 20))  # fmt: skip
    yield _Row("panning view", lambda d, t: d.passers(0, t + 14, 10), replace(_DAY, pan_px=70.0))
    yield _Row("hand-held view", lambda d, t: d.leave_behind(t), replace(_DAY, handheld_px=22.0))


def _long() -> Iterator[_Row]:
    """Minutes without any dumping."""
    endless = (240.0, 250.0)

    def lively(crowd: float, cars: float) -> Act:
        return lambda d, t: (*d.passers(1, 238, crowd), *d.traffic(2, 236, cars))

    def lawful(d: Director, t: float) -> tuple[Actor, ...]:
        return (*d.put_and_take(20 + t, 9), *d.stop_and_go(55 + t, 14, steps_out=True),
                *d.take_away(90 + t), *d.linger(110 + t, 40, pair=True), *d.sweep(165 + t, 22),
                *d.collect(205 + t, 1))  # fmt: skip

    sweeps = tuple(
        Sweep(9.0 * n + 3, 9.0 * n + 6.5, (-1) ** n * 17.0, (-1) ** n * -17.0, 13.0 + n % 5)
        for n in range(26)
    )
    rows = (
        ("nobody, heavy rain", lambda d, t: (), replace(_DAY, rain=1.0, wet=True, puddles=4)),
        ("rain and passers-by", lively(5, 3), replace(_DAY, rain=0.6, wet=True)),
        ("nobody, sensor noise by night", lambda d, t: (), replace(_NIGHT, noise=9.0)),
        ("noise and passers-by by night", lively(6, 2), replace(_NIGHT, noise=7.0)),
        ("headlights by night", lambda d, t: (), replace(_NIGHT, headlights=sweeps)),
        ("headlights and traffic at dusk", lively(2, 7), replace(_DUSK, headlights=sweeps[::3])),
        ("moving foliage", lambda d, t: (), replace(_DAY, wind_px=9.0, leaf_shade=0.7)),
        ("foliage and passers-by", lively(5, 0.5), replace(_DAY, wind_px=7.0, leaf_shade=0.6)),
        ("cloud shadows", lambda d, t: d.passers(2, 230, 3), replace(_DAY, clouds=0.45)),
        ("passing crowds", lively(24, 1), replace(_DAY, caption="SQUARE 1")),
        ("crowds, blocky", lively(18, 4), replace(_DAY, blocky=True)),
        ("lawful doings", lawful, replace(_DAY, drift=0.04)),
        ("lawful doings at dusk", lawful, replace(_DUSK, shake_px=1.0)),
        ("insects and web by night", lively(1, 1), replace(_NIGHT, insects=6, web=True)),
        ("mast shake and traffic", lively(3, 8), replace(_DAY, shake_px=2.5)),
    )
    for deed, act, conditions in rows:
        yield _Row(deed, act, conditions, at_s=(0.0, 6.0), after_s=endless)


@cache
def planned(split: Split) -> tuple[EvaluationClip, ...]:
    """The table of a split as clips."""
    rows = [*_DUMPINGS, *_LAWFUL, *_views(), *_long()]
    return tuple(_clip(split, number, row) for number, row in enumerate(rows))


def _clip(split: Split, number: int, row: _Row) -> EvaluationClip:
    seed = _SEEDS[split] + number
    chance = np.random.default_rng(seed)
    places = TUNING_PLACES if split == "tuning" else HELD_BACK_PLACES
    fitting = [place for place in places if place.ledge_m is not None or not row.high]
    place = fitting[(number + int(chance.integers(2))) % len(fitting)]
    at_s = round(float(chance.uniform(*row.at_s)), 2)
    is_long = row.after_s[0] > 100
    duration_s = float(round(at_s + float(chance.uniform(*row.after_s))))
    ensemble = TUNING if split == "tuning" else HELD_BACK
    director = Director(place, ensemble, chance)
    size = _SIZES[2 + number % 3] if is_long else _SIZES[int(chance.integers(len(_SIZES)))]
    moving = row.conditions.turned_s is not None or bool(
        row.conditions.pan_px or row.conditions.handheld_px
    )
    fps = 10.0 if is_long else float(chance.choice([8.0, 10.0, 12.0, 15.0]))
    return EvaluationClip(
        name=f"{split}-{number:02d}-{row.deed.replace(',', '').replace(' ', '-')}",
        split=split,
        deed=row.deed,
        place=place,
        actors=row.act(director, at_s),
        conditions=_varied(row.conditions, chance),
        view=_view(size, chance, moving=moving),
        duration_s=duration_s,
        fps=fps,
        crf=int(chance.integers(35, 39) if row.conditions.blocky else chance.integers(23, 34)),
        keyframe_every=int(chance.integers(max(12, int(fps)), min(48, int(4 * fps)) + 1)),
        seed=seed,
    )


def _varied(conditions: Conditions, chance: np.random.Generator) -> Conditions:
    """Somewhat stronger or weaker, and what happens happens somewhat earlier or later."""
    shift_s = round(float(chance.uniform(-1.5, 1.5)), 2)
    strength = float(chance.uniform(0.85, 1.2))

    def moved(moment_s: float | None) -> float | None:
        return None if moment_s is None else moment_s + shift_s

    return replace(
        conditions,
        noise=round(conditions.noise * float(chance.uniform(0.95, 1.25)), 2),
        rain=round(min(1.0, conditions.rain * strength), 3),
        wind_px=round(conditions.wind_px * strength, 2),
        clouds=round(conditions.clouds * strength, 3),
        leaf_shade=round(min(0.8, conditions.leaf_shade * strength), 3),
        light_steps=tuple((from_s + shift_s, gain) for from_s, gain in conditions.light_steps),
        covered_s=moved(conditions.covered_s),
        black_s=moved(conditions.black_s),
        frozen_s=moved(conditions.frozen_s),
        defocused_s=moved(conditions.defocused_s),
        turned_s=moved(conditions.turned_s),
    )


def _view(size: tuple[int, int], chance: np.random.Generator, *, moving: bool) -> View:
    """All of the picture; a moving view needs something beyond its edges."""
    if moving:
        return View(960, 540, 128, 72, 1024)
    return View(*size)
