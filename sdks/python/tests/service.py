"""The service the tests run against: address and key come from the environment.

COUNTERFOIL_URL, COUNTERFOIL_KEY name a running one with the price book and customers that
``tests/it/sdks.rs`` of the repository makes; COUNTERFOIL_BIN lets a test start its own.
"""

import atexit
import http.server
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any, Dict, List, Tuple

from counterfoil import Client

URL = os.environ.get("COUNTERFOIL_URL", "")
KEY = os.environ.get("COUNTERFOIL_KEY", "")
OPENAPI = Path(__file__).parents[3] / "docs" / "openapi.json"


_clients: Dict[str, Client] = {}


def client(url: str = URL) -> Client:
    """The client of an address, closed when the tests end."""
    if url not in _clients:
        _clients[url] = Client(url, KEY, timeout=5)
        atexit.register(_clients[url].close)
    return _clients[url]


def stored(source: str) -> List[str]:
    """Ids of the stored events of a source, sorted."""
    asking, ids, cursor = client(), [], ""
    while True:
        page = asking.request("GET", f"/v1/events?source={source}&limit=1000{cursor}")
        ids += [event["id"] for event in page["items"]]
        if not page.get("next"):
            return sorted(ids)
        cursor = f"&cursor={page['next']}"


class Way:
    """A way to the service that can be shut, and that can lose answers."""

    def __init__(self) -> None:
        host, port = URL.removeprefix("http://").split(":")
        self._to = (host, int(port))
        self.lose = 0
        self._sockets: List[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._start()

    def _start(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(self._to)
            except OSError:
                return
            with self._lock:
                self._sockets += [near, far]
            threading.Thread(target=self._pump, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, True), daemon=True).start()

    def _pump(self, source: socket.socket, to: socket.socket, answers: bool) -> None:
        try:
            while piece := source.recv(65536):
                with self._lock:
                    lost = answers and self.lose > 0
                    self.lose -= lost
                if lost:
                    break
                to.sendall(piece)
        except OSError:
            pass
        for one in (source, to):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def shut(self) -> None:
        """Nobody gets through, as if the service had died."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for one in sockets:
            try:
                # Closing alone leaves a thread that reads from it, and its connection, alive.
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()

    def open(self) -> None:
        """Lets them through again, at the same address."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._start()


class Scripted:
    """A service that answers with (status, Retry-After) as told, then as a good one would."""

    def __init__(self, answers: List[Tuple[int, str]]) -> None:
        asked: List[List[Dict[str, Any]]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                events = json.loads(self.rfile.read(int(self.headers["content-length"])))
                asked.append(events)
                poisoned = any(event["customer"] == "poison" for event in events)
                usual = (422 if poisoned else 200, "")
                status, wait = answers[len(asked) - 1] if len(asked) <= len(answers) else usual
                receipts = [{"index": i, "status": "inserted"} for i in range(len(events))]
                counts = {"inserted": len(events), "duplicate": 0, "conflict": 0, "rejected": 0}
                body = {"counts": counts, "receipts": receipts} if status == 200 else {}
                text = json.dumps(body).encode()
                self.send_response(status)
                if wait:
                    self.send_header("retry-after", wait)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self.asked = asked
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
