"""The demo: rendered cameras, a rendered patrol drone, a noise meter, accounts for every role, and
a receiver of dispatched cases.

``python -m pipelines.demo`` is the demo's outside world in one process: it lets the cameras drop
their footage and the drone's dock its flights, lets the meter send its readings, and receives what
is dispatched.
"""

import base64
import html
import json
import os
import secrets
import shutil
import sys
import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from standardwebhooks import Webhook, WebhookVerificationError

from enforcement.errors import ConfigurationError
from enforcement.people import Account, Role
from media.patrol_scenes import patrol, render_patrol
from media.patrol_site import CAR_PARK, SITE_EAST_M, SITE_NORTH_M, Rectangle
from media.patrol_telemetry import TIME_ZONE, polygon
from media.scenes import SCENES, render
from pipelines import demo_works
from pipelines.wiring import Wiring
from settings.environment import Settings
from storage.records import accounts as account_records
from storage.records.database import Database

_PAGE = """<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="5">
<title>Demo receiver</title>
<body style="font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto">
<h1>What left Sightline</h1>
<p>Events received, signature verified, repeats dropped by id: <b>{count}</b></p>
<pre style="background: #eef3f8; padding: 1rem; border-radius: 8px; overflow: auto">{events}</pre>
"""

_DRONE, _MISSION = "patrol-drone", "depot"
_FLOWN_M = 75.0
"""Of the site, from west to east: rendered and compared in half a minute."""

_PEOPLE = (
    ("analyst", "Ada Lin", Role.ANALYST),
    ("officer-a", "Bo Chen", Role.OFFICER),
    ("officer-b", "Cai Wu", Role.OFFICER),
    ("officer-c", "Dan Roe", Role.OFFICER),
    ("supervisor", "Eve Su", Role.SUPERVISOR),
)


