"""Every kind of source gives the same pictures: lists, tars, WebDataset, arrays, the datasets of other libraries."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import pickle
import tarfile
import threading
import zipfile

import numpy as np
import polars as pl
import pytest
from PIL import Image
from pydantic import ValidationError

from oodgrid.config import Dataset
from oodgrid.encode.decode import decode
from oodgrid.encode.sources import open_split
from oodgrid.encode.sources.files import NO_FILES
from oodgrid.encode.sources.webdataset import brace_expand
from oodgrid.errors import OodgridError


def jpeg(k):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(k).integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


NAMES = {"sea lion/a b.JPG": 0, "sea lion/é.jpg": 1, "zebra/x.jpg": 2, "zebra/y.jpg": 3, "zebra/ö_Ω.jpeg": 4}
FILES = {name: jpeg(k) for name, k in NAMES.items()}
LABELS = [0, 0, 1, 1, 1]


@pytest.fixture
def tree(tmp_path):
    for name, data in FILES.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "tree"


def opened(split="test", **fields):
    return open_split(Dataset(name="own", **fields), split)


def failure(**fields):
    with pytest.raises(OodgridError) as caught:
        images = opened(**fields)
        for row in range(len(images)):
            images.read(row)
    line = str(caught.value)
    assert "\n" not in line
    return line


def check(images, labels=LABELS, names=("sea lion", "zebra")):
    assert [images.read(row) for row in range(len(images))] == list(FILES.values())
    assert images.labels.tolist() == labels
    assert images.labels.dtype == np.int32
    assert images.classnames == (list(names) if names else None)


def make_tar(path, files=FILES, mode="w", links=()):
    with tarfile.open(path, mode) as archive:
        for name in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = links[name]
            archive.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


# ---------------------------------------------------------------------------------------------------- folders


def test_linked_files_and_folders(tree, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "zebra").symlink_to(tree / "zebra")
    (tmp_path / "linked" / "lion").mkdir()
    (tmp_path / "linked" / "lion" / "a.jpg").symlink_to(tree / "sea lion" / "a b.JPG")
    images = opened(folder=str(tmp_path / "linked"))
    assert images.classnames == ["lion", "zebra"]
    assert images.read(0) == FILES["sea lion/a b.JPG"]
    assert len(images) == 4


def test_class_folders_with_one_last_name_are_two_classes(tmp_path):
    for place in ("big/cat", "small/cat", "small/dog"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "x.png").write_bytes(jpeg(0))
    named = opened(folder=str(tmp_path), class_folder="innermost").classnames
    assert named == ["big/cat", "small/cat", "small/dog"]


def test_links_that_lead_back_are_not_followed(tree):
    (tree / "zebra" / "up").symlink_to("..")
    (tree / "sea lion" / "root").symlink_to("/")
    (tree / "zebra" / "across").symlink_to("../sea lion")  # into which it does not lie, and whose own link leads back
    (tree / "sea lion" / "back").symlink_to("../zebra")
    images = opened(folder=str(tree))
    assert images.classnames == ["sea lion", "zebra"]
    assert images.paths == sorted(FILES)
    assert images.passed_over == {"links to folders read already": 4}


def test_a_folder_that_cannot_be_read_is_named(tree, monkeypatch):
    def scandir(path, real=os.scandir):
        if str(path).endswith("zebra"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)  # root, as whom tests may run, can read everything
    assert "zebra cannot be read: Permission denied" in failure(folder=str(tree))


def test_stamps_tell_size_and_time(tree):
    images = opened(folder=str(tree))
    path = tree / images.paths[2]
    assert images.stamp(2) == (path.stat().st_size, path.stat().st_mtime_ns)
    path.unlink()
    assert images.stamp(2) == (-1, -1)


# ------------------------------------------------------------------------------------------------------ lists


def test_a_text_list(tree, tmp_path):
    lines = [f"{name} {label}" for name, label in zip(FILES, LABELS, strict=True)]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n\n")
    check(opened(list={"file": str(tmp_path / "list.txt"), "root": str(tree)}), names=None)


def test_a_text_list_of_paths_alone(tree, tmp_path):
    (tmp_path / "tree" / "list.txt").write_text("\n".join(FILES))
    check(opened(list={"file": str(tmp_path / "tree" / "list.txt")}), labels=[-1] * 5, names=None)


@pytest.mark.parametrize(
    "line",
    ["../tree/zebra/x.jpg", "../.hidden/a b.png", "photo.heic", "a\u2028b.jpg"],
    ids=["up", "hidden", "heic", "rare"],
)
def test_a_path_alone_is_never_its_own_label(tmp_path, line):
    (tmp_path / "list.txt").write_text(f"{line}\nb/{line} 3\n", encoding="utf-8")
    images = opened(list={"file": str(tmp_path / "list.txt")})
    assert (images.paths, images.labels.tolist()) == ([line, f"b/{line}"], [-1, 3])


@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_lists_as_windows_writes_them(tree, tmp_path, kind):
    lines = [f"{name}{' ' if kind == 'txt' else ','}{label}" for name, label in zip(FILES, LABELS, strict=True)]
    text = "\r\n".join([*(["path,label"] if kind == "csv" else []), *lines, ""])
    (tmp_path / f"list.{kind}").write_bytes(text.encode("utf-8-sig"))
    check(opened(list={"file": str(tmp_path / f"list.{kind}"), "root": str(tree)}), names=None)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("named", [True, False])
def test_a_table(tree, tmp_path, kind, named):
    labels = [("sea lion", "zebra")[label] for label in LABELS] if named else LABELS
    table = pl.DataFrame({"file": list(FILES), "class": labels})
    getattr(table, f"write_{kind}")(tmp_path / f"list.{kind}")
    described = {"file": str(tmp_path / f"list.{kind}"), "root": str(tree), "path": "file", "label": "class"}
    check(opened(list=described), names=("sea lion", "zebra") if named else None)


def test_a_table_with_splits_numbers_classes_alike_in_all(tree, tmp_path):
    splits = ["train", "test", "val", "train", "test"]
    pl.DataFrame({"path": list(FILES), "label": ["a", "b", "c", "b", "c"], "set": splits}).write_csv(tmp_path / "l.csv")
    dataset = Dataset(name="own", list={"file": str(tmp_path / "l.csv"), "root": str(tree), "split": "set"})
    assert dataset.split_names == ("train", "val", "test")
    assert [open_split(dataset, split).labels.tolist() for split in dataset.split_names] == [[0, 1], [2], [1, 2]]
    assert open_split(dataset, "val").classnames == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("split", ["train", "TEST", "valid", "Train", "test"]),
        ("set", ["train", "test", "test", "test", "test"]),
        ("Split", ["test"] * 5),
    ],
)
def test_a_column_of_splits_is_not_left_unread_without_a_word(tree, tmp_path, column, values):
    pl.DataFrame({"path": list(FILES), "label": list("abcbc"), column: values}).write_csv(tmp_path / "l.csv")
    described = {"file": str(tmp_path / "l.csv"), "root": str(tree)}
    assert f"write split: {column} and splits: [" in failure(list=described)
    assert len(opened(list={**described, "split": None})) == 5


def test_a_column_of_other_words_is_no_split(tree, tmp_path):
    pl.DataFrame(
        {"path": list(FILES), "label": list("abcbc"), "fold": ["train"] * 5, "split": list("12121")}
    ).write_csv(tmp_path / "l.csv")
    assert len(opened(list={"file": str(tmp_path / "l.csv"), "root": str(tree)})) == 5


@pytest.mark.parametrize("spelt", ["{0}", "./{0}", "x/../{0}"])
def test_an_image_is_in_a_list_once(tree, tmp_path, spelt):
    """Drawn splits would learn from it and be tested by it."""
    names = [*FILES, spelt.format(next(iter(FILES)))]
    pl.DataFrame({"path": names, "label": list("abcbca")}).write_csv(tmp_path / "l.csv")
    assert "twice: leave one line of it" in failure(list={"file": str(tmp_path / "l.csv"), "root": str(tree)})


@pytest.mark.parametrize(
    ("labels", "fits"), [(["0", "1", "2", "3", "oak"], False), (["206", "207", "a", "b", "c"], True)]
)
def test_a_word_among_numbers_makes_no_names_of_them(tree, tmp_path, labels, fits):
    pl.DataFrame({"path": list(FILES), "label": labels}).write_csv(tmp_path / "l.csv")
    described = {"file": str(tmp_path / "l.csv"), "root": str(tree)}
    if fits:
        assert opened(list=described).classnames == labels
    else:
        assert "the label 'oak' is no whole number, as most are" in failure(list=described)


def test_a_split_may_lack_a_class_that_has_been_renamed(tree, tmp_path):
    splits = ["train", "test", "val", "train", "test"]
    pl.DataFrame({"path": list(FILES), "label": ["a", "b", "a", "b", "c"], "set": splits}).write_csv(tmp_path / "l.csv")
    described = {"file": str(tmp_path / "l.csv"), "root": str(tree), "split": "set"}
    assert opened("val", list=described, classnames=["x", "y", "z"]).classnames == ["x", "y", "z"]


def test_empty_labels_and_minus_one_are_no_class(tree, tmp_path):
    pl.DataFrame({"path": list(FILES), "label": ["0", "-1", None, "1", ""]}).write_csv(tmp_path / "l.csv")
    images = opened(list={"file": str(tmp_path / "l.csv"), "root": str(tree)})
    assert images.labels.tolist() == [0, -1, -1, 1, -1]


def test_numbers_of_a_table_of_floats_are_labels(tree, tmp_path):
    pl.DataFrame({"path": list(FILES), "label": [0.0, 2.0, None, float("nan"), 1.0]}).write_parquet(
        tmp_path / "l.parquet"
    )
    images = opened(list={"file": str(tmp_path / "l.parquet"), "root": str(tree)})
    assert images.labels.tolist() == [0, 2, -1, -1, 1]


def test_numbers_that_pandas_wrote_as_floats_are_labels(tree, tmp_path):
    """As names they would be sorted as text, ten before two."""
    pl.DataFrame({"path": list(FILES), "label": ["0.0", "10.0", None, "-1.0", "2.0"]}).write_csv(tmp_path / "l.csv")
    images = opened(list={"file": str(tmp_path / "l.csv"), "root": str(tree)})
    assert (images.labels.tolist(), images.classnames) == ([0, 10, -1, -1, 2], None)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0.5, 1, 2, 3, 4], "neither a whole number nor a name"),
        ([float("inf"), 1, 2, 3, 4], "label inf is neither"),
        ([2**31, 1, 2, 3, 4], "2147483648 is too large"),
    ],
)
def test_numbers_that_are_no_labels_are_one_line(tree, tmp_path, labels, said):
    pl.DataFrame({"path": list(FILES), "label": labels}, strict=False).write_parquet(tmp_path / "l.parquet")
    assert said in failure(list={"file": str(tmp_path / "l.parquet"), "root": str(tree)})


def test_a_line_without_a_path_is_one_line(tmp_path):
    pl.DataFrame({"path": ["a.jpg", None]}).write_parquet(tmp_path / "l.parquet")
    assert "without a path" in failure(list={"file": str(tmp_path / "l.parquet")})


def test_numbered_labels_may_lack_the_last_classes_and_named_ones_may_not(tree, tmp_path):
    pl.DataFrame({"path": list(FILES), "label": LABELS}).write_csv(tmp_path / "l.csv")
    numbered = {"list": {"file": str(tmp_path / "l.csv"), "root": str(tree)}}
    assert opened(**numbered, classnames=["a", "b", "c"]).classnames == ["a", "b", "c"]
    assert "1 classname for labels up to 1" in failure(**numbered, classnames=["a"])
    assert "3 classnames for 2 classes" in failure(folder=str(tree), classnames=["a", "b", "c"])


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"file": "none.csv"}, "does not exist"),
        ({"file": "l.csv", "path": "pth"}, "did you mean 'path'"),
        ({"file": "l.csv", "label": "class"}, "unknown column of"),
    ],
)
def test_a_list_that_does_not_fit_is_one_line(tmp_path, tree, described, said):
    pl.DataFrame({"path": ["x.jpg"]}).write_csv(tmp_path / "l.csv")
    assert said in failure(list={**described, "file": str(tmp_path / described["file"])})


def test_a_listed_image_that_is_gone_is_named(tmp_path):
    (tmp_path / "l.txt").write_text("a/gone.jpg 0\n")
    assert "a/gone.jpg cannot be read" in failure(list={"file": str(tmp_path / "l.txt")})


# ----------------------------------------------------------------------------------------------------- archives


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tars(tmp_path, mode):
    suffix = mode.replace("w", ".tar").replace(":", ".")
    images = opened(archive=str(make_tar(tmp_path / f"own{suffix}", mode=mode)))
    check(images)
    assert images.stamp(0) == (len(FILES["sea lion/a b.JPG"]), (tmp_path / f"own{suffix}").stat().st_mtime_ns)


def test_links_within_a_tar_are_what_they_name(tmp_path):
    links = {
        "b/hard.jpg": (tarfile.LNKTYPE, "a/x.jpg"),
        "b/soft.jpg": (tarfile.SYMTYPE, "../a/x.jpg"),
        "b/to a link.jpg": (tarfile.SYMTYPE, "soft.jpg"),
        "c": (tarfile.SYMTYPE, "a"),
        "b/over a folder.jpg": (tarfile.SYMTYPE, "../c/x.jpg"),
        "elsewhere": (tarfile.SYMTYPE, "/etc"),
        "a/x.jpg": (tarfile.LNKTYPE, "a/x.jpg"),  # of a file that was given to tar twice
        "pipe.png": (tarfile.FIFOTYPE, ""),
    }
    images = opened(archive=str(make_tar(tmp_path / "own.tar", {"a/x.jpg": jpeg(0)}, links=links)))
    assert images.paths == ["a/x.jpg", "b/hard.jpg", "b/over a folder.jpg", "b/soft.jpg", "b/to a link.jpg"]
    assert {images.read(row) for row in range(5)} == {jpeg(0)}
    assert images.passed_over == {"links to folders read already": 1, "links to nothing": 1, NO_FILES: 1}


@pytest.mark.parametrize("target", ["/etc/passwd", "nowhere.jpg", "lost.jpg"])
def test_an_image_in_a_tar_that_is_a_link_to_nothing_is_named(tmp_path, target):
    links = {"b/lost.jpg": (tarfile.SYMTYPE, target)}
    path = make_tar(tmp_path / "own.tar", {"a/x.jpg": jpeg(0)}, links=links)
    assert "b/lost.jpg cannot be read: it is a link" in failure(archive=str(path))


def test_folders_above_an_archive_are_folders_as_any(tmp_path):
    make_tar(tmp_path / "own.tar", {"../a/x.jpg": jpeg(0), "./b/y.jpg": jpeg(1), "b/.hidden/z.jpg": jpeg(2)})
    assert opened(archive=str(tmp_path / "own.tar")).classnames == ["a", "b"]


@pytest.mark.parametrize("name", ["../../b/outside.jpg", "/b/absolute.jpg"])
def test_no_archive_writes_anything_anywhere(tmp_path, name):
    place = tmp_path / "deep" / "deeper"
    place.mkdir(parents=True)
    make_tar(place / "own.tar", {name: jpeg(0), "a/x.jpg": jpeg(1)})
    with zipfile.ZipFile(place / "own.zip", "w") as archive:
        archive.writestr(name, jpeg(0))
        archive.writestr("a/x.jpg", jpeg(1))
    for kind in ("tar", "zip"):
        images = opened(archive=str(place / f"own.{kind}"))
        for row in range(len(images)):
            images.read(row)
    assert {path.name for path in tmp_path.rglob("*")} == {"deep", "deeper", "own.tar", "own.zip"}


def test_a_truncated_tar_is_one_line(tmp_path):
    path = make_tar(tmp_path / "own.tar", {"a/x.jpg": bytes(100_000)})
    path.write_bytes(path.read_bytes()[:30_000])
    assert "own.tar" in failure(archive=str(path))


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no tar", mtime=0), b"\x1f\x8bbroken"])
def test_what_is_no_archive_is_one_line(tmp_path, content):
    (tmp_path / "own.tar.gz").write_bytes(content)
    assert "own.tar.gz is not a readable tar or zip" in failure(archive=str(tmp_path / "own.tar.gz"))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_threads_read_what_one_reads(tmp_path, kind):
    files = {f"a/{k:03}.jpg": jpeg(k) for k in range(60)}
    path = tmp_path / f"own.{kind}"
    if kind == "tar":
        make_tar(path, files)
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    images = opened(archive=str(path))
    wrong = []

    def read_all():
        wrong.extend(row for row in range(60) if images.read(row) != files[images.paths[row]])

    threads = [threading.Thread(target=read_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --------------------------------------------------------------------------------------------------- WebDataset


def shard(path, samples):
    files = {}
    for key, (image, label, suffix) in samples.items():
        files[f"{key}.jpg"] = image
        if label is not None:
            files[f"{key}.{suffix}"] = label
    return make_tar(path, files)


@pytest.mark.parametrize(
    ("suffix", "labels", "names"),
    [
        ("cls", [b"3", b"0", b"1"], None),
        ("txt", [b"zebra", b"ant\n", b"cat"], ["ant", "cat", "zebra"]),
        ("json", [json.dumps({"label": k}).encode() for k in (3, 0, 1)], None),
    ],
)
def test_shards(tmp_path, suffix, labels, names):
    keys = ["000001", "sub/000002", "k.v"]  # the key ends at the first dot
    samples = [{"000001": (jpeg(0), labels[0], suffix), "sub/000002": (jpeg(1), labels[1], suffix)}]
    shard(tmp_path / "s-00.tar", samples[0])
    shard(tmp_path / "s-01.tar", {"000003": (jpeg(2), labels[2], suffix)})
    images = opened(webdataset={"shards": str(tmp_path / "s-{00..01}.tar"), "label": suffix})
    assert images.paths == ["s-00.tar/000001.jpg", "s-00.tar/sub/000002.jpg", "s-01.tar/000003.jpg"]
    assert [images.read(row) for row in range(3)] == [jpeg(0), jpeg(1), jpeg(2)]
    assert images.labels.tolist() == ([3, 0, 1] if names is None else [2, 0, 1])
    assert images.classnames == names
    assert keys[0] in images.paths[0]


def test_shards_by_split_and_samples_without_a_label(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        shard(tmp_path / f"{split}.tar", {f"{k}": (jpeg(k), None, "cls") for k in range(count)})
    dataset = Dataset(name="w", webdataset={"shards": {s: str(tmp_path / f"{s}.tar") for s in ("test", "train")}})
    assert dataset.split_names == ("train", "test")
    assert [len(open_split(dataset, split)) for split in dataset.split_names] == [3, 2]
    assert open_split(dataset, "test").labels.tolist() == [-1, -1]


def test_a_label_is_the_member_that_is_named_as_its_sample(tmp_path):
    files = {"a.jpg": jpeg(0), "a.other.cls": b"7", "b.jpg": jpeg(1), "b.cls": b"1"}
    images = opened(webdataset={"shards": str(make_tar(tmp_path / "0.tar", files))})
    assert images.labels.tolist() == [-1, 1]


@pytest.mark.parametrize("named", [{"label": "class"}, {"label": ".cls"}, {"label": "json", "json_key": "lbl"}])
def test_labels_that_no_sample_has_are_one_line(tmp_path, named):
    files = {"a.jpg": jpeg(0), "a.cls": b"7", "a.json": b'{"label": 7}'}
    path = make_tar(tmp_path / "0.tar", files)
    assert "no sample has a label" in failure(webdataset={"shards": str(path), **named})


def test_shards_of_one_name_hold_images_of_two(tmp_path):
    for place in ("x", "y"):
        (tmp_path / place).mkdir()
        make_tar(tmp_path / place / "0.tar", {"a.jpg": jpeg(0)})
    images = opened(webdataset={"shards": str(tmp_path / "{x,y}" / "0.tar")})
    assert images.paths == [f"{tmp_path}/x/0.tar/a.jpg", f"{tmp_path}/y/0.tar/a.jpg"]


def test_a_missing_shard_is_named(tmp_path):
    shard(tmp_path / "s-0.tar", {"a": (jpeg(0), b"0", "cls")})
    assert "s-1.tar does not exist" in failure(webdataset={"shards": str(tmp_path / "s-{0..1}.tar")})


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("a.tar", ["a.tar"]),
        ("{a,b}.tar", ["a.tar", "b.tar"]),
        ("s-{008..011}.tar", ["s-008.tar", "s-009.tar", "s-010.tar", "s-011.tar"]),
        ("{x,y}/{0..1}", ["x/0", "x/1", "y/0", "y/1"]),
    ],
)
def test_braces(pattern, paths):
    assert brace_expand(pattern) == paths


# ------------------------------------------------------------------------------------------------------- NumPy

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_numpy_files(tmp_path, kind):
    if kind == "npz":
        np.savez(tmp_path / "x.npz", images=PIXELS, labels=[1, 0, 1, -1])
        described = {"images": str(tmp_path / "x.npz")}
    else:
        np.save(tmp_path / "x.npy", PIXELS)
        np.save(tmp_path / "y.npy", np.array([1, 0, 1, -1]))
        described = {"images": str(tmp_path / "x.npy"), "labels": str(tmp_path / "y.npy")}
    images = opened(numpy=described)
    assert images.labels.tolist() == [1, 0, 1, -1]
    for row in range(4):
        np.testing.assert_array_equal(np.asarray(decode(images.read(row), "")), PIXELS[row])
    assert images.stamp(0)[0] == (tmp_path / f"x.{kind}").stat().st_size


@pytest.mark.parametrize("shape", [(3, 6, 5), (3, 6, 5, 1)])
def test_grey_arrays(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.arange(90, dtype=np.uint8).reshape(shape))
    images = opened(numpy={"images": str(tmp_path / "x.npy")})
    assert decode(images.read(2), "").mode == "RGB"
    assert images.labels.tolist() == [-1, -1, -1]


def test_an_npz_under_the_name_of_an_npy_is_one_line(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 3, 3), np.uint8))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    assert "it is an .npz file" in failure(numpy={"images": str(tmp_path / "x.npy")})


@pytest.mark.parametrize("shape", [(2, 2), (4, 1, 1), ()])
def test_labels_of_other_shapes_are_one_line(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.zeros((4, 3, 3), np.uint8))
    np.save(tmp_path / "y.npy", np.zeros(shape, int))
    said = failure(numpy={"images": str(tmp_path / "x.npy"), "labels": str(tmp_path / "y.npy")})
    assert "4 images but labels of shape" in said


def test_labels_beyond_32_bits_are_one_line(tmp_path):
    np.savez(tmp_path / "x.npz", images=PIXELS, labels=[0, 1, 2, 2**40])
    assert "too large" in failure(numpy={"images": str(tmp_path / "x.npz")})


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 3, 3), np.float32), "must be uint8"),
        (np.zeros((2, 3, 3, 4), np.uint8), "must be uint8"),
        (np.array([{}], dtype=object), "without pickles"),
        (np.zeros((2, 0, 3), np.uint8), "images without pixels"),
    ],
)
def test_other_arrays_are_one_line(tmp_path, array, said):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    assert said in failure(numpy={"images": str(tmp_path / "x.npy")})


# ---------------------------------------------------------------------------------------------- other libraries


def test_a_dataset_of_torchvision(tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    for part, count in (("train", 5), ("t10k", 3)):
        head = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (count, 28, 28))
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + pixels[:count].tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(
            bytes([0, 0, 8, 1]) + count.to_bytes(4, "big") + bytes(range(count))
        )
    described = {"dataset": "FashionMNIST", "root": str(tmp_path), "splits": ["train", "test"]}
    dataset = Dataset(name="fashion", torchvision=described)
    assert dataset.split_names == ("train", "test")
    train, test = open_split(dataset, "train"), open_split(dataset, "test")
    assert (len(train), len(test)) == (5, 3)
    assert train.labels.tolist() == [0, 1, 2, 3, 4]
    assert train.classnames == datasets.FashionMNIST.classes
    np.testing.assert_array_equal(test.read(2), np.repeat(pixels[2][..., None], 3, axis=2))


@pytest.fixture
def imagenette(tmp_path):
    """A dataset whose class names are tuples, as ImageNet's are, and one of whose two images is broken."""
    pytest.importorskip("torchvision")
    folder = tmp_path / "imagenette2" / "val" / "n01440764"
    folder.mkdir(parents=True)
    (tmp_path / "imagenette2" / "train").mkdir()
    (folder / "a.JPEG").write_bytes(jpeg(0))
    (folder / "b.JPEG").write_bytes(b"no image")
    described = {"dataset": "Imagenette", "root": str(tmp_path), "arguments": {"test": {"split": "val"}}}
    return opened(torchvision=described)


