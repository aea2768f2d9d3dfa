"""Events on disk: append-only segments of one JSON event a line, read oldest first.

A line counts when its line feed is on disk. Delivery is remembered by the segment: after a crash
the events of the segment being delivered are sent again, and counted once by their ids.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, List, Optional, Sequence, Union

try:
    import fcntl
except ImportError:  # Windows: the directory is the caller's to keep for one writer.
    fcntl = None  # type: ignore[assignment]

_SEGMENT_BYTES = 1024 * 1024
_BATCH_BYTES = 2 * 1024 * 1024
#: Room below the first number, for what must go in front.
_FIRST = 1 << 40


class SpillFull(Exception):
    """The spill holds as much as it may."""


class _Segment:
    def __init__(self, number: int, size: int, events: int) -> None:
        self.number, self.size, self.events = number, size, events


class Spill:
    def __init__(self, directory: Union[str, "os.PathLike[str]"], limit: int) -> None:
        self.directory, self.limit = Path(directory), limit
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.directory / "lock", "w")
        if fcntl is not None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self._lock.close()
                raise RuntimeError(f"{self.directory} is used by another writer") from error
        self._segments: List[_Segment] = []
        self._done = 0
        self._done_events = 0
        self._tail: Optional[IO[bytes]] = None
        for path in sorted(self.directory.glob("*.jsonl")):
            if path.stem.isdigit():
                self._adopt(path)

    def _adopt(self, path: Path) -> None:
        text = path.read_bytes()
        size = text.rfind(b"\n") + 1
        if size == 0:
            path.unlink()
            return
        if size < len(text):
            os.truncate(path, size)
        self._segments.append(_Segment(int(path.stem), size, text.count(b"\n")))

    def _path(self, segment: _Segment) -> Path:
        return self.directory / f"{segment.number:020}.jsonl"

    def __len__(self) -> int:
        return sum(segment.events for segment in self._segments) - self._done_events

    def _check_room(self, text: bytes) -> None:
        if sum(segment.size for segment in self._segments) + len(text) > self.limit:
            raise SpillFull

    def _create(self, segment: _Segment) -> IO[bytes]:
        file = open(self._path(segment), "xb", buffering=0)
        if os.name == "posix":
            # A file's name is on disk when its directory is.
            directory = os.open(self.directory, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        return file

    def append(self, lines: Sequence[bytes]) -> None:
        """Appends lines: all of them, on disk when this returns, or none."""
        text = b"".join(line + b"\n" for line in lines)
        self._check_room(text)
        last = self._segments[-1] if self._segments else None
        if self._tail is None or last is None or last.size >= _SEGMENT_BYTES:
            self._close_tail()
            last = _Segment(last.number + 1 if last else _FIRST, 0, 0)
            self._tail = self._create(last)
            self._segments.append(last)
        try:
            _write(self._tail, text)
        except OSError:
            # What came through is cut off; a new segment takes what follows.
            try:
                os.truncate(self._path(last), last.size)
            finally:
                self._close_tail()
                if last.events == 0:
                    self._segments.pop()
                    self._path(last).unlink()
            raise
        last.size += len(text)
        last.events += len(lines)

    def put_front(self, lines: Sequence[bytes]) -> None:
        """Puts lines before all others: all of them, on disk when this returns, or none."""
        if not self._segments:
            self.append(lines)
            return
        text = b"".join(line + b"\n" for line in lines)
        self._check_room(text)
        first = self._segments[0]
        # What is delivered of the first segment may come again after a crash, and is counted
        # once; here it must not come before what is put in front of the rest.
        if self._done:
            rest = self._path(first).read_bytes()[self._done : first.size]
            anew = self._path(first).with_suffix(".new")
            with open(anew, "wb", buffering=0) as file:
                _write(file, rest)
            os.replace(anew, self._path(first))
            if len(self._segments) == 1:
                self._close_tail()
            first.size -= self._done
            first.events -= self._done_events
            self._done = self._done_events = 0
        segment = _Segment(first.number - 1, len(text), len(lines))
        try:
            with self._create(segment) as file:
                _write(file, text)
        except OSError:
            self._path(segment).unlink(missing_ok=True)
            raise
        self._segments.insert(0, segment)

    def peek(self, most: int) -> List[bytes]:
        """The first lines, at most so many."""
        if not self._segments:
            return []
        first = self._segments[0]
        lines: List[bytes] = []
        size = 0
        with open(self._path(first), "rb") as file:
            file.seek(self._done)
            while len(lines) < most and size < _BATCH_BYTES and self._done + size < first.size:
                line = file.readline()
                size += len(line)
                lines.append(line.rstrip(b"\n"))
        return lines

    def advance(self, lines: Sequence[bytes]) -> None:
        """The first lines, which these are, are delivered."""
        if not self._segments:
            return
        self._done += sum(len(line) + 1 for line in lines)
        self._done_events += len(lines)
        first = self._segments[0]
        if self._done >= first.size:
            if len(self._segments) == 1:
                self._close_tail()
            self._segments.pop(0)
            self._done = self._done_events = 0
            self._path(first).unlink()

    def keep_refused(self, line: bytes) -> None:
        """Keeps an event that was refused for good, for people to look at."""
        with open(self.directory / "refused.jsonl", "ab", buffering=0) as file:
            if file.tell() < self.limit:
                _write(file, line + b"\n")

    def _close_tail(self) -> None:
        if self._tail is not None:
            self._tail.close()
            self._tail = None

    def close(self) -> None:
        self._close_tail()
        self._lock.close()


def _write(file: IO[bytes], text: bytes) -> None:
    view = memoryview(text)
    while view:
        written = file.write(view)
        view = view[written:]
    os.fsync(file.fileno())
