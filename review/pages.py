"""The HTML for people: sign-in, queue, case, supervision. Rendered here, without a build step."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel

from enforcement.errors import NotPermitted, SightlineError
from enforcement.evidence import EvidenceItem, EvidenceKind, Manifest
from enforcement.people import Role
from enforcement.rules import Wording
from review import api, labels, language, sign_in
from review.desk import Desk
from review.dossier import SCORED, Reader
from review.labels import N_
from review.reading import Reading
from review.shown import Summary
from review.sign_in import Acting, AtDesk, FormFields, SignedIn, Visit
from storage.records import accounts, casebook, oversight

ROOM = Path(__file__).parent
STATIC = ROOM / "static"

DONE = {
    "claimed": N_("Claimed. Nobody else can triage this lead for 15 minutes."),
    "released": N_("The lead is back in the queue."),
    "triaged": N_("Your triage is recorded."),
    "judged": N_("Your verdict is recorded."),
    "recused": N_("You are recused from that case."),
    "revised": N_("The facts are revised; earlier confirmations no longer count."),
    "recalled": N_("The case is recalled; every recipient will be told."),
}

_SHOWN_ROWS = 200


@dataclass(frozen=True)
class Neighbours:
    """The cases before and after one in the viewer's own queue, and its place there."""

    previous: str | None
    next: str | None
    place: int | None
    total: int


@dataclass(frozen=True)
class Exhibits:
    """What of a package is looked at."""

    clip: EvidenceItem | None
    """None where there is nothing to play, as with readings that no camera saw."""
    ground: tuple[EvidenceItem, ...]
    """The same piece of ground before and after, of what two flights show otherwise."""
    traces: tuple[EvidenceItem, ...]
    """Pictures of readings over time."""
    frames: tuple[EvidenceItem, ...]
    """Pictures out of the footage."""


def exhibits(manifest: Manifest) -> Exhibits:
    """What of a package is looked at, each in the order of the manifest."""
    readings = {item.item_id for item in manifest.of_kind(EvidenceKind.READINGS)}
    pictures = manifest.of_kind(EvidenceKind.KEY_FRAME)
    return Exhibits(
        clip=next(iter(manifest.of_kind(EvidenceKind.CLIP)), None),
        ground=tuple(one for one in pictures if _is_of_ground(one)),
        traces=tuple(one for one in pictures if one.derived_from in readings),
        frames=tuple(
            one for one in pictures if one.derived_from not in readings and not _is_of_ground(one)
        ),
    )


def visible(value: Any) -> Any:
    """Text with its invisible and direction-changing characters made visible.

    A name in metadata could otherwise reorder or hide what a reviewer reads.
    """
    if not isinstance(value, str):
        return value
    shown = value.translate(_MARKED)
    return Markup(shown) if isinstance(value, Markup) else shown  # noqa: S704  # was Markup before


_MARKED = {
    code: f"[U+{code:04X}]"
    for code in (
        *range(0x09),
        *range(0x0B, 0x20),
        *range(0x7F, 0xA0),
        0xAD,
        0x61C,
        *range(0x200B, 0x2010),
        *range(0x2028, 0x202F),
        *range(0x2060, 0x2070),
        0xFEFF,
        *range(0xE0000, 0xE0080),
    )
    if code != 0x0D
}


def moment(value: datetime) -> Markup:
    """A time element: UTC here, local time once the page's script has run."""
    utc = value.astimezone(UTC)
    iso = utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    return Markup('<time datetime="{}">{} UTC</time>').format(iso, utc.strftime("%F %T"))


def _is_of_ground(picture: EvidenceItem) -> bool:
    return picture.parameters.get("drawn") == "from_above"


def parsed(text: str) -> datetime:
    """A moment that evidence states as ISO 8601."""
    return datetime.fromisoformat(text)


def after(value: datetime, seconds: float) -> datetime:
    """The moment so many seconds later."""
    return value + timedelta(seconds=seconds)


def short(digest: str) -> str:
    """The first 12 digits of a digest, enough to tell two apart at a glance."""
    return digest[:12]


def size(count: int) -> str:
    """Bytes as people read them."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def span(seconds: float) -> str:
    """A duration as people read it: seconds, minutes, hours or days."""
    for limit, unit, width in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if abs(seconds) < limit:
            return f"{seconds / width:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


@cache
def static_digest() -> str:
    """Names the state of the static files, so that browsers may keep them for ever."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _environment(tag: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(ROOM / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    catalog = language.translations(tag)
    environment.install_gettext_translations(catalog, newstyle=True)  # type: ignore[attr-defined]

    def label(value: str, names: Mapping[str, str]) -> str:
        # The empty message id stands for the catalog's header.
        return catalog.gettext(names.get(value, value)) if value else ""

    def words(text: Wording) -> str:
        return text.zh if tag == "zh-Hans" else text.en

    def told(text: str) -> str:
        return language.retold(tag, text, labels.ALL)

    environment.filters.update(
        label=label,
        words=words,
        told=told,
        after=after,
        parsed=parsed,
        moment=moment,
        short=short,
        size=size,
        span=span,
    )
    environment.globals.update(
        labels=labels,
        things={name: catalog.gettext(text) for name, text in labels.THINGS.items()},
        lang=tag,
        languages=language.LANGUAGES,
        static=f"/static/{static_digest()}",
    )
    return environment


