"""Events in the background: batches, retries, a spill on disk.

What a ``send`` that returned promises: the event will be in the ledger once, or is handed to
``on_problem`` because the service refused it for good (and kept in ``refused.jsonl`` of the spill
directory), or is given back by ``close``. With ``durable=True`` that holds when the process is
killed too: ``send`` returns after the disk. Otherwise a killed process loses what was in memory;
``flush`` returns when nothing is.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Union

from ._spill import Spill, SpillFull
from .client import Client, CounterfoilError
from .types import Event, Receipts

_log = logging.getLogger("counterfoil")


class Full(Exception):
    """There is no room for the event. It is still the caller's."""


class WriterClosed(Exception):
    """The writer takes nothing more."""


@dataclass(frozen=True)
class Refused:
    """An event that the service refused for good."""

    event: Dict[str, Any]
    code: str
    reason: str


@dataclass
class Stats:
    """What a writer has done since it was started."""

    accepted: int = 0
    inserted: int = 0
    duplicate: int = 0
    refused: int = 0
    failures: int = 0
    on_disk: int = 0


@dataclass
class Closed:
    """What a closed writer leaves."""

    #: Events on disk, delivered by the next writer of the directory.
    on_disk: int = 0
    #: Events that could be neither delivered nor written to disk: the caller's again.
    undelivered: List[Dict[str, Any]] = field(default_factory=list)


