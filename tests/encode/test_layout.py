"""What is an image, a class, a split: kinds of layouts, each tried by many that a seed or a list makes."""

from __future__ import annotations

import io
import json
import os
import random
import re
import socket
import zipfile
from itertools import product

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from oodgrid import inspection, store
from oodgrid.config import Backbone, Dataset
from oodgrid.encode.decode import decode
from oodgrid.encode.images import encode_images
from oodgrid.encode.importing.reading import read_labels
from oodgrid.encode.sources import open_split, open_splits
from oodgrid.encode.sources.checking import check_sources
from oodgrid.encode.sources.layout import Rule, arrange, in_order, split_named
from oodgrid.encode.sources.passing_over import SUFFIXES, UNREADABLE, summary
from oodgrid.errors import Mistakes
from oodgrid.identity import differences
from tests.failing import failure

# formats that Pillow names but whose pixels it does not decode by itself, or that are drawings, documents, other data
NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF", "PALM"}


def picture(kind="PNG", mode="RGB", size=(32, 32)):
    file = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).convert(mode).save(file, kind)
    return file.getvalue()


PNG = picture()


def tree(root, names, data=PNG):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(data)
    return root


@pytest.fixture(params=["folder", "archive"])
def source(request, tmp_path):
    """A function from names of files to the part of a dataset that holds them, once as a folder and once as a zip."""

    def make(names, place="set"):
        if request.param == "folder":
            (tmp_path / place).mkdir()
            return {"folder": str(tree(tmp_path / place, names))}
        with zipfile.ZipFile(tmp_path / f"{place}.zip", "w") as file:
            for name in names:
                file.writestr(name, PNG)
        return {"archive": str(tmp_path / f"{place}.zip")}

    return make


def opened(split="test", **fields):
    return open_split(Dataset(name="own", **fields), split)


def refused(names, **rule):
    return failure(arrange, names, "here", Rule(**rule))


# ------------------------------------------------------------------------------------------------- what is an image


def test_every_picture_that_pillow_decodes_is_an_image():
    Image.init()
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind not in NO_PICTURES}
    assert known <= SUFFIXES
    assert not SUFFIXES & UNREADABLE


def test_every_suffix_that_pillow_writes_is_read(tmp_path):
    Image.init()
    written = {}
    for suffix, kind in Image.registered_extensions().items():
        modes = ("RGB", "RGBA", "P", "L", "1")
        for mode in modes if suffix in SUFFIXES and kind in Image.SAVE and kind not in ("BLP", "IM") else ():
            try:
                written[f"{suffix[1:]}/x{suffix.upper()}"] = picture(kind, mode)
                break
            except (OSError, ValueError, KeyError):  # not in this mode
                continue
    for name, data in written.items():
        tree(tmp_path, [name], data)
    images = opened(folder=str(tmp_path))
    assert set(images.paths) == set(written)
    assert {".jfif", ".jpe", ".avif", ".jp2", ".tga"} <= {f".{name}" for name in images.classnames}
    for row, path in enumerate(images.paths):
        assert decode(images.read(row), path).mode == "RGB"