def render(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A page in the language of the request."""
    tag = language.choose(
        request.cookies.get(sign_in.LANGUAGE_COOKIE), request.headers.get("accept-language")
    )
    visit: Visit | None = getattr(request.state, "visit", None)
    html = (
        _environment(tag)
        .get_template(template)
        .render(
            visit=visit,
            me=visit.account if visit else None,
            here=request.url.path,
            done=DONE.get(request.query_params.get("done", "")),
            **context,
        )
    )
    return HTMLResponse(html, status)


def error_page(request: Request, status: int, title: str, detail: str) -> Response:
    """A readable page for a refusal or a fault."""
    return render(request, "error.html", status, code=status, title=title, detail=detail)


_pages = APIRouter(include_in_schema=False)


def _form(request: Request, desk: Desk, status: int = 200, problem: str = "") -> Response:
    token = sign_in.form_token(request)
    target = _local(request.query_params.get("next", "/"))
    page = render(request, "login.html", status, token=token, target=target, problem=problem)
    sign_in.set_form_token(page, desk.settings, token)
    return page


@_pages.get("/login")
def login_page(request: Request, desk: AtDesk) -> Response:
    return _form(request, desk)


@_pages.post("/login")
def login(request: Request, desk: AtDesk, fields: FormFields) -> Response:
    sign_in.require_form_token(request, fields)
    name, password = fields.get("username", ""), fields.get("password", "")
    old = request.cookies.get(sign_in.session_cookie(desk.settings))
    try:
        token = sign_in.sign_in(desk, name[:200], password[:1000], sign_in.address_of(request), old)
    except NotPermitted as refusal:
        return _form(request, desk, 429, str(refusal))
    if token is None:
        return _form(request, desk, 401, N_("User name or password is wrong."))
    page = RedirectResponse(_local(fields.get("next", "/")), 303)
    sign_in.set_session(page, desk.settings, token)
    return page


@_pages.post("/logout")
def logout(desk: AtDesk, visit: Acting) -> Response:
    sign_in.sign_out(desk, visit.token)
    page = RedirectResponse("/login", 303)
    sign_in.drop_session(page, desk.settings)
    page.headers["clear-site-data"] = '"cache"'
    return page


@_pages.get("/language/{tag}")
def choose_language(tag: str, request: Request, desk: AtDesk) -> Response:
    page = RedirectResponse(_local(request.query_params.get("next", "/")), 303)
    if tag in language.LANGUAGES:
        sign_in.set_language(page, desk.settings, tag)
    return page


@_pages.get("/")
def queue(request: Request, reader: Reading) -> Response:
    state = request.query_params.get("state", "")
    state = state if state in reader.states else ""
    rule = request.query_params.get("rule", "")
    todo = reader.todo()
    found = reader.in_state(state) if state else todo
    rows = [one for one in found if not rule or one.rule_id == rule]
    return render(
        request,
        "queue.html",
        rows=rows[:_SHOWN_ROWS],
        hidden=max(0, len(rows) - _SHOWN_ROWS),
        todo_count=len(todo),
        state=state,
        rule=rule,
        states=reader.states,
        counts=_counts(reader),
        rules=_rules(found),
        now=reader.desk.clock(),
    )


@_pages.get("/leads/{lead_id}")
def case(lead_id: str, request: Request, reader: Reading) -> Response:
    dossier = reader.dossier(lead_id)
    near = _neighbours(reader.todo(), lead_id)
    following = _clip_of(reader, near.next)
    return render(
        request,
        "case.html",
        case=dossier,
        own=exhibits(dossier.manifest),
        further=[(one, exhibits(one.manifest)) for one in dossier.further],
        scored=SCORED,
        near=near,
        following=following,
        now=reader.desk.clock(),
    )


@_pages.get("/supervision")
def supervision(request: Request, desk: AtDesk, visit: SignedIn) -> Response:
    with desk.refusals_logged(visit.account, "view", None):
        visit.account.require(Role.SUPERVISOR)
    with desk.database.transaction() as connection:
        people = {one.account_id: one for one in accounts.all_accounts(connection)}
        deliveries = oversight.deliveries(connection)
        denials = casebook.denials(connection)
    return render(
        request, "supervision.html", denials=denials, deliveries=deliveries, people=people
    )


def _act_pages() -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    def act(name: str, body: type[BaseModel], done: str, stays: bool) -> None:
        """One form: its fields are checked like the API's body, then the same act is called."""

        @routes.post(f"/leads/{{lead_id}}/{name}", name=f"page_{name}")
        def perform(lead_id: str, by: Reading, visit: Acting, fields: FormFields) -> Response:
            given = body.model_validate(_body(name, fields))
            after = _next_for(by, lead_id)
            _ACTS[name](by.desk, visit, lead_id, given)
            target = f"/leads/{lead_id}" if stays else after
            return RedirectResponse(f"{target}?done={done}", 303)

    act("claim", api.AtVersion, "claimed", stays=True)
    act("release", api.AtVersion, "released", stays=False)
    act("triage", api.TriageBody, "triaged", stays=False)
    act("confirm", api.ConfirmBody, "judged", stays=False)
    act("recuse", api.RecuseBody, "recused", stays=False)
    act("facts", api.FactsBody, "revised", stays=True)
    act("recall", api.RecallBody, "recalled", stays=True)
    return routes


_ACTS: dict[str, Callable[[Desk, Visit, str, Any], object]] = {
    "claim": lambda desk, visit, lead, b: desk.claim(visit.account, lead, b.version),
    "release": lambda desk, visit, lead, b: desk.release(visit.account, lead, b.version),
    "triage": lambda desk, visit, lead, b: desk.triage(
        visit.account, lead, b.version, b.verdict, b.reason, b.note
    ),
    "confirm": lambda desk, visit, lead, b: desk.judge(visit.account, lead, b.as_verdict()),
    "recuse": lambda desk, visit, lead, b: desk.recuse(visit.account, lead, b.reason),
    "facts": lambda desk, visit, lead, b: desk.revise_facts(
        visit.account, lead, b.version, b.as_change()
    ),
    "recall": lambda desk, visit, lead, b: desk.recall(visit.account, lead, b.version, b.reason),
}


def _body(name: str, fields: dict[str, str]) -> dict[str, Any]:
    """A form's fields in the shape of the API's body."""
    body: dict[str, Any] = {key: value for key, value in fields.items() if key != "csrf"}
    if name == "confirm":
        body["attestations"] = {
            kind: body.pop(f"attest_{kind}", "no") == "yes" for kind in labels.ATTESTATIONS
        }
        if not body.get("reason"):
            body.pop("reason", None)
    return body


def _next_for(reader: Reader, lead_id: str) -> str:
    """Where to go after an act that ends with this lead: the next one, else the queue."""
    todo = reader.todo()
    near = _neighbours(todo, lead_id)
    other = near.next or next((one.lead_id for one in todo if one.lead_id != lead_id), None)
    return f"/leads/{other}" if other else "/"


def _neighbours(todo: list[Summary], lead_id: str) -> Neighbours:
    ids = [one.lead_id for one in todo]
    if lead_id not in ids:
        return Neighbours(None, ids[0] if ids else None, None, len(ids))
    place = ids.index(lead_id)
    return Neighbours(
        ids[place - 1] if place else None,
        ids[place + 1] if place + 1 < len(ids) else None,
        place + 1,
        len(ids),
    )


def _clip_of(reader: Reader, lead_id: str | None) -> str | None:
    """Where the next lead's clip lies, if it has one, so that the browser can fetch it ahead."""
    if lead_id is None:
        return None
    try:
        clips = reader.manifest(lead_id).of_kind(EvidenceKind.CLIP)
    except SightlineError:
        # Whatever is wrong with the next case is told when it is opened.
        return None
    return f"/leads/{lead_id}/evidence/{clips[0].item_id}" if clips else None


def _counts(reader: Reader) -> dict[str, int]:
    """How many cases there are by the names of states that this person sees."""
    counts: dict[str, int] = {}
    with reader.desk.database.transaction() as connection:
        for state, number in oversight.counts_by_state(connection).items():
            if state in reader.open_states:
                counts[reader.shown(state)] = counts.get(reader.shown(state), 0) + number
    return counts


def _rules(rows: list[Summary]) -> dict[str, Wording]:
    """Rules to filter by: those of the rows at hand."""
    return {one.rule_id: one.rule_title for one in rows}


def _local(target: str) -> str:
    """A path of this application, or the queue for anything that leads elsewhere."""
    parts = urlsplit(target)
    good = target.startswith("/") and not target.startswith(("//", "/\\"))
    if not good or parts.scheme or parts.netloc or "\\" in target or not target.isprintable():
        return "/"
    return target


def router() -> APIRouter:
    """All pages."""
    routes = APIRouter()
    routes.include_router(_pages)
    routes.include_router(_act_pages())
    return routes
