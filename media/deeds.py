"""What people do in rendered footage: the manners of dumping, and lawful doings that look alike.

Each function lays actors into a place around a moment; chance decides on side, distance, pace and
look. Nothing here says what is true: that follows from the actors.
"""

from dataclasses import dataclass, replace
from typing import Literal, TypeVar, cast

import numpy as np

from media.actors import (
    Act,
    Actor,
    Car,
    Flight,
    Glide,
    Held,
    Item,
    Person,
    Rest,
    Riding,
    Spot,
)
from media.localities import Locality
from media.objects import Thing
from media.sprites import Look
from media.staging import Leg, Path
from media.vehicles import VehicleModel

Option = TypeVar("Option")

_EVER_S = 1e6
_BEYOND_M = 1.0
_TRIES = 20
_HAND_HEIGHT_M = 0.82


@dataclass(frozen=True)
class Ensemble:
    """The looks, vehicles and things that one set of footage draws from."""

    looks: tuple[Look, ...]
    crew: tuple[Look, ...]
    """In the bright clothes of sanitation workers."""
    cars: tuple[VehicleModel, ...]
    carriers: tuple[VehicleModel, ...]
    """Vehicles that bring loads."""
    flatbed: VehicleModel
    collector: VehicleModel
    carried: tuple[Thing, ...]
    bulky: tuple[Thing, ...]
    thrown: tuple[Thing, ...]
    heap: Thing


