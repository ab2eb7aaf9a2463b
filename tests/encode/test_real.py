"""Real datasets in every layout that the field uses, made of tiny images; half of one, a wrong place, what is refused.

A test catalogue of three classes stands in for lists of a thousand; the entries themselves are those of the package.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from oodgrid import cli
from oodgrid.catalogue import real
from oodgrid.config import Dataset
from oodgrid.encode.real import find, names_digest, read_split
from oodgrid.encode.real.fetching import fetch
from oodgrid.encode.real.status import status_of
from oodgrid.encode.sources import class_names, open_splits
from oodgrid.encode.sources.checking import check_sources
from oodgrid.errors import OodgridError
from tests.encode.real_layouts import COUNT, FEW, JPEG, PER_CLASS, flat, locations, put
from tests.encode.real_layouts import make as layouts_make

OF_IMAGES = [name for name in real.names() if not real.holds_texts(name)]  # of texts: test_real_texts.py


@pytest.fixture(scope="module")
def small_catalogue(tmp_path_factory):
    """The catalogue with lists cut to three classes, and splits to two images of each."""
    folder = tmp_path_factory.mktemp("catalogue")
    (folder / "sets").mkdir(parents=True)
    (folder / "classes").mkdir()
    imagenet = [line for line in (real.FOLDER / "classes/imagenet.tsv").read_text().splitlines() if line[0] != "#"]
    for file in (real.FOLDER / "classes").glob("*.tsv"):
        lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        lines = imagenet if re.match(r"n\d{8}\t", lines[0]) else lines  # of its parts, classes of the same images
        (folder / "classes" / file.name).write_text("\n".join(lines[:FEW]) + "\n")
    for file in (real.FOLDER / "sets").glob("*.yaml"):
        entry = real.real_set(file.stem).model_dump(exclude_unset=True)
        entry["splits"] = dict.fromkeys(entry["splits"], COUNT)
        entry["names_sha256"] = {}
        (folder / "sets" / file.name).write_text(json.dumps(entry))
    (folder / "templates.yaml").symlink_to(real.FOLDER / "templates.yaml")
    (folder / "names").symlink_to(real.FOLDER / "names")
    return folder


@pytest.fixture
def few(small_catalogue, tmp_path, monkeypatch):
    """A folder of datasets that is not there yet; the small catalogue stands in place of the package's."""
    monkeypatch.setattr(real, "FOLDER", small_catalogue)
    cached = (real.names, real.real_set, real.layouts, real.class_keys, real.devkit_numbers, real.prompts)
    for function in cached:
        function.cache_clear()
    yield tmp_path / "data"
    for function in cached:
        function.cache_clear()


# --------------------------------------------------------------------------------------------------- every layout


def made(name, at=None, reader=None, labels=""):
    """Return what puts a dataset of the catalogue in one of its layouts below a root: its first, or that of a place."""

    def make(root):
        own = [each for each in locations(root, name) if reader in (None, each.layout.reader)]
        location = next(each for each in own if at is None or each.base == root / at)
        if labels:
            flat(location, labels)
        else:
            layouts_make(location)

    return make


def is_read(name, root):
    """Whether all splits of a dataset have their images, with labels of the catalogue, by check and by reader."""
    dataset, keys = Dataset(name=name, root=str(root)), real.class_keys(name)
    check_sources([dataset], {})
    for images in open_splits(dataset).values():
        assert len(images) == COUNT
        assert images.classnames == (list(keys.values()) or None)
        assert sorted(images.labels.tolist()) == (
            np.repeat(np.arange(FEW), PER_CLASS).tolist() if keys else [-1] * COUNT
        )
        pixels = images.read(0)
        assert pixels == JPEG if isinstance(pixels, bytes) else pixels.dtype == np.uint8
    assert not keys or class_names(dataset) == list(keys.values())


