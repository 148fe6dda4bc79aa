"""A stand-in for W&B's server, on loopback, as far as our use of its real client needs one.

Runs are logged to it (`wandb.init`, `wandb sync`), by sweeps and their agents too, and are read
back from it (`wandb.Api`), with their artifacts. What it answers to GraphQL is in `wandb_answers`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wandb_answers import ENTITY, PROJECT, SWEEP, Answers

__all__ = ["ENTITY", "PROJECT", "SWEEP", "Server", "serving"]


class Server(Answers, ThreadingHTTPServer):
    """Remembers what clients tell it.

    Attributes:
        url: where it listens.
        unknown: requests that nobody taught it to answer.
        requests: all that clients asked for: GraphQL operations, and paths of other requests.
    """

    daemon_threads = True

    def __init__(self) -> None:
        ThreadingHTTPServer.__init__(self, ("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        Answers.__init__(self, self.url)
        self.unknown: list[str] = []
        self.requests: list[str] = []
        self._lock = threading.Lock()

    def environment(self) -> dict[str, str]:
        """What makes a client talk to this server, and to no other."""
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": "a" * 40,
            "WANDB_ERROR_REPORTING": "false",
        }

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data that a GraphQL operation asks for."""
        with self._lock:
            self.requests.append(operation)
            handler = getattr(self, f"_{operation}", None)
            if handler is None:
                self.unknown.append(operation)
                return {}
            return handler(variables)

    def stream(self, run: str, content: dict[str, Any]) -> None:
        """What a run tells of itself while it goes on."""
        with self._lock:
            known = self.runs.setdefault(run, {})
            for name, chunk in content.get("files", {}).items():
                lines = [json.loads(line) for line in chunk["content"] if line.startswith("{")]
                if name.endswith("summary.json") and lines:
                    known["summary"] = lines[-1]
                if name.endswith("history.jsonl"):
                    history = known.setdefault("history", [])
                    first = chunk.get("offset", len(history))
                    history[first : first + len(lines)] = lines
            if content.get("complete"):
                known["exitcode"] = content.get("exitcode")

    def store(self, path: str, content: bytes) -> None:
        """Keep what was uploaded."""
        with self._lock:
            self.files[path] = content

    def fetch(self, path: str) -> bytes | None:
        """What was uploaded, for a download; None where there is nothing."""
        with self._lock:
            self.requests.append(path)
            if path.startswith("/artifactsV2/"):
                return self.artifact_file(path)
            return self.files.get(path)


class Handler(BaseHTTPRequestHandler):
    """HTTP for `Server`."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        content = json.loads(self._body() or b"{}")
        if self.path.endswith("/graphql"):
            operation = re.search(r"(?:query|mutation)\s+(\w+)", content["query"])
            name = content.get("operationName") or (operation[1] if operation else "?")
            answer: dict[str, Any] = {
                "data": self.server.answer(name, content.get("variables") or {})
            }
        else:
            if self.path.endswith("/file_stream"):
                self.server.stream(self.path.split("/")[-2], content)
            answer = {}
        self._answer(json.dumps(answer).encode())

    def do_PUT(self) -> None:
        self.server.store(self.path, self._body())
        self._answer(b"")

    def do_GET(self) -> None:
        content = self.server.fetch(self.path)
        self._answer(content or b"", 404 if content is None else 200)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    """A server, for as long as the context is open."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
