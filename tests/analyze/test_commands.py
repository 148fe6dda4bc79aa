"""`python -m analyze` as a user runs it: scores, hints, refusals, start-up."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from analyze_runs import logits_and_targets, predictions, write_run

import analyze
from analyze.__main__ import main
from analyze.errors import UsageError
from analyze.metrics.calibration import NAMES, fit_temperature, metrics
from analyze.report import wandb_report
from analyze.runs.sources.wandb_client import as_usage_errors

ROOT = Path(__file__).parents[2]


def arrays(scale=2.0, n=300):
    rng = np.random.default_rng(0)
    found = {}
    for split in ("val", "test"):
        found[f"{split}_logits"], found[f"{split}_targets"] = logits_and_targets(
            rng, n, 10, scale=scale
        )
    return found


def saved(path, **content):
    np.savez(path, **content)
    return str(path)


def test_paths_in_the_home_folder_are_found_without_a_shell(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path / "p.npz", **arrays())
    assert main(["score", "~/p.npz"]) == 0
    capsys.readouterr()
    assert main(["report", "~/none", f"--out={tmp_path}"]) == 2
    assert f"{tmp_path}/none: no such folder" in capsys.readouterr().err
    assert main(["report", "~nobody-at-all", f"--out={tmp_path}"]) == 2
    assert "there is no such home folder" in capsys.readouterr().err


def test_json_has_all_metrics_before_and_after_temperature(tmp_path, capsys):
    content = arrays()
    assert main(["score", saved(tmp_path / "p.npz", **content), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    temperature = fit_temperature(content["val_logits"], content["val_targets"])
    test = content["test_logits"], content["test_targets"]
    assert found["n"] == 300
    assert found["classes"] == 10
    assert found["temperature"] == temperature.value
    assert found["temperature_at_bound"] is False
    assert found["before"] == metrics(*test)
    assert found["after"] == metrics(*test, temperature=temperature.value)
    assert set(found["before"]) == set(NAMES)


def test_without_validation_there_is_no_temperature(tmp_path, capsys):
    content = {name: array for name, array in arrays().items() if name.startswith("test")}
    path = saved(tmp_path / "p.npz", **content)
    assert main(["score", path, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["temperature"] is found["temperature_at_bound"] is found["after"] is None
    assert main(["score", path]) == 0
    assert "no val_logits, so no temperature" in capsys.readouterr().out


def test_the_table_shows_both_stages_and_says_over_or_under(tmp_path, capsys):
    assert main(["score", saved(tmp_path / "p.npz", **arrays(scale=12.0))]) == 0
    text = capsys.readouterr().out
    assert "after, T = " in text
    assert "null ECE" in text
    assert "300 examples, 10 classes" in text
    assert "before temperature, the model is overconfident by" in text
    assert main(["score", saved(tmp_path / "p.npz", **arrays(scale=0.3))]) == 0
    assert "the model is underconfident by" in capsys.readouterr().out


def test_an_ece_below_the_noise_floor_is_pointed_out(tmp_path, capsys):
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(400, 5))
    cumulative = np.exp(logits).cumsum(axis=1)
    for _ in range(100):
        targets = (rng.random((400, 1)) * cumulative[:, -1:] < cumulative).argmax(axis=1)
        values = metrics(logits, targets, names=("ece", "null_ece"))
        if values["ece"] < values["null_ece"]:
            break
    main(["score", saved(tmp_path / "p.npz", test_logits=logits, test_targets=targets)])
    text = " ".join(capsys.readouterr().out.split())
    assert "is below the noise floor of 400 examples" in text
    assert "indistinguishable from calibrated" in text


def test_a_temperature_at_its_bound_is_pointed_out(tmp_path, capsys):
    content = arrays() | {"val_logits": 9.0 * np.eye(10), "val_targets": np.arange(10)}
    path = saved(tmp_path / "p.npz", **content)
    main(["score", path])
    told = " ".join(capsys.readouterr().out.split())
    # the spread of 9 eye(10) is 9 sqrt(.09)
    assert "stopped at its bound, 0.027, which stands for zero: every validation example" in told
    main(["score", path, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["temperature_at_bound"], found["temperature_bound"]) == (True, "zero")
    content["val_targets"] = np.roll(np.arange(10), 1)
    main(["score", saved(tmp_path / "p.npz", **content)])
    told = " ".join(capsys.readouterr().out.split())
    assert "stands for infinity: the scores are no better" in told


def test_probabilities_in_the_place_of_logits_are_pointed_out(tmp_path, capsys):
    content = arrays()
    for split in ("val", "test"):
        p = np.exp(content[f"{split}_logits"])
        content[f"{split}_logits"] = p / p.sum(axis=1, keepdims=True)
    main(["score", saved(tmp_path / "p.npz", **content)])
    assert "test_logits sum to 1 in every row" in capsys.readouterr().out


def as_probabilities(content):
    p = {}
    for split in ("val", "test"):
        exponentials = np.exp(content[f"{split}_logits"].astype(np.float64))
        p[f"{split}_probs"] = exponentials / exponentials.sum(axis=1, keepdims=True)
        p[f"{split}_targets"] = content[f"{split}_targets"]
    return p


def scored(path, capsys):
    assert main(["score", path, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_probabilities_have_the_scores_of_their_logits(tmp_path, capsys):
    content = arrays()
    ours = scored(saved(tmp_path / "p.npz", **as_probabilities(content)), capsys)
    expected = scored(saved(tmp_path / "z.npz", **content), capsys)
    assert ours["temperature"] == pytest.approx(expected["temperature"], rel=1e-6)
    for stage in ("before", "after"):
        assert ours[stage] == pytest.approx(expected[stage], rel=1e-6, abs=1e-9)


def test_probabilities_of_exactly_zero(tmp_path, capsys):
    content = as_probabilities(arrays())
    for split in ("val", "test"):
        p, targets = content[f"{split}_probs"], content[f"{split}_targets"]
        p[(p < 0.01) & (np.arange(10) != targets[:, None])] = 0
        p /= p.sum(axis=1, keepdims=True)
    found = scored(saved(tmp_path / "p.npz", **content), capsys)
    assert found["temperature"] > 0
    assert np.isfinite([*found["before"].values(), *found["after"].values()]).all()
    # a label that the model thought impossible
    for split, stage in (("test", "after"), ("val", "before")):
        p, targets = content[f"{split}_probs"], content[f"{split}_targets"]
        p[0] = np.eye(10)[(targets[0] + 1) % 10]
        path = saved(tmp_path / "p.npz", **content)
        found = scored(path, capsys)
        assert found[stage]["nll"] == float("inf")
        assert np.isfinite(found[stage]["brier"])
        main(["score", path])
        told = " ".join(capsys.readouterr().out.split())
        assert "labels with probability 0: 1, so NLL is infinite" in told
    assert found["temperature"] is found["after"] is None
    assert "no temperature: validation labels with probability 0: 1" in told


def test_logits_of_any_real_dtype_are_scored(tmp_path, capsys):
    for dtype in (np.float16, np.float32, np.float64, np.int16, ">f4"):
        content = {k: v.astype(dtype) if "logits" in k else v for k, v in arrays().items()}
        assert main(["score", saved(tmp_path / "p.npz", **content), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["before"]["accuracy"] > 0.5


def truncated(path):
    content = Path(saved(path, **arrays())).read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def too_large(path):
    """An npy header that claims more than any memory holds."""
    saved(path, test_logits=np.zeros((10, 10)), test_targets=np.zeros(10, dtype=int))
    path.write_bytes(path.read_bytes().replace(b"(10, 10), ", b"(9**9,99),"))


def torch_saved(path, **options):
    torch = pytest.importorskip("torch")
    torch.save({"test_logits": torch.zeros(2, 2)}, path, **options)


def npy(path):
    with path.open("wb") as file:  # by its content, not by its name
        np.save(file, np.zeros((2, 2)))


BAD = {
    "an npy": (npy, "is an .npy file with a single array, not an npz file: np.savez("),
    "of torch": (torch_saved, "is a torch.save file, not an npz file; nothing is unpickled"),
    "of an old torch": (
        lambda p: torch_saved(p, _use_new_zipfile_serialization=False),
        "is a pickle, perhaps of torch.save, not an npz file",
    ),
    "binary scores": (
        lambda p: saved(p, test_logits=np.zeros(3), test_targets=np.array([0, 1, 1])),
        "got shape (3,); of two classes with one number z a row: np.column_stack([0 * z, z])",
    ),
    "binary probabilities in a column": (
        lambda p: saved(p, test_probs=np.full((2, 1), 0.3), test_targets=np.array([0, 1])),
        "test_probs must be N x C with N >= 1 and C >= 2, got shape (2, 1); of two classes with "
        "one number p a row: np.column_stack([1 - p, p])",
    ),
    "logits called probabilities": (
        lambda p: saved(p, test_probs=np.eye(3) * 2, test_targets=np.arange(3)),
        "test_probs must be >= 0 and sum to 1 in every row, row 0 does not",
    ),
    "logits and probabilities": (
        lambda p: saved(p, **arrays(), test_probs=np.eye(3)),
        "test_probs must be (300, 10) like test_logits, got (3, 3)",
    ),
    "two readings": (
        lambda p: saved(p, **arrays(), test_probs=np.eye(3), test_log_probs=np.eye(3)),
        "has both test_log_probs and test_probs: leave one out",
    ),
    "a reading that is none": (
        lambda p: saved(p, **arrays(), test_log_probs=np.zeros((300, 10))),
        "test_log_probs must be the log of probabilities, row 0 is not",
    ),
    "missing": (lambda p: None, "No such file"),
    "a folder": (lambda p: p.mkdir(), "Is a directory"),
    "text": (lambda p: p.write_text("hello"), "is no npz file"),
    "empty": (lambda p: p.write_bytes(b""), "is no npz file"),
    "truncated": (truncated, "is no npz file, or a truncated one"),
    "a damaged header": (too_large, "is a damaged npz file"),
    "a pickle": (
        lambda p: saved(p, test_logits=np.array([{}], dtype=object)),
        "holds pickled objects, which are not loaded",
    ),
    "other names": (lambda p: saved(p, logits=np.zeros((2, 2))), "has no test_logits; it holds"),
    "nothing": (lambda p: saved(p), "it holds: nothing"),
    "NaN": (
        lambda p: saved(p, **(arrays() | {"test_logits": np.full((300, 10), np.nan)})),
        "test_logits must be finite, row 0 has NaN",
    ),
    "probability vectors as targets": (
        lambda p: saved(p, **(arrays() | {"test_targets": np.zeros((300, 10))})),
        "test_targets must have one label for each",
    ),
    "labels out of range": (
        lambda p: saved(p, **(arrays() | {"val_targets": np.full(300, -1)})),
        "val_targets must be in 0 ... 9, got -1",
    ),
    "validation without targets": (
        lambda p: saved(p, **{k: v for k, v in arrays().items() if k != "val_targets"}),
        "has val_logits but no val_targets",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_line(tmp_path, capsys, case):
    make, message = BAD[case]
    path = tmp_path / "p.npz"
    make(path)
    assert main(["score", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"analyze: {path}: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "analyze", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_names_the_commands_and_imports_nothing_heavy():
    text = run("--help")
    assert text.returncode == 0
    assert all(name in text.stdout for name in ("score", "report", "conformance"))
    code = "import sys, analyze.__main__ as m; print({'numpy', 'scipy'} & set(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "set()"
    start = time.perf_counter()
    run("--help")
    assert time.perf_counter() - start < 5  # 1 s is asked of a quiet machine


def test_a_wrong_option_is_refused_with_status_2():
    assert run("score").returncode == 2
    assert run("scor", "x").returncode == 2


def test_the_module_as_a_command_refuses_without_a_traceback(tmp_path):
    refused = run("score", str(tmp_path / "none.npz"))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("score", "analyze.runs.score.metrics"),
        ("report", "analyze.runs.evaluation.metrics_of"),
        ("report", "analyze.report.output.render_page"),
        ("report", "analyze.report.kept.write_kept"),
        ("choose", "analyze.comparison.choice._entry"),
    ],
)
def test_a_fault_of_the_program_is_not_said_to_be_the_users(
    tmp_path, monkeypatch, capsys, command, place
):
    for lr in (0.1, 0.2):
        write_run(tmp_path / "runs", predictions(0, n=50), lr=lr)
    runs, out = str(tmp_path / "runs"), str(tmp_path / "out")
    words = {
        "score": ["score", str(next(tmp_path.rglob("predictions.npz")))],
        "report": ["report", runs, "--out", out, "--keep-runs"],
        "choose": ["choose", runs, "--option", "lr"],
    }[command]
    monkeypatch.setattr("analyze.report.output.list_figures", lambda report: [])
    assert main(words) == 0
    capsys.readouterr()
    for scored in tmp_path.rglob("scored.npz"):  # the next report would not score again
        scored.unlink()

    def faulty(*_, **__):
        return list(zip([1, 2], [1], strict=True))

    monkeypatch.setattr(place, faulty)
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is shorter"):
        main(words)
    assert capsys.readouterr().err == ""


def test_a_fault_of_the_user_is_no_value_error():
    assert UsageError.__mro__[1:] == (Exception, BaseException, object)


def test_of_what_goes_wrong_with_wandb_ours_is_told_apart_from_the_clients():
    with pytest.raises(UsageError, match=r"^x: Expecting value"), as_usage_errors("x"):
        json.loads("")
    with pytest.raises(UsageError, match=r"^x: no key$"), as_usage_errors("x"):
        raise UsageError("no key")
    report = object()  # has no tables
    with pytest.raises(AttributeError), as_usage_errors("x"):
        wandb_report._log(None, report, Path())


def test_conformance_finds_all_our_answers_right_and_torchmetrics_off_three_times(capsys):
    pytest.importorskip("torchmetrics")
    assert main(["conformance"]) == 0
    text = capsys.readouterr().out
    assert text.count("the definition") == 7
    assert "WRONG" not in text
    tables = [t for t in text.split("the definition") if "torchmetrics  " in t]
    theirs = [t.split("torchmetrics")[1].split()[1] for t in tables]
    assert theirs == ["0.300", "0.230", "0.300"]


def test_conformance_says_which_of_our_answers_is_wrong(monkeypatch, capsys):
    monkeypatch.setattr(
        "analyze.metrics.conformance.ece", lambda confidence, correct, bins=15: 0.3
    )
    assert main(["conformance"]) == 3
    assert capsys.readouterr().out.count("0.300  WRONG") == 2


def test_analyze_exports_its_names_and_imports_nothing_for_them_before():
    for name in analyze.__all__:
        assert getattr(analyze, name).__name__ == name
        assert name in dir(analyze)
    with pytest.raises(ImportError, match="nothing_of_the_kind"):
        from analyze import nothing_of_the_kind  # noqa: F401
    code = "import sys, analyze; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
