"""The format of a run folder, which both packages read and write."""

import contextlib
import json
import pickle

import pytest

from analyze.errors import UsageError
from analyze.runs import format as run_format


def test_what_is_not_finite_is_null_at_any_depth(tmp_path):
    nan, infinite = float("nan"), float("inf")
    content = {"a": nan, "b": {"c": (1.5, -infinite)}, "d": "NaN", "\u03b3": [[infinite]]}
    run_format.write_json(tmp_path / "x.json", content)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    expected = {"a": None, "b": {"c": [1.5, None]}, "d": "NaN", "\u03b3": [[None]]}
    assert json.loads(text, parse_constant=pytest.fail) == expected
    run_format.append_epoch(tmp_path, {"epoch": 1, "val/nll": nan})
    assert run_format.read_history(tmp_path) == [{"epoch": 1, "val/nll": None}]


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.json"
    run_format.write_json(path, {"a": 1})
    with contextlib.suppress(KeyboardInterrupt), run_format.replacing(path) as temporary:
        temporary.write_text('{"a"')
        raise KeyboardInterrupt
    assert run_format.read_json(path) == {"a": 1}
    run_format.write_json(path, {"a": 2})
    assert run_format.read_json(path) == {"a": 2}
    assert list(tmp_path.iterdir()) == [path]


def test_epochs_that_were_cut_short_are_left_out(tmp_path):
    assert run_format.read_history(tmp_path) == []
    assert run_format.count_epochs(tmp_path) == 0
    run_format.write_history(tmp_path, [{"epoch": 1}, {"epoch": 2}])
    with (tmp_path / run_format.METRICS).open("a") as file:
        file.write('[3]\n{"epoch": 3, "tra')
    assert run_format.read_history(tmp_path) == [{"epoch": 1}, {"epoch": 2}]
    assert run_format.count_epochs(tmp_path) == 3


def test_a_file_that_is_damaged_and_one_that_cannot_be_read_are_told_apart(tmp_path):
    path = tmp_path / run_format.CONFIG
    assert run_format.read_json(path) is None
    for damage in ("", "{", "[]", "[" * 100_000):
        path.write_text(damage)
        assert run_format.read_json(path) is None
        with pytest.raises(ValueError, match="JSON"):
            run_format.load_json(path)
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(UsageError, match=r"^cannot read .*config\.json \(Too many levels"):
        run_format.read_json(path)


def test_a_usage_error_keeps_its_option_on_its_way_to_another_process():
    error = pickle.loads(pickle.dumps(UsageError("--lr must be positive", "lr")))
    assert (str(error), error.option) == ("--lr must be positive", "lr")
    assert UsageError("no run in it").option == ""
