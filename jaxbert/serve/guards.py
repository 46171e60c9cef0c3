"""What stands before the app: who may ask, how large a request is, how long it may take to come."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_COOKIE = "jaxbert_token"
_OPEN = "/health"  # for load balancers, which have no token
# Scripts and styles of this server alone, so that no text that is shown can become one.
_SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Limits(NamedTuple):
    """What is refused.

    Attributes:
        body_bytes: the largest body.
        seconds: in which a body has to come, and then again its answer.
        token: what a request has to show; None where everybody on this machine may ask.
        host: that the server was bound to.
    """

    body_bytes: int
    seconds: float
    token: str | None
    host: str


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def fault(status: int, error: str) -> JSONResponse:
    """A refusal in a sentence."""
    headers = {}
    if status in (408, 413):  # the rest of the body is not read
        headers["connection"] = "close"
    if status == 503:
        headers["retry-after"] = "1"
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"error": error}, status, headers)


class Guard:
    """An ASGI app around another one: the first that is wrong is answered here.

    400 and 421: no or a wrong Host, so that no page of another site reaches this machine's server
    by a name of its own (DNS rebinding). 401: without the token. 413: too large. 408: too slow.
    415: a body that is not called JSON, which a form of another site could send.
    """

    def __init__(self, app: ASGIApp, limits: Limits, count: Callable[[str, int], None]) -> None:
        """Args: count is called with the path and the status of each answer."""
        self._app, self._limits, self._count = app, limits, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY.items():
                    headers.setdefault(name, value)
                self._count(scope["path"], message["status"])
            await send(message)

        refused = self._refused(scope)
        if refused is None and scope["method"] == "POST":
            body = await self._body(Headers(scope=scope), receive)
            if isinstance(body, bytes):
                receive = _once(body, receive)
            else:
                refused = body
        await (refused or self._app)(scope, receive, send_with_headers)

    def _refused(self, scope: Scope) -> Response | None:
        headers, token = Headers(scope=scope), self._limits.token
        if token is None:
            name = _host_name(headers.get("host", ""))
            if name not in ("localhost", "127.0.0.1", "::1", self._limits.host):
                return fault(421, "this server answers only by the name localhost or its address")
            return None
        if scope["path"] == _OPEN:
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if given and scope["method"] == "GET" and _same(given, token):
            # The token leaves the address bar, the history and what is sent to other sites.
            answer = RedirectResponse(scope["path"], 303)
            answer.set_cookie(_COOKIE, token, httponly=True, samesite="strict")
            return answer
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        cookie = cookie_parser(headers.get("cookie", "")).get(_COOKIE, "")
        if (kind.lower() == "bearer" and _same(bearer.strip(), token)) or _same(cookie, token):
            return None
        return fault(
            401,
            "give the token that the server printed: in a browser open its address with "
            "?token=..., elsewhere send the header Authorization: Bearer ...",
        )

    async def _body(self, headers: Headers, receive: Receive) -> bytes | Response:
        limits = self._limits
        most = f"a request may have {limits.body_bytes:,} bytes; send a shorter text"
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return fault(415, "send JSON, with the header Content-Type: application/json")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > limits.body_bytes:
            return fault(413, most)
        body = bytearray()
        try:
            async with asyncio.timeout(limits.seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return fault(400, "the connection was closed before the end of the request")
                    body += message.get("body", b"")
                    if len(body) > limits.body_bytes:
                        return fault(413, most)
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            return fault(408, f"the request did not come within {limits.seconds:g} seconds")


def _once(body: bytes, receive: Receive) -> Receive:
    """The body in one message, and then what else comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message


def _same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode(), token.encode())


def _host_name(host: str) -> str:
    """The name of a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
