"""The writer through outages: everything accepted is in the ledger once."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import Any, Dict, List

from counterfoil import Client, Full, Refused, Writer, WriterClosed

from . import service

QUICK: Dict[str, Any] = {"linger": 0.02, "backoff": 0.01, "longest_backoff": 0.1}


def event(source: str, number: int, **more: Any) -> Any:
    return {"id": f"e{number:05}", "source": source, "customer": "py", "type": "call", **more}


def ids(count: int) -> List[str]:
    return [f"e{number:05}" for number in range(count)]


def delivered(writer: Writer, events: int) -> None:
    until = time.monotonic() + 60
    while writer.stats().inserted + writer.stats().duplicate < events:
        assert time.monotonic() < until, writer.stats()
        time.sleep(0.01)


class WriterTest(unittest.TestCase):
    def setUp(self) -> None:
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.spill = Path(place.name) / "spill"

    def test_batches_arrive_and_close_leaves_nothing(self) -> None:
        with Writer(service.client(), **QUICK) as writer:
            for number in range(450):
                writer.send(event("py-batches", number))
            self.assertEqual(writer.flush(), 0)
            self.assertEqual(writer.stats().inserted, 450)
            given = writer.send({"source": "py-batches", "customer": "py", "type": "call"})
        self.assertEqual(len(given), 32)
        with self.assertRaises(WriterClosed):
            writer.send(event("py-batches", 1))
        self.assertEqual(service.stored("py-batches"), sorted([*ids(450), given]))

    def test_an_outage_in_mid_stream_counts_each_event_once(self) -> None:
        for durable in (False, True):
            source = f"py-outage-{durable}"
            way = service.Way()
            writer = Writer(
                service.client(way.url), spill=self.spill, durable=durable, **QUICK
            )
            number = 0
            for _ in range(2):
                for _ in range(250):
                    writer.send(event(source, number))
                    number += 1
                way.shut()
                for _ in range(60):
                    writer.send(event(source, number))
                    number += 1
                self.assertGreaterEqual(writer.flush(30), 60)
                way.open()
            delivered(writer, number)
            left = writer.close()
            self.assertEqual((left.on_disk, left.undelivered), (0, []))
            self.assertEqual(service.stored(source), ids(number))
            way.shut()

    def test_what_was_left_on_disk_is_delivered_by_the_next_writer(self) -> None:
        away = Client("http://127.0.0.1:9", "cf_any", timeout=1)
        writer = Writer(away, spill=self.spill, **QUICK)
        for number in range(150):
            writer.send(event("py-next", number))
        with self.assertRaises(RuntimeError):
            Writer(away, spill=self.spill, **QUICK)
        self.assertEqual(writer.close().on_disk, 150)
        with Writer(service.client(), spill=self.spill, **QUICK) as writer:
            delivered(writer, 150)
        self.assertEqual(service.stored("py-next"), ids(150))

    def test_without_a_disk_events_wait_and_are_given_back(self) -> None:
        away = Client("http://127.0.0.1:9", "cf_any", timeout=1)
        writer = Writer(away, capacity=20, close_within=0, **QUICK)
        sent = []
        with self.assertRaises(Full):
            while True:
                sent.append(writer.send(event("py-memory", len(sent)), timeout=0.2))
        given_back = [one["id"] for one in writer.close().undelivered]
        self.assertEqual(given_back, sent)

    def test_a_lost_acknowledgement_counts_once(self) -> None:
        way = service.Way()
        way.lose = 3
        with Writer(service.client(way.url), **QUICK) as writer:
            for number in range(250):
                writer.send(event("py-lost", number))
        self.assertGreater(writer.stats().duplicate, 0)
        self.assertEqual(service.stored("py-lost"), ids(250))
        way.shut()

    def test_what_is_refused_for_good_is_told_and_kept(self) -> None:
        told: List[Refused] = []
        writer = Writer(
            service.client(), spill=self.spill, on_problem=told.append, **QUICK
        )
        writer.send(event("py-refused", 0))
        writer.send(event("py-refused", 0, properties={"changed": True}))
        writer.send(event("py-refused", 2, customer=""))
        writer.send(event("py-refused", 1))
        self.assertEqual(writer.close().undelivered, [])
        self.assertEqual([refused.code for refused in told][0], "conflict")
        self.assertEqual(len(told), 2)
        kept = (self.spill / "refused.jsonl").read_text().splitlines()
        self.assertEqual(len(kept), 2)
        self.assertEqual(service.stored("py-refused"), ids(2))

    def test_retry_after_is_honoured_and_a_poisoned_batch_is_taken_apart(self) -> None:
        script = service.Scripted([(429, "1"), (503, "1"), (500, "")])
        started = time.monotonic()
        writer = Writer(service.client(script.url), **QUICK)
        for number in range(50):
            writer.send(event("x", number, customer="poison" if number == 17 else "py"))
        self.assertEqual(writer.close().undelivered, [])
        self.assertGreaterEqual(time.monotonic() - started, 2)
        stats = writer.stats()
        self.assertEqual((stats.inserted, stats.refused, stats.failures), (49, 1, 3))
        script.close()

    def test_what_was_accepted_on_disk_survives_kill_9(self) -> None:
        code = (
            "import sys; from counterfoil import *\n"
            "w = Writer(Client('http://127.0.0.1:9', 'k', timeout=1), spill=sys.argv[1],"
            " durable=True, linger=0.02, backoff=0.01)\n"
            "n = 0\n"
            "while True:\n"
            "    i = w.send({'source': 'py-killed', 'customer': 'py', 'type': 'call'})\n"
            "    print(i, flush=True)\n"
        )
        accepted: List[str] = []
        for _ in range(2):
            child = subprocess.Popen(
                [sys.executable, "-c", code, str(self.spill)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert child.stdout is not None
            lines = iter(child.stdout)
            accepted += [next(lines).strip() for _ in range(80)]
            os.kill(child.pid, signal.SIGKILL)
            # The last one may be half there.
            accepted += [line.strip() for line in lines if len(line) == 33]
            child.wait()
            child.stdout.close()
        with Writer(service.client(), spill=self.spill, **QUICK) as writer:
            delivered(writer, len(accepted))
        stored = service.stored("py-killed")
        self.assertLessEqual(set(accepted), set(stored))
        self.assertEqual(len(stored), len(set(stored)))

    def test_many_threads_share_a_writer(self) -> None:
        with Writer(service.client(), spill=self.spill, capacity=10, **QUICK) as writer:

            def work(name: int) -> None:
                for number in range(100):
                    writer.send(event("py-threads", name * 100 + number))

            threads = [threading.Thread(target=work, args=(name,)) for name in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            writer.flush()
            delivered(writer, 500)
        self.assertEqual(service.stored("py-threads"), ids(500))


if __name__ == "__main__":
    unittest.main()
