"""The REST interface, version 1: the same acts and the same sight as the pages.

Programs sign in with POST /api/v1/session and send the token as ``Authorization: Bearer``.
"""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from enforcement.cases import Attestations, ConfirmVerdict
from enforcement.lifecycle import TriageReason, TriageVerdict
from enforcement.model import Sha256, Utc
from enforcement.people import Role
from review import sign_in
from review.desk import FactsChange, RejectReason, Verdict
from review.reading import Reading
from review.shown import Dossier, Overlay, Summary
from review.sign_in import Acting, AtDesk, SignedIn
from storage.records import casebook

LeadId = Annotated[str, Path(max_length=200)]


def _without_controls(text: str) -> str:
    if any(ord(char) < 32 and char not in "\n\t" for char in text):
        raise ValueError("must not hold control characters")
    return text


class Body(BaseModel):
    """What a request may carry; anything else in it is refused and logged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*")
    @classmethod
    def _plain_text(cls, value: object) -> object:
        return _without_controls(value) if isinstance(value, str) else value


Note = Annotated[str, StringConstraints(max_length=2000)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=1000, strip_whitespace=True)]
Version = Annotated[int, Field(ge=1, le=2**31)]


class Credentials(Body):
    username: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    password: Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class AtVersion(Body):
    version: Version


class TriageBody(AtVersion):
    verdict: TriageVerdict
    reason: TriageReason
    note: Note = ""


class ConfirmBody(Body):
    """``evidence_digest`` is the one that was shown; an absent attestation is not given."""

    evidence_digest: Sha256
    verdict: ConfirmVerdict
    reason: RejectReason | None = None
    note: Note = ""
    attestations: Attestations = Attestations(
        true=False, clear=False, complete=False, accurate=False
    )

    def as_verdict(self) -> Verdict:
        return Verdict(
            self.evidence_digest, self.verdict, self.reason, self.note, self.attestations
        )


class RecuseBody(Body):
    reason: Reason


class FactsBody(AtVersion):
    matter: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    party: Note = ""
    place_text: Note = ""

    def as_change(self) -> FactsChange:
        return FactsChange(self.matter, self.party, self.place_text)


class RecallBody(AtVersion):
    reason: Reason


class Opened(BaseModel):
    token: str


class Me(BaseModel):
    username: str
    display_name: str
    role: Role
    csrf_token: str


class Denial(BaseModel):
    denial_id: str
    at: Utc
    actor: str
    action: str
    lead_id: str | None
    reason: str


_sessions = APIRouter(tags=["session"])


@_sessions.post("/session", status_code=201)
def open_session(body: Credentials, request: Request, desk: AtDesk) -> Opened:
    """Sign in; the token goes into ``Authorization: Bearer``."""
    address = sign_in.address_of(request)
    token = sign_in.sign_in(desk, body.username, body.password, address, None)
    if token is None:
        raise HTTPException(401, "user name or password is wrong")
    return Opened(token=token)


@_sessions.delete("/session", status_code=204)
def close_session(desk: AtDesk, visit: Acting) -> Response:
    """Sign out."""
    sign_in.sign_out(desk, visit.token)
    return Response(status_code=204)


@_sessions.get("/me")
def me(visit: SignedIn) -> Me:
    """Whom the session belongs to."""
    account = visit.account
    return Me(
        username=account.username,
        display_name=account.display_name,
        role=account.role,
        csrf_token=visit.csrf_token,
    )


_reading = APIRouter(tags=["cases"])


@_reading.get("/leads", response_model_exclude_none=True)
def list_leads(
    by: Reading,
    state: Annotated[str | None, Query(max_length=40)] = None,
    rule: Annotated[str | None, Query(max_length=64)] = None,
) -> list[Summary]:
    """What waits for you, or all cases in one state, oldest alarm first."""
    found = by.in_state(state) if state else by.todo()
    return [one for one in found if rule is None or one.rule_id == rule]


@_reading.get("/leads/{lead_id}", response_model_exclude_none=True)
def get_lead(lead_id: LeadId, by: Reading) -> Dossier:
    """All that you may see of one case."""
    return by.dossier(lead_id)


@_reading.get("/leads/{lead_id}/overlay")
def get_overlay(lead_id: LeadId, by: Reading, package: int = 1) -> Overlay:
    """Boxes and zones to draw over the clip of a package: 2 for ``2.clip``, 1 is the case's own."""
    return by.overlay(lead_id, package)


@_reading.get("/denials")
def list_denials(desk: AtDesk, visit: SignedIn) -> list[Denial]:
    """Refused acts, newest first; for supervisors."""
    with desk.refusals_logged(visit.account, "view", None):
        visit.account.require(Role.SUPERVISOR)
    with desk.database.transaction() as connection:
        return [Denial(**row) for row in casebook.denials(connection)]


_acts = APIRouter(tags=["acts"])


@_acts.post("/leads/{lead_id}/claim", response_model_exclude_none=True)
def claim(lead_id: LeadId, body: AtVersion, by: Reading, visit: Acting) -> Dossier:
    """Take a lead for triage for 15 minutes."""
    by.desk.claim(visit.account, lead_id, body.version)
    return by.dossier(lead_id)


@_acts.post("/leads/{lead_id}/release", response_model_exclude_none=True)
def release(lead_id: LeadId, body: AtVersion, by: Reading, visit: Acting) -> Dossier:
    """Give a claimed lead back."""
    by.desk.release(visit.account, lead_id, body.version)
    return by.dossier(lead_id)


@_acts.post("/leads/{lead_id}/triage", response_model_exclude_none=True)
def triage(lead_id: LeadId, body: TriageBody, by: Reading, visit: Acting) -> Dossier:
    """An analyst's verdict."""
    by.desk.triage(visit.account, lead_id, body.version, body.verdict, body.reason, body.note)
    return by.dossier(lead_id)


@_acts.post("/leads/{lead_id}/confirm", response_model_exclude_none=True)
def confirm(lead_id: LeadId, body: ConfirmBody, by: Reading, visit: Acting) -> Dossier:
    """An officer's verdict, yes or no, over exactly the evidence that was shown."""
    by.desk.judge(visit.account, lead_id, body.as_verdict())
    return by.dossier(lead_id)


@_acts.post("/leads/{lead_id}/recuse", response_model_exclude_none=True)
def recuse(lead_id: LeadId, body: RecuseBody, by: Reading, visit: Acting) -> Dossier:
    """Declare a conflict of interest."""
    by.desk.recuse(visit.account, lead_id, body.reason)
    return by.dossier(lead_id)


@_acts.post("/leads/{lead_id}/facts", response_model_exclude_none=True)
def revise(lead_id: LeadId, body: FactsBody, by: Reading, visit: Acting) -> Dossier:
    """Correct matter, party or place; voids the confirmations given so far."""
    by.desk.revise_facts(visit.account, lead_id, body.version, body.as_change())
    return by.dossier(lead_id)


@_acts.post("/leads/{lead_id}/recall", response_model_exclude_none=True)
def recall(lead_id: LeadId, body: RecallBody, by: Reading, visit: Acting) -> Dossier:
    """Call a case back."""
    by.desk.recall(visit.account, lead_id, body.version, body.reason)
    return by.dossier(lead_id)


def router() -> APIRouter:
    """All of /api/v1 but evidence bytes, which ``media`` serves."""
    routes = APIRouter(prefix="/api/v1")
    routes.include_router(_sessions)
    routes.include_router(_reading)
    routes.include_router(_acts)
    return routes