SYSTEM = (
    "@eaDir/0.jpg/SYNOPHOTO_THUMB_M.jpg", "@eaDir/x.png", "#recycle/a.jpg", "$RECYCLE.BIN/S-1-5-21/$R1.jpg",
    "$Recycle.Bin/x.jpg", "lost+found/#1.jpg", "System Volume Information/x.jpg", ".ipynb_checkpoints/0-checkpoint.jpg",
    "._0.png", "@__thumb/s.jpg",
    ".@__thumb/s.jpg", "__MACOSX/cat/._0.png", ".Trashes/501/x.jpg", ".Trash-1000/files/x.png", ".thumbnails/x.png",
    ".DS_Store", "Thumbs.db", "THUMBS.DB", "desktop.ini", "ehthumbs.db", "FOUND.000/x.jpg", "@Recycle/x.jpg",
    "#snapshot/d/x.jpg",
    "_vti_cnf/x.jpg", "RECYCLER/x.jpg", ".snapshot/hourly/x.jpg", "Network Trash Folder/x.jpg",
    ".AppleDouble/x.jpg", "notes.txt",
    "annotations.xml", "labels.csv", "README", "archive.tar.gz", "a.png.part", "photo.001",
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SYSTEM), st.sampled_from(["", "cat/", "dog/"])), unique=True))
def test_what_systems_leave_never_counts_and_is_always_counted(junk):
    images = [f"{name}/{k}.png" for name in ("cat", "dog") for k in range(2)]
    left = sorted({place + name for name, place in junk})
    found = arrange(random.Random(len(junk)).sample(images + left, len(images) + len(left)), "here", Rule())
    assert (found.paths, found.labels.tolist(), found.classnames) == (images, [0, 0, 1, 1], ["cat", "dog"])
    assert sum(found.passed_over.values()) == len(left)
    line = summary(found.passed_over)
    assert line == "" if not left else re.fullmatch(rf"passed over {len(left)} files?: (\d+ [^,]+(, )?)+", line)


def test_what_was_passed_over_is_named_by_kind_the_most_first():
    names = ["a/x.png", "a/Thumbs.db", "b/Thumbs.db", "b/y.png", "b/.DS_Store"]
    names += [f"a/@eaDir/{k}.jpg" for k in range(4)]
    assert summary(arrange(names, "", Rule()).passed_over) == "passed over 7 files: 4 @eaDir, 2 Thumbs.db, 1 hidden"


@pytest.mark.parametrize("suffix", sorted(UNREADABLE))
def test_a_class_of_pictures_that_cannot_be_read_does_not_vanish(suffix):
    line = refused(["cat/0.png", f"owl/1{suffix.upper()}", "owl/notes.txt"])
    assert f"the folder owl are of kinds that cannot be read ({suffix})" in line
    arrange(["cat/0.png", "owl/0.png", f"owl/1{suffix}"], "here", Rule())


def test_folders_without_an_image_are_named(tmp_path):
    tree(tmp_path, ["cat/0.png", "dog/0.png", "owl/notes.txt", "empty/", "@eaDir/x/"])
    assert opened(folder=str(tmp_path)).remarks == ("no image in empty, owl",)


# ---------------------------------------------------------------------------------------- the order of classes


@settings(max_examples=100, deadline=None)
@given(
    st.sets(st.integers(0, 10**6), min_size=1, max_size=40),
    st.sampled_from(["{}", "{:07}", "class{}", "c_{} x", "{}号"]),
)
def test_classes_that_differ_by_a_number_are_ordered_by_its_value(numbers, style):
    names = [style.format(number) for number in numbers]
    assert in_order(names) == [style.format(number) for number in sorted(numbers)]
    found = arrange([f"{name}/x.png" for name in names], "here", Rule())
    assert found.classnames == in_order(names)
    assert [found.classnames[label] for label in found.labels] == [path.split("/")[0] for path in found.paths]


@pytest.mark.parametrize(
    ("folders", "given", "said"),
    [
        ([str(k) for k in range(11)], "abcdefghijk", None),
        ([str(k) for k in range(1, 103)], [f"flower {k}" for k in range(102)], None),
        (["00", "01", "10"], "abc", ""),
        (["0", "1", "3"], "abc", "by value"),
        (["٠", "١", "٢", "١٠"], "abcd", "by value"),
        (["0", "1", "01"], "abc", "the same number"),
        (["0", "1", "2"], "ab", "2 classnames for 3 classes"),
        (["cat", "dog"], ["dog", "cat"], "'dog' stands at that of cat"),
        (["sea_lion", "zebra"], ["Zebra", "Sea Lion"], "stands at that of"),
        (["cat", "dog"], ["a cat", "a dog"], None),
        (["1.ape", "2.bee", "10.cow"], "abc", "not sure"),
        (["01.ape", "02.bee", "10.cow"], "abc", None),
        (["0", "1", "2", "10", "rest"], "abcde", "not sure"),
        (["0", "1", "2", "rest"], "abcd", None),
        (["class1", "class2", "class10"], "abc", None),
        (["crane 1", "+", "-"], "abc", None),
    ],
)
def test_names_by_position_fit_in_number_and_order_or_are_refused(source, folders, given, said):
    place, given = source([f"{name}/x.png" for name in folders]), list(given)
    if said and said != "by value":
        assert said in failure(opened, **place, classnames=given)
        return
    images = opened(**place, classnames=given)
    for path, label in zip(images.paths, images.labels.tolist(), strict=True):
        assert given[label] == given[in_order(folders).index(path.split("/")[0])]
    assert ("classnames stand for the classes" in " ".join(images.remarks)) == (said == "by value" or said == "")


