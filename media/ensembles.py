"""Who and what the two splits of the evaluation footage draw from: nothing is in both."""

from media.deeds import Ensemble
from media.objects import Thing
from media.sprites import Look
from media.vehicles import VehicleModel

TUNING = Ensemble(
    looks=(
        Look(0),
        Look(1),
        Look(0, (0.42, 0.62, 0.55), (0.8, 0.9, 1.2), 1.7),
        Look(1, (2.2, 1.3, 1.2), (1.0, 1.0, 1.0), 1.82),
        Look(0, (0.9, 0.5, 0.4)),
    ),
    crew=(Look(0, (0.25, 0.6, 1.1), (1.3, 1.0, 0.8)),),
    cars=(
        VehicleModel("hatchback", (60, 50, 170)),
        VehicleModel("saloon", (150, 150, 152)),
        VehicleModel("minibus", (180, 110, 30)),
        VehicleModel("saloon", (44, 42, 40)),
    ),
    carriers=(VehicleModel("van", (214, 216, 218)), VehicleModel("hatchback", (140, 90, 50))),
    flatbed=VehicleModel("flatbed", (150, 90, 40)),
    collector=VehicleModel("refuse truck", (60, 120, 210), (70, 130, 70)),
    carried=(
        Thing("black bag", 0.6),
        Thing("white bag", 0.5),
        Thing("blue bag", 0.55, 1),
        Thing("box", 0.42),
        Thing("bucket", 0.36),
        Thing("black bag", 0.75, 2),
    ),
    bulky=(Thing("mattress", 0.42), Thing("box", 0.62, 2), Thing("tyre", 0.27)),
    thrown=(
        Thing("bottle", 0.09),
        Thing("can", 0.1),
        Thing("small bag", 0.3),
        Thing("small bag", 0.38, 1),
    ),
    heap=Thing("heap", 0.62),
)

HELD_BACK = Ensemble(
    looks=(
        Look(1, (0.9, 1.5, 1.9), (0.7, 0.7, 0.7), 1.72),
        Look(0, (1.15, 0.85, 0.6)),
        Look(0, (0.34, 0.34, 0.36), (1.0, 1.0, 1.1), 1.8),
        Look(1, (1.2, 1.3, 2.0)),
        Look(0, (0.6, 0.7, 1.02), (0.6, 0.6, 0.6), 1.66),
    ),
    crew=(Look(0, (0.35, 0.95, 1.0), (0.8, 1.1, 1.0)),),
    cars=(
        VehicleModel("saloon", (120, 64, 30)),
        VehicleModel("hatchback", (206, 208, 210)),
        VehicleModel("minibus", (70, 150, 60)),
        VehicleModel("hatchback", (40, 110, 60)),
    ),
    carriers=(VehicleModel("van", (170, 120, 70)), VehicleModel("saloon", (96, 100, 104))),
    flatbed=VehicleModel("flatbed", (60, 150, 190), (110, 120, 130)),
    collector=VehicleModel("refuse truck", (210, 214, 216), (150, 110, 50)),
    carried=(
        Thing("sack", 0.62, 3),
        Thing("black bag", 0.52, 5),
        Thing("white bag", 0.62, 4),
        Thing("crate", 0.34, 3),
        Thing("bucket", 0.32, 1),
        Thing("blue bag", 0.42, 6),
    ),
    bulky=(Thing("board", 0.3, 1), Thing("tyre", 0.24, 1), Thing("crate", 0.55, 2)),
    thrown=(
        Thing("can", 0.12, 1),
        Thing("bottle", 0.1, 1),
        Thing("small bag", 0.32, 7),
        Thing("white bag", 0.36, 8),
    ),
    heap=Thing("heap", 0.7, 9),
)