@pytest.fixture
def flowers(monkeypatch):
    """Torchvision's Flowers-102 without its checksums, and with the classes of the test catalogue."""
    import torchvision

    monkeypatch.setattr(torchvision.datasets.Flowers102, "_check_integrity", lambda self: True)
    names = property(lambda self: list(real.class_keys("flowers102").values()))
    monkeypatch.setattr(torchvision.datasets.Flowers102, "classes", names)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_each_layout_in_each_place_is_read_with_labels_of_the_catalogue(few, flowers, name):
    """Below a root, and by the path of the set itself; with what file managers leave beside images."""
    for number, location in enumerate(locations(few, name)):
        root = few / str(number)
        location = replace(location, base=root / location.base.relative_to(few))
        layouts_make(location)
        for folder in {file.parent for file in root.rglob("*") if file.is_file()}:
            put(folder / "._1.jpg", b"\0\5\x16\7")
            put(folder / ".DS_Store", b"")
            put(folder / "__MACOSX/._2.jpg", b"")
            (folder / "empty").mkdir()
        assert find(name, root) == location
        is_read(name, root)
        is_read(name, location.base)
        assert status_of(name, root).is_there


@pytest.mark.parametrize("labels", dict.fromkeys(f for each in real.layouts("imagenet") for f in each.labels))
@pytest.mark.parametrize("name", ["imagenet", "imagenet-openood"])
def test_flat_images_have_their_labels_from_any_list_of_the_field(few, name, labels):
    made(name, "images_largescale/imagenet_1k", "flat", labels)(few / "data")
    is_read(name, few / "data")


@pytest.mark.parametrize("folder", ["iNaturalist", "images_largescale/inaturalist"])
def test_root_may_be_the_folder_of_the_set_itself(few, folder):
    made("inaturalist", folder)(few)
    assert find("inaturalist", few / folder).base == few / folder
    with pytest.raises(OodgridError, match="dataset sun is not in"):
        find("sun", few / folder)


def test_pixels_of_binary_cifar_are_red_green_blue(few):
    made("cifar10")(few)
    pixels = open_splits(Dataset(name="cifar10", root=str(few), only=["test"]))["test"].read(0)
    assert pixels.shape == (32, 32, 3)
    assert pixels.reshape(-1, 3).max(axis=0).tolist() == [250, 0, 0]


# ------------------------------------------------------------------------------------------ what is not whole


@pytest.mark.parametrize(
    ("name", "make", "spoil", "message"),
    [
        ("imagenet", made("imagenet"), "val/n01440764/val_0_0.JPEG", "the test split has 5 of 6 samples"),
        ("imagenet", made("imagenet"), "val/n01443537", "none of 1 of 3 classes, as goldfish"),
        (
            "imagenet",
            made("imagenet"),
            "train",
            "train does not exist, and its train split would lie there",
        ),
        (
            "imagenet",
            made("imagenet", reader="flat"),
            "ILSVRC2012_validation_ground_truth.txt",
            "no labels are beside them",
        ),
        ("food101", made("food101"), "food-101/images/0/test0.jpg", "1 of 6 listed images are not in"),
        (
            "food101",
            made("food101"),
            "food-101/split_zhou_Food101.json",
            "food-101 has images but not split_zhou",
        ),
        ("food101", made("food101"), "food-101/images", "images does not exist"),
        (
            "fgvc",
            made("fgvc", "fgvc-aircraft-2013b/data"),
            "fgvc-aircraft-2013b/data/images/test00.jpg",
            "1 of 6 listed images are not in",
        ),
        ("inaturalist", made("inaturalist"), "iNaturalist/images/0", "the test split has 3 of 6 samples"),
        ("cifar10", made("cifar10"), "cifar-10-batches-bin/data_batch_3.bin", "data_batch_3.bin is missing"),
        ("cifar10", made("cifar10"), ("cifar-10-batches-bin/test_batch.bin", 100), "test_batch.bin is broken off"),
        ("cifar10", made("cifar10"), ("cifar-10-batches-bin/test_batch.bin", 3073), "test split has 1 of 6 samples"),
        ("cifar10", made("cifar10"), ("cifar-10-batches-bin/data_batch_1.bin", 0), "the train split has no sample"),
        ("mnist", made("mnist"), ("MNIST/raw/t10k-images-idx3-ubyte.gz", 40), "is not readable"),
        ("svhn", made("svhn"), ("svhn/test_32x32.mat", 1000), "test_32x32.mat cannot be read"),
    ],
)
def test_a_half_downloaded_set_is_said_before_any_job(few, name, make, spoil, message):
    make(few)
    place, size = spoil if isinstance(spoil, tuple) else (spoil, None)
    place = few / place
    if size is not None:
        place.write_bytes(place.read_bytes()[:size])
    elif place.is_dir():
        place.rename(few.parent / "elsewhere")
    else:
        place.unlink()
    dataset = Dataset(name=name, root=str(few))
    for look in (lambda: check_sources([dataset], {}), lambda: open_splits(dataset)):
        with pytest.raises(OodgridError) as error:
            look()
        assert message in str(error.value)
        assert "\n" not in str(error.value).split("dataset ")[-1]
    assert not status_of(name, few).is_there


