"""What the stand-in for W&B's server answers to GraphQL: a method an operation, by its name."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from typing import Any

import yaml
from wandb_artifacts import ENTITY, LAST_PAGE, PROJECT, Artifacts, project

SWEEP = "sweep001"


class Account:
    """Who asks, and what the server can do."""

    def _Viewer(self, variables):
        team = {"edges": [{"node": {"name": ENTITY}}]}
        viewer = {"id": "1", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": team}
        return {"viewer": viewer | {"apiKeys": team, "email": "", "admin": False}}

    _GetViewer = _GetDefaultEntity = _Viewer

    def _ServerInfo(self, variables):
        return {"serverInfo": {"cliVersionInfo": {"max_cli_version": "9.9.9"}}}

    def _ServerFeaturesQuery(self, variables):
        return {"serverInfo": {"features": []}}


class Sweeps:
    """A sweep and its agent.

    Attributes:
        sweep: the sweep's file, as the client sent it.
    """

    def __init__(self) -> None:
        self.sweep: dict[str, Any] = {}
        self._todo: Iterator[dict[str, Any]] = iter(())

    def _UpsertSweep(self, variables):
        self.sweep = yaml.safe_load(variables["config"])
        parameters = self.sweep["parameters"]
        values = [p.get("values", [p.get("value")]) for p in parameters.values()]
        self._todo = (
            {name: {"value": value} for name, value in zip(parameters, chosen, strict=True)}
            for chosen in itertools.product(*values)
        )
        sweep = {"name": SWEEP, "project": project()}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def _SweepWithRuns(self, variables):
        sweep = {"id": "1", "name": SWEEP, "config": yaml.safe_dump(self.sweep)}
        return {"project": {"sweep": sweep | {"state": "RUNNING", "runs": {"edges": []}}}}

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


class Runs:
    """Runs, as they are logged and as they are read back.

    Attributes:
        runs: what is known of each run, by its id: config (JSON), group, sweep, summary, history,
            exitcode (None: it goes on).
    """

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}

    def _UpsertBucket(self, variables):
        run = self.runs.setdefault(variables["name"], {})
        told = {"config": "config", "group": "groupName", "sweep": "sweep"}
        told |= {"job": "jobType", "display": "displayName", "project": "project"}
        for known, name in told.items():
            run[known] = variables.get(name) or run.get(known)
        bucket = {
            "id": variables["name"],
            "name": variables["name"],
            "displayName": run["display"],
            "description": "",
            "config": run["config"],
            "sweepName": variables.get("sweep"),
            "project": project(run["project"] or PROJECT),
            "historyLineCount": 0,
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def _RunResumeStatus(self, variables):
        """Where a run that goes on under its old id stopped; nothing, of a new one."""
        run = self.runs.get(variables["name"], {})
        if "history" not in run:
            return {"model": project() | {"bucket": None}}
        history = run["history"]
        bucket = {
            "id": variables["name"],
            "name": variables["name"],
            "displayName": run["display"],
            "summaryMetrics": json.dumps(spelled(run.get("summary", {}))),
            "historyLineCount": len(history),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps([json.dumps(spelled(history[-1]))]),
            "eventsTail": "[]",
            "config": run["config"],
            "tags": [],
            "notes": "",
            "wandbConfig": '{"t": 1}',
        }
        return {"model": project() | {"bucket": bucket}}

    def _CreateRunFiles(self, variables):
        run = variables["run"]
        files = [
            {"name": name, "uploadUrl": f"{self.url}/runs/{run}/{name}"}
            for name in variables["files"]
        ]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}

    def _RunFiles(self, variables):
        edges = []
        for name in variables["fileNames"]:
            path = f"/runs/{variables['name']}/{name}"
            if path in self.files:
                node = {"id": path, "name": name, "sizeBytes": len(self.files[path])}
                node |= {"url": self.url + path, "directUrl": self.url + path}
                edges.append({"node": node, "cursor": name})
        files = {"edges": edges, "pageInfo": LAST_PAGE}
        run = {"fileCount": len(edges), "files": files}
        return {"project": {"internalId": "1", "run": run}}

    def _Runs(self, variables):
        found = {
            name: run
            for name, run in self.runs.items()
            if (run.get("project") or PROJECT) == variables["project"]
        }
        if not found or variables["entity"] != ENTITY:
            return {"project": None}
        edges = [{"node": self._told(name), "cursor": name} for name in found]
        runs = {"edges": edges, "pageInfo": LAST_PAGE}
        found = project(variables["project"]) | {"runCount": len(edges), "readOnly": False}
        return {"project": found | {"runs": runs}}

    def _Run(self, variables):
        return {"project": {"run": self._told(variables["name"])}}

    def _RunHistoryKeys(self, variables):
        steps = [row["_step"] for row in self.runs[variables["name"]].get("history", [])]
        keys = {"lastStep": max(steps, default=-1), "keys": {}, "sets": []}
        return {"project": {"run": {"historyKeys": keys}}}

    def _RunParquetHistory(self, variables):
        rows = self.runs[variables["runName"]].get("history", [])
        live = [{"_step": row["_step"]} for row in rows]
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": live}}}}

    def _HistoryPage(self, variables):
        steps = range(variables["minStep"], variables["maxStep"])
        rows = self.runs[variables["run"]].get("history", [])
        page = [json.dumps(spelled(row)) for row in rows if row["_step"] in steps]
        return {"project": {"run": {"history": page}}}

    def _told(self, name: str) -> dict[str, Any]:
        """A run as the public API shows it."""
        run = self.runs[name]
        states = {None: "running", 0: "finished"}
        return {
            "id": name,
            "name": name,
            "projectId": "1",
            "tags": [],
            "displayName": run.get("display"),
            "sweepName": run.get("sweep"),
            "state": run.get("state") or states.get(run.get("exitcode"), "failed"),
            "config": run.get("config") or "{}",
            "group": run.get("group"),
            "jobType": run.get("job"),
            "createdAt": "2026-01-01T00:00:00Z",
            "heartbeatAt": run.get("heartbeat", "2026-01-01T00:01:00Z"),
            "summaryMetrics": json.dumps(spelled(run.get("summary", {}))),
            "systemMetrics": "{}",
            "historyLineCount": len(run.get("history", [])),
            "user": {"name": ENTITY, "username": ENTITY},
        }


def spelled(row: dict[str, Any]) -> dict[str, Any]:
    """NaN and the infinities as W&B tells them: as strings."""
    names = {math.inf: "Infinity", -math.inf: "-Infinity"}
    return {
        key: names.get(value, "NaN")
        if isinstance(value, float) and not math.isfinite(value)
        else value
        for key, value in row.items()
    }


class Answers(Account, Sweeps, Runs, Artifacts):
    """All of them.

    Args:
        url: of the server.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        for part in (Sweeps, Runs, Artifacts):
            part.__init__(self)
