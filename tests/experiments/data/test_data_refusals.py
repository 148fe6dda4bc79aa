"""Wrong label files and settings: each is refused in one line, before training."""

import contextlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analyze.errors import UsageError
from experiments.data import label_file

IMAGES, TEST_IMAGES, CLASSES = 1348, 449, 10


def saved(path, array):
    np.save(path, array)
    return str(path)


def rows(value, column=None, row=7):
    """A valid table of probabilities but for one row or value."""
    table = np.full((IMAGES, CLASSES), 0.1)
    table[row if column is None else (row, column)] = value
    return table


def indices(value=None, row=7):
    table = np.arange(IMAGES) % 10
    if value is not None:
        table[row] = value
    return table


WRONG_ARRAYS = {
    "a row too few": (indices()[1:], "has 1347 rows, and there are 1348 training images"),
    "text": (indices().astype(str), "expected class indices, integers (1348,), or probabilities"),
    "booleans": (indices() > 4, "is bool of shape (1348,): expected class indices"),
    "complex": (indices().astype(complex), "is complex128"),
    "dates": (indices().astype("datetime64[s]"), "is datetime64[s]"),
    "a scalar": (np.int64(3), "is int64 of shape ()"),
    "too many dimensions": (rows(0.1)[None], "is float64 of shape (1, 1348, 10)"),
    "floating indices": (indices().astype(float), "class indices must be integers, got float64"),
    "a table of integers": (
        np.eye(10, dtype=int)[indices()],
        "table of int64: probabilities must",
    ),
    "a class too many": (indices(10), "row 7 has 10, expected a class from 0 to 9, or -100"),
    "-1 for unlabelled": (indices(-1), "row 7 has -1, expected a class from 0 to 9, or -100"),
    "1-based": (indices() + 1, "labels from 1 to 10: subtract 1, classes count from 0"),
    "nothing labelled": (np.full(IMAGES, -100), "no image has a label"),
    "NaN": (rows(np.nan, 3), "row 7, column 3 has nan, expected a probability from 0 to 1"),
    "infinite": (rows(np.inf, 3), "row 7, column 3 has inf"),
    "negative": (rows(-0.1, 3), "row 7, column 3 has -0.1"),
    "votes": (rows(3.0, 3), "row 7, column 3 has 3, expected a probability"),
    "not a distribution": (rows(0.11), "row 7 sums to 1.1, expected 1"),
    "zeros": (rows(0.0), "row 7 sums to 0, expected 1"),
    "a column too many": (np.full((IMAGES, 11), 1 / 11), "has 11 columns for 10 classes"),
}


def refused(train_here, said, **options):
    """The run is refused in one line, before its first step."""
    with pytest.raises(UsageError) as refusal:
        train_here(name="refused", **options)
    line = str(refusal.value)
    assert said in line
    assert "\n" not in line
    return line


@pytest.mark.parametrize("kind", WRONG_ARRAYS)
def test_a_wrong_array_is_refused_with_file_row_and_value(train_here, tmp_path, kind):
    array, said = WRONG_ARRAYS[kind]
    path = saved(tmp_path / "wrong.npy", array)
    line = refused(train_here, said, train_labels=path)
    assert line.startswith(f"--train-labels {path}")


def truncated(path):
    np.save(path, indices())
    path.write_bytes(path.read_bytes()[:-100])


def pickled(path):
    np.save(path, np.array([{"label": 1}] * IMAGES, dtype=object), allow_pickle=True)


def archived(path):
    with path.open("wb") as file:
        np.savez(file, labels=indices())


WRONG_FILES = {
    "missing": (lambda path: None, "cannot be read: No such file or directory"),
    "a folder": (lambda path: path.mkdir(), "cannot be read: Is a directory"),
    "text": (lambda path: path.write_text("1\n2\n3\n"), "is no .npy file"),
    "empty": (lambda path: path.touch(), "is no .npy file"),
    "an archive": (archived, "is an .npz archive: save one array with numpy.save"),
    "pickled": (pickled, "holds pickled objects, which are not loaded"),
    "truncated": (truncated, "is damaged"),
    "half a header": (lambda path: path.write_bytes(b"\x93NUMPY\x01"), "is damaged"),
}


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_a_file_that_is_no_array_of_numbers_is_refused_and_never_unpickled(
    train_here, tmp_path, kind
):
    make, said = WRONG_FILES[kind]
    make(tmp_path / "labels.npy")
    refused(train_here, said, train_labels=tmp_path / "labels.npy")


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        st.one_of(
            hnp.scalar_dtypes(), hnp.unicode_string_dtypes(), hnp.integer_dtypes(endianness="=")
        ),
        st.one_of(hnp.array_shapes(max_side=4), st.sampled_from([(6,), (6, 3)])),
    )
)
def test_any_array_is_read_rightly_or_refused(tmp_path_factory, array):
    path = saved(tmp_path_factory.getbasetemp() / "any.npy", array)
    with contextlib.suppress(UsageError):
        targets = label_file.read("--train-labels", path, 6, 3, what="training images")
        check_read(targets, array)