def test_what_only_torchvision_reads_is_there_and_not_called_whole(few, capsys):
    put(few / "oxford-iiit-pet/images/1.jpg")
    put(few / "oxford-iiit-pet/annotations/test.txt")
    assert status_of("oxford_pets-official", few).state == "not looked through"
    lines = []
    assert fetch("oxford_pets-official", few, say=lines.append).is_there
    assert all("is there, as far as is seen" in line and "is not fetched" in line for line in lines)
    assert not any("remove" in line for line in lines), "what lies in the root itself would be the root"
    assert cli.main(["datasets", "oxford_pets-official", "--root", str(few)]) == 0
    assert "not looked through" in capsys.readouterr().out


@pytest.mark.parametrize("trial", [{}, {"partial": True}, {"limit": 3}])
@pytest.mark.parametrize("looked_through", [1, 1000])
@pytest.mark.parametrize("empty", [False, True])
def test_a_split_of_which_nothing_is_there_is_never_excused(few, monkeypatch, trial, looked_through, empty):
    monkeypatch.setattr("oodgrid.encode.real.splits.LOOKED_THROUGH", looked_through)
    made("imagenet")(few)
    (few / "train").rename(few.parent / "elsewhere")
    if empty:
        (few / "train").mkdir()
    with pytest.raises(OodgridError, match=r"train split would lie there|train split (has no sample|lacks 3 of 3)"):
        check_sources([Dataset(name="imagenet", root=str(few), **trial)], {})


@pytest.mark.parametrize("trial", [{"partial": True}, {"limit": 3}])
def test_of_a_large_split_the_files_are_counted(few, trial, monkeypatch):
    """ImageNet's training images are too many to be looked through while a user waits."""
    monkeypatch.setattr("oodgrid.encode.real.splits.LOOKED_THROUGH", 1)
    made("imagenet")(few)
    whole, part = Dataset(name="imagenet", root=str(few)), Dataset(name="imagenet", root=str(few), **trial)
    check_sources([whole], {})
    (few / "train/n01440764/train_0_0.JPEG").unlink()
    with pytest.raises(OodgridError, match="the train split has 5 of 6 samples"):
        check_sources([whole], {})
    (few / "train/n01440764").rename(few / "train/aside")
    with pytest.raises(OodgridError, match="lacks 1 of 3 class folders, as n01440764"):
        check_sources([whole], {})
    check_sources([part], {})


@pytest.mark.parametrize("trial", [{"partial": True}, {"limit": 3}])
def test_a_part_is_taken_where_that_is_said_and_called_so(few, trial, capsys):
    made("imagenet")(few)
    (few / "val/n01440764/val_0_0.JPEG").unlink()
    dataset = Dataset(name="imagenet", root=str(few), **trial)
    check_sources([dataset], {})
    assert "the test split has 5 of 6 samples" in capsys.readouterr().err
    assert dataset.name in ("imagenet-partial", "imagenet-limit-3")
    assert len(open_splits(dataset)["test"]) == (5 if "partial" in trial else 3)


