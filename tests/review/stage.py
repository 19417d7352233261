"""A review application over real parts, with one sealed lead after another to act on."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import cv2
import httpx
import numpy as np

from enforcement.cases import Case, CaseState, Lead
from enforcement.evidence import (
    CaseFacts,
    EvidenceItem,
    EvidenceKind,
    Manifest,
    ModelUsed,
    Place,
    Provenance,
)
from enforcement.footage import Capture, Label, Observation, StoredObject, Track, TrackPoint
from enforcement.geometry import Box, Point
from enforcement.people import Account, Role
from enforcement.places import Device, Feed, FolderSource, Site, Zone, ZonePurpose
from enforcement.rules import Rule
from review.app import create_app
from settings.catalog import Catalog, rule_digest
from settings.environment import Settings
from storage.canonical import canonical_bytes
from storage.evidence_store import BucketRole, EvidenceStore
from storage.records import accounts, captures, casebook, outbox
from storage.records.database import Database
from storage.verified_cache import VerifiedCache
from tests.serving import serving

START = datetime(2026, 11, 20, 2, 30, tzinfo=UTC)
PASSWORD = "correct horse battery"  # of accounts that live as long as a test
FPS, SECONDS, WIDTH, HEIGHT = 10, 6, 640, 360
THING = Box(0.56, 0.62, 0.66, 0.80)
SCORE = 0.8375
"""A number that appears nowhere else, so that a leak of it is found as text."""

RULE = Rule.model_validate(
    {
        "rule_id": "object-left-behind",
        "version": 1,
        "kind": "left_behind",
        "purpose": "no_dumping",
        "title": {"en": "Object left behind", "zh": "遗留物品"},
        "matter": "illegal_dumping",
        "text": {
            "en": "Somebody leaves an object in the zone and goes away.",
            "zh": "有人将物品带入区域,放置后离开。",
        },
        "legal_basis": {"en": "Example Act, Art. 34", "zh": "示例法第三十四条"},
        "models": ["yolov8n-coco"],
    }
)


@dataclass
class Clock:
    """The time, as the test says."""

    now: datetime = START + timedelta(hours=1)

    def __call__(self) -> datetime:
        return self.now

    def passes(self, **span: float) -> None:
        self.now += timedelta(**span)


@dataclass
class Stage:
    """The application's parts, and what tests do with them."""

    database: Database
    store: EvidenceStore
    cache: VerifiedCache
    catalog: Catalog
    settings: Settings
    clock: Clock
    url: str = ""
    clients: list[httpx.Client] = field(default_factory=list)
    leads: int = 0
    free_bytes: int | None = None
    """Left on the store's disk, as the test says."""

    def person(self, name: str, role: Role, **changes: Any) -> Account:
        """Register an account; its person is its own unless told otherwise."""
        account = an_account(name, role, **changes)
        with self.database.transaction() as connection:
            accounts.add_account(connection, account, PASSWORD)
        return account

    def client(self, name: str | None = None, **headers: str) -> httpx.Client:
        """A client; with a name, it carries a session of that account as bearer token.

        The session is opened in the records: hashing a password takes a tenth of a second.
        """
        client = httpx.Client(base_url=self.url, headers=headers, timeout=10)
        self.clients.append(client)
        if name is not None:
            client.headers["authorization"] = f"Bearer {self.session(name)}"
        return client

    def session(self, name: str) -> str:
        """The token of a new session of this account."""
        with self.database.transaction() as connection:
            found = (one for one in accounts.all_accounts(connection) if one.username == name)
            return accounts.open_session(connection, next(found), self.clock())

    def browser(self, name: str) -> httpx.Client:
        """A client with the cookie of a session, and its CSRF token as header."""
        client = self.client()
        client.cookies.set("sightline_session", self.session(name))
        client.headers["x-csrf-token"] = client.get("/api/v1/me").json()["csrf_token"]
        return client

    def case(self, lead_id: str) -> Case:
        with self.database.transaction() as connection:
            return casebook.load_case(connection, lead_id)

    def denials(self) -> list[dict[str, Any]]:
        with self.database.transaction() as connection:
            return casebook.denials(connection)

    def outbox_count(self) -> int:
        with self.database.transaction() as connection:
            return outbox.count(connection)

    def confirmation_count(self, lead_id: str) -> int:
        with self.database.transaction() as connection:
            return len(casebook.confirmations_of(connection, lead_id))

    def lead(
        self,
        *,
        matter: str = "illegal_dumping",
        seeded: bool = False,
        **more: Any,
    ) -> str:
        """Seal a lead and open its case, as the pipeline does; returns its id."""
        lead_id = f"lead-{self.leads + 1:04d}"
        lead, manifest, capture = self.package(lead_id, seeded=seeded, **more)
        stored = self._put(canonical_bytes(manifest), "application/json")
        facts = CaseFacts(
            lead_id=lead_id,
            revision=1,
            manifest=stored,
            rule_id=RULE.rule_id,
            rule_version=1,
            matter=matter,
            place=Place(site_id="north-gate"),
            device_status="valid",
            confirmations_required=2,
            seeded=seeded,
        )
        with self.database.transaction() as connection:
            captures.file_capture(connection, capture)
            casebook.raise_lead(connection, lead)
            casebook.open_case(connection, facts, self.clock())
        return lead_id

    def package(
        self,
        lead_id: str,
        *,
        clip: bytes | None = None,
        source_name: str = "gate-cam.mp4",
        reasons: tuple[str, ...] = ("the object lies still since 3.0 s", "its owner went away"),
        seeded: bool = False,
        alarm_at: datetime | None = None,
        **more: Any,
    ) -> tuple[Lead, Manifest, Capture]:
        """A lead of footage with its package, before it is in the queue."""
        self.leads += 1
        alarm_at = alarm_at or START + timedelta(minutes=self.leads)
        # Each original differs, since the same bytes of one feed are filed once.
        original = self._put(film(clip_of=self.leads) if clip is None else clip, "video/mp4")
        capture_id = f"capture-{self.leads}"
        lead = Lead(
            lead_id=lead_id,
            rule_id=RULE.rule_id,
            rule_version=1,
            rule_digest=rule_digest(RULE),
            feed_id="gate-cam",
            site_id="north-gate",
            zone_id="lane",
            capture_id=capture_id,
            alarm_at=alarm_at,
            alarm_at_s=3.0,
            onset_s=1.0,
            end_s=None,
            score=SCORE,
            box=THING,
            reasons=reasons,
            seeded=seeded,
            raised_at=alarm_at + timedelta(seconds=40),
        )
        manifest = self._manifest(lead, original, source_name, more)
        capture = Capture(
            capture_id=capture_id,
            feed_id="gate-cam",
            object=original,
            captured_at=alarm_at - timedelta(seconds=3),
            received_at=alarm_at + timedelta(seconds=20),
            clock_offset_s=0.0,
            source_name=source_name,
        )
        return lead, manifest, capture

    def candidate(self, analyst: str = "ana", **more: Any) -> str:
        """A lead that this analyst accepted."""
        lead_id = self.lead(**more)
        client = self.client(analyst)
        at = f"/api/v1/leads/{lead_id}"
        version = client.get(at).json()["version"]
        version = client.post(f"{at}/claim", json={"version": version}).json()["version"]
        body = {"version": version, "verdict": "violation", "reason": "as_described"}
        answer = client.post(f"{at}/triage", json=body | {"note": "a private remark"})
        assert answer.status_code == 200, answer.text
        assert self.case(lead_id).state is CaseState.CANDIDATE
        return lead_id

    def judge(
        self, client: httpx.Client, lead_id: str, verdict: str = "confirm", **changes: Any
    ) -> httpx.Response:
        """Send an officer's verdict over the digest that the officer is shown."""
        shown = client.get(f"/api/v1/leads/{lead_id}").json()
        body = {
            "evidence_digest": shown.get("evidence_digest", "0" * 64),
            "verdict": verdict,
            "attestations": dict.fromkeys(("true", "clear", "complete", "accurate"), True),
        }
        if verdict == "reject":
            body["reason"] = "unclear_record"
        return client.post(f"/api/v1/leads/{lead_id}/confirm", json=body | changes)

    def _put(self, data: bytes, media_type: str) -> StoredObject:
        return self.store.put_bytes(BucketRole.EVIDENCE, data, media_type, prefix="test")

    def _manifest(
        self, lead: Lead, original: StoredObject, source_name: str, more: dict[str, Any]
    ) -> Manifest:
        seen = more.get("observation") or observation(lead.capture_id)
        frames = more.get("frames") or [(t, picture(t)) for t in (1.0, 3.0, 5.0)]
        items = [
            EvidenceItem(
                item_id="original",
                kind=EvidenceKind.ORIGINAL,
                object=original,
                made_by="sightline.pull@0.1.0",
            ),
            EvidenceItem(
                item_id="clip",
                kind=EvidenceKind.CLIP,
                object=more.get("clip_object") or original,
                derived_from="original",
                made_by="sightline.clip@0.1.0",
                start_s=0.0,
                end_s=float(SECONDS),
            ),
            EvidenceItem(
                item_id="observation",
                kind=EvidenceKind.OBSERVATION,
                object=self._put(canonical_bytes(seen), "application/json"),
                derived_from="original",
                made_by="sightline.observe@0.1.0",
            ),
            *(
                EvidenceItem(
                    item_id=f"frame-{number}",
                    kind=EvidenceKind.KEY_FRAME,
                    object=self._put(jpeg, "image/jpeg"),
                    derived_from="original",
                    made_by="sightline.frame@0.1.0",
                    start_s=t,
                    end_s=t,
                )
                for number, (t, jpeg) in enumerate(frames, 1)
            ),
        ]
        return Manifest(
            lead_id=lead.lead_id,
            created_at=lead.raised_at,
            items=tuple(items),
            provenance=Provenance(
                capture_id=lead.capture_id,
                feed_id=lead.feed_id,
                site_id=lead.site_id,
                device_id="cam-7",
                source_name=source_name,
                captured_at=lead.alarm_at - timedelta(seconds=3),
                received_at=lead.alarm_at + timedelta(seconds=20),
                clock_offset_s=0.25,
            ),
            rule_id=lead.rule_id,
            rule_version=1,
            rule_digest=lead.rule_digest,
            models=(ModelUsed(name=seen.model, digest="a" * 64, config_digest="b" * 64),),
            alarm_at=lead.alarm_at,
            finding_box=lead.box,
            reasons=lead.reasons,
            software_version="0.1.0",
        )


