"""``sightline flights``: what changed on the ground between two flights."""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import TypeAdapter, ValidationError

from enforcement.errors import ConfigurationError

app = typer.Typer(no_args_is_help=True, help="Footage of patrol drones.")


@app.callback()
def flights() -> None:
    """Keeps the verb's name although it is the only one so far."""


@app.command("compare")
def compare(
    before: Annotated[
        Path,
        typer.Argument(help="Earlier flight: a video, telemetry beside, or a folder of stills."),
    ],
    after: Annotated[Path, typer.Argument(help="Later flight over the same site.")],
    zones: Annotated[
        Path, typer.Option("--zones", help="JSON list of ground zones, watched and lawful ones.")
    ],
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="Folder for pictures before and after.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Say what is new on the ground: heaps, earthworks, structures of 4 square metres and more.

    Shadows, vehicles, and what lies in a lawful zone (a car park, a store yard) are left out. A
    zone is {"zone_id": "yard", "purpose": "no_dumping", "polygon": [[latitude, longitude], …]}, a
    lawful one has the purpose "lawful_use".
    """
    from detectors.crops import CropClassifier
    from detectors.models import PEOPLE_AND_VEHICLES, installed
    from enforcement.changes import ChangeOnGround, changes_on_ground
    from enforcement.flights import TelemetryConventions
    from enforcement.places import GroundZone, ZonePurpose
    from media.drawing import encode_jpeg
    from pipelines.patrol import compare_passes, flown_pass
    from settings.environment import Settings

    try:
        known = TypeAdapter(tuple[GroundZone, ...]).validate_json(zones.read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigurationError(f"{zones}: no list of ground zones: {error}") from error
    backbone = installed(PEOPLE_AND_VEHICLES, Settings.load().models)
    conventions = TelemetryConventions()
    found = compare_passes(
        flown_pass(before, conventions),
        flown_pass(after, conventions),
        classify=CropClassifier.blobs(backbone).classify,
    )
    if found.refusal is not None:
        typer.echo(f"the flights cannot be compared: {found.refusal}", err=True)
        raise typer.Exit(1)
    watched = sorted({zone.purpose for zone in known} - {ZonePurpose.LAWFUL_USE})
    findings = [
        finding
        for purpose in watched
        for finding in changes_on_ground(ChangeOnGround(), purpose, known, found.changes)
    ]
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        for number, one in enumerate(findings, start=1):
            pair = np.concatenate(found.pictures[one.changes[0]], axis=1)
            (pictures / f"change-{number:02}.jpg").write_bytes(encode_jpeg(pair))
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in findings], indent=1))
        return
    for number, one in enumerate(findings, start=1):
        place = f"{one.place.latitude_deg:.6f}, {one.place.longitude_deg:.6f}"
        typer.echo(f"{number}. {place} ± {one.radius_m:.1f} m, {one.area_m2:.0f} m²: "
                   + "; ".join(one.reasons))  # fmt: skip
    if not findings:
        typer.echo("nothing new on the ground")