class Writer:
    """Sends events on a thread of its own. Safe to share between threads."""

    def __init__(
        self,
        client: Client,
        *,
        capacity: int = 10_000,
        batch: int = 100,
        linger: float = 5.0,
        spill: Optional[Union[str, "os.PathLike[str]"]] = None,
        spill_bytes: int = 1 << 30,
        durable: bool = False,
        backoff: float = 0.2,
        longest_backoff: float = 30.0,
        close_within: float = 10.0,
        on_problem: Optional[Callable[[Refused], None]] = None,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if durable and spill is None:
            raise ValueError("durable needs a spill directory")
        self._client, self._capacity, self._linger = client, max(1, capacity), linger
        self._batch = self._batch_now = min(max(1, batch), 5_000)
        self._durable, self._close_within = durable, close_within
        self._backoff, self._longest_backoff = backoff, longest_backoff
        self._on_problem, self._now, self._jitter = on_problem, now, jitter
        self._spill = Spill(spill, spill_bytes) if spill is not None else None
        self._waiting: Deque[bytes] = deque()
        self._since = 0.0
        self._in_flight: Sequence[bytes] = ()
        self._from_disk = False
        self._hurry = 0
        self._failures = 0
        self._retry_at = 0.0
        self._give_up_at: Optional[float] = None
        #: Events ever put in line, and of those how many left memory: delivered or on disk.
        self._taken = self._safe = 0
        self._stats = Stats()
        self._closed: Optional[Closed] = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="counterfoil-writer", daemon=True)
        self._thread.start()

    # For callers ----------------------------------------------------------------------------

    def send(self, event: Event, *, timeout: Optional[float] = None) -> str:
        """Accepts an event, waiting for room (at most ``timeout`` seconds); gives its id."""
        whole: Dict[str, Any] = {"id": os.urandom(16).hex(), "time": self._now().isoformat()}
        whole.update(event)
        line = json.dumps(whole).encode()
        with self._changed:
            if not self._changed.wait_for(self._has_room, timeout):
                raise Full("the writer's buffer is full")
            if self._give_up_at is not None:
                raise WriterClosed("the writer is closed")
            if not self._waiting:
                self._since = time.monotonic()
            self._waiting.append(line)
            self._taken += 1
            number = self._taken
            self._changed.notify_all()
            if self._durable:
                self._move_to_disk()
                self._changed.wait_for(lambda: self._safe >= number or self._closed is not None)
                if self._safe < number:
                    raise WriterClosed("the writer was closed before the event was on disk")
            self._stats.accepted += 1
        return str(whole["id"])

    def _has_room(self) -> bool:
        if len(self._waiting) >= self._capacity:
            # Also while a request is under way: an answer that takes long keeps nobody waiting.
            self._move_to_disk()
        return len(self._waiting) < self._capacity or self._give_up_at is not None

    def flush(self, timeout: Optional[float] = None) -> int:
        """Waits until all events accepted so far are delivered or on disk; gives how many are
        on disk."""
        with self._changed:
            number = self._taken
            self._hurry = len(self._waiting)
            self._changed.notify_all()
            done = self._changed.wait_for(
                lambda: self._safe >= number or self._closed is not None, timeout
            )
            if not done:
                raise TimeoutError("events are still in memory")
            return len(self._spill) if self._spill is not None else 0

    def close(self) -> Closed:
        """Takes nothing more, delivers what it can, leaves the rest on disk or gives it back."""
        with self._changed:
            if self._give_up_at is None:
                self._give_up_at = time.monotonic() + self._close_within
                self._retry_at = 0.0
            self._changed.notify_all()
        self._thread.join()
        return self._closed or Closed()

    def stats(self) -> Stats:
        """What was done so far."""
        with self._changed:
            self._stats.on_disk = len(self._spill) if self._spill is not None else 0
            return Stats(**vars(self._stats))

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        left = self.close()
        if left.undelivered:
            raise CounterfoilError(f"{len(left.undelivered)} events could not be delivered")

    # The thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        with self._changed:
            try:
                while not self._step():
                    pass
            finally:
                self._leave()

    def _step(self) -> bool:
        """One step, with the lock held, except while a request is under way. True: end."""
        self._move_to_disk()
        now = time.monotonic()
        closing = self._give_up_at is not None
        empty = not self._waiting and not self._spill
        away = self._failures > 0 and self._retry_at > now
        if closing:
            at_rest = away and self._spill is not None and not self._waiting
            if empty or at_rest or (self._give_up_at or 0.0) <= now:
                return True
        if away:
            until = self._retry_at if not closing else min(self._retry_at, self._give_up_at or now)
            self._changed.wait(max(0.0, until - now))
            return False
        lines = self._next(now, closing)
        if not lines:
            due = self._since + self._linger if self._waiting else now + 3600
            self._changed.wait(max(0.0, due - now))
            return False
        self._deliver(lines)
        return False

    def _next(self, now: float, closing: bool) -> List[bytes]:
        if self._spill:
            self._from_disk = True
            try:
                return self._spill.peek(self._batch_now)
            except OSError as error:
                _log.error("the spill cannot be read: %s", error)
                self._wait_for_next(None)
                return []
        self._from_disk = False
        due = closing or self._hurry > 0 or now >= self._since + self._linger
        if not self._waiting or (len(self._waiting) < self._batch_now and not due):
            return []
        lines = [self._waiting.popleft() for _ in range(min(self._batch_now, len(self._waiting)))]
        self._hurry = max(0, self._hurry - len(lines))
        self._since = now
        self._changed.notify_all()
        return lines

    def _deliver(self, lines: List[bytes]) -> None:
        self._in_flight = () if self._from_disk else lines
        from_disk = self._from_disk
        receipts: Optional[Receipts] = None
        error: Optional[CounterfoilError] = None
        self._changed.release()
        try:
            receipts = self._client.send_json(b"[" + b",".join(lines) + b"]")
        except CounterfoilError as failure:
            error = failure
        except Exception as failure:  # Whatever it was, the events are still there.
            error = CounterfoilError(f"{type(failure).__name__}: {failure}")
        finally:
            self._changed.acquire()
        if receipts is not None and len(receipts.get("receipts", ())) == len(lines):
            self._failures = 0
            self._batch_now = min(self._batch, self._batch_now * 2)
            self._stats.inserted += receipts["counts"]["inserted"]
            self._stats.duplicate += receipts["counts"]["duplicate"]
            for line, receipt in zip(lines, receipts["receipts"]):
                if receipt["status"] not in ("inserted", "duplicate"):
                    reason = receipt.get("reason", "the id is taken by other content")
                    self._refuse(line, receipt.get("code", "conflict"), reason)
            self._dealt_with(lines, from_disk)
        elif error is not None and error.about_content and len(lines) > 1:
            # One of them sinks the others: halves find it.
            self._batch_now = (len(lines) + 1) // 2
            if not from_disk:
                self._put_back(lines)
        elif error is not None and error.about_content:
            self._refuse(lines[0], getattr(error, "code", "unreadable"), str(error))
            self._dealt_with(lines, from_disk)
        else:
            self._stats.failures += 1
            self._wait_for_next(error.retry_after if error else None)
            _log.warning("events could not be delivered; they are kept: %s", error)
            if not from_disk:
                self._put_back(lines, to_disk=True)
        self._in_flight = ()
        self._changed.notify_all()

    def _dealt_with(self, lines: List[bytes], from_disk: bool) -> None:
        if not from_disk:
            self._safe += len(lines)
        elif self._spill is not None:
            try:
                self._spill.advance(lines)
            except OSError as error:
                _log.error("a segment of the spill cannot be removed: %s", error)

    def _refuse(self, line: bytes, code: str, reason: str) -> None:
        self._stats.refused += 1
        _log.warning("an event was refused for good: %s: %s", code, reason)
        try:
            event = json.loads(line)
        except ValueError:
            event = {"unreadable": line.decode(errors="replace")}
        refused = Refused(event, code, reason)
        if self._spill is not None:
            kept = {"event": event, "code": code, "reason": reason}
            try:
                self._spill.keep_refused(json.dumps(kept).encode())
            except OSError as error:
                _log.error("a refused event could not be kept: %s", error)
        if self._on_problem is not None:
            try:
                self._on_problem(refused)
            except Exception:
                _log.exception("on_problem failed")

    def _put_back(self, lines: Sequence[bytes], to_disk: bool = False) -> None:
        if to_disk and self._spill is not None:
            try:
                self._spill.put_front(lines)
                self._safe += len(lines)
                return
            except (OSError, SpillFull) as error:
                _log.error("the spill does not take events: %r", error)
        self._waiting.extendleft(reversed(lines))
        self._hurry += len(lines)

    def _move_to_disk(self) -> None:
        if self._spill is None or not self._waiting or self._closed is not None:
            return
        full = len(self._waiting) >= self._capacity
        if not (self._durable or self._failures > 0 or self._spill or full):
            return
        lines = list(self._waiting)
        try:
            self._spill.append(lines)
        except (OSError, SpillFull) as error:
            _log.error("the spill does not take events: %r", error)
            return
        self._waiting.clear()
        self._safe += len(lines)
        self._changed.notify_all()

    def _wait_for_next(self, asked: Optional[float]) -> None:
        self._failures += 1
        whole = min(self._longest_backoff, self._backoff * 2 ** min(self._failures - 1, 20))
        wait = max(whole / 2 + whole / 2 * self._jitter(), min(asked or 0.0, 300.0))
        self._retry_at = time.monotonic() + wait

    def _leave(self) -> None:
        if self._in_flight:
            self._put_back(self._in_flight, to_disk=True)
            self._in_flight = ()
        self._give_up_at = self._give_up_at or time.monotonic()
        self._failures = max(1, self._failures)
        self._move_to_disk()
        undelivered = [json.loads(line) for line in self._waiting]
        self._waiting.clear()
        on_disk = len(self._spill) if self._spill is not None else 0
        if on_disk or undelivered:
            _log.warning("%d events stay on disk, %d are given back", on_disk, len(undelivered))
        self._closed = Closed(on_disk, undelivered)
        if self._spill is not None:
            self._spill.close()
        self._changed.notify_all()