class Director:
    """Lays doings into one place."""

    def __init__(self, place: Locality, ensemble: Ensemble, chance: np.random.Generator) -> None:
        self.place, self.ensemble, self._chance = place, ensemble, chance

    # -- dumping -----------------------------------------------------------------------------

    def leave_behind(self, at_s: float, *, bulky: bool = False, lingers_s: float = 0.0,
                     far: bool = False, company: bool = False) -> tuple[Actor, ...]:  # fmt: skip
        """Somebody walks in with a thing, puts it down and goes."""
        thing = self._pick(self.ensemble.bulky if bulky else self.ensemble.carried)
        z_m = self._line(far=far)
        walker = self._visit(at_s, z_m, self._middle_m(z_m), stays_s=0.9 + lingers_s)
        walker = replace(walker, acts=(Act("stoop", at_s),))
        others: tuple[Actor, ...] = ()
        if company:
            shifted = tuple((t, x + 0.8, z + 0.35) for t, x, z in walker.path.points)
            others = (Person(self._pick(self.ensemble.looks), Path(shifted)),)
        return walker, *others, self._put_down(thing, walker, at_s)

    def throw(self, at_s: float) -> tuple[Actor, ...]:
        """Somebody throws something aside in passing."""
        thing = self._pick(self.ensemble.thrown)
        z_m = self._line()
        walker = self._visit(at_s - 0.3, z_m, self._middle_m(z_m, 0.45), stays_s=1.1, onwards=True)
        walker = replace(walker, acts=(Act("throw", at_s),))
        hand_x, hand_z = walker.hand(at_s)
        heading = walker.path.heading(at_s)
        start = (hand_x + 0.15 * heading, 1.5, hand_z)
        reach_m = float(self._chance.uniform(1.8, 3.6))
        end = (hand_x + heading * reach_m, 0.0, hand_z + float(self._chance.uniform(-0.6, 1.2)))
        flown_s = 0.55 + 0.11 * reach_m
        carry_m = _HAND_HEIGHT_M - 0.5 * thing.height_m
        held = Held(walker, walker.path.points[0][0], at_s, carry_m, raises=True)
        return walker, Item(thing, (held, *self._land(start, end, at_s, flown_s, 320.0)), "throw")

    def throw_from_car(self, at_s: float) -> tuple[Actor, ...]:
        """Something flies out of the window of a passing car."""
        thing, facing = self._pick(self.ensemble.thrown), self._side()
        speed, z_m = float(self._chance.uniform(4.5, 7.0)), self.place.road_z_m
        car = self._passing_car(at_s, facing, speed, self._middle_m(z_m, 0.3) - 0.6 * facing)
        x_m, z_m = cast(float, car.x_m(at_s)), car.z_m
        start = (x_m - 0.2 * facing, 1.1, z_m - 0.75)
        end = (x_m + facing * speed * 0.36, 0.0, z_m - float(self._chance.uniform(2.0, 2.9)))
        return car, Item(thing, self._land(start, end, at_s, 0.62, 420.0), "throw")

    def drop_from_height(self, at_s: float, *, seen: bool = True) -> tuple[Actor, ...]:
        """Something falls from a window; who let it fall may be seen there."""
        ledge = self.place.ledge_m
        if ledge is None:
            raise ValueError(f"nothing can fall in {self.place.name}")
        x_m, high_m, z_m = ledge
        thing = self._pick((*self.ensemble.carried[:2], *self.ensemble.thrown[-2:]))
        start = (x_m, high_m + 0.25, z_m - 0.35)
        aside = float(self._chance.uniform(-0.4, 0.4))
        end = (x_m + aside, 0.0, z_m - float(self._chance.uniform(0.9, 1.6)))
        fallen_s = float(np.sqrt(2 * start[1] / 9.81)) + 0.06
        item = Item(thing, self._land(start, end, at_s, fallen_s, 90.0), "throw_from_height")
        if not seen:
            return (item,)
        path = Path(((at_s - 3.4, x_m - 0.5, z_m), (at_s - 2.2, x_m, z_m), (at_s + 1.6, x_m, z_m),
                     (at_s + 2.8, x_m + 0.4, z_m)))  # fmt: skip
        leaner = Person(self._pick(self.ensemble.looks), path, (Act("throw", at_s),), sill_m=high_m)
        return leaner, item

    def unload(self, at_s: float, *, pieces: int = 1, bulky: bool = False) -> tuple[Actor, ...]:
        """A vehicle stops, its driver puts things beside it, it drives away."""
        facing, z_m = self._side(), self.place.road_z_m
        model = self._pick(self.ensemble.carriers)
        x_m = self._middle_m(z_m, 0.3) + 1.2 * facing
        rear_m = x_m - facing * (model.length_m / 2 + 0.55)
        things = [self._pick(self.ensemble.bulky if bulky else self.ensemble.carried)
                  for _ in range(pieces)]  # fmt: skip
        spot_z = z_m - 1.7
        stops_s = at_s - 4.4
        points = [(stops_s + 0.7, x_m, z_m + 0.5), (stops_s + 1.9, rear_m, z_m + 0.1)]
        downs: list[float] = []
        t_s = stops_s + 3.0
        for number in range(pieces):
            spot_x = rear_m + facing * (0.1 + 0.85 * number)
            points += [(t_s, rear_m, z_m - 0.5), (t_s + 1.1, spot_x, spot_z)]
            downs.append(t_s + 1.4)
            points += [(t_s + 2.0, spot_x, spot_z)]
            t_s += 3.4
        points += [(t_s + 0.2, rear_m, z_m + 0.1), (t_s + 1.4, x_m, z_m + 0.5)]
        acts = (Act("stoop", points[0][0]), *(Act("stoop", down_s) for down_s in downs),
                Act("stoop", t_s + 1.4))  # fmt: skip
        driver = Person(self._pick(self.ensemble.looks), Path(tuple(points)), acts)
        items = [
            self._put_down(thing, driver, down_s, "load_from_vehicle", taken_s=down_s - 1.4)
            for thing, down_s in zip(things, downs, strict=True)
        ]
        car = self._stopping_car(model, x_m, facing, stops_s, t_s + 2.4)
        return car, driver, *items

    def slide_off(self, at_s: float) -> tuple[Actor, ...]:
        """A heap slides off a flatbed, which drives away without it."""
        facing, z_m = self._side(), self.place.road_z_m
        model, heap = self.ensemble.flatbed, self.ensemble.heap
        x_m = self._middle_m(z_m, 0.25) + 1.6 * facing
        car = self._stopping_car(model, x_m, facing, at_s - 3.2, at_s + 2.5)
        bed = (-0.9 * facing, 1.12, -0.12)
        edge = (x_m - facing * (model.length_m / 2 + 0.2), 1.1, z_m - 0.15)
        ground = (x_m - facing * (model.length_m / 2 + 0.2 + heap.width_m / 2), 0.0, z_m - 0.3)
        item = Item(heap, (
            Riding(car, car.legs[0].start_s, at_s - 1.4, bed),
            Glide(at_s - 1.4, at_s - 0.45, (x_m + bed[0], bed[1], z_m + bed[2]), edge),
            Glide(at_s - 0.45, at_s, edge, ground),
            Rest(at_s, _EVER_S, ground),
        ), "load_from_vehicle")  # fmt: skip
        return car, item

    # -- lawful ------------------------------------------------------------------------------

    def put_and_take(self, at_s: float, rests_s: float) -> tuple[Actor, ...]:
        """Somebody puts a bag down, waits beside it and takes it again."""
        thing, z_m = self._pick(self.ensemble.carried), self._line()
        owner = self._visit(at_s, z_m, self._middle_m(z_m), stays_s=rests_s + 0.9, onwards=True)
        owner = replace(owner, acts=(Act("stoop", at_s), Act("stoop", at_s + rests_s)))
        item = self._put_down(thing, owner, at_s, None)
        return owner, self._taken(item, owner, at_s + rests_s)

    def take_away(self, at_s: float, *, crew: bool = False, waits: bool = False
                  ) -> tuple[Actor, ...]:  # fmt: skip
        """A bag lies there from the first picture; somebody takes it away."""
        thing, z_m = self._pick(self.ensemble.carried), self._line()
        look = self._pick(self.ensemble.crew if crew else self.ensemble.looks)
        x_m = self._middle_m(z_m)
        if waits:
            leave = self._side() * (self.place.half_width_m(z_m) + _BEYOND_M)
            walk_s = abs(leave - x_m) / 1.25
            path = Path(((-1.0, x_m, z_m), (at_s + 0.8, x_m, z_m),
                         (at_s + 0.8 + walk_s, leave, z_m)))  # fmt: skip
            person = Person(look, path, (Act("stoop", at_s),))
        else:
            person = replace(self._visit(at_s, z_m, x_m, stays_s=0.9), look=look,
                             acts=(Act("stoop", at_s),))  # fmt: skip
        spot_x, spot_z = person.hand(at_s)
        item = Item(thing, (Rest(-1.0, at_s, (spot_x, 0.0, spot_z)),))
        return person, self._taken(item, person, at_s)

    def sweep(self, at_s: float, lasts_s: float) -> tuple[Actor, ...]:
        """Sanitation workers: one sweeps, another takes a bag away."""
        z_m = self._line()
        x_m = self._middle_m(z_m)
        sweeper = self._visit(at_s, z_m, x_m, stays_s=lasts_s, onwards=True)
        look = self._pick(self.ensemble.crew)
        acts = (Act("sweep", at_s + 0.4, at_s + lasts_s - 0.4),)
        sweeper = replace(sweeper, look=look, acts=acts)
        first_s, last_s = sweeper.path.points[0][0], sweeper.path.points[-1][0]
        broom = Item(Thing("broom", 1.35), (Held(sweeper, first_s, last_s, 0.0),))
        return sweeper, broom, *self.take_away(at_s + 0.55 * lasts_s, crew=True)

    def collect(self, at_s: float, bags: int = 2) -> tuple[Actor, ...]:
        """A refuse truck stops, its crew throws bags that lie there into it, it drives away."""
        facing, z_m = self._side(), self.place.road_z_m
        model = self.ensemble.collector
        x_m = self._middle_m(z_m, 0.15)
        rear_m = x_m - facing * (model.length_m / 2 + 0.4)
        spots = [(rear_m - facing * (0.3 + 0.8 * n), 0.0, z_m - 2.2) for n in range(bags)]
        points: list[tuple[float, float, float]] = [(at_s + 0.6, x_m, z_m + 0.9),
                                                    (at_s + 3.0, rear_m, z_m + 0.4)]  # fmt: skip
        items: list[Item] = []
        lifts: list[tuple[float, float]] = []
        t_s = at_s + 3.4
        for spot in spots:
            stand_x = spot[0] + 0.34 * facing
            points += [(t_s + 1.4, stand_x, spot[2] + 0.16), (t_s + 2.2, stand_x, spot[2] + 0.16),
                       (t_s + 3.8, rear_m, z_m - 0.2)]  # fmt: skip
            lifts.append((t_s + 1.8, t_s + 3.8))
            t_s += 4.0
        points += [(t_s + 0.8, rear_m, z_m + 0.4), (t_s + 3.0, x_m, z_m + 0.9)]
        worker = Person(self._pick(self.ensemble.crew), Path(tuple(points)),
                        tuple(Act("stoop", lift_s) for lift_s, _ in lifts))  # fmt: skip
        for spot, (lift_s, gone_s) in zip(spots, lifts, strict=True):
            thing = self._pick(self.ensemble.carried[:2])
            carry_m = _carried_m(thing)
            held = Held(worker, lift_s, gone_s, carry_m, lifts=True)
            items.append(Item(thing, (Rest(-1.0, lift_s, spot), held)))
        car = self._stopping_car(model, x_m, facing, at_s, t_s + 3.6)
        return car, worker, *items

    def stop_and_go(self, at_s: float, stands_s: float, *, steps_out: bool = False
                    ) -> tuple[Actor, ...]:  # fmt: skip
        """A vehicle stops for a while and leaves nothing."""
        facing, z_m = self._side(), self.place.road_z_m
        model = self._pick((*self.ensemble.cars, *self.ensemble.carriers))
        x_m = self._middle_m(z_m, 0.4)
        car = self._stopping_car(model, x_m, facing, at_s, at_s + stands_s)
        if not steps_out:
            return (car,)
        front_m = x_m + facing * (model.length_m / 2 + 0.8)
        path = Path(((at_s + 0.8, x_m, z_m + 0.6), (at_s + 3.0, front_m, z_m + 0.3),
                     (at_s + 4.2, front_m, z_m - 1.2), (at_s + stands_s - 4.4, front_m, z_m - 1.2),
                     (at_s + stands_s - 3.2, front_m, z_m + 0.3),
                     (at_s + stands_s - 1.0, x_m, z_m + 0.6)))  # fmt: skip
        acts = (Act("stoop", at_s + 0.8), Act("stoop", at_s + stands_s - 1.0))
        return car, Person(self._pick(self.ensemble.looks), path, acts)

    def drive_off(self, at_s: float) -> tuple[Actor, ...]:
        """A car that is parked in the first picture leaves."""
        facing, z_m = self._side(), self.place.road_z_m
        x_m = self._middle_m(z_m, 0.5)
        model = self._pick(self.ensemble.cars)
        out_m = facing * (self.place.half_width_m(z_m) + model.length_m)
        legs = (Leg(-1.0, 0.0, x_m, x_m), Leg(at_s, at_s + 4.0, x_m, out_m, "starting"))
        return (Car(model, z_m, legs, facing, lights=False),)

    def park(self, at_s: float) -> tuple[Actor, ...]:
        """A car comes and stays; its driver walks away."""
        facing, z_m = self._side(), self.place.road_z_m
        model = self._pick(self.ensemble.cars)
        x_m = self._middle_m(z_m, 0.4)
        in_m = -facing * (self.place.half_width_m(z_m) + model.length_m)
        legs = (Leg(at_s - 4.0, at_s, in_m, x_m, "braking"), Leg(_EVER_S, _EVER_S + 1, x_m, x_m))
        out_m = facing * (self.place.half_width_m(z_m - 1.4) + _BEYOND_M)
        front_m = x_m + facing * (model.length_m / 2 + 0.6)
        walk_s = abs(out_m - front_m) / 1.3
        points = ((at_s + 1.2, x_m, z_m + 0.6), (at_s + 3.4, front_m, z_m + 0.2),
                  (at_s + 4.6, front_m, z_m - 1.4),
                  (at_s + 4.6 + walk_s, out_m, z_m - 1.4))  # fmt: skip
        path = Path(points)
        driver = Person(self._pick(self.ensemble.looks), path, (Act("stoop", at_s + 1.2),))
        return Car(model, z_m, legs, facing, lights=False), driver

    def linger(self, at_s: float, lasts_s: float, *, sits: bool = False, pair: bool = False
               ) -> tuple[Actor, ...]:  # fmt: skip
        """Somebody stands or sits for long; perhaps two who talk."""
        z_m = self._line(far=sits)
        x_m = self._middle_m(z_m)
        person = self._visit(at_s, z_m, x_m, stays_s=lasts_s)
        if sits:
            person = replace(person, acts=(Act("sit", at_s + 0.2, at_s + lasts_s - 0.2),))
        if not pair:
            return (person,)
        other = self._visit(at_s + 1.0, z_m + 0.2, x_m + 0.9, stays_s=lasts_s - 2.0)
        return person, other

    def passers(
        self, from_s: float, to_s: float, per_minute: float, *, cyclists: float = 0.15
    ) -> tuple[Actor, ...]:
        """People who only walk or cycle through, some with a bag in hand."""
        actors: list[Actor] = []
        t_s = from_s
        while (t_s := t_s + float(self._chance.exponential(60 / per_minute))) < to_s:
            actors += self.passer(t_s, rides=bool(self._chance.random() < cyclists))
        return tuple(actors)

    def passer(self, from_s: float, *, rides: bool = False) -> tuple[Actor, ...]:
        """One who walks or cycles through, perhaps with a bag in hand."""
        z_m, side = self._line(), self._side()
        speed = float(self._chance.uniform(3.2, 4.6) if rides else self._chance.uniform(1, 1.6))
        far_m = self.place.half_width_m(z_m) + _BEYOND_M
        to_s = from_s + 2 * far_m / speed
        path = Path(((from_s, -side * far_m, z_m), (to_s, side * far_m, z_m)))
        person = Person(self._pick(self.ensemble.looks), path, rides=rides)
        if rides or self._chance.random() > 0.3:
            return (person,)
        thing = self._pick(self.ensemble.carried[:3])
        return person, Item(thing, (Held(person, from_s, to_s, _carried_m(thing)),))

    def traffic(self, from_s: float, to_s: float, per_minute: float) -> tuple[Actor, ...]:
        """Vehicles that only drive through, one after the other."""
        actors: list[Actor] = []
        t_s = from_s
        while (t_s := t_s + 3.0 + float(self._chance.exponential(60 / per_minute))) < to_s:
            actors += self.drive_by(t_s)
        return tuple(actors)

    def drive_by(self, at_s: float) -> tuple[Actor, ...]:
        """One vehicle that drives through and is in the middle at this moment."""
        speed = float(self._chance.uniform(4.5, 9.0))
        return (self._passing_car(at_s, self._side(), speed, 0.0),)

    # -- pieces ------------------------------------------------------------------------------

    def _pick(self, options: tuple[Option, ...]) -> Option:
        return options[int(self._chance.integers(len(options)))]

    def _side(self) -> Literal[-1, 1]:
        return 1 if self._chance.random() < 0.5 else -1

    def _line(self, *, far: bool = False) -> float:
        """A distance at which people walk."""
        near_m, far_m = self.place.walk_z_m
        share = float(self._chance.uniform(0.85, 1.0) if far else self._chance.uniform(0.0, 0.8))
        return near_m + share * (far_m - near_m)

    def _middle_m(self, z_m: float, share: float = 0.6) -> float:
        """A place well inside the picture that nothing hides."""
        half_m = self.place.half_width_m(z_m)
        x_m = 0.0
        for _ in range(_TRIES):
            x_m = float(self._chance.uniform(-share, share)) * half_m
            if not self.place.hides(x_m, z_m, 2.0):
                break
        return x_m

    def _visit(self, at_s: float, z_m: float, x_m: float, *, stays_s: float, onwards: bool = False
               ) -> Person:  # fmt: skip
        """Somebody comes to a place, is there at ``at_s``, stays and leaves."""
        speed = float(self._chance.uniform(1.1, 1.45))
        edge_m = self.place.half_width_m(z_m) + _BEYOND_M
        side = self._side()
        if (at_s - 1.5) * speed < edge_m + abs(x_m):
            side = 1 if x_m > 0 else -1
        comes_s = max(0.6, at_s - 0.4 - (edge_m - side * x_m) / speed)
        leaves_to = -side if onwards or self._chance.random() < 0.6 else side
        walk_s = (edge_m - leaves_to * x_m) / speed
        goes_s = at_s + stays_s
        aside_m = float(self._chance.uniform(0.0, 0.5))
        points = (
            (comes_s, side * edge_m, z_m + aside_m),
            (at_s - 0.4, x_m, z_m),
            (goes_s, x_m, z_m),
            (goes_s + walk_s, leaves_to * edge_m, z_m + aside_m),
        )
        return Person(self._pick(self.ensemble.looks), Path(points))

    def _put_down(self, thing: Thing, by: Person, down_s: float,
                  manner: "Literal['left_behind', 'load_from_vehicle'] | None" = "left_behind",
                  taken_s: float | None = None) -> Item:  # fmt: skip
        start_s = by.path.points[0][0] if taken_s is None else taken_s
        held = Held(by, start_s, down_s, _carried_m(thing), lowers=True)
        x_m, z_m = by.hand(down_s)
        return Item(thing, (held, Rest(down_s, _EVER_S, (x_m, 0.0, z_m))), manner)

    def _taken(self, item: Item, by: Person, at_s: float) -> Item:
        """The item, picked up at a moment and carried out of the picture."""
        rest = item.phases[-1]
        held = Held(by, at_s, by.path.points[-1][0], _carried_m(item.thing), lifts=True)
        return Item(item.thing, (*item.phases[:-1], replace(rest, end_s=at_s), held))

    def _land(self, start: Spot, end: Spot, at_s: float, flown_s: float, spin_deg_s: float
              ) -> tuple[Flight, Flight, Rest]:  # fmt: skip
        """A flight, one low bounce, and rest."""
        bounce_m = 0.13 * float(np.hypot(end[0] - start[0], end[2] - start[2]))
        onto = (end[0] + bounce_m * float(np.sign(end[0] - start[0])), 0.0, end[2])
        down_s = at_s + flown_s
        return (Flight(at_s, down_s, start, end, spin_deg_s),
                Flight(down_s, down_s + 0.22, end, onto),
                Rest(down_s + 0.22, _EVER_S, onto))  # fmt: skip

    def _passing_car(self, at_s: float, facing: Literal[-1, 1], speed: float, x_m: float) -> Car:
        """Drives through evenly and is at ``x_m`` at ``at_s``."""
        # Each direction has its lane, or vehicles would drive through one another.
        z_m = self.place.road_z_m + (1.6 if facing > 0 else -0.4)
        model = self._pick(self.ensemble.cars)
        out_m = self.place.half_width_m(z_m) + model.length_m
        start_s = at_s - (facing * x_m + out_m) / speed
        end_s = at_s + (out_m - facing * x_m) / speed
        return Car(model, z_m, (Leg(start_s, end_s, -facing * out_m, facing * out_m),), facing)

    def _stopping_car(self, model: VehicleModel, x_m: float, facing: Literal[-1, 1],
                      stops_s: float, goes_s: float) -> Car:  # fmt: skip
        z_m = self.place.road_z_m
        out_m = self.place.half_width_m(z_m) + model.length_m
        legs = (Leg(stops_s - 4.2, stops_s, -facing * out_m, x_m, "braking"),
                Leg(goes_s, goes_s + 4.5, x_m, facing * out_m, "starting"))  # fmt: skip
        return Car(model, z_m, legs, facing)


def _carried_m(thing: Thing) -> float:
    """Height of its lower edge while it is carried: bags hang, the rest is held up."""
    if "bag" in thing.kind or thing.kind in ("sack", "bucket"):
        return max(0.12, _HAND_HEIGHT_M - thing.height_m)
    return 0.72