def test_of_synonyms_the_first_is_the_name(imagenette):
    assert imagenette.classnames == ["tench"]


def test_a_broken_image_of_torchvision_is_named(imagenette):
    assert imagenette.read(0).shape == (9, 7, 3)
    with pytest.raises(OodgridError, match="Imagenette/test/0000001 is a broken image"):
        imagenette.read(1)


@pytest.mark.parametrize(
    ("name", "said"),
    [("CIFAR10", "download: true"), ("FashonMNIST", "did you mean"), ("DTD", "download: true")],
)
def test_torchvision_without_network(tmp_path, name, said):
    pytest.importorskip("torchvision")
    assert said in failure(torchvision={"dataset": name, "root": str(tmp_path)})


@pytest.mark.parametrize("where", ["__init__", "__getitem__"])
@pytest.mark.parametrize("load", ["load", "loads", "Unpickler"])
def test_torchvision_without_pickles(tmp_path, monkeypatch, where, load):
    """Whenever and however a dataset unpickles, and whatever its module is called."""
    datasets = pytest.importorskip("torchvision").datasets
    (tmp_path / "p").write_bytes(pickle.dumps(np.ones(3)))

    def unpickle():
        data = (tmp_path / "p").read_bytes()
        if load == "loads":
            return pickle.loads(data)
        return pickle.load(io.BytesIO(data)) if load == "load" else pickle.Unpickler(io.BytesIO(data)).load()

    class Own(datasets.FakeData):
        def __init__(self, root):
            super().__init__(size=2)
            self.targets = [0, 1]
            if where == "__init__":
                unpickle()

        def __getitem__(self, row):
            unpickle()

    monkeypatch.setattr(datasets, "Own", Own, raising=False)
    monkeypatch.setattr(datasets, "__all__", [*datasets.__all__, "Own"])
    dataset = Dataset(name="own", torchvision={"dataset": "Own", "root": str(tmp_path)})
    with pytest.raises(OodgridError, match="torchvision unpickles the files of Own"):
        open_split(dataset, "test").read(0)
    assert unpickle() is not None  # elsewhere it is not our business