def test_other_images_than_were_published_are_refused(few, monkeypatch):
    made("inaturalist")(few)
    entry = real.real_set("inaturalist")
    names = [f"{number}.jpg" for number in range(COUNT)]
    published = entry.model_copy(update={"names_sha256": {"test": names_digest(names)}})
    monkeypatch.setattr(real, "real_set", lambda name: published)
    found = find("inaturalist", few)
    assert len(read_split(found, "test")) == len(names)
    (few / "iNaturalist/images/0/0.jpg").rename(few / "iNaturalist/images/0/changed.jpg")
    for incomplete in (False, True):  # nothing is missing: there is nothing to be excused
        with pytest.raises(OodgridError, match="others than were published"):
            read_split(found, "test", incomplete)
    put(few / "iNaturalist/images/0/0.jpg")
    for trial in ({}, {"partial": True}, {"limit": 3}):
        with pytest.raises(OodgridError, match="7 samples, more than the 6"):
            check_sources([Dataset(name="inaturalist", root=str(few), **trial)], {})


def test_more_images_of_a_large_split_than_were_published_are_refused(few, monkeypatch):
    monkeypatch.setattr("oodgrid.encode.real.splits.LOOKED_THROUGH", 1)
    made("imagenet")(few)
    put(few / "train/n01440764/another.JPEG")
    with pytest.raises(OodgridError, match="7 samples, more than the 6"):
        check_sources([Dataset(name="imagenet", root=str(few))], {})


@pytest.mark.parametrize("folder", ["images", "raw", "data", "test", "NINCO", "holiday/images", "x/NINCO_OOD_classes"])
def test_a_folder_is_a_set_by_all_its_names_and_not_by_the_last(few, folder):
    """A folder called images may hold the photographs of anybody."""
    put(few / folder / "1.jpg")
    for name in real.names():
        if folder.rpartition("/")[2] in {at for each in real.layouts(name) if each.reader == "tree" for at in each.at}:
            assert find(name, few / folder).base == few / folder
        else:
            with pytest.raises(OodgridError, match=f"dataset {name} is not in"):
                find(name, few / folder)


def test_parts_of_a_split_are_those_of_the_list(tmp_path):
    listed = sorted(real.file_names("imagenet-openood-val.txt"))[:2]
    key = next(iter(real.class_keys("imagenet")))
    for name in (*listed, "ILSVRC2012_val_00000001.JPEG"):
        put(tmp_path / "val" / key / name)
    assert "ILSVRC2012_val_00000001.JPEG" not in real.file_names("imagenet-openood-val.txt")
    put(tmp_path / "train" / key / "1.JPEG")
    opened = open_splits(Dataset(name="imagenet-openood", root=str(tmp_path), partial=True))
    assert {split: len(images) for split, images in opened.items()} == {"train": 1, "val": 2, "test": 1}


# ------------------------------------------------------------------------------------------------ the wrong place


def one_line_of(name, root):
    """Return what is said of a dataset that is not where root says, the same by all who say it."""
    with pytest.raises(OodgridError) as error:
        check_sources([Dataset(name=name, root=str(root))], {})
    assert "\n" not in str(error.value)
    assert not status_of(name, root).is_there
    return str(error.value)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_a_root_too_high_or_too_deep_is_said_with_the_one_that_would_do(few, name):
    places = {}
    for number, location in enumerate(locations(few, name)):
        root = few / f"place-{number}/unpacked"
        location = replace(location, base=root / location.base.relative_to(few))
        layouts_make(location)
        line = one_line_of(name, root.parent)
        assert f"write root: {root}" in line or f"write root: {root.parent}/" in line
        below = [each for each in location.base.iterdir() if each.is_dir() and each.name not in ("imagenet", "data")]
        for inside in below[:1] if find(name, root).base == location.base else []:
            if not any(find_or_none(name, inside)):
                places[inside] = one_line_of(name, inside)
    assert all("write root: " in line for line in places.values())