def an_account(name: str, role: Role, **changes: Any) -> Account:
    """An account by its name; an officer with a certificate that is valid now."""
    fields: dict[str, Any] = {
        "account_id": f"account-{name}",
        "username": name,
        "person_id": f"person-{name}",
        "display_name": name.title(),
        "role": role,
    }
    if role is Role.OFFICER:
        fields |= {
            "certificate_no": f"C-{name}",
            "certificate_valid_from": START - timedelta(days=100),
            "certificate_valid_until": START + timedelta(days=100),
        }
    return Account.model_validate(fields | changes)


def catalog() -> Catalog:
    lane = (Point(0.35, 0.5), Point(0.85, 0.5), Point(0.97, 0.95), Point(0.25, 0.95))
    return Catalog(
        sites=(Site(site_id="north-gate", title="North gate"),),
        devices=(
            Device(
                device_id="cam-7",
                title="Pole camera 7",
                purpose="fly-tipping",
                valid_from=START - timedelta(days=200),
                valid_until=START + timedelta(days=200),
            ),
        ),
        feeds=(
            Feed(
                feed_id="gate-cam",
                title="Gate camera",
                site_id="north-gate",
                device_id="cam-7",
                source=FolderSource(path="inbox"),
                zones=(
                    Zone(
                        zone_id="lane",
                        purpose=ZonePurpose.NO_DUMPING,
                        polygon=lane,
                        title="Lane by the wall",
                    ),
                ),
            ),
        ),
        rules=(RULE,),
    )


