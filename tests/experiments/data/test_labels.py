"""Labels from files, noise, missing labels, class weights: what they do."""

import itertools
import json
import signal

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from sklearn.utils.class_weight import compute_class_weight
from small_runs import metrics, stop_after

from analyze.errors import UsageError
from experiments.config import RunConfig
from experiments.data import class_weights, datasets, labels

IMAGES = 1348
NAMES = tuple("0123456789")


@pytest.fixture(scope="module")
def published():
    """The labels that digits come with, of all its training images, in their order."""
    loaded = datasets.load(RunConfig(dataset="digits"))
    table = np.empty(IMAGES, dtype=np.int64)
    for part in (loaded.train, loaded.val):
        table[part.index] = part.targets
    return table


def load(**options):
    return datasets.load(RunConfig(dataset="digits", **options))


def saved(path, array):
    np.save(path, array)
    return str(path)


# --------------------------------------------------------------------------------- what they do


def test_a_files_labels_replace_those_of_training_images_only(tmp_path, published):
    wrong = (published + 3) % 10
    wrong[::7] = -100
    plain, loaded = load(), load(train_labels=saved(tmp_path / "labels.npy", wrong))
    assert torch.equal(loaded.train.index, plain.train.index)
    assert loaded.train.targets.tolist() == wrong[loaded.train.index].tolist()
    assert torch.equal(loaded.val.targets, plain.val.targets)
    assert torch.equal(loaded.test.targets, plain.test.targets)
    hidden = int((wrong[loaded.train.index] == -100).sum())
    assert loaded.notes["unlabelled"] == hidden
    assert loaded.notes["other_than_published"] == len(loaded.train) - hidden
    assert len(loaded.notes["train_labels_sha256"]) == 64


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.uint8, np.int64, ">i4"])
def test_integers_of_any_width_are_class_indices(tmp_path, published, kind):
    path = saved(tmp_path / "labels.npy", published.astype(kind))
    targets = load(train_labels=path).train.targets
    assert targets.dtype == torch.int64
    assert torch.equal(targets, load().train.targets)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_probabilities_are_rows_in_the_data_sets_order(tmp_path, published, kind):
    table = np.random.default_rng(0).dirichlet(np.ones(10), IMAGES).astype(kind)
    loaded = load(train_labels=saved(tmp_path / "table.npy", table), train_size=300)
    assert loaded.train.targets.dtype == torch.float32
    expected = torch.from_numpy(table[loaded.train.index].astype(np.float64))
    assert (loaded.train.targets - expected).abs().max() < 1e-3
    assert (loaded.train.targets.double().sum(1) - 1).abs().max() < 1e-6


def test_noise_makes_its_share_of_labels_wrong_and_every_wrong_class_as_likely():
    n = 60_000
    index = torch.arange(n)
    right = index % 10
    noisy = labels.with_noise(right, index, 10, 0.4, seed=1)
    wrong = noisy != right
    assert abs(int(wrong.sum()) - 0.4 * n) < 4 * np.sqrt(n * 0.24)
    shift = (noisy - right)[wrong] % 10
    counts = np.bincount(shift, minlength=10)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 1e-3


def test_more_noise_keeps_the_noise_there_was_and_missing_labels_likewise():
    some, more = load(label_noise=0.2), load(label_noise=0.5)
    wrong = some.train.targets != load().train.targets
    assert torch.equal(some.train.targets[wrong], more.train.targets[wrong])
    assert some.notes["other_than_published"] < more.notes["other_than_published"]
    hidden = load(unlabelled=0.3).train.targets == -100
    assert (load(unlabelled=0.6).train.targets[hidden] == -100).all()


def test_labels_depend_on_split_seed_and_image_alone():
    def chosen(**options):
        loaded = load(label_noise=0.3, unlabelled=0.3, **options)
        return dict(zip(loaded.train.index.tolist(), loaded.train.targets.tolist(), strict=True))

    base = chosen()
    assert chosen(seed=3, loss="focal", batch_size=7) == base
    fewer = chosen(train_size=200)
    assert fewer.items() < base.items()
    assert chosen(split_seed=1) != base
    assert chosen(split_seed=-1, seed=1) == chosen(split_seed=1)
    assert chosen(split_seed=-1, seed=0, loss="focal") == base


def test_noise_is_added_to_a_files_labels_and_leaves_missing_ones_missing(tmp_path, published):
    given = np.where(np.arange(IMAGES) % 2, published, -100)
    loaded = load(train_labels=saved(tmp_path / "l.npy", given), label_noise=0.9)
    odd = loaded.train.index % 2 == 1
    assert (loaded.train.targets[~odd] == -100).all()
    wrong = loaded.train.targets[odd].numpy() != published[loaded.train.index[odd]]
    assert 0.85 < wrong.mean() < 0.95


