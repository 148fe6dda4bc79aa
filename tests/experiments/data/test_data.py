"""The data sets and their split. CIFAR-10 is a small archive that the tests make and serve."""

import hashlib
import http.server
import io
import pickle
import re
import tarfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, CIFAR100

from analyze.errors import UsageError
from experiments.config import RunConfig
from experiments.data import datasets
from experiments.data.datasets import Images, split

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def images(labels):
    targets = torch.tensor(labels)
    return Images(
        torch.zeros(len(targets), 1, 2, 2, dtype=torch.uint8), targets, torch.arange(len(targets))
    )


# --------------------------------------------------------------------------------------- the split


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=300), st.data())
def test_the_split_is_disjoint_complete_stratified_and_of_the_size_asked_for(labels, drawn):
    size = drawn.draw(st.integers(1, len(labels) - 1))
    # A number below 1 is a fraction, and 1 is one image.
    val_size = drawn.draw(st.sampled_from([size, size / len(labels)]))
    train, val = split(images(labels), val_size, split_seed=3)
    assert len(val) == size
    assert sorted(train.index.tolist() + val.index.tolist()) == list(range(len(labels)))
    held_out, all_of = Counter(val.targets.tolist()), Counter(labels)
    for label, count in all_of.items():
        assert abs(held_out[label] - size * count / len(labels)) < 1
    assert val.targets.tolist() == [labels[i] for i in val.index]


def test_the_split_is_drawn_from_split_seed_alone():
    def held_out(**options):
        return datasets.load(RunConfig(dataset="digits", **options)).val.index.tolist()

    base = held_out()
    for options in ({"seed": 5}, {"loss": "hinge"}, {"label_noise": 0.5}, {"train_size": 100}):
        assert held_out(**options) == base
    assert held_out(split_seed=1) != base
    assert set(held_out(val_size=50)) < set(base), "a smaller one is part of a larger one"


@pytest.mark.parametrize("val_size", [1e-9, 1348, 5000])
def test_a_split_that_leaves_one_part_empty_is_refused(val_size):
    with pytest.raises(UsageError, match=r"--val-size .* both need at least one"):
        datasets.load(RunConfig(dataset="digits", val_size=val_size))


@pytest.mark.parametrize("val_size", [1.9, 100.5])
def test_a_number_of_validation_images_is_whole(val_size):
    with pytest.raises(
        UsageError, match=r"--val-size must be a fraction below 1, or a whole number"
    ):
        RunConfig(val_size=val_size)


def test_classes_without_training_images_are_said():
    def remarks(**options):
        return datasets.load(RunConfig(dataset="digits", **options)).remarks

    assert remarks() == ()
    [remark] = remarks(train_size=4)
    assert re.match(r"no training image is of 6 of 10 classes: (\d, ){5}\.\.\.$", remark)
    [remark] = remarks(train_size=9)
    assert re.match(r"no training image is of 1 of 10 classes: \d$", remark)


# ---------------------------------------------------------------------------------------- digits


def test_digits_are_scikit_learns_and_every_fourth_is_a_test_image():
    source = load_digits()
    loaded = datasets.load(RunConfig(dataset="digits"))
    assert loaded.classes == tuple("0123456789")
    assert loaded.test.targets.tolist() == source.target[3::4].tolist()
    # 16 levels of ink, stretched over the bytes.
    ink = loaded.test.pixels[:, 0].numpy() / 255 * 16
    assert np.abs(ink - source.images[3::4]).max() < 0.04
    assert len(loaded.train) + len(loaded.val) + len(loaded.test) == 1797


def test_moments_are_those_of_the_training_pixels():
    loaded = datasets.load(RunConfig(dataset="digits"))
    values = loaded.train.pixels.double() / 255
    assert loaded.mean == pytest.approx([float(values.mean())])
    assert loaded.std == pytest.approx([float(values.std(correction=0))])


# ----------------------------------------------------------------------------------------- CIFAR