def test_a_dataset_of_hugging_face(tmp_path, tree):
    library = pytest.importorskip("datasets", reason="pip install 'oodgrid[hf]'")
    features = library.Features({"picture": library.Image(), "y": library.ClassLabel(names=["sea lion", "zebra"])})
    rows = {"picture": [str(tree / name) for name in FILES], "y": LABELS}
    whole = library.Dataset.from_dict(rows, features=features)
    library.DatasetDict({"validation": whole, "train": whole.select([0, 3])}).save_to_disk(str(tmp_path / "hf"))
    described = {"dataset": str(tmp_path / "hf"), "image": "picture", "label": "y"}
    dataset = Dataset(name="own", hf={**described, "splits": {"train": "train", "test": "validation"}})
    check(open_split(dataset, "test"))
    assert open_split(dataset, "train").labels.tolist() == [0, 1]


def test_hugging_face_without_network_is_one_line():
    pytest.importorskip("datasets", reason="pip install 'oodgrid[hf]'")
    assert "download: true" in failure(hf={"dataset": "nobody/nothing"})


def test_without_the_library_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    assert "pip install 'oodgrid[hf]'" in failure(hf={"dataset": "x"})


# ------------------------------------------------------------------------------------------------------- config


def test_own_splits_need_a_test_split():
    with pytest.raises(ValidationError, match="no test split"):
        Dataset(name="x", hf={"dataset": "d", "splits": {"train": "train"}})


