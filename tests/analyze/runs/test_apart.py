"""Runs trained apart: what joins, what is said, and what is refused."""

import json

from analyze_runs import predictions, write_run

from analyze.comparison.legend import legend
from analyze.comparison.report import build_report
from analyze.runs.apart import alike
from analyze.runs.run import read_runs


def described(folder, **content):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | content))


def study(tmp_path, change):
    """Three losses, three seeds; `change` gets the folder, loss and seed of each run."""
    for loss in ("ce", "focal", "m.py:L"):
        for seed in range(3):
            folder = write_run(tmp_path, predictions(seed), loss=loss, seed=seed)
            change(folder, loss, seed)
    return tmp_path


def test_runs_of_one_make_say_nothing(tmp_path):
    report = build_report([study(tmp_path, lambda *_: None)])
    assert not [line for line in legend(report) if "one go" in line]


def test_what_differs_is_listed_with_the_losses(tmp_path):
    def change(folder, loss, seed):
        described(
            folder,
            commit=("b" if loss == "focal" else "a") * 40 + "+" * (loss == "focal"),
            versions={"torch": "2.13.0" if seed else "2.15.0"},
            hardware={"cpu": "same"},
        )

    [line] = [line for line in legend(build_report([study(tmp_path, change)])) if "one go" in line]
    assert "code: aaaaaaa in 6 runs (ce, m.py:L); bbbbbbb+ in 3 runs (focal)" in line
    assert "torch: 2.13.0 in 6 runs; 2.15.0 in 3 runs." in line
    assert "CPU" not in line


def test_other_images_and_an_edited_loss_are_left_out(tmp_path):
    def change(folder, loss, seed):
        described(folder, images_sha256="other" if (loss, seed) == ("ce", 1) else "usual")
        if loss == "m.py:L":
            described(folder, loss_sources={"m.py": "new" if seed == 2 else "old"})

    runs, unlike = alike(read_runs([study(tmp_path, change)])[0])
    assert len(runs) == 7
    reasons = {(out.loss, out.seed): out.reason for out in unlike}
    assert set(reasons) == {("ce", 1), ("m.py:L", 2)}
    assert "its images differ" in reasons["ce", 1]
    assert "another version of the file" in reasons["m.py:L", 2]
    assert len(build_report([tmp_path]).left_out) == 2


def test_a_run_that_records_no_images_joins(tmp_path):
    runs, unlike = alike(
        read_runs(
            [study(tmp_path, lambda f, loss, _: loss == "ce" and described(f, images_sha256="x"))]
        )[0]
    )
    assert (len(runs), unlike) == (9, [])


def test_images_may_differ_by_seed_where_the_seed_chooses_them(tmp_path):
    for loss in ("ce", "focal", "hinge"):
        for seed in range(3):
            folder = write_run(tmp_path, predictions(seed), loss=loss, seed=seed, split_seed=-1)
            other = "other" * (loss == "focal" and seed == 2)
            described(folder, images_sha256=f"of seed {seed}{other}")
    runs, unlike = alike(read_runs([tmp_path])[0])
    assert len(runs) == 8
    assert [(out.loss, out.seed) for out in unlike] == [("focal", 2)]