def find_or_none(name, root):
    try:
        yield find(name, root)
    except OodgridError:
        return


@pytest.mark.parametrize("name", OF_IMAGES)
def test_names_that_differ_in_capitals_and_dashes_only_are_said(few, name):
    location = next(locations(few, name))
    layouts_make(location)
    outer = next(few.iterdir())
    other = outer.rename(outer.with_name(outer.name.swapcase().replace("-", "_")))
    base = None
    try:
        base = find(name, few).base
    except OodgridError:
        assert f"{other}" in one_line_of(name, few).partition("rename it")[0]
    else:  # by a name that the field has too, or a split lies there that has another name
        assert base.is_relative_to(other) or f"rename {other}" in one_line_of(name, few)
    if location.layout.reader == "coop" and base is None:  # nor are the splits of CoOp there yet
        next(other.rglob(location.layout.file)).unlink()
        assert f"{other}" in one_line_of(name, few).partition("rename it")[0]


def test_a_folder_of_another_set_of_the_same_classes_is_refused(few):
    kin = [name for name in real.names() if [each for each in real.layouts(name) if each.reader == "folders"]]
    for name in kin:
        location = next(each for each in locations(few / name, name) if each.layout.reader == "folders")
        layouts_make(location)
        images = location.path("test")
        if location.base != images or location.layout.keys == "numbers":
            continue
        for other in kin:
            if location.layout not in real.layouts(other):
                assert f"dataset {other} is not in" in one_line_of(other, images)
    own = few / "own"
    for key in real.class_keys("imagenet"):
        put(own / key / "ILSVRC2012_val_00000001.JPEG")
    for trial in ({}, {"limit": 2}, {"partial": True}):
        with pytest.raises(OodgridError, match="an image of ImageNet's own validation"):
            check_sources([Dataset(name="imagenet-r", root=str(own), **trial)], {})


def test_a_link_that_leads_nowhere_and_a_folder_that_may_not_be_read_are_said(few, monkeypatch):
    few.mkdir()
    (few / "link").symlink_to(few / "gone")
    assert "link is a link that leads nowhere" in one_line_of("imagenet", few / "link")

    def refuse(*_):
        raise PermissionError(13, "Permission denied", str(few))

    monkeypatch.setattr("oodgrid.encode.real.places._fits", refuse)
    assert "cannot be read: Permission denied" in one_line_of("imagenet", few)


@pytest.mark.parametrize("name", [n for n in real.names() if [e for e in real.layouts(n) if e.reader == "coop"]])
def test_who_has_the_images_of_another_library_is_told_to_fetch_the_splits(few, name):
    """They then lie beside the images, which are not fetched again."""
    for number, location in enumerate(each for each in locations(few, name) if each.base != few):
        root = few / str(number)
        base = root / location.base.relative_to(few)
        layouts_make(replace(location, base=base))
        splits = (base / location.layout.file).rename(root / "aside")
        line = one_line_of(name, root)
        assert f"to get it: oodgrid fetch {name} --root {root}" in line
        beside = re.search(rf"(\S+) has images but not {location.layout.file}", line)[1]
        splits.rename(f"{beside}/{location.layout.file}")
        is_read(name, root)


@pytest.mark.parametrize("name", ["imagenet", "food101", "inaturalist"])
def test_empty_files_are_said_before_any_job(few, name):
    made(name)(few)
    image = next(few.rglob("test*.*")) if name == "food101" else find(name, few).path("test") / "x"
    image = image if image.is_file() else next(file for file in image.parent.rglob("*.*") if file.is_file())
    image.write_bytes(b"")
    assert f"has empty files, as {image.relative_to(image.parents[1]).as_posix()}" in one_line_of(name, few)
    check_sources([Dataset(name=name, root=str(few), on_error="skip")], {})