def test_numbers_below_zero_are_no_class_and_no_folder_either():
    assert "the class folder -1 is a number below 0" in refused(["-1/x.png", "0/x.png"])


def test_names_that_look_alike():
    line = refused(["caf\u00e9/x.png", "cafe\u0301/x.png"])
    assert "in other Unicode signs" in line
    assert arrange(["Cat/x.png", "cat/x.png"], "", Rule()).remarks == ("the classes Cat and cat differ in case alone",)


# ------------------------------------------------------------------------------------------------------ splits


SPELLINGS = [("train", "val", "test"), ("Train", "VAL", "Test"), ("training", "validation", "testing"),
             ("train_images", "valid_images", "test_images"), ("images-train", "images-dev", "images-test"),
             ("train2017", "val2017", "test2017"), ("trainset", "valset", "testset")]  # fmt: skip


def laid(split, name, file, place):
    return {"top": f"{split}/{name}/{file}", "wrapped": f"data/{split}/{name}/{file}",
            "within": f"{name}/{split}/{file}", "deeper": f"x/{split}/{name}/images/{file}"}[place]  # fmt: skip


@pytest.mark.parametrize("words", SPELLINGS)
def test_names_of_splits_are_known(words):
    assert [split_named(word) for word in words] == ["train", "val", "test"]


@pytest.mark.parametrize("word", ["trainer", "train station", "protest", "latest", "unlabeled", "", "0", "testé"])
def test_other_names_are_no_splits(word):
    assert split_named(word) is None


@pytest.mark.parametrize(("words", "place"), list(product(SPELLINGS, ["top", "wrapped", "within", "deeper"])))
def test_folders_of_splits_are_refused_and_the_mend_reads_them(tmp_path, words, place):
    names = [laid(split, name, f"{k}.png", place) for split in words for name in ("cat", "dog") for k in range(2)]
    line = refused([*names, "readme.txt", "annotations/x.xml"])
    mend = yaml.safe_load(re.search(r"split_folders: ({.*?})", line)[1])
    assert set(mend) == {"train", "val", "test"}
    deeper = {"class_folder": "innermost"} if place == "deeper" else {}
    dataset = Dataset(name="own", folder=str(tree(tmp_path, names)), split_folders=mend, **deeper)
    assert dataset.split_names == ("train", "val", "test")
    for split, images in open_splits(dataset).items():
        assert len(images) == 4
        assert images.labels.tolist() == [0, 0, 1, 1]
        assert [name.split("/")[1:2] or [name] for name in images.classnames] == [["cat"], ["dog"]]
        assert all(mend[split] in path.split("/") for path in images.paths)


def test_where_there_is_no_test_folder_that_of_validation_is_offered():
    line = refused(["train/cat/0.png", "val/cat/1.png", "train/dog/0.png", "val/dog/1.png"])
    assert "write split_folders: {train: train, test: val}" in line


@pytest.mark.parametrize("fields", [{"class_folder": "top"}, {"split_folders": {"test": "x"}}])
def test_what_says_how_folders_are_read_is_part_of_the_identity_also_once_it_is_taken_out(fields):
    said, unsaid = (Dataset(name="own", folder="x", **given).identity for given in (fields, {}))
    assert differences(said, unsaid)
    assert differences(unsaid, said)
    assert not differences({"folder": "x", "exif_rotation": False}, unsaid)  # of an earlier oodgrid


