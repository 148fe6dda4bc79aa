"""A run is named by its options that count, and by its images, wherever these are."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from PIL import Image

from analyze.errors import UsageError
from analyze.runs import image_files
from experiments import config as options
from experiments.config import RunConfig
from experiments.runs.record import Record
from experiments.values import Neutral


def images(root, side=8):
    for name, (part, n) in [(c, p) for c in "ab" for p in (("train", 10), ("test", 2))]:
        (root / part / name).mkdir(parents=True)
        for i in range(n):
            pixels = np.random.default_rng(i).integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / part / name / f"{i}.bmp")
    return root


def folder_run(data_dir, output="runs", **more):
    own = {"dataset": "folder", "data_dir": data_dir, "image_size": 8}
    return RunConfig.from_options(own | {"output": output} | more)


def as_of_old(run):
    """The hash that the first version gave a run: over its options, the path of its images."""
    later = {*options.BOOKKEEPING, *options.neutral_values()}
    identity = {k: v for k, v in run.to_dict().items() if k not in later}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]


BEFORE = RunConfig(lr=0.1).to_dict()
NAMED = as_of_old(RunConfig(lr=0.1))


@pytest.fixture
def with_another_option(monkeypatch):
    """RunConfig as it is once an option has been added, in the one line that this takes."""

    @dataclass(frozen=True, kw_only=True)
    class Longer(RunConfig):
        ema: Annotated[float, Neutral(0.0)] = 0.0

    caches = (options.kinds, options.marks, options.neutral_values)
    monkeypatch.setattr(options, "RunConfig", Longer)
    for cached in caches:
        cached.cache_clear()
    yield Longer
    monkeypatch.undo()
    for cached in caches:
        cached.cache_clear()


def test_an_option_that_is_added_leaves_the_names_of_all_earlier_runs(with_another_option):
    for value in ({}, {"ema": 0}, {"ema": "0.0"}):
        assert with_another_option.from_options({"lr": 0.1, **value}).hash == NAMED
    other = with_another_option.from_options({"lr": 0.1, "ema": 0.9})
    assert other.hash != NAMED
    assert other.differences({"config": BEFORE}) == ["--ema 0.0 -> 0.9"]


def test_runs_have_the_names_that_they_had(tmp_path):
    for run in (RunConfig(), RunConfig(dataset="digits", seed=3), folder_run(tmp_path / "none")):
        assert run.hash == as_of_old(run)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "digits"])
def test_downloaded_images_are_the_same_in_any_place(dataset):
    runs = [RunConfig(dataset=dataset, data_dir=Path(d)) for d in ("data", "/mnt/x")]
    assert len({run.hash for run in runs}) == len({run.folder for run in runs}) == 1


def test_the_same_images_are_one_run_by_any_path_and_others_are_another(tmp_path):
    here, other = images(tmp_path / "here"), images(tmp_path / "other", side=9)
    there = shutil.copytree(here, tmp_path / "there")
    run, moved = folder_run(here), folder_run(there)
    assert (run.hash, run.folder) == (moved.hash, moved.folder)
    assert folder_run(other).hash != run.hash
    for i, change in enumerate(("renamed", "gone", "added")):
        root = shutil.copytree(here, tmp_path / f"changed{i}")
        image = root / "train" / "a" / "3.bmp"
        {
            "renamed": lambda image=image: image.rename(image.with_name("x.bmp")),
            "gone": image.unlink,
            "added": lambda image=image: shutil.copy(image, image.with_name("x.bmp")),
        }[change]()
        assert folder_run(root).hash != run.hash, change


@pytest.mark.parametrize("make", [folder_run, lambda d, o: RunConfig(data_dir=d, output=o)])
def test_a_run_of_an_earlier_version_is_found_where_it_is(make, tmp_path):
    root = images(tmp_path / "images")
    run = make(root, tmp_path)
    old = run.folder.with_name(run.folder.name.replace(run.hash, as_of_old(run)))
    assert old != run.folder
    old.mkdir(parents=True)
    again = make(root, tmp_path)
    assert (again.folder, again.run_name) == (old, old.name)
    # It goes on as the run that it was, under another name too.
    (old / "config.json").write_text(json.dumps({"config": {}, "hash": as_of_old(run)}))
    with_record = Record(again)
    assert with_record._identity()["hash"] == as_of_old(run)
    with_record.close()


def test_where_images_are_gone_their_runs_are_found_all_the_same(tmp_path):
    root = images(tmp_path / "images")
    run = folder_run(root, tmp_path)
    folder, later = run.folder, folder_run(root, tmp_path, seed=5).folder
    shutil.rmtree(root)
    assert folder_run(root, tmp_path).folder != folder, "nothing tells what was there"
    run.folder.mkdir(parents=True)
    record = Record(run)
    described = {"config": run.to_dict(), **record._identity()}
    (run.folder / "config.json").write_text(json.dumps(described))
    record.close()
    assert folder_run(root, tmp_path).folder == folder
    assert folder_run(root, tmp_path, seed=5).folder == later, "one that is not trained yet"


def test_a_named_run_tells_other_images_by_more_than_their_path(tmp_path):
    run, there = folder_run(images(tmp_path / "1"), tmp_path, name="x"), tmp_path / "2"
    run.folder.mkdir(parents=True)
    described = {"config": run.to_dict(), "hash": run.hash, "images": run.images[0]}
    (run.folder / "config.json").write_text(json.dumps(described))
    shutil.copytree(tmp_path / "1", there)
    Record(folder_run(there, tmp_path, name="x")).close()
    other = folder_run(images(tmp_path / "3", side=9), tmp_path, name="x")
    with pytest.raises(UsageError, match=r"other options \(--data-dir images-\w+ -> images-\w+\)"):
        Record(other)


def test_no_folder_and_a_broken_one_are_refused_where_they_are_read_not_where_they_are_named(
    tmp_path,
):
    for root in (tmp_path / "missing", tmp_path):
        assert folder_run(root).folder.name.endswith(as_of_old(folder_run(root)))


def test_images_are_listed_once_a_process(tmp_path, monkeypatch):
    root, calls = images(tmp_path / "images"), []
    find = image_files.find
    monkeypatch.setattr(image_files, "find", lambda root: calls.append(root) or find(root))
    assert len({folder_run(root, seed=seed).hash for seed in range(50)}) == 50
    assert calls == [root]
