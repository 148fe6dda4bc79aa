"""Folders of images: decoded as Pillow does, in ImageFolder's order, once."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision.datasets import ImageFolder

from analyze.errors import UsageError
from analyze.runs import image_files
from analyze.runs.image_files import SPLITS
from experiments.config import RunConfig
from experiments.data import datasets, folder

SIZE = 8


def picture(seed, mode="RGB", size=(SIZE, SIZE)):
    values = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two classes; three training images and one test image of each."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for split, n in (("train", 3), ("test", 1)):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for i in range(n):
                path = tmp_path / "images" / split / name / f"{i}.png"
                picture(10 * label + i).save(path)
    return tmp_path / "images"


def caches(where):
    return sorted(where.glob(".decoded-*.npz"))


@pytest.fixture
def decodings(monkeypatch):
    """How often images are decoded."""
    times = []
    real = folder._decode_all
    monkeypatch.setattr(folder, "_decode_all", lambda *args: times.append(1) or real(*args))
    return times


# ------------------------------------------------------------------------------------- decoding


def test_images_and_labels_are_imagefolders_in_its_order(root):
    for name in ("b10.PNG", "b9.png", "a.png"):
        picture(len(name)).save(root / "train" / "dog" / name, format="png")
    (root / "train" / "dog" / "notes.txt").write_text("no image")
    for below in ("b", "a/c", "z.png"):
        (root / "train" / "dog" / below).mkdir(parents=True)
        picture(20 + len(below)).save(root / "train" / "dog" / below / "1.png")
    decoded = folder.read(root, SIZE)
    for split in SPLITS:
        theirs = ImageFolder(root / split)
        assert list(decoded.classes) == theirs.classes
        assert decoded.targets[split].tolist() == theirs.targets
        for ours, (image, _) in zip(decoded.pixels[split], theirs, strict=True):
            assert (ours.transpose(1, 2, 0) == np.asarray(image)).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_every_8_bit_mode_becomes_rgb(root, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    path = root / "train" / "cat" / f"0.{suffix}"
    picture(5, mode).save(path)
    decoded = folder.read(root, SIZE).pixels["train"]
    expected = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
    assert any((image == expected).all() for image in decoded)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "jfif"])
def test_images_are_as_upright_as_viewers_show_them(root, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = root / "train" / "cat" / f"0.{suffix}"
    kind = {"jfif": "jpeg", "jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix)
    picture(5).save(path, format=kind, exif=exif)
    (root / "train" / "cat" / "0.png").unlink(missing_ok=suffix != "png")
    if suffix == "png":
        picture(5).save(path, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert (folder.read(root, SIZE).pixels["train"][0].transpose(1, 2, 0) == expected).all()


def test_an_image_with_broken_exif_is_read_as_it_is(root):
    path = root / "train" / "cat" / "0.jpg"
    picture(5).save(path, exif=b"Exif\0\0no TIFF header")
    (root / "train" / "cat" / "0.png").unlink()
    expected = np.asarray(Image.open(path).convert("RGB"))
    assert (folder.read(root, SIZE).pixels["train"][0].transpose(1, 2, 0) == expected).all()


def holes(mode):
    """A red image whose left half is transparent, as this mode has it, and hides other colours."""
    image = picture(5, "RGB")
    image.paste((255, 0, 0), (SIZE // 2, 0, SIZE, SIZE))
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, SIZE // 2, SIZE))
    if mode in ("RGBA", "LA"):
        image = image.convert(mode)
        image.putalpha(alpha)
        return image, {}
    if mode == "P":
        flat = Image.new("P", image.size, 0)
        flat.putpalette([9, 9, 9, 255, 0, 0])
        flat.paste(1, (SIZE // 2, 0, SIZE, SIZE))
        return flat, {"transparency": 0}
    image.paste((1, 2, 3), (0, 0, SIZE // 2, SIZE))
    return image, {"transparency": (1, 2, 3)}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_what_is_transparent_is_white_and_said(root, mode):
    image, options = holes(mode)
    image.save(root / "train" / "cat" / "0.png", **options)
    for _ in range(2):  # the second time it comes from the cache
        decoded = folder.read(root, SIZE)
        first = decoded.pixels["train"][0]
        assert (first[:, :, : SIZE // 2] == 255).all()
        red = [76, 76, 76] if mode == "LA" else [255, 0, 0]
        assert (first[:, :, SIZE // 2 :] == np.reshape(red, (3, 1, 1))).all()
        assert decoded.remarks == [f"1 images of {root} are transparent: they are put on white"]


def test_images_of_another_size_are_resized_by_their_shorter_side_and_cropped(root):
    # Red, white and blue stripes: of a wide image the middle stays.
    values = np.zeros((40, 120, 3), dtype=np.uint8)
    values[:, :40, 0] = values[:, 80:, 2] = 255
    values[:, 40:80] = 255
    Image.fromarray(values).save(root / "train" / "cat" / "0.png")
    first = folder.read(root, SIZE).pixels["train"][0]
    assert first.shape == (3, SIZE, SIZE)
    assert (first[:, :, 2:-2] == 255).all()


def test_many_images_keep_their_order_over_several_chunks(root, monkeypatch):
    monkeypatch.setattr(folder, "_CHUNK", 2)
    decoded = folder.read(root, SIZE).pixels["train"]
    expected = [
        np.asarray(picture(10 * c + i)).transpose(2, 0, 1) for c in (0, 1) for i in range(3)
    ]
    assert (decoded == np.stack(expected)).all()


def test_data_sets_come_from_folders_with_every_training_image_in_one_part(root):
    loaded = datasets.load(
        RunConfig(dataset="folder", data_dir=root, image_size=SIZE, val_size=0.34)
    )
    assert loaded.classes == ("cat", "dog")
    assert loaded.train.pixels.shape == (4, 3, SIZE, SIZE)
    assert sorted(loaded.val.targets.tolist()) == [0, 1]


# ------------------------------------------------------------------------------- what is refused


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def as_16_bits(path):
    Image.fromarray(np.full((SIZE, SIZE), 40_000, dtype=np.uint16)).save(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (truncate, "cannot decode"),
        (lambda path: path.write_bytes(b""), "cannot decode"),
        (lambda path: path.write_text("no image"), "cannot decode"),
        (lambda path: (path.unlink(), path.symlink_to("nowhere")), "No such file"),
        (as_16_bits, "8 bits a channel are needed"),
    ],
)
def test_a_broken_image_is_named_not_skipped(root, spoil, said):
    path = root / "train" / "dog" / "1.png"
    spoil(path)
    with pytest.raises(UsageError) as refusal:
        folder.read(root, SIZE)
    assert said in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not caches(root)


def rename(root, old, new):
    (root / old).rename(root / new)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: rename(root, "train", "training"), "--dataset folder needs"),
        (lambda root: rename(root, "test", "testing"), "cannot read"),
        (lambda root: rename(root, "test/dog", "test/wolf"), "only one has 'dog'"),
        (
            lambda root: [rename(root, f"{split}/dog", split + "-dog") for split in SPLITS],
            "2 cl",
        ),
        (lambda root: [p.unlink() for p in (root / "test").rglob("*.png")], "no images in"),
        (
            lambda root: [p.unlink() for p in (root / "test/dog").iterdir()],
            "every class needs some",
        ),
    ],
)
def test_a_wrong_layout_is_refused(root, spoil, said):
    spoil(root)
    with pytest.raises(UsageError, match=said):
        folder.read(root, SIZE)


# ------------------------------------------------------------------- links, and what is no image


def relabelled(root):
    """The names and labels of the training images, beside those of the fixture."""
    listing = image_files.find(root)
    files = {(file.name, file.label) for file in listing.files["train"]}
    usual = {
        (f"train/{name}/{i}.png", c) for c, name in enumerate(("cat", "dog")) for i in range(3)
    }
    assert usual <= files
    return files - usual, listing.remarks


@pytest.mark.parametrize(
    ("links", "read"),
    [
        ({"cat/loop": "."}, set()),
        ({"cat/l1": ".", "cat/l2": "."}, set()),  # these were followed for ever
        ({"dog/up": ".."}, set()),
        ({"dog/up": "../.."}, set()),
        ({"dog/c": "../cat"}, set()),
        ({"cat/more": "../../../more"}, {("train/cat/more/5.png", 0)}),
        ({"cat/one": "../../../more", "cat/two": "../../../more"}, {("train/cat/one/5.png", 0)}),
        (
            {"cat/more": "../../../more", "../../more/back": "../images"},
            {("train/cat/more/5.png", 0)},
        ),
        ({"cat/more": "../../../more", "../../more/on": "."}, {("train/cat/more/5.png", 0)}),
    ],
)
def test_every_folder_is_read_once_and_for_its_own_class(root, links, read):
    (root.parent / "more").mkdir()
    picture(5).save(root.parent / "more" / "5.png")
    for place, target in links.items():
        (root / "train" / place).symlink_to(target)
    found, remarks = relabelled(root)
    assert found == read
    said = [line for line in remarks if line.startswith("links that are not followed")]
    assert bool(said) == (len(links) > len(read))


def test_links_to_images_and_to_classes_are_followed(root):
    (root / "train" / "cat" / "7.png").symlink_to("0.png")
    (root / "train" / "dog").rename(root.parent / "dogs")
    (root / "train" / "dog").symlink_to(root.parent / "dogs")
    assert relabelled(root) == ({("train/cat/7.png", 0)}, [])


def test_one_folder_is_not_two_classes(root):
    for split in SPLITS:
        (root / split / "elk").symlink_to("dog")
    with pytest.raises(
        UsageError, match=r"train/elk and dog are one folder: its images would be of"
    ):
        folder.read(root, SIZE)


def test_training_on_the_test_images_is_said(root):
    shutil.rmtree(root / "test")
    (root / "test").symlink_to("train")
    [remark] = folder.read(root, SIZE).remarks
    assert "the test figures are on images that were trained on" in remark


def test_what_is_not_read_is_said_in_a_line_and_what_is_a_systems_own_is_not(root):
    cat = root / "train" / "cat"
    os.mkfifo(cat / "pipe.png")  # to read it would hang
    for name in ("a.gif", "b.gif", "c.HEIC", "notes", "../list.txt"):
        (cat / name).write_text("")
    for name in (".ipynb_checkpoints", "@eaDir"):
        (cat / name).mkdir()
        shutil.copy(cat / "0.png", cat / name / "0.png")
        (root / "train" / name).mkdir()
    shutil.copy(cat / "0.png", cat / "._0.png")
    (root / "val" / "cat").mkdir(parents=True)
    found, (unread, validation) = relabelled(root)
    assert not found
    assert unread.startswith("not read: 2 .gif (train/cat/a.gif), ")
    kinds = (
        ".heic (train/cat/c.HEIC)",
        "without a suffix",
        "no regular file",
        "beside the classes",
    )
    for kind in kinds:
        assert f"1 {kind}" in unread
    assert "\n" not in unread
    assert validation == (
        f"not read: {root}/val: validation images are held out of train (--val-size)"
    )


def test_a_class_of_other_files_says_which(root):
    for path in (root / "test" / "dog").iterdir():
        path.rename(path.with_suffix(".gif"))
    with pytest.raises(
        UsageError, match=r"every class needs some \(not read: 1 \.gif \(test/dog/0"
    ):
        folder.read(root, SIZE)


def test_images_that_no_memory_holds_are_refused_before_they_are_decoded(root, decodings):
    with pytest.raises(UsageError, match=r"--image-size 100000: 8 images .* take 240\.0 GB"):
        folder.read(root, 100_000)
    assert not decodings


def test_images_for_which_memory_is_short_are_refused(root, monkeypatch):
    monkeypatch.setattr(folder, "_refuse_too_large", lambda *_: None)  # as if there were enough
    with pytest.raises(UsageError, match=r"--image-size 9999999: memory does not hold the images"):
        datasets.load(RunConfig(dataset="folder", data_dir=root, image_size=9_999_999))


# -------------------------------------------------------------------------------------- the cache


def test_images_are_decoded_once(root, decodings):
    first = folder.read(root, SIZE)
    second = folder.read(root, SIZE)
    assert len(decodings) == 1
    assert len(caches(root)) == 1
    for split in SPLITS:
        assert (first.pixels[split] == second.pixels[split]).all()
        assert (first.targets[split] == second.targets[split]).all()


def later(path):
    """Another picture of the same size in bytes, a moment later."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda root: later(root / "train" / "cat" / "0.png"),
        lambda root: picture(77).save(root / "train" / "cat" / "3.png"),
        lambda root: (root / "train" / "cat" / "2.png").unlink(),
        lambda root: rename(root, "train/cat/0.png", "train/cat/9.png"),
        lambda root: rename(root, "train/cat/0.png", "train/dog/9.png"),
    ],
)
def test_any_change_of_names_sizes_or_times_decodes_anew(root, decodings, change):
    folder.read(root, SIZE)
    change(root)
    decoded = folder.read(root, SIZE)
    assert len(decodings) == 2
    assert len(decoded.pixels["train"]) == len(list((root / "train").rglob("*.png")))