def test_images_outside_the_split_folders_are_counted(source):
    names = ["train/cat/0.png", "train/dog/0.png", "test/cat/0.png", "extra/cat/0.png", "x.png"]
    place = source(names)
    images = opened(**place, split_folders={"train": "train", "test": "test"})
    assert (images.paths, images.classnames) == (["test/cat/0.png"], ["cat", "dog"])
    assert images.passed_over == {"outside the split folders": 2}
    line = failure(opened, **place, split_folders={"train": "Train", "test": "test"})
    assert "no images in all of the split_folders Train, test" in line


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (["train", "car", "bus"], ["bus", "car", "train"]),  # a vehicle
        (["train", "test", "car"], ["car", "test", "train"]),
        (["train/cat", "train/dog"], ["cat", "dog"]),
        (["val/n01440764", "val/n01443537"], ["n01440764", "n01443537"]),
        (["photos/test"], ["test"]),
    ],
)
def test_what_is_called_as_a_split_need_not_be_one(folders, classes):
    assert arrange([f"{folder}/x.png" for folder in folders], "", Rule()).classnames == classes


def test_splits_without_classes_are_classes_only_where_that_is_said():
    names = ["train/0.png", "test/0.png"]
    assert "holds folders of splits, test and train" in refused(names)
    assert arrange(names, "", Rule(class_folder="top")).classnames == ["test", "train"]
    found = arrange(names, "", Rule(split_folders={"test": "test", "train": "train"}))
    assert (found.splits, found.labels.tolist(), found.classnames) == (["test", "train"], [-1, -1], None)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"folder": "x", "split_folders": {"train": "train"}}, "split_folders names the splits train but no test"),
        ({"folder": "x", "split_folders": {"test": "b", "val": "c"}, "splits": {"train": 1, "val": 1}}, "has its own"),
        ({"list": {"file": "l.csv"}, "split_folders": {"test": "x"}}, "split_folders is for folder and archive"),
        ({"list": {"file": "l.csv"}, "class_folder": "top"}, "class_folder is for folder and archive, not for list"),
        ({"list": {"file": "l.json", "split": "s"}}, "has no columns: leave them out"),
        ({"list": {"file": "l.csv", "splits": ["test"]}}, "name it by split:"),
    ],
)
def test_keys_that_do_not_fit_are_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        Dataset(name="own", **fields)


# ----------------------------------------------------------------------------------------------------- classes


NESTED = ["animals/cat/0.png", "animals/dog/0.png", "cars/van/0.png"]


def test_classes_within_classes_are_read_as_is_said(source):
    place = source(NESTED)
    assert "class folders lie within others, as animals/cat" in failure(opened, **place)
    assert opened(**place, class_folder="innermost").classnames == ["cat", "dog", "van"]
    assert opened(**place, class_folder="top").labels.tolist() == [0, 0, 1]
    nothing = opened(**place, class_folder="none")
    assert (nothing.labels.tolist(), nothing.classnames) == ([-1, -1, -1], None)


@pytest.mark.parametrize("names", [["cat/0.png", "cat/more/1.png", "dog/0.png"], ["a/b/0.png", "c/0.png"]])
def test_folders_at_several_depths_are_refused(names):
    assert "class folders lie within others" in refused(names)


def test_a_flat_folder_has_no_classes(source):
    images = opened(**source(["0.png", "1.png"]))
    assert (images.labels.tolist(), images.classnames) == ([-1, -1], None)


def test_folders_around_all_classes_are_said(source):
    images = opened(**source(["data/images/cat/0.png", "data/images/dog/0.png"]))
    assert (images.classnames, images.remarks) == (["cat", "dog"], ("the classes are the folders in data/images",))


# ------------------------------------------------------------------------------------------- what is no file


