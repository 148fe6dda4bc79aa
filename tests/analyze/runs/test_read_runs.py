"""Run folders: what is read, what is left out and why."""

import json
from pathlib import Path

import numpy as np
import pytest
from analyze_runs import predictions, write_run, write_study

from analyze.errors import UsageError
from analyze.runs.evaluation import ScoredRun, same_examples, score_run
from analyze.runs.format import read_history
from analyze.runs.run import (
    LeftOut,
    Run,
    find_run_folders,
    read_run,
    read_runs,
    varying,
)


def test_run_folders_are_found_at_any_depth_once_and_sorted(tmp_path):
    first = write_run(tmp_path / "b" / "deep", predictions(0, n=50))
    second = write_run(tmp_path / "a", predictions(0, n=50), loss="focal:gamma=3")
    (first / "checkpoints").mkdir()
    (first / "checkpoints" / "config.json").write_text("{}")
    assert find_run_folders([tmp_path, first, tmp_path / "a"]) == [second, first]
    assert find_run_folders([first]) == [first]


def test_links_are_not_followed(tmp_path):
    folder = write_run(tmp_path / "a", predictions(0, n=50))
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert find_run_folders([tmp_path]) == [folder]


def test_a_path_without_runs_is_refused(tmp_path):
    with pytest.raises(UsageError, match="missing: no such folder"):
        find_run_folders([tmp_path / "missing"])
    with pytest.raises(UsageError, match="no run in it"):
        find_run_folders([tmp_path])


def test_a_finished_run_is_read_with_its_setting(tmp_path):
    folder = write_run(tmp_path, predictions(3, n=50), loss="focal:gamma=3", seed=3, lr=0.05)
    run = read_run(folder)
    assert isinstance(run, Run)
    assert (run.loss, run.seed, run.setting["lr"]) == ("focal:gamma=3", 3, 0.05)
    assert run.setting["mixed_precision"] == "no"  # what auto came to
    assert not {"loss", "seed", "output", "study", "wandb", "data_dir"} & set(run.setting)


def test_where_a_run_went_is_no_setting_but_which_folder_it_read_is(tmp_path):
    here = write_run(tmp_path / "1", predictions(0, n=50), output="runs", data_dir="data")
    there = write_run(tmp_path / "2", predictions(0, n=50), output="scratch", data_dir="/mnt/data")
    settings = [read_run(folder).setting for folder in (here, there)]
    assert varying(settings) == []
    folders = [
        write_run(tmp_path / d, predictions(0, n=50), dataset="folder", data_dir=d) for d in "ab"
    ]
    assert varying([read_run(folder).setting for folder in folders]) == ["data_dir"]


@pytest.mark.parametrize(
    ("loss", "kind", "arbitrary"),
    [("ce", "logits", False), ("hinge+0.5*ce", "logits", False), ("mine:Loss", "scores", True)],
)
def test_losses_without_a_scale_are_marked(tmp_path, loss, kind, arbitrary):
    folder = write_run(tmp_path, predictions(0, n=50), loss=loss, input_kind=kind)
    assert read_run(folder).scale_arbitrary is arbitrary


def test_a_diverged_and_an_unfinished_run_say_so(tmp_path):
    diverged = read_run(write_run(tmp_path, status="diverged", seed=1))
    assert isinstance(diverged, LeftOut)
    assert (diverged.reason, diverged.diverged) == ("diverged at step 17", True)
    unfinished = read_run(write_run(tmp_path, status=None, seed=2, epochs=9))
    assert unfinished.reason == "unfinished: 9 of 9 epochs done"
    folder = write_run(tmp_path, status=None, seed=3, epochs=9)
    (folder / "metrics.jsonl").unlink()
    assert read_run(folder).reason == "unfinished: 0 of 9 epochs done"


def test_history_skips_a_line_that_a_kill_cut_short(tmp_path):
    folder = write_run(tmp_path, status=None)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "val/acc')
    assert [epoch["epoch"] for epoch in read_history(folder)] == [1, 2]
    assert read_run(folder).reason == "unfinished: 2 of 2 epochs done"