def test_another_image_size_is_another_cache(root, decodings):
    assert folder.read(root, SIZE).pixels["train"].shape[-1] == SIZE
    assert folder.read(root, 4).pixels["train"].shape[-1] == 4
    assert folder.read(root, SIZE).pixels["train"].shape[-1] == SIZE
    assert len(decodings) == 2


def test_a_moved_folder_keeps_its_cache(root, decodings):
    folder.read(root, SIZE)
    moved = root.rename(root.parent / "moved")
    folder.read(moved, SIZE)
    assert len(decodings) == 1


def test_beside_read_only_data_the_users_cache_folder_is_used(root, decodings, tmp_path):
    root.chmod(0o555)
    try:
        folder.read(root, SIZE)
        folder.read(root, SIZE)
    finally:
        root.chmod(0o755)
    assert not caches(root)
    assert len(caches(tmp_path / "cache" / "resnet-losses")) == 1
    assert len(decodings) == 1


def test_a_cache_takes_the_place_of_earlier_ones_of_its_size(root):
    for size in (SIZE, 4):
        folder.read(root, size)
    kept = {cache for cache in caches(root) if cache.name.startswith(".decoded-4-")}
    left = [".decoded-0123456789abcdef.safetensors", ".decoded-8.999999.tmp"]
    for name in left:  # of the version before, and of a process that was killed
        (root / name).write_text("")
    (root / "train" / "cat" / "0.png").unlink()
    folder.read(root, SIZE)
    assert len(caches(root)) == 2
    assert kept < set(caches(root))
    assert not [name for name in left if (root / name).exists()]