def test_what_is_no_file_is_never_opened(tmp_path):
    tree(tmp_path, ["cat/0.png", "dog/0.png"])
    os.mkfifo(tmp_path / "cat" / "1.png")
    (tmp_path / "dog" / "null.png").symlink_to("/dev/zero")
    (tmp_path / "dog" / "loop.png").symlink_to("loop.png")
    (tmp_path / "dog" / "gone.png").symlink_to("nowhere.png")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(tmp_path / "cat" / "2.png"))
        images = opened(folder=str(tmp_path))
    assert images.paths == ["cat/0.png", "dog/0.png", "dog/gone.png", "dog/loop.png"]
    assert images.passed_over == {"pipes, sockets or devices": 3}
    for row in (2, 3):  # an image that is missing is no image to pass over
        assert "cannot be read" in failure(images.read, row)
    (tmp_path / "list.csv").write_text("path,label\ncat/1.png,0\n")
    assert "a pipe, a socket or a device and no file" in failure(
        opened(list={"file": str(tmp_path / "list.csv")}).read, 0
    )
    for fields in ({"list": {"file": str(tmp_path / "cat/1.png")}}, {"archive": str(tmp_path / "cat/1.png")},
                   {"numpy": {"images": str(tmp_path / "cat/1.png")}}, {"archive": str(tmp_path)}):  # fmt: skip
        assert "no file" in failure(opened, **fields)


@pytest.mark.parametrize("seed", range(15))
def test_a_web_of_links_holds_every_real_folder_once(tmp_path, seed):
    rng = random.Random(seed)
    outside, root = tmp_path / "outside", tmp_path / "set"
    folders = [tree(outside, [f"c{k}/{i}.png" for i in range(2)]) / f"c{k}" for k in range(5)]
    folders += [tree(root, [f"d{k}/{i}.png" for i in range(2)]) / f"d{k}" for k in range(5)]
    for number in range(40):
        place = rng.choice(folders) / f"link{number}"
        place.symlink_to(rng.choice([*folders, root, outside, tmp_path, "/", "..", "."]))
    images = opened(folder=str(root), class_folder="none")
    real = {os.path.realpath(root / path) for path in images.paths}
    assert len(real) == len(images.paths)
    assert {os.path.realpath(root / f"d{k}" / f"{i}.png") for k in range(5) for i in range(2)} <= real
    assert {f"d{k}/{i}.png" for k in range(5) for i in range(2)} <= set(images.paths)  # by its own name, not a link's
    assert images.paths == opened(folder=str(root), class_folder="none").paths


# ------------------------------------------------------------------------------------------------------- lists


def listed(tmp_path, text, name="list.csv", split="test", splits=None, classnames=None, **fields):
    (tmp_path / name).write_text(text, encoding="utf-8")
    entry = {"list": {"file": str(tmp_path / name), **fields}, "splits": splits, "classnames": classnames}
    return opened(split, **entry)


def table(labels):
    return "path,label\n" + "".join(f"{row}.png,{label}\n" for row, label in enumerate(labels))


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 2**31 - 1), min_size=1, max_size=12))
def test_labels_that_do_not_run_from_0_are_numbered_by_value_and_that_is_said(tmp_path_factory, numbers):
    labels = [number for number in numbers for _ in range(3)]
    images = listed(tmp_path_factory.mktemp("l"), table([*labels, -1]), splits={"train": 1, "val": 1})
    order = sorted(numbers)
    assert images.labels.tolist() == [order.index(number) for number in numbers] + [-1]
    assert any("labels run from 0" in remark for remark in images.remarks) == (order != list(range(len(order))))


def test_labels_from_1_fit_as_many_names_and_others_are_refused(tmp_path):
    assert listed(tmp_path, table([1, 2, 1]), classnames=["a", "b"]).labels.tolist() == [0, 1, 0]
    assert listed(tmp_path, table([1, 2, 1]), classnames=["a", "b", "c"]).remarks == ("no image of a",)
    assert "from 0 to 1, and here 81, 203094" in failure(listed, tmp_path, table([81, 203094]), classnames=["a", "b"])


