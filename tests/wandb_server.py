"""A stand-in for W&B's server, on loopback, as far as sweeps, agents and their runs need one."""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

ENTITY, PROJECT, SWEEP = "someone", "resnet-losses", "sweep001"


class Server(ThreadingHTTPServer):
    """Remembers what clients tell it.

    Attributes:
        sweep: the sweep's file, as the client sent it.
        runs: what is known of each run, by its id.
        unknown: requests that nobody taught it to answer.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.sweep: dict[str, Any] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.unknown: list[str] = []
        self._todo: Iterator[dict[str, Any]] = iter(())
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
            handler = getattr(self, f"_{operation}", None)
            if handler is None:
                self.unknown.append(operation)
                return {}
            return handler(variables)

    def _Viewer(self, variables):
        team = {"edges": [{"node": {"name": ENTITY}}]}
        viewer = {"id": "1", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": team}
        return {"viewer": viewer | {"apiKeys": team, "email": "", "admin": False}}

    def _ServerInfo(self, variables):
        return {"serverInfo": {"cliVersionInfo": {"max_cli_version": "9.9.9"}}}

    def _UpsertSweep(self, variables):
        self.sweep = yaml.safe_load(variables["config"])
        parameters = self.sweep["parameters"]
        values = [p.get("values", [p.get("value")]) for p in parameters.values()]
        self._todo = (
            {name: {"value": value} for name, value in zip(parameters, chosen, strict=True)}
            for chosen in itertools.product(*values)
        )
        entity = {"id": "1", "name": ENTITY}
        project = {"id": "1", "name": PROJECT, "entity": entity}
        sweep = {"name": SWEEP, "project": project}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def _SweepWithRuns(self, variables):
        sweep = {
            "id": "1",
            "name": SWEEP,
            "config": yaml.safe_dump(self.sweep),
            "state": "RUNNING",
        }
        return {"project": {"sweep": sweep | {"runs": {"edges": []}}}}

    def _CreateAgent(self, variables):
        return {"createAgent": {"agent": {"id": "agent1"}}}

    def _Heartbeat(self, variables):
        """The next run, once the agent has none; the end, after the last."""
        commands = []
        if not any(json.loads(variables["runState"]).values()):
            chosen = next(self._todo, None)
            if chosen is None:
                commands = [{"type": "exit"}]
            else:
                name = f"run{len(self.runs)}"
                self.runs[name] = {"args": chosen}
                program = self.sweep["program"]
                run = {"type": "run", "run_id": name, "program": program, "args": chosen}
                commands = [run | {"id": name, "logs": []}]
        answer = {"agent": {"id": "agent1"}, "commands": json.dumps(commands)}
        return {"agentHeartbeat": answer}

    def _UpsertBucket(self, variables):
        run = self.runs.setdefault(variables["name"], {})
        for known, told in (("config", "config"), ("group", "groupName"), ("sweep", "sweep")):
            run[known] = variables.get(told) or run.get(known)
        entity = {"id": "1", "name": ENTITY}
        project = {"id": "1", "name": PROJECT, "entity": entity}
        bucket = {
            "id": variables["name"],
            "name": variables["name"],
            "displayName": variables.get("displayName"),
            "description": "",
            "config": variables.get("config"),
            "sweepName": variables.get("sweep"),
            "project": project,
            "historyLineCount": 0,
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def _RunResumeStatus(self, variables):
        return {"model": {"id": "1", "name": PROJECT, "bucket": None}}

    def _CreateRunFiles(self, variables):
        files = [{"name": name, "uploadUrl": f"{self.url}/upload"} for name in variables["files"]]
        run = {"runID": variables["run"], "uploadHeaders": [], "files": files}
        return {"createRunFiles": run}

    def stream(self, run: str, content: dict[str, Any]) -> None:
        """What a run tells of itself while it goes on."""
        known = self.runs.setdefault(run, {})
        for name, chunk in content.get("files", {}).items():
            lines = [json.loads(line) for line in chunk["content"] if line.startswith("{")]
            if name.endswith("summary.json") and lines:
                known["summary"] = lines[-1]
            if name.endswith("history.jsonl"):
                known.setdefault("history", []).extend(lines)
        if content.get("complete"):
            known["exitcode"] = content.get("exitcode")


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
        self._body()
        self._answer(b"")

    do_GET = do_PUT

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
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