def test_a_cache_can_be_read_by_whoever_the_umask_lets(root):
    before = os.umask(0o002)
    try:
        folder.read(root, SIZE)
    finally:
        os.umask(before)
    (cache,) = caches(root)
    assert cache.stat().st_mode & 0o777 == 0o664


def test_a_damaged_cache_is_made_anew(root, decodings):
    expected = folder.read(root, SIZE).pixels["train"]
    (cache,) = caches(root)
    cache.write_bytes(cache.read_bytes()[:-10])
    assert (folder.read(root, SIZE).pixels["train"] == expected).all()
    folder.read(root, SIZE)
    assert len(decodings) == 2


def test_without_room_for_a_cache_the_run_goes_on(root, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert len(folder.read(root, SIZE).pixels["train"]) == 6
    assert "No space left on device" in capsys.readouterr().out
    assert list(root.glob("*.tmp")) == []


# ------------------------------------------------------------------------------ CIFAR-10 as JPEGs


@pytest.mark.skipif("CIFAR10_JPEG" not in os.environ, reason="CIFAR10_JPEG names no folder")
def test_cifar_10_as_60000_jpegs_is_there_within_a_second_once_decoded():
    root = Path(os.environ["CIFAR10_JPEG"])
    decoded = folder.read(root, 32)
    started = time.process_time()
    decoded = folder.read(root, 32)
    assert time.process_time() - started < 1
    assert decoded.pixels["train"].shape == (50_000, 3, 32, 32)
    assert (np.bincount(decoded.targets["test"]) == 1000).all()
    # The published mean of CIFAR-10's training pixels, but for what JPEG changed.
    means = decoded.pixels["train"].mean((0, 2, 3)) / 255
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.005)