def test_labels_of_splits_that_are_read_apart_run_from_0(monkeypatch):
    from oodgrid.encode import sources
    from oodgrid.encode.sources.arrays import from_arrays

    parts = {"train": [1, 2, 3], "test": [1, 3]}
    pixels = np.zeros((3, 4, 4), np.uint8)
    monkeypatch.setattr(
        sources.libraries, "torchvision", lambda source, split: from_arrays(["x"] * 3, parts[split], pixels, None)
    )
    described = {"dataset": "SVHN", "root": "x", "splits": ["train", "test"]}
    assert "labels must run from 0" in failure(open_splits, Dataset(name="own", torchvision=described))
    parts["train"] = [0, 1, 2, 3]
    assert open_splits(Dataset(name="own", torchvision=described))["test"].labels.tolist() == [1, 3]


@pytest.mark.parametrize("words", [*SPELLINGS, ("Train", "valid", "TEST")])
def test_splits_of_a_list_are_known_by_name(tmp_path, words):
    text = "path,label,set\n" + "".join(f"{k}.png,{k % 2},{words[k % 3]}\n" for k in range(6))
    (tmp_path / "list.csv").write_text(text)
    dataset = Dataset(name="own", list={"file": str(tmp_path / "list.csv"), "split": "set"})
    assert [images.paths for images in open_splits(dataset).values()] == [
        ["0.png", "3.png"], ["1.png", "4.png"], ["2.png", "5.png"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "splits", "said"),
    [
        (["train", "val", "holdout"], None, "says 'holdout' (1 row is"),
        (["train", "val", ""], None, "neither train, val nor test"),
        (["train", "val", "dev", "test"], None, "dev and val in the column set both mean val"),
        (["train", "test"], None, "write splits: [train, test]"),
        (["train", "test"], ["train", "test"], None),
        (["0", "1"], None, "says '0'"),
    ],
)
def test_other_splits_of_a_list_are_refused_by_name(tmp_path, words, splits, said):
    (tmp_path / "l.csv").write_text("path,label,set\n" + "".join(f"{k}.png,0,{w}\n" for k, w in enumerate(words)))
    dataset = Dataset(name="own", list={"file": str(tmp_path / "l.csv"), "split": "set", "splits": splits})
    if said is None:
        assert list(open_splits(dataset)) == ["train", "test"]
    else:
        assert said in failure(open_splits, dataset)


def test_an_image_in_two_splits_is_refused(tmp_path):
    (tmp_path / "l.csv").write_text("path,label,set\na.png,0,train\nb.png,0,val\na.png,0,test\n")
    dataset = Dataset(name="own", list={"file": str(tmp_path / "l.csv"), "split": "set"})
    assert "names a.png in the splits train and test" in failure(open_splits, dataset)


COOP = {"train": [["c/0.png", 0, "sea lion"], ["d/0.png", 1, "zebra"]], "val": [["c/1.png", 0, "sea lion"]],
        "test": [["d/1.png", 1, "zebra"], ["d/ 2.png", 1, "zebra"]]}  # fmt: skip


def test_splits_of_coop_are_read_as_what_they_are(tmp_path):
    tree(tmp_path / "images", [row[0] for rows in COOP.values() for row in rows])
    (tmp_path / "split_zhou_X.json").write_text(json.dumps(COOP))
    source = {"file": str(tmp_path / "split_zhou_X.json"), "root": str(tmp_path / "images")}
    dataset = Dataset(name="own", list=source)
    found = open_splits(dataset)
    for split, rows in COOP.items():
        assert [[*row] for row in zip(found[split].paths, found[split].labels.tolist(), strict=True)] == [
            row[:2] for row in rows
        ]
        assert found[split].classnames == ["sea lion", "zebra"]
        assert found[split].read(0) == PNG
    assert found["val"].remarks == ("no val image of zebra",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"val": []}, "write splits: [train, test]"),
        ({"val": [["c/1.png", 0, "seal"]]}, "names class 0 both sea lion and seal"),
        ({"val": [["c/1.png", 3, "owl"]]}, "labels must run from 0"),
        ({"val": [["c/1.png", "0", "sea lion"]]}, "no file of splits as CoOp's"),
        ({"val": {"c/1.png": 0}}, "no file of splits as CoOp's"),
        ({"val": [["c/0.png", 0, "sea lion"]]}, "in the splits train and val"),
        ({"extra": []}, "has the split 'extra'"),
        ({"val": [["c/1.png", 2**40, "x"]]}, "too large"),
    ],
)
def test_other_json_is_one_line(tmp_path, change, said):
    text = json.dumps({**COOP, **change})
    assert said in failure(listed, tmp_path, text, name="s.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", "[" * 100_000, '{"train": 1}', "\ufeff{}", "1"])