def check_read(targets, array):
    if targets.is_floating_point():
        assert array.dtype.kind == "f"
        assert targets.shape == (6, 3)
        assert (targets >= 0).all()
        assert torch.allclose(targets.sum(1), torch.ones(6))
    else:
        assert array.dtype.kind in "iu"
        assert targets.tolist() == array.tolist()
        assert set(targets.tolist()) <= {-100, 0, 1, 2}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"class_weights": "1,2,3"}, "a weight for each of the 10 classes, got 3"),
        ({"class_weights": "-1,1"}, "--class-weights must be none, balanced, effective:BETA"),
        ({"class_weights": "nan,1"}, "--class-weights must be none"),
        ({"class_weights": "0,0"}, "not all zero, got '0,0'"),
        ({"class_weights": "effective:1"}, "with BETA in [0, 1)"),
        ({"class_weights": "effective"}, "got 'effective'"),
        ({"class_weights": "effective:0.9,1"}, "got 'effective:0.9,1'"),
        ({"class_weights": "even"}, "got 'even'"),
        ({"class_weights": "balanced", "train_size": 9}, "has no label among the training images"),
        ({"label_noise": 1}, "--label-noise must be in [0, 1), got '1.0'"),
        ({"unlabelled": "nan"}, "--unlabelled must be in [0, 1), got 'nan'"),
        ({"unlabelled": 0.999, "train_size": 2}, "none of the 2 training images has a label"),
        ({"imbalance": 0.5}, "--imbalance must be a number >= 1, got '0.5'"),
        ({"imbalance": "inf"}, "--imbalance must be a number >= 1, got 'inf'"),
        ({"train_size": -1}, "--train-size must be at least 0, got '-1'"),
        ({"cutout": -1}, "--cutout must be at least 0, got '-1'"),
        ({"mixup": -1}, "--mixup must be 0, or from 0.01 to 100, got '-1.0'"),
        ({"augment": "trivail"}, "did you mean trivial?"),
        ({"loss": "hinge", "mixup": 0.2}, "hinge takes class indices only"),
        ({"loss": "nll", "cutmix": 1}, "--cutmix 1 makes the targets probabilities, and nll"),
        ({"loss": "ce+hinge", "mixup": 1}, "ce+hinge takes class indices only"),
        ({"mixup": 1, "unlabelled": 0.5}, "--mixup 1 mixes labels, and"),
    ],
)
def test_a_wrong_setting_is_refused(train_here, options, said):
    refused(train_here, said, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss": "nll"}, "makes the targets probabilities, and nll takes class indices only"),
        ({"loss": "hinge"}, "hinge takes class indices only"),
        ({"label_noise": 0.1}, "--label-noise 0.1 needs class indices: --train-labels"),
        ({"unlabelled": 0.1}, "--unlabelled 0.1 needs class indices: --train-labels"),
    ],
)
def test_probabilities_meet_only_what_can_take_them(train_here, tmp_path, options, said):
    path = saved(tmp_path / "table.npy", rows(0.1))
    refused(train_here, said, train_labels=path, **options)


def one_number(input, target):
    """A user's own loss that gives one number for a batch."""
    return torch.nn.functional.cross_entropy(input, target)


def test_losses_that_cannot_take_weights_or_missing_labels_refuse(train_here):
    mine = "test_data_refusals:one_number"
    refused(train_here, "class weights", loss=mine, class_weights="balanced")
    refused(train_here, "needs values per example", loss=mine, unlabelled=0.5)


def test_people_must_give_probabilities_for_the_test_images(train_here, tmp_path):
    option = "--test-probabilities"
    path = saved(tmp_path / "train.npy", rows(0.1))
    refused(train_here, f"{option} {path} has 1348 rows", test_probabilities=path)
    path = saved(tmp_path / "labels.npy", np.zeros(TEST_IMAGES, dtype=int))
    refused(train_here, "holds class indices: expected probab", test_probabilities=path)


@pytest.mark.slow
def test_the_command_says_it_in_one_line_and_exits_with_2(cli, tmp_path):
    path = saved(tmp_path / "labels.npy", indices() + 1)
    done = cli(
        "--dataset=digits",
        "--model=resnet8",
        "--wandb=disabled",
        f"--train-labels={path}",
        f"--output={tmp_path}",
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"train.py: --train-labels {path}: row ")
    assert "subtract 1" in line