def test_balanced_weights_are_scikit_learns():
    targets = load(imbalance=20).train.targets
    ours = class_weights.resolve("balanced", targets, NAMES)
    theirs = compute_class_weight("balanced", classes=np.arange(10), y=targets.numpy())
    assert ours.numpy() == pytest.approx(theirs, rel=1e-6)


def test_effective_weights_go_from_equal_to_inverse_frequency():
    targets = load(imbalance=20).train.targets
    counts = np.bincount(targets)
    equal, some, inverse = (
        class_weights.resolve(f"effective:{beta}", targets, NAMES).numpy()
        for beta in (0, 0.99, 0.99999999)
    )
    assert equal == pytest.approx(np.ones(10))
    assert inverse == pytest.approx(10 / counts / (1 / counts).sum(), rel=1e-4)
    # Cui et al., equation 2: the sum of 1, beta, beta^2 ... of n terms.
    effective = np.array([sum(0.99**i for i in range(n)) for n in counts])
    assert some == pytest.approx(10 / effective / (1 / effective).sum(), rel=1e-5)


def test_weights_of_probabilities_count_expected_labels():
    p = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.0, 0.75]])
    weights = class_weights.resolve("balanced", p, ("a", "b", "c"))
    assert weights.tolist() == pytest.approx([2 / 3 / 0.75, 2 / 3 / 0.5, 2 / 3 / 0.75])


def test_weights_count_the_labels_as_they_are_at_last():
    changed = load(label_noise=0.5, unlabelled=0.5, imbalance=5, class_weights="balanced")
    counts = np.bincount(changed.train.targets[changed.train.targets >= 0], minlength=10)
    assert changed.class_weights.numpy() == pytest.approx(counts.sum() / (10 * counts), rel=1e-6)
    assert changed.notes["class_counts"] == counts.tolist()


def test_resolved_weights_and_labels_are_recorded_and_reach_the_loss(train_here):
    folder, _ = train_here(epochs=1, class_weights="balanced", imbalance=10, unlabelled=0.2)
    config = json.loads((folder / "config.json").read_text())
    counts = np.array(config["labels"]["class_counts"])
    assert config["class_weights"] == pytest.approx(counts.sum() / (10 * counts), rel=1e-6)
    assert counts.sum() + config["labels"]["unlabelled"] == config["sizes"]["train"]
    plain, _ = train_here(epochs=1, imbalance=10, unlabelled=0.2)
    assert metrics(folder)[0]["train/loss"] != metrics(plain)[0]["train/loss"]


def test_a_file_that_changed_since_the_checkpoint_is_refused(train_here, tmp_path, monkeypatch):
    path = saved(tmp_path / "labels.npy", np.arange(IMAGES) % 10)
    stop_after(monkeypatch, 2)
    folder, status = train_here(train_labels=path)
    assert status == 128 + signal.SIGTERM
    monkeypatch.undo()
    saved(tmp_path / "labels.npy", (np.arange(IMAGES) + 1) % 10)
    with pytest.raises(UsageError, match=r"begun with other data \(changed: labels\).*--fresh"):
        train_here(train_labels=path)
    saved(tmp_path / "labels.npy", np.arange(IMAGES) % 10)
    assert train_here(train_labels=path) == (folder, 0)


@pytest.mark.parametrize("part", ["train", "test"])
def test_images_that_changed_since_the_checkpoint_are_refused(
    train_here, tmp_path, monkeypatch, part
):
    for name, (split, n) in itertools.product("ab", [("train", 40), ("test", 5)]):
        (tmp_path / split / name).mkdir(parents=True)
        for i in range(n):
            pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / split / name / f"{i}.png")
    options = {"dataset": "folder", "data_dir": tmp_path, "image_size": 8, "batch_size": 20}
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        train_here(**options)
    changed = tmp_path / part / "a" / "3.png"
    Image.fromarray(255 - np.asarray(Image.open(changed))).save(changed)
    with pytest.raises(UsageError, match=r"begun with other data \(changed: images_sha256"):
        train_here(**options)


def test_peoples_probabilities_for_the_test_images_join_the_metrics(train_here, tmp_path):
    truth = load().test.targets.numpy()
    path = saved(tmp_path / "people.npy", np.eye(10, dtype=np.float32)[truth])
    folder, _ = train_here(test_probabilities=path)
    summary = json.loads((folder / "summary.json").read_text())
    # Against certain people who are right, cross-entropy is the NLL, and total variation 1 - p_y.
    for after in ("", "_ts"):
        assert summary[f"test/human_cross_entropy{after}"] == pytest.approx(
            summary[f"test/nll{after}"]
        )
    with np.load(folder / "predictions.npz") as predictions:
        z = torch.from_numpy(predictions["test_logits"]).double()
    for name, logits in (("", z), ("_ts", z / summary["temperature"])):
        own = logits.softmax(1)[torch.arange(len(truth)), torch.from_numpy(truth)]
        assert summary[f"test/human_total_variation{name}"] == pytest.approx(1 - float(own.mean()))
