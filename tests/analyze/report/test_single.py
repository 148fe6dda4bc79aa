"""`analyze run`: one run, its page, and its most confident mistakes."""

import pickle

import numpy as np
import pytest
from analyze_runs import predictions, write_run, write_study
from PIL import Image
from sklearn.datasets import load_digits

from analyze.__main__ import main
from analyze.errors import UsageError
from analyze.report.single import read_single, write_single
from analyze.runs.pictures import pictures


def digits_run(folder):
    """Predictions of digits with their own labels, so that images can be shown."""
    arrays = predictions(0, n=449)
    test = load_digits().target[3::4]
    arrays["test_logits"] = arrays["test_logits"] + 6 * np.eye(10, dtype=np.float32)[test]
    return write_run(folder, arrays | {"test_targets": test}, dataset="digits")


def test_the_page_shows_metrics_figures_and_mistakes(tmp_path, capsys):
    run = digits_run(tmp_path)
    assert main(["run", str(run), "--out", str(tmp_path / "page")]) == 0
    printed = capsys.readouterr().out
    assert "ce: resnet20 on digits, seed 0" in printed
    page = (tmp_path / "page" / "index.html").read_text()
    assert "<!doctype html>" in page
    for name in ("training", "reliability", "nll-temperature", "risk-coverage", "classes"):
        assert f'<figure id="{name}">' in page
    [scored] = read_single(run).evaluated
    assert f"{100 * scored.metrics['accuracy']:.2f}" in page
    assert page.count("data:image/png;base64,") > 0
    assert "labelled " in page
    assert main(["run", str(run)]) == 0


def test_mistakes_come_in_order_of_confidence(tmp_path):
    run = digits_run(tmp_path)
    write_single(read_single(run), tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    shown = [
        float(part.split("</strong> ")[1].split("%")[0])
        for part in page.split('<ul class="mistakes">')[1].split("<li>")[1:]
    ]
    assert shown == sorted(shown, reverse=True)


def test_without_the_images_the_page_says_why(tmp_path):
    arrays = predictions(0)
    for options, why in (
        ({"dataset": "cifar10", "data_dir": str(tmp_path)}, "the images are not in"),
        ({"dataset": "digits"}, "are not those of the run"),
        ({"dataset": "folder", "data_dir": str(tmp_path / "no")}, "No images: "),
        ({"dataset": "other"}, "images of other are not read"),
    ):
        run = write_run(tmp_path / options["dataset"], arrays, **options)
        write_single(read_single(run), tmp_path / "index.html")
        page = (tmp_path / "index.html").read_text()
        assert why in page
        assert "base64" not in page


def test_several_runs_are_not_one(tmp_path):
    write_study(tmp_path, {"ce": {}}, range(2))
    with pytest.raises(UsageError, match="has 2 runs: name one, or compare them"):
        read_single(tmp_path)


def decoded(data):
    import io

    return np.asarray(Image.open(io.BytesIO(data)))


def test_images_of_cifar_and_of_folders_are_those_of_the_index(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    batch = {"data": pixels.reshape(5, -1), "labels": [0, 1, 2, 1, 0]}
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "test_batch").write_bytes(pickle.dumps(batch))
    write_run(tmp_path, predictions(0), data_dir=str(tmp_path))
    [scored] = read_single(next(tmp_path.glob("resnet20*"))).evaluated
    run = scored.run
    first, second = pictures(run, [3, 0], np.array([1, 0]))
    assert (decoded(first) == pixels[3].transpose(1, 2, 0)).all()
    assert (decoded(second) == pixels[0].transpose(1, 2, 0)).all()
    with pytest.raises(UsageError, match="are not those of the run"):
        pictures(run, [3], np.array([2]))
    for split in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            place = tmp_path / "images" / split / name
            place.mkdir(parents=True)
            for i in range(2):
                Image.fromarray(pixels[2 * label + i].transpose(1, 2, 0)).save(place / f"{i}.png")
    run.described["config"] |= {"dataset": "folder", "data_dir": str(tmp_path / "images")}
    [third] = pictures(run, [2], np.array([1]))
    assert (decoded(third) == pixels[2].transpose(1, 2, 0)).all()
