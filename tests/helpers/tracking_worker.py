"""Begins W&B runs in ways that a user may have set up; prints what became of each as JSON."""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import wandb

from experiments.config import RunConfig
from experiments.runs import tracking

SETTINGS = Path("wandb", "settings")  # as `wandb offline` and `wandb init` write them


def begin(what, option="auto", file="", options=None, **variables):
    given = {"output": OUTPUT, "study": what, "wandb": option} | (options or {})
    config = RunConfig.from_options(given)
    config.folder.mkdir(parents=True)
    SETTINGS.write_text(file)
    os.environ.update(variables)
    begun = time.monotonic()
    tracker = tracking.start(config, config.folder, {"instance": "0"})
    told = {"what": what, "seconds": time.monotonic() - begun}
    if run := tracker._run:
        told |= {"mode": "offline" if run.offline else "online", "folder": run.dir}
        told |= {name: getattr(run, name) for name in ("project", "entity", "group", "name")}
        told["tags"] = list(run.tags or ())
    print(json.dumps(told), flush=True)
    tracker.stop()
    with contextlib.suppress(KeyError):
        for name in variables:
            del os.environ[name]
    wandb.teardown()


if __name__ == "__main__":
    OUTPUT = Path(sys.argv[1])
    SETTINGS.parent.mkdir()
    begin("option", "online")
    begin("variable", WANDB_MODE="online")
    begin("shared", WANDB_MODE="shared")
    begin("file", file="[default]\nmode = online\nproject = of-the-file\n")
    begin("no key at all")
    begin("key of the wrong form", "online", WANDB_API_KEY="short")
    begin("disabled by file", file="[default]\nmode = disabled\n")
    begin("nonsense", WANDB_MODE="nonsense")
    given = {"PROJECT": "p", "ENTITY": "e", "NAME": "n", "RUN_GROUP": "g", "TAGS": "x,y"}
    given = {f"WANDB_{name}": value for name, value in given.items()}
    given["WANDB_DIR"] = str(OUTPUT / "elsewhere" / "deep")
    begin("variables", **given)
    begin("options first", options={"project": "q", "group": "h", "tags": "z"}, **given)
    begin("bad project", options={"project": "a/b"}, WANDB_RUN_GROUP="g")
    begin("bad variable", WANDB_PROJECT="a/b")
    begin("bad tag", options={"tags": "t" * 65})
    begin("bad folder", WANDB_DIR="/proc/nowhere")
    begin("agent", WANDB_DIR=str(Path.cwd()), WANDB_SWEEP_ID="s", WANDB_RUN_ID="r")