def write_catalog(settings: Settings) -> None:
    """Add the demo's feeds and receiver to the catalog of this home.

    Raises ConfigurationError where the catalog lies elsewhere.
    """
    if settings.catalog is not None:
        raise ConfigurationError("the demo writes its own catalog: unset SIGHTLINE_CATALOG")
    settings.catalog_folder.mkdir(parents=True, exist_ok=True)
    content = {
        "sites": [{"site_id": "demo-town", "title": "Demo town"}, demo_works.site()],
        "devices": [
            *(_device(f"camera-{name}") for name in SCENES),
            _device(_DRONE),
            *(_device(one["device_id"]) | one for one in demo_works.devices()),
        ],
        "feeds": [*(_feed(name) for name in SCENES), _drone(), *demo_works.feeds(settings)],
        "missions": [_mission()],
        "recipients": [
            {
                "recipient_id": "demo-receiver",
                "title": "Demo receiver",
                "url": f"http://127.0.0.1:{settings.receiver_port}/events",
                "secret_file": "demo/webhook-secret",
            }
        ],
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    heading = "# Written by `sightline up --demo`, anew at each start.\n"
    (settings.catalog_folder / "demo.yaml").write_text(heading + text, "utf-8")
    secret = settings.home / "demo" / "webhook-secret"
    _write_private(secret, "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())


def accounts(wiring: Wiring) -> list[str]:
    """Make the demo's accounts with passwords of their own; returns a line for each."""
    file = wiring.settings.home / "demo" / "accounts.json"
    words = {name: f"{name}-{secrets.token_hex(4)}" for name, _, _ in _PEOPLE}
    _write_private(file, json.dumps(words))
    words = json.loads(file.read_text("utf-8"))
    database = Database(wiring.settings.admin_database)
    try:
        with database.transaction() as connection:
            known = {one.username for one in account_records.all_accounts(connection)}
            for name, display, role in _PEOPLE:
                if name not in known:
                    account_records.add_account(
                        connection, _account(name, display, role), words[name]
                    )
    finally:
        database.close()
    return [f"{role}: {name} / {words[name]}" for name, _, role in _PEOPLE]


def peers() -> list[tuple[str, list[str]]]:
    """The process that the supervisor starts beside the system: name and command."""
    return [("demo", [sys.executable, "-m", "pipelines.demo"])]


def receiver(secret: str) -> FastAPI:
    """A recipient as an agency would run one: verifies, acknowledges, drops repeats by id."""
    app = FastAPI(title="Demo receiver", docs_url=None, redoc_url=None, openapi_url=None)
    received: dict[str, dict[str, Any]] = {}

    @app.post("/events")
    async def take(request: Request) -> Response:
        body = await request.body()
        try:
            Webhook(secret).verify(body, dict(request.headers))
        except WebhookVerificationError:
            return Response("signature does not verify", status_code=401)
        received.setdefault(request.headers["webhook-id"], json.loads(body))
        return Response(status_code=204)

    @app.get("/events")
    def events() -> list[dict[str, Any]]:
        return list(received.values())

    @app.get("/")
    def page() -> HTMLResponse:
        text = json.dumps(list(received.values()), indent=2, ensure_ascii=False)
        return HTMLResponse(_PAGE.format(count=len(received), events=html.escape(text)))

    return app


def main() -> None:
    """Drop each camera's footage and two flights, send a night of noise, all of it once, and
    receive until stopped."""
    settings = Settings.load()
    threading.Thread(target=_drop_all, args=(settings,), daemon=True).start()
    secret = (settings.home / "demo" / "webhook-secret").read_text("utf-8")
    uvicorn.run(
        receiver(secret), host="127.0.0.1", port=settings.receiver_port, log_level="warning"
    )


def _drop_all(settings: Settings) -> None:
    # What must raise a lead comes first, so that a new user need not wait for the quiet ones.
    eventful = [name for name in SCENES if SCENES[name].events]
    _drop_footage(settings, eventful)
    night = demo_works.film(settings, datetime.now(UTC))
    threading.Thread(target=demo_works.report, args=(settings, night), daemon=True).start()
    _drop_flights(settings)
    _drop_footage(settings, [name for name in SCENES if name not in eventful])


def _drop_flights(settings: Settings) -> None:
    """Two flights over one site, a day apart; on the second, a heap of waste lies there."""
    target = settings.home / "demo" / "flights" / _MISSION
    if target.exists():
        return
    last = datetime.now(UTC).replace(hour=1, minute=30, second=0, microsecond=0)
    last -= timedelta(days=1 if last > datetime.now(UTC) - timedelta(hours=1) else 0)
    plan = patrol(1)
    plan = replace(
        plan,
        before=replace(plan.before, started_at=last - timedelta(days=1)),
        after=replace(plan.after, started_at=last),
        fps=1.0,
        to_east_m=_FLOWN_M,
    )
    rendered = settings.home / "demo" / "rendering"
    truth = render_patrol(plan, rendered)
    for flight in (truth.before, truth.after):
        folder = rendered / "flights" / f"{flight.started_at:%Y%m%d}"
        folder.mkdir(parents=True, exist_ok=True)
        for name in (flight.video, flight.telemetry):
            (rendered / name).rename(folder / name)
    target.parent.mkdir(parents=True, exist_ok=True)
    (rendered / "flights").rename(target)
    shutil.rmtree(rendered)


def _drone() -> dict[str, Any]:
    return {
        "feed_id": _DRONE,
        "title": "Patrol drone",
        "site_id": "demo-town",
        "device_id": _DRONE,
        "source": {"kind": "drone_folder", "path": "demo/flights"},
    }


def _mission() -> dict[str, Any]:
    return {
        "mission_id": _MISSION,
        "title": "Round of the depot",
        "feed_id": _DRONE,
        "purpose": "illegal dumping",
        "approval": {
            "approval_id": "DEMO-1",
            "valid_from": "2025-02-01T00:00:00Z",
            "valid_until": "2035-02-01T00:00:00Z",
            "area": _corners((-300.0, 400.0, -300.0, 400.0)),
            "max_height_m": 120,
        },
        "schedule": "30 9 * * 1",
        "expected_files": {"videos": 1, "telemetry": 1},
        "conventions": {"time_zone": TIME_ZONE},
        "zones": [
            {
                "zone_id": "grounds",
                "title": "Depot",
                "purpose": "no_dumping",
                "polygon": _corners((0.0, SITE_EAST_M, 0.0, SITE_NORTH_M)),
            },
            {"zone_id": "car-park", "purpose": "lawful_use", "polygon": _corners(CAR_PARK)},
        ],
    }


def _corners(area: Rectangle) -> list[list[float]]:
    return [list(corner) for corner in polygon(area)]


def _drop_footage(settings: Settings, names: Iterable[str]) -> None:
    for name in names:
        folder = settings.home / "demo" / "cameras" / name
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.glob("*.mp4")):
            continue
        started = datetime.now(UTC) - timedelta(minutes=5)
        render(name, folder / f"{started:%Y%m%dT%H%M%SZ}.mp4")


def _feed(name: str) -> dict[str, Any]:
    scene = SCENES[name]
    return {
        "feed_id": name,
        "title": scene.title_en,
        "site_id": "demo-town",
        "device_id": f"camera-{name}",
        "source": {"kind": "folder", "path": f"demo/cameras/{name}", "pattern": "*.mp4"},
        "zones": [zone.model_dump(mode="json") for zone in scene.zones],
    }


def _device(device_id: str) -> dict[str, Any]:
    return {
        "device_id": device_id,
        "title": f"Rendered {device_id.replace('-', ' ', 1)}",
        "purpose": "demonstration",
        "legal_review": "demo, no real device",
        "technical_review": "demo, no real device",
        "location_published_at": "2025-01-01T00:00:00Z",
        "valid_from": "2025-02-01T00:00:00Z",
        "valid_until": "2035-02-01T00:00:00Z",
    }


def _account(name: str, display: str, role: Role) -> Account:
    officer = role is Role.OFFICER
    return Account(
        account_id=f"demo-{name}",
        username=name,
        person_id=f"staff-{name}",
        display_name=display,
        role=role,
        certificate_no=f"DEMO-{name.upper()}" if officer else None,
        certificate_valid_from=datetime(2025, 1, 1, tzinfo=UTC) if officer else None,
        certificate_valid_until=datetime(2035, 1, 1, tzinfo=UTC) if officer else None,
    )


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, unless it is there already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()
