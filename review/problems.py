"""How refusals and faults are told: JSON problems (RFC 9457) for the API, pages for people."""

import logging
from collections.abc import Callable
from typing import cast
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from enforcement.errors import (
    EvidenceError,
    GateRefusal,
    NotPermitted,
    SightlineError,
    StaleVersion,
    StoreUnavailable,
)
from review.desk import Desk, NotFound
from review.labels import N_
from review.sign_in import Visit

API = "/api/"

_LOG = logging.getLogger("sightline.review")

Page = Callable[[Request, int, str, str], Response]
"""Renders (request, status, title, detail) for people."""

_TITLES = {
    400: N_("The request cannot be read"),
    401: N_("Sign in first"),
    403: N_("You may not do this"),
    404: N_("There is nothing here"),
    405: N_("This address does not take this method"),
    409: N_("The case moved on"),
    413: N_("The request is too large"),
    415: N_("This kind of content is not taken"),
    416: N_("There is no such part of the file"),
    422: N_("Something in the request is not as it should be"),
    500: N_("Something is broken"),
    503: N_("The records or the evidence store do not answer"),
}

_DETAILS = {
    400: N_("Nothing was changed."),
    404: N_("The address is wrong, or the case is not one of yours."),
    500: N_("Nothing was changed by this request. Please tell whoever runs this system."),
    503: N_("Nothing was changed by this request. Try again in a moment."),
}


def install(app: FastAPI, page: Page) -> None:
    """Register the handlers of every error that a request can end with."""
    told = Problems(page)
    app.add_exception_handler(SightlineError, told.on_known)
    app.add_exception_handler(NotFound, told.on_known)
    app.add_exception_handler(HTTPException, told.on_http)
    app.add_exception_handler(RequestValidationError, told.on_invalid)
    app.add_exception_handler(ValidationError, told.on_invalid)
    app.add_exception_handler(Exception, told.on_fault)


class Problems:
    """The handlers; each gets the errors for which it is registered."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def on_known(self, request: Request, error: Exception) -> Response:
        """Errors of our own tree."""
        status, kind = _status_of(error)
        if isinstance(error, GateRefusal):
            return self._answer(request, status, kind, str(error))
        if isinstance(error, NotFound):
            return self._answer(request, status, kind, _DETAILS[status])
        # What a fault says about machines is for the log; what a refusal says is for people.
        _LOG.error("%s %s: %s", request.method, request.url.path, error)
        return self._answer(request, status, kind, _DETAILS[status])

    async def on_http(self, request: Request, error: Exception) -> Response:
        """What the framework or a dependency answers: 401, 404, 405 and the like."""
        http = cast(HTTPException, error)
        status = http.status_code
        if status == 401 and not request.url.path.startswith(API):
            return RedirectResponse(f"/login?next={quote(request.url.path)}", 303)
        detail = _DETAILS.get(status, str(http.detail))
        response = self._answer(request, status, f"http-{status}", detail)
        response.headers.update(http.headers or {})
        if status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    async def on_invalid(self, request: Request, error: Exception) -> Response:
        """Bodies, forms and parameters that do not fit."""
        problems = cast(ValidationError, error).errors()
        kinds = {problem["type"] for problem in problems}
        if "json_invalid" in kinds:
            return self._answer(request, 400, "bad-json", _DETAILS[400])
        detail = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in problems[:10]
        )
        if "extra_forbidden" in kinds:
            await _log_forbidden_fields(request, detail)
        return self._answer(request, 422, "invalid", detail)

    async def on_fault(self, request: Request, _: Exception) -> Response:
        """A bug: the server logs it with its stack, people are told only that it is one."""
        return self._answer(request, 500, "fault", _DETAILS[500])

    def _answer(self, request: Request, status: int, kind: str, detail: str) -> Response:
        title = _TITLES.get(status, _TITLES[500])
        if not request.url.path.startswith(API):
            return self._page(request, status, title, detail)
        body = {
            "type": f"urn:sightline:problem:{kind}",
            "title": title,
            "status": status,
            "detail": detail,
            "instance": request.url.path,
        }
        return JSONResponse(body, status, media_type="application/problem+json")


def _status_of(error: Exception) -> tuple[int, str]:
    known: tuple[tuple[type[Exception], int, str], ...] = (
        (NotPermitted, 403, "not-permitted"),
        (StaleVersion, 409, "stale"),
        (GateRefusal, 409, "refused"),
        (NotFound, 404, "not-found"),
        (StoreUnavailable, 503, "unavailable"),
        (EvidenceError, 500, "evidence"),
    )
    for kind, status, name in known:
        if isinstance(error, kind):
            return status, name
    return 500, "fault"


async def _log_forbidden_fields(request: Request, detail: str) -> None:
    """A request that tries to set what nobody may set is a denied act, not a typing error."""
    visit: Visit | None = getattr(request.state, "visit", None)
    desk: Desk = request.app.state.desk
    actor = visit.account.account_id if visit else "anonymous"
    lead_id = request.path_params.get("lead_id")
    await run_in_threadpool(desk.log_denial, actor, "request", lead_id, detail)