def test_what_is_nowhere_is_said_with_the_layouts_that_would_be_read(few):
    few.mkdir()
    (few / "stuff").mkdir()
    with pytest.raises(OodgridError) as error:
        find("imagenet", few)
    for part in ("it holds stuff", "train/n01440764/", "flat val/", "imagenet-1k", "to get it: register at"):
        assert part in str(error.value)
    with pytest.raises(OodgridError, match=r"does not exist: .*mend root"):
        find("imagenet", few / "nowhere")
    put(few / "file")
    with pytest.raises(OodgridError, match=r"is no folder: .*mend root"):
        find("imagenet", few / "file")


def test_class_folders_by_another_name_are_shown(few):
    for name in ("tench", "goldfish"):
        put(few / f"imagenet/val/{name}/1.jpg")
    with pytest.raises(OodgridError, match=r"val holds goldfish, tench, and no class folder as n01440764"):
        find("imagenet", few)


def test_two_places_are_refused_and_one_by_two_names_is_not(few):
    made("imagenet", "imagenet")(few)
    (few / "ILSVRC2012").symlink_to(few / "imagenet")
    assert find("imagenet", few).base == few / "imagenet"
    (few / "ILSVRC2012").unlink()
    made("imagenet", "ILSVRC2012")(few)
    with pytest.raises(OodgridError, match=r"lies in .*imagenet, .*ILSVRC2012: write one of them as root"):
        find("imagenet", few)
    status = status_of("imagenet", few)
    assert status.state == "unclear"
    assert "write one of them as root" in status.lacks[0]


def test_a_set_in_two_places_is_not_fetched_a_third_time(few, capsys):
    for folder in ("iNaturalist", "inaturalist"):
        made("inaturalist", folder)(few)
    with pytest.raises(OodgridError, match=r"lies in .*: write one of them as root"):
        fetch("inaturalist", few)
    assert cli.main(["datasets", "inaturalist", "--root", str(few)]) == 0
    printed = capsys.readouterr()
    assert "unclear" in printed.out
    assert "oodgrid fetch" not in printed.out
    assert "write one of them as root" in printed.err


@pytest.mark.parametrize(
    ("name", "path", "content", "message"),
    [
        ("cifar10", "cifar-10-batches-py/data_batch_1", b"", "is pickles, which can run code"),
        ("imagenet", "ILSVRC2012_img_val.tar", b"x" * 10, "is broken off, 10 of 6,744,924,160 bytes"),
        ("caltech101", "caltech-101.zip", b"PK", "is broken off, for its end is missing"),
        ("imagenet-a", "imagenet-a.tar", bytes(2048), "lies there packed: unpack it"),
        ("imagenet-a", "imagenet-a.tar", b"x" * 2048, "is broken off, for its end is missing"),
    ],
)
def test_what_lies_there_in_its_place_is_named(few, name, path, content, message):
    (few / path).parent.mkdir(parents=True)
    (few / path).write_bytes(content)
    with pytest.raises(OodgridError) as error:
        find(name, few)
    assert message in str(error.value)


