"""ASGI middleware: asks for quota before a request, meters it after."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from datetime import datetime, timezone
from typing import Any, Awaitable, Callable, List, MutableMapping, Optional, Tuple

from .client import Client, CounterfoilError
from .types import Event, QuotaVerdict
from .writer import Full, Writer, WriterClosed

_log = logging.getLogger("counterfoil")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = List[Tuple[bytes, bytes]]


def _route(scope: Scope) -> str:
    """The template of the path where the framework leaves it, the path otherwise."""
    route = scope.get("route")
    return str(getattr(route, "path", None) or scope.get("path", ""))


class MeterMiddleware:
    """Writes a usage event for each request of a customer, and answers 402 over quota.

    ``customer(scope)`` finds whose request it is; ``None`` is passed on as it is. With a ``client``
    and a ``meter`` the quota is asked first, for ``within`` seconds at most; while the service is
    away requests go on (``fail_open``) or are answered with 503.
    """

    def __init__(
        self,
        app: App,
        *,
        writer: Writer,
        customer: Callable[[Scope], Optional[str]],
        endpoint: Callable[[Scope], str] = _route,
        event_type: str = "api.request",
        source: str = "api",
        client: Optional[Client] = None,
        meter: Optional[str] = None,
        within: float = 0.25,
        fail_open: bool = True,
        denied_status: int = 402,
    ) -> None:
        if (client is None) != (meter is None):
            raise ValueError("a quota needs both client and meter")
        self.app, self.writer, self.customer, self.endpoint = app, writer, customer, endpoint
        self.event_type, self.source, self.client, self.meter = event_type, source, client, meter
        self.within, self.fail_open, self.denied_status = within, fail_open, denied_status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        customer = self.customer(scope) if scope["type"] == "http" else None
        if customer is None:
            await self.app(scope, receive, send)
            return
        extra: Headers = []
        if self.client is not None:
            verdict, away = await self._ask(customer)
            if away and not self.fail_open:
                detail = "the quota cannot be checked at the moment; try again"
                await _problem(send, 503, "unavailable", detail, [(b"retry-after", b"1")])
                return
            if verdict is not None:
                extra = _headers(verdict)
                if not verdict["allowed"]:
                    detail = f"the quota of {self.meter} is used up"
                    upgrade = verdict.get("upgrade")
                    await _problem(
                        send, self.denied_status, "over_quota", detail, extra, upgrade
                    )
                    return
        at, started, status = datetime.now(timezone.utc), time.monotonic(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            latency = int((time.monotonic() - started) * 1000)
            event: Event = {
                "customer": customer,
                "type": self.event_type,
                "source": self.source,
                "time": at.isoformat(),
                "properties": {
                    "endpoint": self.endpoint(scope),
                    "method": scope["method"],
                    "status": status,
                    "latency_ms": latency,
                },
            }
            try:
                await asyncio.to_thread(self.writer.send, event, timeout=0)
            except (Full, WriterClosed) as error:
                _log.error("a request was answered and not metered: %s", error)

    async def _ask(self, customer: str) -> Tuple[Optional[QuotaVerdict], bool]:
        assert self.client is not None and self.meter is not None
        asked = asyncio.to_thread(self.client.check_quota, customer, self.meter)
        try:
            return await asyncio.wait_for(asked, self.within), False
        except (CounterfoilError, asyncio.TimeoutError) as error:
            _log.warning("the quota could not be checked: %r", error)
            return None, True


def _headers(verdict: QuotaVerdict) -> Headers:
    headers: Headers = []
    if "hard" in verdict:
        headers.append((b"x-quota-limit", verdict["hard"].encode()))
    if "remaining" in verdict:
        headers.append((b"x-quota-remaining", verdict["remaining"].encode()))
    if "resets_at" in verdict:
        at = datetime.fromisoformat(verdict["resets_at"].replace("Z", "+00:00"))
        seconds = (at - datetime.now(timezone.utc)).total_seconds()
        headers.append((b"x-quota-reset", str(max(0, math.ceil(seconds))).encode()))
    return headers


async def _problem(
    send: Send,
    status: int,
    code: str,
    detail: str,
    headers: Headers,
    upgrade: Optional[str] = None,
) -> None:
    kind = f"urn:counterfoil:problem:{code}"
    body = {"type": kind, "title": detail, "status": status, "code": code, "detail": detail}
    if upgrade:
        body["upgrade"] = upgrade
    content_type = (b"content-type", b"application/problem+json")
    start = {"type": "http.response.start", "status": status, "headers": [content_type, *headers]}
    await send(start)
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
