"""The demo: five rendered cameras, accounts for every role, and a receiver of dispatched cases.

``python -m pipelines.demo`` is the demo's outside world in one process: it lets the cameras drop
their footage and receives what is dispatched.
"""

import base64
import html
import json
import os
import secrets
import sys
import threading
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
from media.scenes import SCENES, render
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

_PEOPLE = (
    ("analyst", "Ada Lin", Role.ANALYST),
    ("officer-a", "Bo Chen", Role.OFFICER),
    ("officer-b", "Cai Wu", Role.OFFICER),
    ("officer-c", "Dan Roe", Role.OFFICER),
    ("supervisor", "Eve Su", Role.SUPERVISOR),
)


def write_catalog(settings: Settings) -> None:
    """Add the demo's cameras and receiver to the catalog of this home."""
    if settings.catalog is not None:
        raise ConfigurationError("the demo writes its own catalog: unset SIGHTLINE_CATALOG")
    settings.catalog_folder.mkdir(parents=True, exist_ok=True)
    content = {
        "sites": [{"site_id": "demo-town", "title": "Demo town"}],
        "devices": [_device(name) for name in SCENES],
        "feeds": [_feed(name) for name in SCENES],
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
    """Drop each camera's footage once, and receive until stopped."""
    settings = Settings.load()
    threading.Thread(target=_drop_footage, args=(settings,), daemon=True).start()
    secret = (settings.home / "demo" / "webhook-secret").read_text("utf-8")
    uvicorn.run(
        receiver(secret), host="127.0.0.1", port=settings.receiver_port, log_level="warning"
    )


def _drop_footage(settings: Settings) -> None:
    # What must raise a lead comes first, so that a new user need not wait for the quiet ones.
    for name in sorted(SCENES, key=lambda name: not SCENES[name].truth().events):
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


def _device(name: str) -> dict[str, Any]:
    return {
        "device_id": f"camera-{name}",
        "title": f"Rendered camera {name}",
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
