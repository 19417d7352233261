"""What holds for every request: size limit and security headers (pure ASGI)."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from settings.environment import Settings

MAX_BODY_BYTES = 64 * 1024
"""Forms and JSON of this application stay far below."""

_TOO_LARGE = (
    b'{"type":"urn:sightline:problem:too-large","title":"The request is too large","status":413}'
)


def headers(settings: Settings) -> dict[str, str]:
    """The headers of every answer. Airflow's navigation shows the queue in a frame."""
    port = settings.airflow_port
    frames = f"'self' http://127.0.0.1:{port} http://localhost:{port}"
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        f"frame-ancestors {frames}"
    )
    always = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
    }
    if settings.secure_cookies:
        always["strict-transport-security"] = "max-age=31536000"
    return always


class Hardening:
    """Refuses bodies that are too large and adds the security headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._headers = headers(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    added.setdefault(name, value)
                added.setdefault("cache-control", "no-store")
            await send(message)

        body = await _read_body(receive)
        if body is None:
            await _refuse(send_hardened)
            return
        await self._app(scope, _replay(body, receive), send_hardened)


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, or None as soon as it exceeds the limit, whatever its headers say."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return body
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand the body out once; afterwards only the client's leaving can be heard."""
    handed_out = False

    async def replay() -> Message:
        nonlocal handed_out
        if not handed_out:
            handed_out = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay


async def _refuse(send: Send) -> None:
    kind = [(b"content-type", b"application/problem+json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": kind})
    await send({"type": "http.response.body", "body": _TOO_LARGE})
