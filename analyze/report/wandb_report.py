"""`--to-wandb`: logs a report as a W&B run of job type analysis."""

import sys
from pathlib import Path
from typing import Any

from analyze.beyond.elsewhere import tables_beyond
from analyze.comparison.report import Report
from analyze.errors import UsageError
from analyze.report.sentences import summarise
from analyze.runs.sources.wandb_client import TIMEOUT, as_usage_errors, has_key, quiet

_SLOWEST = 120  # seconds, for the upload


def parse_target(target: str) -> tuple[str | None, str]:
    """Entity (None for the default) and project.

    Raises:
        UsageError: The target is neither PROJECT nor ENTITY/PROJECT.

    Example:
        >>> parse_target("resnet-losses"), parse_target("me/resnet-losses")
        ((None, 'resnet-losses'), ('me', 'resnet-losses'))
    """
    parts = target.removeprefix("wandb:").split("/")
    if len(parts) > 2 or not all(parts):
        raise UsageError(f"--to-wandb {target}: expected PROJECT or ENTITY/PROJECT")
    return (parts[0] if len(parts) == 2 else None), parts[-1]


def log_report(report: Report, out: Path, target: str) -> str:
    """Logs a report that has been written: its tables, figures, page and files.

    Tables become W&B tables, the page and the figures become media, and all files together one
    artifact of type report; the answer stands in the notes. Without an API key, or if the server
    does not answer within ten seconds, the run is offline, in `out/wandb`.

    Args:
        report: From `build_report`.
        out: The folder to which it was written.
        target: ENTITY/PROJECT, or PROJECT of the default entity.

    Returns:
        The URL of the run, or its offline folder.

    Raises:
        UsageError: The target has another form, or the upload failed.
    """
    entity, project = parse_target(target)
    with as_usage_errors(f"--to-wandb {target}"), quiet():
        run = _begin(report, out, entity, project)
        _log(run, report, out)
        run.finish()
    if run.offline:
        return f"{Path(run.dir).parent} (`wandb sync` uploads it)"
    return str(run.url)


def _begin(report: Report, out: Path, entity: str | None, project: str) -> Any:  # noqa: ANN401
    import wandb

    told = summarise(report)
    sentences = [told.overall, *(text for texts in told.answers.values() for text in texts)]

    def begin(mode: Any) -> Any:  # noqa: ANN401
        settings = wandb.Settings(
            init_timeout=TIMEOUT,
            finish_timeout=_SLOWEST,
            silent=True,
            console="off",
            disable_git=True,
            x_disable_stats=True,
        )
        return wandb.init(
            entity=entity,
            project=project,
            job_type="analysis",
            name=f"report {out.resolve().name}",
            notes="\n".join(sentences),
            config={"reference": report.reference, "setting": report.fixed},
            dir=out,
            mode=mode,
            reinit="create_new",  # the caller may have a run in progress
            settings=settings,
        )

    if not has_key():
        return begin("offline")
    try:
        return begin(None)  # online, unless WANDB_MODE says otherwise
    except wandb.errors.CommError as error:
        message = str(error).partition("\n")[0]
        print(f"W&B does not answer ({message}); logging offline", file=sys.stderr)
        wandb.teardown()  # discard the failed attempt
        return begin("offline")


def _log(run: Any, report: Report, out: Path) -> None:  # noqa: ANN401
    import wandb

    logged: dict[str, Any] = {
        # Allow mixed types: W&B takes a column with numbers and gaps for one of two types.
        name: wandb.Table(dataframe=table, allow_mixed_types=True)
        for name, table in (report.tables | tables_beyond(report).tables).items()
    }
    logged["report"] = wandb.Html(str(out / "index.html"), inject=False)
    for figure in sorted((out / "figures").glob("*.svg")):
        logged[f"figures/{figure.stem}"] = wandb.Html(
            figure.read_text(encoding="utf-8"), inject=False
        )
    run.log(logged)

    files = wandb.Artifact(f"report-{run.id}", type="report")
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out)
        if path.is_file() and name.parts[0] != "wandb":
            files.add_file(str(path), name=name.as_posix())
    run.log_artifact(files)