def test_what_is_no_json_of_splits_is_one_line(tmp_path, text):
    failure(listed, tmp_path, text, name="s.json")


@pytest.mark.parametrize(
    ("line", "path", "label"),
    [
        ("a b/c d.jpg 3", "a b/c d.jpg", "3"),
        ("a.jpg\t3", "a.jpg", "3"),
        ("a.jpg sea lion", "a.jpg", "sea lion"),
        ("a b.heic", "a b.heic", None),
        ("a.jpg.jpg   7", "a.jpg.jpg", "7"),
        ("images/0001 cat", "images/0001", "cat"),
    ],
)
def test_lines_of_a_text_list(tmp_path, line, path, label):
    images = listed(tmp_path, f"{line}\rb/{line}", name="l.TXT")
    assert images.paths == [path, f"b/{path}"]
    assert images.labels.tolist() == [-1 if label is None else int(label) if label.isdecimal() else 0] * 2
    assert images.classnames == (None if label is None or label.isdecimal() else [label])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        *(("l.txt", f"img/cat 0.png{sign}{gap}0\n", "line 1") for sign, gap in product(",;|:", ("", " "))),
        ("l.txt", '"a.png",0\n', "behind the path"),
        ("l.txt", "a.png 3 17\n", "several numbers"),
        ("l.csv", "path;label\na.png;0\n", "has ';' between its columns"),
        ("l.csv", "a.png,0\nb.png,1\n", "its first line is to name the columns"),
        ("l.csv", "path,label\nC:\\data\\a.png,0\n", "a place on a Windows machine"),
        ("l.csv", "path,label\n\\\\nas\\a.png,0\n", "a place on a Windows machine"),
        ("l.csv", "path,label\ncaf\u00e9.png,caf\u00e9\nb.png,cafe\u0301\n", "in other Unicode signs"),
        ("l.csv", f"path,label\na.png,{'9' * 5000}\n", "5,000 characters"),
        ("l.csv", f"path,label\na.png,{'9' * 40}\n", "too large"),
    ],
)
def test_lists_in_other_formats_are_one_line_that_names_the_format(tmp_path, name, text, said):
    assert said in failure(listed, tmp_path, text, name=name)


def test_paths_as_windows_writes_them_are_read_and_that_is_said(tmp_path):
    tree(tmp_path, ["cat/0.png"])
    images = listed(tmp_path, "path,label\ncat\\0.png,0\n")
    assert images.read(0) == PNG
    assert images.remarks == ("1 path is written with \\ between folders, and read as with /",)


@pytest.mark.parametrize("name", ["neg[12].csv", "neg*.csv", "a?.csv"])
def test_a_list_is_the_file_of_that_name_and_no_pattern(tmp_path, name):
    for other in ("neg1.csv", "ab.csv"):
        (tmp_path / other).write_text("path,label\nwrong.png,0\n")
    assert listed(tmp_path, "path,label\nright.png,0\n", name=name).paths == ["right.png"]


def test_a_table_with_tabs(tmp_path):
    assert listed(tmp_path, "path\tlabel\na b.png\tsea lion\n", name="l.tsv").classnames == ["sea lion"]


@pytest.mark.parametrize(("text", "labels"), [("label\n0.0\n1\n-1.00\n", [0, 1, -1]), ("0.\n10\n2.000\n", [0, 10, 2])])
def test_whole_numbers_that_were_floats_are_labels_of_imports(tmp_path, text, labels):
    (tmp_path / "l.csv").write_text(text)
    assert read_labels(tmp_path / "l.csv").tolist() == labels
    (tmp_path / "l.csv").write_text(text.replace("0", "0.5", 1))
    assert "one whole number a line" in failure(read_labels, tmp_path / "l.csv")


