"""Evidence bytes: only through a case, logged before they flow, in ranges for the player."""

import re
from collections import OrderedDict
from threading import Lock

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from enforcement.evidence import EvidenceKind
from enforcement.footage import StoredObject
from review.desk import Desk
from review.reading import Reading
from review.sign_in import SignedIn, Visit
from storage.records import casebook

CACHE_CONTROL = "private, max-age=900"
"""Long enough for going back and forth between leads, for this browser only."""

_SHOWN_INLINE = frozenset({"video/mp4", "image/jpeg", "image/png", "application/json"})
"""Anything else is handed out as a download of unknown kind, whatever its metadata claim."""

_REMEMBERED = 10_000


class Views:
    """Which pieces of evidence a session was shown already, so that each is logged once.

    A player asks for one clip many times, in ranges. Thread-safe; forgetting only logs again.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str, str, str], None] = OrderedDict()
        self._guard = Lock()

    def note(
        self, desk: Desk, visit: Visit, lead_id: str, item_id: str, stored: StoredObject
    ) -> None:
        """Log the first view in this session. Nothing may be shown if this raises."""
        key = (visit.token, lead_id, item_id, stored.sha256)
        with self._guard:
            if key in self._seen:
                return
        with desk.database.transaction() as connection:
            casebook.note_view(
                connection, lead_id, item_id, stored, visit.account.account_id, desk.clock()
            )
        with self._guard:
            self._seen[key] = None
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)


def router() -> APIRouter:
    """Evidence for pages and API: ``…/leads/{lead_id}/evidence/{item_id}``, and thumbnails.

    An item of a package that joined the case has the package's number before it: ``2.clip``.
    """
    routes = APIRouter()
    views = Views()

    def evidence(
        lead_id: str, item_id: str, request: Request, by: Reading, visit: SignedIn
    ) -> Response:
        item = by.item(lead_id, item_id)
        views.note(by.desk, visit, lead_id, item_id, item.object)
        return serve(by.desk, item.object, request)

    def thumbnail(lead_id: str, request: Request, by: Reading, visit: SignedIn) -> Response:
        manifest = by.manifest(lead_id)
        frames = manifest.of_kind(EvidenceKind.KEY_FRAME)
        frame = frames[len(frames) // 2]
        views.note(by.desk, visit, lead_id, frame.item_id, frame.object)
        return serve(by.desk, frame.object, request)

    for path in ("/leads", "/api/v1/leads"):
        for method in ("GET", "HEAD"):
            routes.add_api_route(
                f"{path}/{{lead_id}}/evidence/{{item_id}}",
                evidence,
                methods=[method],
                tags=["cases"],
                response_class=StreamingResponse,
                include_in_schema=path.startswith("/api") and method == "GET",
            )
    routes.add_api_route(
        "/leads/{lead_id}/thumbnail", thumbnail, methods=["GET"], include_in_schema=False
    )
    return routes


def serve(desk: Desk, stored: StoredObject, request: Request) -> Response:
    """The object's verified bytes, whole or one range (RFC 9110, 14)."""
    tag = f'"{stored.sha256}"'
    inline = stored.media_type in _SHOWN_INLINE
    headers = {
        "accept-ranges": "bytes",
        "cache-control": CACHE_CONTROL,
        "content-disposition": "inline" if inline else "attachment",
        "content-security-policy": "default-src 'none'; sandbox",
        "etag": tag,
        "vary": "Cookie, Authorization",
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    wanted = request.headers.get("range")
    if request.headers.get("if-range", tag) != tag:
        wanted = None
    span = _span(wanted, stored.size)
    if span is None:
        headers["content-range"] = f"bytes */{stored.size}"
        return Response(status_code=416, headers=headers)
    start, length, partial = span
    headers["content-length"] = str(length)
    if partial:
        headers["content-range"] = f"bytes {start}-{start + length - 1}/{stored.size}"
    pieces = desk.cache.open_range(stored, start, 0 if request.method == "HEAD" else length)
    return StreamingResponse(
        pieces,
        206 if partial else 200,
        headers,
        media_type=stored.media_type if inline else "application/octet-stream",
    )


def _span(header: str | None, size: int) -> tuple[int, int, bool] | None:
    """(start, length, whether partial); None: cannot be satisfied.

    A header that is not one plain byte range is ignored, as the RFC allows.
    """
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", (header or "").strip())
    if found is None or found.group(1) == found.group(2) == "":
        return 0, size, False
    first, last = found.groups()
    if first == "":
        length = min(int(last), size)
        return (size - length, length, True) if length else None
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return 0, size, False
    return (start, end - start + 1, True) if start < size else None
