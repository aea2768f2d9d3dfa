"""One request at a time, typed, on the standard library."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union, cast
from urllib.parse import quote, urlsplit

from .types import (
    CallAnswer,
    Consumed,
    CustomerUsage,
    Entitlements,
    Event,
    InvoicePage,
    QuotaVerdict,
    Receipts,
)

#: Statuses that say something about the content: the same request would fail again.
_ABOUT_CONTENT = frozenset({400, 409, 413, 415, 422})


class CounterfoilError(Exception):
    """A call failed."""

    #: When the service wants to be asked again, in seconds.
    retry_after: Optional[float] = None
    #: Whether the same request would fail again.
    about_content = False


class UnreachableError(CounterfoilError):
    """The service could not be reached, or broke off. What took effect is not known."""


class ProblemError(CounterfoilError):
    """The service answered with a problem document (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: Optional[float]):
        self.status = status
        #: Stable name of the kind: ``over_quota``, ``rate_limited``, ...
        self.code = str(problem.get("code", f"http_{status}"))
        self.detail = str(problem.get("detail", ""))
        #: The whole document.
        self.problem = dict(problem)
        self.retry_after = retry_after
        self.about_content = status in _ABOUT_CONTENT
        super().__init__(f"{status} {self.code}: {self.detail}")


class Client:
    """A client of one service with one key. Safe to share between threads."""

    def __init__(
        self,
        base: str,
        key: str,
        *,
        timeout: float = 30.0,
        context: Optional[ssl.SSLContext] = None,
    ) -> None:
        parts = urlsplit(base.rstrip("/"))
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{base!r} is no http:// or https:// address")
        if not key.isascii() or not key.isprintable():
            raise ValueError("the API key has characters no key has")
        self._parts, self._timeout, self._context = parts, timeout, context
        self._headers = {"authorization": f"Bearer {key}", "accept": "application/json"}
        self._idle: List[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Client({self._parts.geturl()!r})"

    def close(self) -> None:
        """Closes idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Calls ----------------------------------------------------------------------------------

    def send(self, events: Sequence[Event]) -> Receipts:
        """Sends events; each gets a receipt. A bad one among good ones is no error."""
        return self.send_json(json.dumps(list(events)).encode())

    def send_json(self, body: bytes) -> Receipts:
        """Sends a JSON array of events."""
        return cast(Receipts, self.request("POST", "/v1/events", body))

    def usage(self, customer: str) -> CustomerUsage:
        """Usage and cost of a customer in the current billing periods."""
        return cast(CustomerUsage, self.request("GET", f"/v1/customers/{_q(customer)}/usage"))

    def check_quota(
        self, customer: str, meter: str, quantity: Union[str, int] = 1
    ) -> QuotaVerdict:
        """Asks whether a use would be within the quota. A denial is no error."""
        body = {"customer": customer, "meter": meter, "quantity": quantity}
        return cast(QuotaVerdict, self.request("POST", "/v1/quotas/check", body))

    def consume(
        self, id: str, customer: str, meter: str, quantity: Union[str, int] = 1
    ) -> Consumed:
        """Uses something if the quota allows it, once per id; raises ``over_quota`` if not."""
        body = {"id": id, "customer": customer, "meter": meter, "quantity": quantity}
        return cast(Consumed, self.request("POST", "/v1/quotas/consume", body))

    def check_limits(self, customer: str, endpoint: Optional[str] = None) -> CallAnswer:
        """Counts a call against the customer's rate limits; raises ``rate_limited``."""
        body = {"customer": customer, "endpoint": endpoint}
        return cast(CallAnswer, self.request("POST", "/v1/limits/check", body))

    def entitlements(self, customer: str) -> Entitlements:
        """What a customer's plans give."""
        path = f"/v1/customers/{_q(customer)}/entitlements"
        return cast(Entitlements, self.request("GET", path))

    def invoices(self, customer: str, cursor: Optional[str] = None) -> InvoicePage:
        """A page of a customer's invoices."""
        query = f"?cursor={_q(cursor)}" if cursor else ""
        path = f"/v1/customers/{_q(customer)}/invoices{query}"
        return cast(InvoicePage, self.request("GET", path))

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Any operation that takes and gives JSON: ``path`` from ``/v1`` on."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        status, headers, text = self._exchange(method, path, data)
        is_problem = headers.get("content-type", "").startswith("application/problem+json")
        if 200 <= status < 300 or (status == 409 and not is_problem):
            try:
                return json.loads(text) if text else None
            except ValueError as error:
                raise UnreachableError(f"the answer cannot be read: {error}") from error
        try:
            problem = json.loads(text)
        except ValueError:
            problem = {"detail": text[:200].decode(errors="replace")}
        wait = headers.get("retry-after", "")
        retry_after = float(wait) if wait.isdigit() else None
        raise ProblemError(status, problem if isinstance(problem, dict) else {}, retry_after)

    # Transport ------------------------------------------------------------------------------

    def _connect(self) -> http.client.HTTPConnection:
        host, port = cast(str, self._parts.hostname), self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(
                host, port, timeout=self._timeout, context=self._context
            )
        return http.client.HTTPConnection(host, port, timeout=self._timeout)

    def _exchange(
        self, method: str, path: str, data: Optional[bytes]
    ) -> Tuple[int, Dict[str, str], bytes]:
        headers = dict(self._headers)
        if data is not None:
            headers["content-type"] = "application/json"
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        reused = connection is not None
        while True:
            connection = connection or self._connect()
            try:
                connection.request(method, self._parts.path + path, data, headers)
                answer = connection.getresponse()
                text = answer.read()
                break
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                connection = None
                # A kept connection may have been closed by the other side meanwhile. All calls
                # that change something carry ids, so asking again is safe.
                if not reused:
                    raise UnreachableError(f"{type(error).__name__}: {error}") from error
                reused = False
        if answer.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text


def _q(text: str) -> str:
    return quote(text, safe="")
