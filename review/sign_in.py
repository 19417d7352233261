"""Who sends a request: signing in and out, sessions, and proof that a form is ours.

Browsers carry the session in a cookie and prove each change with the session's CSRF token
(form field ``csrf`` or header ``X-CSRF-Token``). Programs send the same token as
``Authorization: Bearer``; no browser does that by itself, so it needs no further proof.
"""

import hmac
import secrets
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from enforcement.errors import NotPermitted
from enforcement.people import Account, username_key
from review.desk import Desk
from settings.environment import Settings
from storage.records import accounts
from storage.records.database import serialise

LANGUAGE_COOKIE = "sightline_language"
_FORM_COOKIE = "sightline_form"
_MAX_FIELDS = 40


@dataclass(frozen=True)
class Visit:
    """A signed-in request: who, the session's secret, and how it was carried."""

    account: Account
    csrf_token: str
    token: str
    by_cookie: bool


def desk_of(request: Request) -> Desk:
    """The desk of this application."""
    desk: Desk = request.app.state.desk
    return desk


AtDesk = Annotated[Desk, Depends(desk_of)]


def session_cookie(settings: Settings) -> str:
    """The cookie's name; over HTTPS the ``__Host-`` prefix ties it to this very host."""
    return "__Host-sightline_session" if settings.secure_cookies else "sightline_session"


def sign_in(desk: Desk, username: str, password: str, address: str, old: str | None) -> str | None:
    """A new session's token, or None if name and password do not fit. Ends the ``old`` session.

    Raises NotPermitted after too many failures. Tries for one name follow each other, so that
    many at once don't slip under the limit.
    """
    now = desk.clock()
    with desk.database.transaction() as connection:
        serialise(connection, "sign-in", username_key(username))
        accounts.require_not_throttled(connection, username, address, now)
        account = accounts.check_password(connection, username, password)
        accounts.note_attempt(connection, username, address, account is not None, now)
        if account is None:
            return None
        if old is not None:
            accounts.close_session(connection, old)
        return accounts.open_session(connection, account, now)


def sign_out(desk: Desk, token: str) -> None:
    """End a session."""
    with desk.database.transaction() as connection:
        accounts.close_session(connection, token)


async def find_visit(request: Request) -> Visit | None:
    """Who is signed in, if anybody; remembered for the error pages."""
    desk = desk_of(request)
    bearer = _bearer(request)
    token = bearer or request.cookies.get(session_cookie(desk.settings))
    if not token:
        return None
    session = await run_in_threadpool(_session, desk, token)
    if session is None:
        return None
    visit = Visit(session.account, session.csrf_token, token, by_cookie=bearer is None)
    request.state.visit = visit
    return visit


async def signed_in(request: Request) -> Visit:
    """Whoever sends this request; 401 if nobody is signed in."""
    visit = await find_visit(request)
    if visit is None:
        raise HTTPException(401, "sign in first")
    return visit


async def acting(request: Request, visit: Annotated[Visit, Depends(signed_in)]) -> Visit:
    """Whoever changes something by this request. Raises NotPermitted for a forged one."""
    if visit.by_cookie:
        given = request.headers.get("x-csrf-token") or (await form_fields(request)).get("csrf", "")
        if not _same(given, visit.csrf_token) or not same_origin(request):
            desk = desk_of(request)
            reason = "this form does not come from your session: reload the page"
            await run_in_threadpool(
                desk.log_denial, visit.account.account_id, "forged request", None, reason
            )
            raise NotPermitted(reason)
    return visit


SignedIn = Annotated[Visit, Depends(signed_in)]
Acting = Annotated[Visit, Depends(acting)]


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a URL-encoded form; empty for any other body.

    Raises HTTPException 400 for a field that comes twice, bytes that are not UTF-8, or too many.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return {}
    try:
        pairs = parse_qsl(
            (await request.body()).decode("ascii"),
            keep_blank_values=True,
            max_num_fields=_MAX_FIELDS,
            errors="strict",
        )
    except ValueError as error:
        raise HTTPException(400, "the form cannot be read") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise HTTPException(400, "the form has a field twice")
    return fields


FormFields = Annotated[dict[str, str], Depends(form_fields)]


def form_token(request: Request) -> str:
    """The token that ties the sign-in form to this browser before there is a session."""
    return request.cookies.get(_FORM_COOKIE) or secrets.token_urlsafe(24)


def require_form_token(request: Request, fields: dict[str, str]) -> None:
    """Raise NotPermitted unless the sign-in form was given to this browser."""
    expected = request.cookies.get(_FORM_COOKIE, "")
    if not expected or not _same(fields.get("csrf", ""), expected) or not same_origin(request):
        raise NotPermitted("this form does not come from your session: reload the page")


def set_form_token(response: Response, settings: Settings, token: str) -> None:
    """Hand out the token of the sign-in form."""
    _set_cookie(response, settings, _FORM_COOKIE, token, "strict")


def set_session(response: Response, settings: Settings, token: str) -> None:
    """Hand the session's token to the browser."""
    _set_cookie(response, settings, session_cookie(settings), token, "lax")


def drop_session(response: Response, settings: Settings) -> None:
    """Make the browser forget the session."""
    response.delete_cookie(
        session_cookie(settings), httponly=True, samesite="lax", secure=settings.secure_cookies
    )


def set_language(response: Response, settings: Settings, tag: str) -> None:
    """Remember the language for a year."""
    response.set_cookie(
        LANGUAGE_COOKIE,
        tag,
        max_age=365 * 86400,
        httponly=True,
        samesite="lax",
        secure=settings.secure_cookies,
    )


def same_origin(request: Request) -> bool:
    """Whether the browser says that the request comes from our own page, if it says anything."""
    origin = request.headers.get("origin")
    ours = {request.headers.get("host"), urlsplit(desk_of(request).settings.review_link).netloc}
    return origin is None or urlsplit(origin).netloc in ours


def address_of(request: Request) -> str:
    """The network address that a request came from."""
    return request.client.host if request.client else "unknown"


def _session(desk: Desk, token: str) -> accounts.Session | None:
    with desk.database.transaction() as connection:
        return accounts.find_session(connection, token, desk.clock())


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _set_cookie(
    response: Response, settings: Settings, name: str, value: str, same_site: str
) -> None:
    response.set_cookie(
        name,
        value,
        httponly=True,
        samesite="strict" if same_site == "strict" else "lax",
        secure=settings.secure_cookies,
        path="/",
    )
