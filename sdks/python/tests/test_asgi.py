"""The middleware around a small ASGI application."""

import asyncio
import time
import unittest
from typing import Any, Dict, List, Tuple

from counterfoil import Client, MeterMiddleware, Writer

from . import service


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b"made"})


def customer(scope: Any) -> Any:
    return dict(scope["headers"]).get(b"x-customer", b"").decode() or None


def ask(middleware: MeterMiddleware, headers: List[Tuple[bytes, bytes]]) -> Tuple[int, Dict[str, str]]:
    sent: List[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        scope = {"type": "http", "method": "POST", "path": "/items", "headers": headers}
        await middleware(scope, None, send)  # type: ignore[arg-type]

    asyncio.run(run())
    return sent[0]["status"], {n.decode(): v.decode() for n, v in sent[0]["headers"]}


class Middleware(unittest.TestCase):
    def test_requests_are_metered_and_refused_over_quota(self) -> None:
        client = service.client()
        with Writer(client, linger=0.01) as writer:
            middleware = MeterMiddleware(
                app, writer=writer, customer=customer, client=client, meter="requests", within=10
            )
            self.assertEqual(ask(middleware, [])[0], 201)
            for left in ("2", "1"):
                status, headers = ask(middleware, [(b"x-customer", b"py-asgi")])
                self.assertEqual((status, headers["a"]), (201, "b"))
                self.assertEqual(headers["x-quota-limit"], "2")
                self.assertEqual(headers["x-quota-remaining"], left)
                writer.flush()
                while client.check_quota("py-asgi", "requests")["remaining"] == left:
                    time.sleep(0.05)
            status, headers = ask(middleware, [(b"x-customer", b"py-asgi")])
            self.assertEqual((status, headers["x-quota-remaining"]), (402, "0"))
            self.assertEqual(headers["content-type"], "application/problem+json")
        page = client.request("GET", "/v1/events?customer=py-asgi")
        self.assertEqual(len(page["items"]), 2)
        properties = page["items"][0]["properties"]
        self.assertEqual(
            (properties["endpoint"], properties["method"], properties["status"]),
            ("/items", "POST", 201),
        )

    def test_while_the_service_is_away(self) -> None:
        away = Client("http://127.0.0.1:9", "k", timeout=1)
        writer = Writer(away, close_within=0)
        for fail_open, expected in ((True, 201), (False, 503)):
            middleware = MeterMiddleware(
                app, writer=writer, customer=customer, client=away, meter="m", fail_open=fail_open
            )
            self.assertEqual(ask(middleware, [(b"x-customer", b"py")])[0], expected)
        self.assertEqual(len(writer.close().undelivered), 1)


if __name__ == "__main__":
    unittest.main()