def batch(n, seed, key):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 10).tolist()
    return {"data": rng.integers(0, 256, (n, 3072), dtype=np.uint8), key: labels}


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Serve a CIFAR-10 of 60 + 20 images on loopback; the folder it is served from."""
    files = {
        "data_batch_1": batch(40, 1, "labels"),
        "data_batch_2": batch(20, 2, "labels"),
        "test_batch": batch(20, 3, "labels"),
        "batches.meta": {"label_names": NAMES},
    }
    served = tmp_path / "served"
    served.mkdir()
    sums = {}
    with tarfile.open(served / "cifar.tar.gz", "w:gz") as tar:
        for name, content in files.items():
            raw = pickle.dumps(content)
            sums[name] = hashlib.md5(raw).hexdigest()
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(raw)
            tar.addfile(entry, io.BytesIO(raw))
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=served)
    monkeypatch.setattr(handler.func, "log_message", lambda *_: None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{port}/cifar.tar.gz")
    monkeypatch.setattr(CIFAR10, "filename", "cifar.tar.gz")
    packed = (served / "cifar.tar.gz").read_bytes()
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(packed).hexdigest())
    trains = [[name, sums[name]] for name in ("data_batch_1", "data_batch_2")]
    monkeypatch.setattr(CIFAR10, "train_list", trains)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    yield served, files
    server.shutdown()
    server.server_close()


def load_cifar(root, name="cifar10"):
    return datasets.load(RunConfig(dataset=name, data_dir=root))


def test_cifar_is_downloaded_checked_and_read_as_published(archive, tmp_path):
    served, files = archive
    loaded = load_cifar(tmp_path / "data")
    assert loaded.classes == tuple(NAMES)
    everything = torch.cat([loaded.train.pixels, loaded.val.pixels])
    order = torch.cat([loaded.train.index, loaded.val.index]).argsort()
    published = np.concatenate([files[f"data_batch_{i}"]["data"] for i in (1, 2)])
    # 1,024 bytes of red, then green, then blue, row by row.
    assert (everything[order].numpy() == published.reshape(-1, 3, 32, 32)).all()
    assert loaded.test.targets.tolist() == files["test_batch"]["labels"]
    (served / "cifar.tar.gz").unlink()
    assert len(load_cifar(tmp_path / "data").test) == 20, "the second time needs no server"


def test_runs_that_start_together_download_once(archive, tmp_path, monkeypatch):
    downloads = []
    real = CIFAR10.download
    monkeypatch.setattr(CIFAR10, "download", lambda self: downloads.append(1) or real(self))
    taken = []
    real_retrieve = torchvision.datasets.utils._urlretrieve

    def slowly(*args, **kwargs):
        taken.append(1)
        time.sleep(0.5)
        real_retrieve(*args, **kwargs)

    monkeypatch.setattr(torchvision.datasets.utils, "_urlretrieve", slowly)
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(load_cifar, 4 * [tmp_path / "data"]))
    assert len(downloads) == 8, "every run looks for both parts"
    assert len(taken) == 1
    assert all(len(one.test) == 20 for one in loaded)


def test_a_download_that_is_not_the_published_file_is_refused(archive, tmp_path):
    served, _ = archive
    packed = bytearray((served / "cifar.tar.gz").read_bytes())
    packed[-20] ^= 1
    (served / "cifar.tar.gz").write_bytes(packed)
    with pytest.raises(UsageError, match=r"damaged or unreadable .*--dataset digits"):
        load_cifar(tmp_path / "data")


def test_a_damaged_copy_on_disk_is_repaired_by_the_download(archive, tmp_path):
    load_cifar(tmp_path / "data")
    part = tmp_path / "data" / "cifar-10-batches-py" / "data_batch_1"
    part.write_bytes(part.read_bytes()[:-50])
    assert len(load_cifar(tmp_path / "data").train) == 54


@pytest.mark.parametrize("dataset", [CIFAR10, CIFAR100])
def test_where_cifar_cannot_be_had_the_ways_out_are_named(dataset, tmp_path, monkeypatch):
    # A port that nobody listens on.
    monkeypatch.setattr(dataset, "url", f"http://127.0.0.1:1/{dataset.filename}")
    with pytest.raises(UsageError) as refusal:
        load_cifar(tmp_path, dataset.__name__.lower())
    said = str(refusal.value)
    for way_out in (dataset.filename, "--data-dir", "--dataset folder", "--dataset digits"):
        assert way_out in said
    assert "\n" not in said


def test_an_archive_put_there_by_hand_is_used_without_a_server(archive, tmp_path, monkeypatch):
    served, _ = archive
    (tmp_path / "data").mkdir()
    (served / "cifar.tar.gz").rename(tmp_path / "data" / "cifar.tar.gz")
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:1/cifar.tar.gz")
    assert len(load_cifar(tmp_path / "data").test) == 20