def test_the_pickle_of_torchvision_is_not_opened(few):
    made("imagenet", reader="flat")(few)
    (few / "ILSVRC2012_validation_ground_truth.txt").unlink()
    (few / "meta.bin").write_bytes(b"\x80")
    with pytest.raises(OodgridError, match=r"meta\.bin is a pickle"):
        read_split(find("imagenet", few), "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "do not fit the images"),
        ("1\n2\n3\n4\n5\n5000\n", "none of ImageNet's classes"),
        ("0\n0\n", "none of ImageNet's classes"),  # they count from 1
        ("n99999999\n", "none of ImageNet's classes"),
        (b"\xff\xfe", "as text"),
    ],
)
def test_labels_of_other_images_are_refused(few, text, message):
    made("imagenet", reader="flat")(few)
    file = few / "ILSVRC2012_validation_ground_truth.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(OodgridError, match=message):
        read_split(find("imagenet", few), "test")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0\n1\n", "none of ImageNet's classes"),  # numbers alone count from 1 in the devkit's file only
        ("ILSVRC2012_val_00000001.JPEG 1000\n", "none of ImageNet's classes"),  # and beside names from 0
        ("ILSVRC2012_val_00000001.JPEG -3\n", "none of ImageNet's classes"),
        ("ILSVRC2012_val_00000001.JPEG 0\nval/ILSVRC2012_val_00000001.JPEG 1\n", "two classes"),
    ],
)
def test_val_txt_counts_by_one_rule_or_is_refused(few, rows, message):
    made("imagenet", reader="flat")(few)
    (few / "ILSVRC2012_validation_ground_truth.txt").unlink()
    (few / "val.txt").write_text(rows)
    with pytest.raises(OodgridError, match=message):
        read_split(find("imagenet", few), "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"test": [["0/a.jpg", 0, "banded"]]}', "has no val split: get the published file"),
        ("[1]", "is no file of splits as CoOp's"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_another_file_of_splits_is_refused(few, text, message):
    made("dtd")(few)
    put(few / "dtd/images/0/a.jpg")
    (few / "dtd/split_zhou_DescribableTextures.json").write_text(text)
    with pytest.raises(OodgridError, match=message):
        read_split(find("dtd", few), "val", incomplete=True)
    if "test" in text:
        assert len(read_split(find("dtd", few), "test", incomplete=True)) == 1


def test_a_class_that_was_not_published_is_refused(few):
    made("dtd")(few)
    file = few / "dtd/split_zhou_DescribableTextures.json"
    file.write_text(file.read_text().replace('"blotchy"', '"spotted"'))
    with pytest.raises(OodgridError, match="has the class 'spotted', which is none of the 3"):
        read_split(find("dtd", few), "test", incomplete=True)


# -------------------------------------------------------------------------------------------------- parts of classes


def test_halves_of_any_dataset_share_no_image(few):
    made("dtd")(few)
    parts = [open_splits(Dataset(name="dtd", root=str(few), classes={"half": half, "seed": 3})) for half in (1, 2)]
    tests = [part["test"] for part in parts]
    assert sorted(tests[0].classnames + tests[1].classnames) == sorted(real.class_keys("dtd"))
    assert not set(tests[0].paths) & set(tests[1].paths)
    for images in tests:
        assert sorted(set(images.labels.tolist())) == list(range(len(images.classnames)))


def test_the_images_of_a_part_are_those_of_its_labels(few):
    """Names of the user's own stand for texts only, be they those of other classes."""
    made("imagenet")(few)
    keys, names = list(real.class_keys("imagenet")), list(real.class_keys("imagenet").values())
    for choice in ([names[0], keys[2]], [keys[1]]):
        for classnames in (None, list(reversed(names)), ["fish"] * FEW):
            dataset = Dataset(name="some", of="imagenet", root=str(few), classes=choice, classnames=classnames)
            images = open_splits(dataset)["test"]
            labels = dataset.taken_labels
            assert {path.partition("/")[0] for path in images.paths} == {keys[label] for label in labels}
            assert images.classnames == dataset.known_classes == [(classnames or names)[label] for label in labels]
            assert images.labels.tolist() == np.repeat(np.arange(len(choice)), PER_CLASS).tolist()


def test_classes_of_a_folder_are_chosen_by_a_list(tmp_path):
    for name in ("ant", "bee", "cow"):
        for number in range(4):
            put(tmp_path / "data" / name / f"{number}.jpg")
    (tmp_path / "some.txt").write_text("cow\nant\n")
    dataset = Dataset(
        name="farm", folder=str(tmp_path / "data"), classes=str(tmp_path / "some.txt"), splits={"train": 1, "val": 1}
    )
    opened = open_splits(dataset)
    assert opened["test"].classnames == class_names(dataset) == ["ant", "cow"]
    assert opened["test"].labels.tolist() == [0, 0, 1, 1]
    assert opened["train"].labels.tolist() == [0, 1]
    with pytest.raises(OodgridError, match="did you mean 'cow'"):
        open_splits(Dataset(name="farm", folder=str(tmp_path / "data"), classes=["cows", "ant"]))