def test_idx_labels_that_do_not_begin_at_0_are_classes_in_their_order(tmp_path):
    (tmp_path / "i").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1]) + bytes(3))
    (tmp_path / "l").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 1, 3, 2]))
    pair = {"idx": {"images": str(tmp_path / "i"), "labels": str(tmp_path / "l")}}
    assert (opened(**pair).labels.tolist(), opened(**pair).classnames) == ([0, 2, 1], ["1", "2", "3"])
    assert opened(**pair, classnames=["a", "b", "c"]).classnames == ["a", "b", "c"]


def test_floats_that_are_whole_are_labels_of_arrays(tmp_path):
    for labels, fits in (([0.0, 1.0, -1.0], True), ([0.0, 1.5, 1.0], False), ([0.0, np.nan, 1.0], False)):
        np.savez(tmp_path / "x.npz", images=np.zeros((3, 4, 4), np.uint8), labels=labels)
        fields = {"numpy": {"images": str(tmp_path / "x.npz")}}
        if fits:
            assert opened(**fields).labels.tolist() == labels
        else:
            assert "labels of shape" in failure(opened, **fields)


# ------------------------------------------------------------------------------------------- what a user sees


def test_what_was_passed_over_stands_in_the_file_and_changes_nothing_else(tmp_path, untrained, capsys):
    root = tree(tmp_path / "photos", [f"{name}/{k}.png" for name in ("cat", "dog") for k in range(2)])
    dataset, backbone = Dataset(name="photos", folder=str(root)), Backbone(**untrained)
    [before] = encode_images(tmp_path / "a", backbone, dataset)
    assert "passed over" not in capsys.readouterr().err
    assert not {"passed_over", "remarks"} & set(store.read_provenance(before))
    tree(root, ["cat/Thumbs.db", "cat/@eaDir/0.png/S.jpg", "owl/"])
    [after] = encode_images(tmp_path / "b", backbone, dataset)
    lines = capsys.readouterr().err.splitlines()
    assert "oodgrid: photos: passed over 2 files: 1 @eaDir, 1 Thumbs.db" in lines
    assert "oodgrid: photos: no image in owl" in lines
    found = store.read_provenance(after)
    assert (found.pop("passed_over"), found.pop("remarks")) == ({"@eaDir": 1, "Thumbs.db": 1}, ["no image in owl"])
    assert found == store.read_provenance(before)
    assert "Thumbs.db: 1" in inspection.describe(after)
    [kept] = (tmp_path / "a" / "kept" / "encode").iterdir()
    assert [kept.name] == [folder.name for folder in (tmp_path / "b" / "kept" / "encode").iterdir()]


def test_all_that_is_wrong_with_small_sources_is_said_at_once(tmp_path, capsys):
    tree(tmp_path / "splits", ["train/a/0.png", "test/a/0.png"])
    tree(tmp_path / "good", ["a/0.png", "a/Thumbs.db", "b/0.png"])
    (tmp_path / "l.csv").write_text("path,label\na.png,7\n")
    fields = [
        {"folder": str(tmp_path / "splits")},
        {"list": {"file": str(tmp_path / "l.csv")}, "classnames": ["a", "b"]},
        {"folder": str(tmp_path / "good")},
        {"folder": str(tmp_path / "not here")},
        {"folder": "${OODGRID_NO_SUCH_VARIABLE}"},
        {"folder": str(tmp_path / "l.csv")},
        {"generated": {"kind": "noise"}},
    ]
    with pytest.raises(Mistakes) as caught:
        check_sources([Dataset(name=f"d{k}", **entry) for k, entry in enumerate(fields)], opened := {})
    assert sorted(opened) == ["d2"]  # what is generated is counted, not opened
    wanted = [
        "holds folders of splits",
        "dataset d1: 2 classnames",
        "not here does not exist",
        "is not set",
        "is no folder",
    ]
    assert all(part in line for part, line in zip(wanted, caught.value.lines, strict=True))
    assert capsys.readouterr().err == "oodgrid: d2: passed over 1 file: 1 Thumbs.db\n"
