"""The review application, put together."""

from collections.abc import Callable
from datetime import datetime

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

from review import api, feeds, media, missions, pages, problems
from review.desk import Desk
from review.documents import Documents
from review.hardening import Hardening
from settings.catalog import Catalog
from settings.environment import Settings
from storage.evidence_store import EvidenceStore
from storage.records import casebook
from storage.records.database import Database
from storage.verified_cache import VerifiedCache


def create_app(
    database: Database,
    store: EvidenceStore,
    cache: VerifiedCache,
    catalogs: Callable[[], Catalog],
    settings: Settings,
    *,
    clock: Callable[[], datetime],
    free_bytes: Callable[[], int | None] = lambda: None,
) -> FastAPI:
    """The application over these parts.

    ``catalogs`` gives the catalog as it stands, ``clock`` aware UTC moments, ``free_bytes`` what is
    left on the store's disk, or None where nobody can tell.
    """
    app = FastAPI(
        title="Sightline review",
        version="1",
        description="Machine findings are unproven leads; people decide.",
        openapi_url="/api/v1/openapi.json",
        # The interactive pages load their scripts from a content delivery network.
        docs_url=None,
        redoc_url=None,
    )
    app.state.desk = Desk(database, store, cache, catalogs, settings, clock)
    app.state.documents = Documents()
    app.include_router(pages.router())
    app.include_router(api.router())
    app.include_router(media.router())
    app.include_router(missions.router())
    app.include_router(feeds.router(free_bytes))
    app.mount(f"/static/{pages.static_digest()}", _KeptFiles(directory=pages.STATIC))
    problems.install(app, pages.error_page)
    app.add_middleware(Hardening, settings=settings)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> Response:
        """Whether the records answer; 503 through StoreUnavailable if they don't."""
        with database.transaction() as connection:
            casebook.denials(connection, limit=1)
        return JSONResponse({"status": "ok"})

    return app


class _KeptFiles(StaticFiles):
    """Static files whose address changes with their content: browsers may keep them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response