def test_own_splits_are_not_drawn_again():
    with pytest.raises(ValidationError, match="has its own"):
        Dataset(name="x", list={"file": "l.csv", "split": "s"}, splits={"train": 1, "val": 1})


# -------------------------------------------------------------------------------------------------------- EXIF


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied_only_where_asked(orientation):
    """Peers' code does not look at EXIF, and so did no published number."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 8, 3), dtype=np.uint8))
    picture.save(file, "PNG", exif=exif)
    plain = np.asarray(decode(file.getvalue(), ""))
    np.testing.assert_array_equal(plain, np.asarray(picture))
    upright = np.asarray(decode(file.getvalue(), "", exif_rotation=True))
    turns = {1: plain, 2: plain[:, ::-1], 3: plain[::-1, ::-1], 4: plain[::-1], 5: plain.swapaxes(0, 1),
             6: np.rot90(plain, -1), 7: plain[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(plain)}  # fmt: skip
    np.testing.assert_array_equal(upright, turns[orientation])


def test_16_bit_images_are_turned_too():
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((16, 8), np.uint16)).save(file, "PNG", exif=exif)
    assert decode(file.getvalue(), "", exif_rotation=True).size == (16, 8)


# ------------------------------------------------------------------------------------------------ kinds of images


def test_16_bits_of_a_pgm_keep_their_shades():
    shades = np.linspace(0, 65535, 48).reshape(6, 8).astype(">u2")
    found = np.asarray(decode(b"P5\n8 6\n65535\n" + shades.tobytes(), ""))
    np.testing.assert_array_equal(found[..., 0], shades >> 8)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_whose_white_is_unknown_are_refused(kind):
    """Pillow would make fractions of one black, and 32 bits white."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((6, 8), kind)).save(file, "TIFF")
    with pytest.raises(OodgridError, match=r"here is a broken image .nothing says what is white"):
        decode(file.getvalue(), "here")


def test_what_is_said_of_a_broken_image_is_the_same_in_every_run():
    """It is recorded in files that are to be the same to the bit."""
    with pytest.raises(OodgridError, match=r"^here is a broken image .it is in no known format.: replace"):
        decode(b"no image", "here")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP"])
def test_of_several_frames_the_first_counts(kind):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    file = io.BytesIO()
    more = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], **more)
    np.testing.assert_allclose(np.asarray(decode(file.getvalue(), ""))[0, 0], (250, 0, 0), atol=6)


def test_transparency_is_dropped_and_not_painted():
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    Image.fromarray(pixels, "RGBA").save(file, "PNG")
    np.testing.assert_array_equal(np.asarray(decode(file.getvalue(), "")), pixels[..., :3])