def edit(path: Path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def spoil_config(text):
    return lambda folder: (folder / "config.json").write_text(text)


def spoil_summary(text):
    return lambda folder: (folder / "summary.json").write_text(text)


def spoil_arrays(**changes):
    """Saves predictions.npz again with arrays replaced, or dropped where None."""

    def spoil(folder):
        arrays = predictions(0, n=50) | changes
        kept = {name: array for name, array in arrays.items() if array is not None}
        np.savez(folder / "predictions.npz", **kept)

    return spoil


def spoil_bytes(change):
    def spoil(folder):
        path = folder / "predictions.npz"
        path.write_bytes(change(path.read_bytes()))

    return spoil


ZEROS = np.zeros((50, 10), dtype=np.float32)
SPOILT = {
    "config.json is gone": (lambda f: (f / "config.json").unlink(), "config.json cannot be read"),
    "config.json is torn": (spoil_config('{"config": {'), "config.json is no JSON"),
    "config.json is a list": (spoil_config("[]"), "must hold one JSON object"),
    "config.json is bytes": (
        lambda f: (f / "config.json").write_bytes(b"\xff\x00"),
        "config.json is no JSON",
    ),
    "deeply nested": (spoil_config("[" * 100_000), "config.json is no JSON"),
    "no options": (spoil_config("{}"), "no options under 'config'"),
    "no loss": (spoil_config('{"config": {"seed": 1}}'), "no loss, got None"),
    "no seed": (spoil_config('{"config": {"loss": "ce", "seed": true}}'), "no seed, got True"),
    "summary.json is torn": (spoil_summary('{"status": "fin'), "summary.json is no JSON"),
    "unknown status": (spoil_summary('{"status": "ok"}'), "summary.json has status 'ok'"),
    "no predictions": (lambda f: (f / "predictions.npz").unlink(), "No such file"),
    "truncated": (spoil_bytes(lambda b: b[: len(b) // 2]), "is no npz file, or a truncated one"),
    "empty": (spoil_bytes(lambda b: b""), "is no npz file"),
    "flipped bits": (
        spoil_bytes(lambda b: b[:3000] + bytes(x ^ 255 for x in b[3000:3100]) + b[3100:]),
        "is a damaged npz file",
    ),
    "NaN": (spoil_arrays(test_logits=ZEROS + np.nan), "test_logits must be finite, row 0"),
    "wrong shape": (spoil_arrays(test_logits=ZEROS[0]), "test_logits must be N x C"),
    "labels out of range": (
        spoil_arrays(test_targets=np.full(50, 10)),
        r"test_targets must be in 0 \.\.\. 9, got 10",
    ),
    "no targets": (spoil_arrays(test_targets=None), "has test_logits but no test_targets"),
    "no validation": (spoil_arrays(val_logits=None), "has no val_logits, so no temperature"),
    "bad validation": (spoil_arrays(val_logits=ZEROS + np.inf), "val_logits must be finite"),
    "other classes in validation": (
        spoil_arrays(val_logits=np.zeros((50, 12))),
        "val_logits have 12 classes, test_logits 10",
    ),
    "no index": (spoil_arrays(test_index=None), "has no test_index, so it cannot be paired"),
    "an index twice": (spoil_arrays(test_index=np.zeros(50, dtype=int)), "lists an example twice"),
    "a short index": (spoil_arrays(test_index=np.arange(49)), "test_index must be 50 integers"),
    "other predictions": (
        spoil_arrays(test_logits=ZEROS),
        "summary.json has test/accuracy .*, predictions.npz",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_run_is_left_out_with_the_reason_in_one_line(tmp_path, case):
    spoil, reason = SPOILT[case]
    folder = write_run(tmp_path, predictions(0, n=50))
    spoil(folder)
    result = read_run(folder)
    if isinstance(result, Run):
        result = score_run(result)
    assert isinstance(result, LeftOut)
    assert result.reason.startswith("broken: ")
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(result.reason)
    assert "\n" not in result.reason


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_nothing_is_unpickled(tmp_path):
    folder = write_run(tmp_path, predictions(0, n=50))
    trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
    np.savez(folder / "predictions.npz", test_logits=trap, allow_pickle=True)
    result = score_run(read_run(folder))
    assert "holds pickled objects, which are not loaded" in result.reason
    np.save(folder / "predictions.npy", trap, allow_pickle=True)
    (folder / "predictions.npy").replace(folder / "predictions.npz")
    assert "not an npz file" in score_run(read_run(folder)).reason
    assert not (tmp_path / "sprung").exists()


def test_a_run_with_probabilities_is_left_out_and_says_why(tmp_path):
    arrays = predictions(0, n=50)
    folder = write_run(tmp_path, arrays)
    arrays["test_probs"] = np.full_like(arrays.pop("test_logits"), 0.1)
    np.savez(folder / "predictions.npz", **arrays)
    assert "has probabilities, but a report needs logits" in score_run(read_run(folder)).reason


def test_of_two_runs_with_one_config_the_first_counts(tmp_path):
    kept = write_run(tmp_path / "a", predictions(0, n=50))
    double = write_run(tmp_path / "b", predictions(0, n=50), study="again")
    runs, left_out = read_runs([tmp_path])
    assert [run.path for run in runs] == [kept]
    assert [out.path for out in left_out] == [double]
    assert left_out[0].reason == f"the same loss, seed and setting as {kept}"


def test_examples_are_put_in_the_order_of_their_index(tmp_path):
    arrays = predictions(0, n=50)
    order = np.random.default_rng(0).permutation(50)
    shuffled = arrays | {name: arrays[name][order] for name in arrays if name.startswith("test_")}
    a = score_run(read_run(write_run(tmp_path / "a", arrays)))
    b = score_run(read_run(write_run(tmp_path / "b", shuffled)))
    assert isinstance(a, ScoredRun)
    assert isinstance(b, ScoredRun)
    assert a.examples == b.examples
    for name in a.per_example:
        assert a.per_example[name] == pytest.approx(b.per_example[name], abs=1e-15)


def test_runs_on_other_test_examples_are_left_out(tmp_path):
    folders = write_study(tmp_path, {"ce": {"n": 50}}, range(3))
    arrays = predictions(7, n=50)
    folders.append(write_run(tmp_path, arrays | {"test_index": np.arange(1, 51)}, seed=7))
    relabelled = arrays | {"test_targets": (arrays["test_targets"] + 1) % 10}
    folders.append(write_run(tmp_path, relabelled, seed=8))
    kept, left_out = same_examples([score_run(read_run(folder)) for folder in folders])
    assert [one.run.seed for one in kept] == [0, 1, 2]
    assert [out.seed for out in left_out] == [7, 8]
    assert "test examples or labels differ from those" in left_out[0].reason


def told(folder, options=(), **more):
    """Let a run's config.json say more."""
    path = folder / "config.json"
    described = json.loads(path.read_text())
    described["config"] |= dict(options)
    path.write_text(json.dumps(described | more))
    return folder


def test_runs_say_themselves_what_is_bookkeeping(tmp_path):
    folder = told(
        write_run(tmp_path, predictions(0, n=50)), {"where": "x"}, bookkeeping=["where", "output"]
    )
    assert "where" not in read_run(folder).setting
    assert "wandb" in read_run(folder).setting


def test_an_option_that_a_run_is_older_than_has_the_value_that_changes_nothing(tmp_path):
    for loss, options in {"ce": {}, "mae": {"ema": 0.0}, "focal": {"ema": 0.9}}.items():
        folder = write_run(tmp_path / loss, predictions(0, n=50), loss=loss)
        told(folder, options, **({"neutral": {"ema": 0.0}} if options else {}))
    runs, _ = read_runs([tmp_path])
    assert {run.loss: run.setting["ema"] for run in runs} == {"ce": 0, "mae": 0, "focal": 0.9}


def test_images_are_the_same_by_any_path_and_others_by_the_same_are_not(tmp_path):
    kinds = {"1": ("x", "a"), "2": ("x", "b"), "3": ("y", "a"), "4": ("x", None)}
    for name, (path, images) in kinds.items():
        options = {"dataset": "folder", "data_dir": path, "seed": int(name)}
        folder = write_run(tmp_path / name, predictions(0, n=50), **options)
        told(folder, images=images)
    runs, _ = read_runs([tmp_path])
    assert [run.setting["data_dir"] for run in runs] == ["x", "x (b)", "x", "x"]
    assert not any("images" in run.setting for run in runs)
