"""Whether the settings of the losses were tuned, and on which seeds."""

from collections.abc import Sequence

from analyze.runs.run import as_text
from analyze.runs.scored import ScoredRun
from analyze.runs.tuned import Tuned, name_of

FRESH, SAME, UNTUNED = "fresh seeds", "same seeds", "not tuned"
SAME_SEEDS_MARK = "§"


def tuning(evaluated: Sequence[ScoredRun]) -> dict[str, str]:
    """For each loss, whether its setting was chosen, and on which seeds.

    FRESH: on seeds that have no part in the comparison. SAME: several settings of the loss are
    compared, so that whoever picks one of them chooses on the seeds of the comparison, or the
    record of the choice names such seeds. UNTUNED: it has one setting, and nothing says that it
    was chosen.
    """
    settings = _settings(evaluated)
    kinds = {}
    for loss in sorted({scored.run.loss for scored in evaluated}):
        runs = [scored.run for scored in evaluated if scored.run.loss == loss]
        records = [run.tuned for run in runs if run.tuned is not None]
        again = {seed for record in records for seed in record.seeds} & {r.seed for r in runs}
        if again or len(settings[name_of(loss)]) > 1:
            kinds[loss] = SAME
        else:
            kinds[loss] = FRESH if records else UNTUNED
    return kinds


def of_pair(kinds: dict[str, str], loss: str, other: str) -> str:
    """The same for a comparison: SAME if that of either loss is, then FRESH, then UNTUNED."""
    pair = {kinds.get(loss, UNTUNED), kinds.get(other, UNTUNED)}
    return next(kind for kind in (SAME, FRESH, UNTUNED) if kind in pair)


def tuning_in_words(evaluated: Sequence[ScoredRun]) -> list[str]:
    """How many settings were tried on which seeds, and for which losses none, one line each."""
    kinds, settings = tuning(evaluated), _settings(evaluated)
    lines = []
    records: dict[Tuned, list[str]] = {}
    for loss, kind in kinds.items():
        if kind == FRESH:
            runs = [scored.run for scored in evaluated if scored.run.loss == loss]
            record = next(run.tuned for run in runs if run.tuned)
            chosen = {
                option: dict.fromkeys(as_text(r.options.get(option)) for r in runs)
                for option in record.options
            }
            values = ", ".join(f"{name} {' or '.join(texts)}" for name, texts in chosen.items())
            tried = record.tried.get(name_of(loss), 1)
            told = f"{loss}{f' ({values})' if values else ''} of {tried}"
            records.setdefault(record, []).append(told)
    for record, losses in records.items():
        seeds = _listed(record.seeds)
        lines.append(
            f"Tuned by validation {record.by} on seeds {seeds}, which have no part in the "
            "comparison. Each loss has the best of the settings that were tried for it: "
            f"{', '.join(losses)}."
        )
    same = dict.fromkeys(name_of(loss) for loss, kind in kinds.items() if kind == SAME)
    if same:
        seeds = _listed(sorted({scored.run.seed for scored in evaluated}))
        told = ", ".join(f"{name} with {len(settings[name])}" for name in same)
        lines.append(
            f"{SAME_SEEDS_MARK} settings of one loss, compared on the seeds on which one would "
            f"choose among them ({told}; seeds {seeds}). Each comparison holds for a setting that "
            "is named beforehand. The best of them looks better than it is: `python -m "
            "experiments tune` chooses on other seeds"
        )
    if untuned := [loss for loss, kind in kinds.items() if kind == UNTUNED]:
        lines.append(
            f"Not tuned: {', '.join(untuned)}. All losses have the same options, whose defaults "
            "were chosen for ce."
        )
    return lines


def _settings(evaluated: Sequence[ScoredRun]) -> dict[str, set[str]]:
    """For the name of each loss, its specs."""
    specs: dict[str, set[str]] = {}
    for scored in evaluated:
        specs.setdefault(name_of(scored.run.loss), set()).add(scored.run.loss)
    return specs


def _listed(seeds: Sequence[int]) -> str:
    """Seeds in words: "0 to 4", or "3, 7 and 9"."""
    first, last = seeds[0], seeds[-1]
    if len(seeds) > 2 and list(seeds) == list(range(first, last + 1)):
        return f"{first} to {last}"
    *most, final = map(str, seeds)
    return f"{', '.join(most)} and {final}" if most else final
