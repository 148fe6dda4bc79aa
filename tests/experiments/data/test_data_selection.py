"""Which training images are left: the long tail and the stratified part."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analyze.errors import UsageError
from experiments.config import RunConfig
from experiments.data import datasets
from experiments.data.selection import long_tail_counts, long_tailed, stratified
from experiments.randomness import Stream

CLASSES = tuple("0123456789")


def balanced(each=500):
    labels = torch.arange(10).repeat(each)
    return labels, torch.arange(len(labels))


@pytest.mark.parametrize(
    ("ratio", "published"),
    [
        (100, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]),
        (10, [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500]),
        (1, [5000] * 10),
    ],
)
def test_long_tails_have_the_published_counts(ratio, published):
    assert long_tail_counts([5000] * 10, ratio) == published


def test_cifar_10_lt_has_12406_images():
    labels, index = balanced(5000)
    kept = long_tailed(labels, index, CLASSES, 100, seed=0)
    assert len(kept) == 12406
    assert torch.bincount(labels[kept]).tolist() == long_tail_counts([5000] * 10, 100)


@given(st.integers(2, 200), st.floats(1, 1000))
def test_a_long_tail_falls_by_the_ratio_and_never_rises(classes, ratio):
    counts = long_tail_counts([10_000] * classes, ratio)
    assert counts[0] == 10_000
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == pytest.approx(10_000 / ratio, abs=1)


def test_uneven_classes_keep_at_most_what_they_have():
    assert long_tail_counts([100, 20, 100], 4) == [100, 20, 25]


def test_a_longer_tail_is_part_of_a_shorter_one_and_a_smaller_part_of_a_larger_one():
    labels, index = balanced()
    tails = [set(long_tailed(labels, index, CLASSES, r, seed=0).tolist()) for r in (100, 10, 2)]
    assert tails[0] < tails[1] < tails[2]
    parts = [set(stratified(labels, index, n, 0, Stream.SUBSET).tolist()) for n in (50, 700, 4000)]
    assert parts[0] < parts[1] < parts[2]


def test_the_choice_goes_by_the_images_index_not_by_its_place():
    labels, index = balanced(20)
    shuffled = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    chosen = index[stratified(labels, index, 30, 0, Stream.SUBSET)]
    same = index[shuffled][stratified(labels[shuffled], index[shuffled], 30, 0, Stream.SUBSET)]
    assert set(chosen.tolist()) == set(same.tolist())


def test_another_seed_chooses_other_images():
    labels, index = balanced(20)
    chosen = [
        frozenset(stratified(labels, index, 50, s, Stream.SUBSET).tolist()) for s in range(5)
    ]
    assert len(set(chosen)) == 5


def load(**options):
    return datasets.load(RunConfig(dataset="digits", **options))


def test_train_size_after_imbalance_keeps_the_tails_shape():
    tail, part = load(imbalance=20), load(imbalance=20, train_size=200)
    counts, fewer = (Counter(d.train.targets.tolist()) for d in (tail, part))
    assert len(part.train) == 200
    assert set(part.train.index.tolist()) < set(tail.train.index.tolist())
    for label in range(10):
        assert abs(fewer[label] - 200 * counts[label] / len(tail.train)) < 1


def test_validation_and_test_images_are_all_there_whatever_is_left_of_train():
    whole, part = load(), load(imbalance=20, train_size=100)
    assert part.val.index.tolist() == whole.val.index.tolist()
    assert part.test.index.tolist() == whole.test.index.tolist()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"imbalance": 1000}, "--imbalance 1000 leaves no image of class '7'"),
        ({"train_size": 1214}, "--train-size 1214: there are only 1213 training images"),
        ({"imbalance": 10, "train_size": 1000}, "--train-size 1000: there are only"),
    ],
)
def test_more_than_there_is_is_refused(options, said):
    with pytest.raises(UsageError, match=said):
        load(**options)


def test_classes_left_out_are_gone_from_all_splits_and_the_rest_numbered_anew():
    whole = datasets.load(RunConfig(dataset="digits"))
    some = datasets.load(RunConfig(dataset="digits", hold_out_classes="7,0"))
    assert some.classes == tuple("12345689")
    for split in ("train", "val", "test"):
        images = getattr(some, split)
        assert set(images.targets.tolist()) == set(range(8)), split
    kept = torch.tensor([int(c) for c in some.classes])
    named = dict(zip(whole.test.index.tolist(), whole.test.targets.tolist(), strict=True))
    ours = dict(zip(some.test.index.tolist(), kept[some.test.targets].tolist(), strict=True))
    assert ours == {i: t for i, t in named.items() if t not in (0, 7)}
    source, others = datasets.published(RunConfig(dataset="digits", hold_out_classes="7,0"))
    assert len(others) + len(source.test) == len(whole.test)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("cat", "there is no class 'cat'; there are 10: a name, or a position from 0 to 9"),
        ("10", "there is no class '10'"),
        ("1,1", "names a class twice"),
        ("0,1,2,3,4,5,6,7,8", "leaves 1 of 10 classes: at least 2 must remain"),
    ],
)
def test_classes_that_cannot_be_left_out_are_refused(named, message):
    with pytest.raises(UsageError, match=message):
        datasets.load(RunConfig(dataset="digits", hold_out_classes=named))


def test_files_of_labels_do_not_fit_fewer_classes():
    with pytest.raises(UsageError, match="--train-labels must be left alone with --hold-out-cla"):
        RunConfig(dataset="digits", hold_out_classes="1", train_labels="labels.npy")