def _walker(t: float) -> Box:
    left = min(0.95, 0.05 + 0.17 * t)
    return Box(left, 0.35, left + 0.09, 0.82)


def observation(capture_id: str) -> Observation:
    """A walker who leaves a thing behind, as a detector would report it."""
    moments = [n / FPS for n in range(SECONDS * FPS)]
    walker = [TrackPoint(t_s=t, box=_clipped(_walker(t)), score=0.8125) for t in moments[:50]]
    thing = [TrackPoint(t_s=t, box=THING, score=0.8125) for t in moments if t >= 3.0]
    return Observation(
        capture_id=capture_id,
        model="yolov8n-coco",
        model_digest="a" * 64,
        config_digest="b" * 64,
        config={},
        width_px=WIDTH,
        height_px=HEIGHT,
        duration_s=float(SECONDS),
        frames_seen=SECONDS * FPS,
        sample_fps=float(FPS),
        tracks=(
            Track(track_id=1, label=Label.PERSON, points=tuple(walker)),
            Track(track_id=2, label=Label.STATIC_OBJECT, points=tuple(thing)),
        ),
    )


def _clipped(box: Box) -> Box:
    return Box(*(min(1.0, max(0.0, side)) for side in box))


def frame(t: float, seed: int = 0) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """One drawn frame, ``(H, W, 3)`` uint8 BGR."""
    image = np.full((HEIGHT, WIDTH, 3), (150, 158, 152), np.uint8)
    image[: HEIGHT // 2] = (186, 172, 158)
    cv2.putText(image, f"{t:4.1f} #{seed}", (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (40, 40, 40), 1)
    for box, colour, shown in ((_walker(t), (60, 70, 160), True), (THING, (50, 50, 50), t >= 3)):
        if shown:
            corners = (int(box.left * WIDTH), int(box.top * HEIGHT))
            far = (int(box.right * WIDTH), int(box.bottom * HEIGHT))
            cv2.rectangle(image, corners, far, colour, -1)
    return image


@cache
def picture(t: float) -> bytes:
    """A key frame as JPEG."""
    return cv2.imencode(".jpg", frame(t))[1].tobytes()


@cache
def film(clip_of: int) -> bytes:
    """A short H.264 film in MP4, different for each number."""
    target = BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "ultrafast", "g": "10"}
        for number in range(SECONDS * FPS):
            image = av.VideoFrame.from_ndarray(frame(number / FPS, clip_of), format="bgr24")
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return target.getvalue()


@contextmanager
def served(stage: Stage) -> Iterator[Stage]:
    """The application on a free port of this machine, in a thread."""
    app = create_app(
        stage.database,
        stage.store,
        stage.cache,
        lambda: stage.catalog,
        stage.settings,
        clock=stage.clock,
        free_bytes=lambda: stage.free_bytes,
    )
    with serving(app) as url:
        stage.url = url
        try:
            yield stage
        finally:
            for client in stage.clients:
                client.close()
    stage.database.close()


PEOPLE = {
    "ana": (Role.ANALYST, "Ana"),
    "bo": (Role.ANALYST, "Bo"),
    "otto": (Role.OFFICER, "Officer Otto"),
    "olga": (Role.OFFICER, "Officer Olga"),
    "odo": (Role.OFFICER, "Officer Odo"),
    "sue": (Role.SUPERVISOR, "Sue"),
    "robot": (Role.SERVICE, "Robot"),
}


def make_records(file: Path) -> None:
    """Fresh records with one account of each kind and three officers, for tests to copy."""
    database = Database(f"sqlite:///{file}")
    database.migrate()
    with database.transaction() as connection:
        for name, (role, display_name) in PEOPLE.items():
            account = an_account(name, role, display_name=display_name)
            accounts.add_account(connection, account, PASSWORD)
        connection.exec_driver_sql("SELECT 1")
    database.close()


def make_stage(
    folder: Path, store: EvidenceStore, records: Path | None = None, **settings: Any
) -> Stage:
    """The parts over records in ``folder`` (a copy of ``records``) and a store that tests share."""
    file = folder / "records.sqlite"
    if records is not None:
        shutil.copy(records, file)
    return Stage(
        Database(f"sqlite:///{file}"),
        store,
        VerifiedCache(store, folder / "cache", 2**28),
        catalog(),
        Settings(home=folder, **settings),
        Clock(),
    )
