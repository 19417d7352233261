"""The whole way with the real parts: footage in, people at a browser, one verifiable event out."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from media.scenes import SCENES, render
from storage.seaweed import SeaweedServer
from tests.gate.receiver import Receiver

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PASSWORD = "correct horse battery staple"
SCENE = "layby-bag"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="no chromium: the pages are not tried in a browser (apt install it)",
    ),
]


@dataclass(frozen=True)
class City:
    """One installation with one camera, four people and a recipient."""

    environment: dict[str, str]
    url: str
    receiver: Receiver
    footage: Path

    def sightline(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *arguments],
            env=self.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def city(s3_server: SeaweedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    home = tmp_path_factory.mktemp("home")
    port = _free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SIGHTLINE_")} | {
        "SIGHTLINE_HOME": str(home),
        "SIGHTLINE_REVIEW_PORT": str(port),
        "SIGHTLINE_S3_ENDPOINT": s3_server.endpoint,
        "SIGHTLINE_S3_ACCESS_KEY": s3_server.credentials.access_key,
        "SIGHTLINE_S3_SECRET_KEY": s3_server.credentials.secret_key,
        "SIGHTLINE_S3_SECURE": "false",
        "SIGHTLINE_S3_BUCKET_PREFIX": "whole-way",
    }
    footage = home / "20260601T080000Z.mp4"
    render(SCENE, footage)
    with Receiver() as receiver:
        city = City(environment, f"http://127.0.0.1:{port}", receiver, footage)
        _write_catalog(home / "catalog", receiver)
        (home / "webhook-secret").write_text(receiver.secret)
        city.sightline("init")
        _add_people(city)
        review = subprocess.Popen([sys.executable, "-m", "review"], env=environment)
        try:
            _wait_for(f"{city.url}/healthz")
            yield city
        finally:
            review.terminate()
            review.wait(15)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
            ],
        )  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture
def sign_in(city: City, browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Sign somebody in, in a browser profile of his or her own."""
    contexts = []

    def open_page(name: str) -> Page:
        context = browser.new_context(
            viewport={"width": 1440, "height": 900}, locale="en-GB", timezone_id="UTC"
        )
        contexts.append(context)
        page = context.new_page()
        page.goto(city.url)
        page.get_by_label("User name").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", level=1).wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()


def test_a_bag_left_at_a_layby_becomes_a_dispatched_case(
    city: City, sign_in: Callable[[str], Page], tmp_path: Path
) -> None:
    ingested = json.loads(city.sightline("ingest", str(city.footage), "--feed", "layby", "--json"))
    ((lead,),) = (capture["leads"] for capture in ingested["captures"])
    assert lead["rule_id"] == "object-left-behind"
    lead_id = lead["lead_id"]
    shots = Path(os.environ.get("SIGHTLINE_SHOTS", tmp_path))

    analyst = sign_in("ana")
    analyst.wait_for_load_state("networkidle")
    analyst.screenshot(path=shots / "queue.png")
    _open(analyst, lead_id)
    _watch(analyst)
    analyst.keyboard.press("c")
    analyst.locator(".lease").wait_for()
    analyst.wait_for_load_state("networkidle")
    _to_the_alarm(analyst)
    analyst.screenshot(path=shots / "lead.png")
    analyst.keyboard.press("a")
    _submit(analyst)
    assert state(city, lead_id) == "candidate"

    first = sign_in("olga")
    _open(first, lead_id)
    _confirm(first)
    assert state(city, lead_id) == "first_confirmed"
    assert json.loads(city.sightline("dispatch", "--json"))["dispatched"] == []

    second = sign_in("otto")
    second.screenshot(path=shots / "queue-second-officer.png")
    _open(second, lead_id)
    seen = second.content().lower()
    for word in ("olga", "first confirmation given", "first_confirmed"):
        assert word not in seen, f"the second officer can read {word!r}"
    _confirm(second)
    assert state(city, lead_id) == "confirmed"
    assert city.receiver.accepted == []

    done = json.loads(city.sightline("dispatch", "--json"))
    assert done == {"dispatched": [lead_id], "delivered": 1, "failed": 0}
    city.sightline("dispatch")
    ((event_id, body),) = city.receiver.accepted
    event = json.loads(body)
    assert (event["id"], event["subject"]) == (event_id, lead_id)
    assert city.receiver.refused == 0
    assert state(city, lead_id) == "acknowledged"
    assert "0 damaged" in city.sightline("evidence", "verify")


def state(city: City, lead_id: str) -> str:
    leads = json.loads(city.sightline("queue", "list", "--json"))["leads"]
    return next(str(lead["state"]) for lead in leads if lead["lead_id"] == lead_id)


def _open(page: Page, lead_id: str) -> None:
    page.locator(f"a[href*='{lead_id}']").first.click()
    page.locator("#clip").wait_for()
    page.wait_for_load_state("networkidle")  # The keys work once the scripts are here.


def _watch(page: Page) -> None:
    """The clip really plays: its clock moves on and pictures were decoded."""
    clip = "document.getElementById('clip')"
    _until(page, f"{clip}.readyState >= 3")
    page.keyboard.press("Space")
    _until(page, f"{clip}.currentTime > 0.5")
    page.keyboard.press("Space")
    assert page.evaluate(f"{clip}.getVideoPlaybackQuality().totalVideoFrames") > 0
    _to_the_alarm(page)


def _to_the_alarm(page: Page) -> None:
    page.keyboard.press("m")
    clip = "document.getElementById('clip')"
    _until(page, f"{clip}.currentTime > 0 && !{clip}.seeking && {clip}.readyState >= 2")


def _until(page: Page, condition: str) -> None:
    """Wait for a condition; Playwright's own way needs ``eval``, which the pages' CSP forbids."""
    for _ in range(600):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not within 30 s: {condition}")


def _confirm(page: Page) -> None:
    for key in ("1", "2", "3", "4", "a"):
        page.keyboard.press(key)
    _submit(page)


def _submit(page: Page) -> None:
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**done=**")
    page.locator(".done").wait_for()


def _write_catalog(folder: Path, receiver: Receiver) -> None:
    zones = [zone.model_dump(mode="json") for zone in SCENES[SCENE].zones]
    content = {
        "sites": [{"site_id": "road-7", "title": "Country road 7"}],
        "devices": [
            {
                "device_id": "camera-7",
                "title": "Camera at the lay-by",
                "purpose": "illegal dumping",
                "valid_from": "2025-01-01T00:00:00Z",
                "valid_until": "2035-01-01T00:00:00Z",
            }
        ],
        "feeds": [
            {
                "feed_id": "layby",
                "title": "Lay-by",
                "site_id": "road-7",
                "device_id": "camera-7",
                "source": {"kind": "folder", "path": "cameras/layby"},
                "zones": zones,
            }
        ],
        "recipients": [
            {
                "recipient_id": "agency",
                "title": "Agency",
                "url": receiver.url,
                "secret_file": "webhook-secret",
            }
        ],
    }
    folder.mkdir()
    (folder / "town.yaml").write_text(json.dumps(content), "utf-8")


def _add_people(city: City) -> None:
    for name, role in (("ana", "analyst"), ("olga", "officer"), ("otto", "officer")):
        certificate = (
            [
                "--certificate",
                f"C-{name}",
                "--valid-from",
                "2025-01-01",
                "--valid-until",
                "2035-01-01",
            ]
            if role == "officer"
            else []
        )
        city.sightline(
            "accounts", "add", name, "--role", role, "--person", f"staff-{name}",
            "--name", name.title(), "--password", PASSWORD, *certificate,
        )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"{url} does not answer")
