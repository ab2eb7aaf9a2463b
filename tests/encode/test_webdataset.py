"""What is a sample of WebDataset and what its label: read by the rule of keys, counted where it does not hold."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from oodgrid.config import Dataset
from oodgrid.encode.sources import open_split
from oodgrid.errors import OodgridError
from tests.failing import failure


def png(k):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(k).integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def members(text):
    """Files named in a line, images with pixels of their own, others as `name=content`."""
    split = [part.partition("=") for part in text.split()]
    return {name: content.encode() if sign else png(k) for k, (name, sign, content) in enumerate(split)}


@pytest.fixture
def opened(tmp_path):
    def make(files, **source):
        files = members(files) if isinstance(files, str) else files
        with tarfile.open(tmp_path / "s.tar", "w") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        images = open_split(Dataset(name="w", webdataset={"shards": str(tmp_path / "s.tar"), **source}), "test")
        assert [images.read(row) for row in range(len(images))] == [files[path[6:]] for path in images.paths]
        return images

    return make


def found(images):
    names = images.classnames
    labels = [names[label] if names and label >= 0 else label for label in images.labels.tolist()]
    return " ".join(f"{path[6:]}={label}" for path, label in zip(images.paths, labels, strict=True))


@pytest.mark.parametrize(
    ("files", "source", "samples", "said"),
    [
        ("0.png 0.cls=4 1.png 1.cls=7", {}, "0.png=4 1.png=7", ""),
        ("a/0.png a/0.cls=1 b/0.png b/0.cls=0", {}, "a/0.png=1 b/0.png=0", ""),
        ("a.b/0.png a.b/0.cls=1", {}, "a.b/0.png=1", ""),
        ("0.PNG 0.CLS=1 1.png 1.Cls=0", {}, "0.PNG=1 1.png=0", ""),
        ("0.jpg 0.CLS=1", {"label": "CLS"}, "0.jpg=1", ""),
        ("0.cls=1 0.png", {}, "0.png=1", ""),
        # dots in keys
        ("22.05.png 22.05.cls=0 22.06.png 22.06.cls=1", {}, "22.05.png=0 22.06.png=1", "2 samples have dots"),
        ("22.05.png 22.05.cls=0 22.06.png", {}, "22.05.png=0 22.06.png=-1", "the first: s.tar/22.06.png"),
        ("2.5.png 2.5.cls=0 2.6.heic=x 2.6.cls=1", {}, "2.5.png=0", "1 .6.heic without an image; 1 .6.cls"),
        ("v1.0.png 0.png 0.cls=3", {}, "v1.0.png=-1 0.png=3", "1 of 2 samples"),
        ("1.a.png 1.b.png", {"image": "png"}, "1.a.png=-1 1.b.png=-1", "2 of 2 samples"),
        # further images of a sample
        ("0.jpg 0.seg.png 0.cls=1", {}, "0.jpg=1", "1 .seg.png beside the image of a sample"),
        ("0.seg.png 0.jpg", {}, "0.jpg=-1", "1 .seg.png beside the image of a sample"),
        ("0.jpg 0.seg.png 0.cls=1", {"image": "seg.png"}, "0.seg.png=1", "1 .jpg beside the image of a sample"),
        ("0.jpg 0.png 0.cls=1", {"image": "jpg"}, "0.jpg=1", "1 .png beside the image of a sample"),
        ("0.rgb.png 0.cls=1", {}, "0.rgb.png=1", ""),
        ("0.rgb.png 0.depth.png 0.cls=1", {"image": "RGB.png"}, "0.rgb.png=1", "1 .depth.png beside"),
        # labels that are missing, and what is there without an image
        ("0.png 0.cls=1 1.png", {}, "0.png=1 1.png=-1", "no label that can be read, the first: s.tar/1.png"),
        ("0.png 0.cls=1 1.png 1.cls=", {}, "0.png=1 1.png=-1", "1 of 2 samples"),
        ("0.png 0.cls=1 1.png 1.cls=-1", {}, "0.png=1 1.png=-1", ""),
        ("0.png 1.png", {}, "0.png=-1 1.png=-1", "2 of 2 samples"),
        ("0.png 0.cls=1 1.cls=0", {}, "0.png=1", "1 .cls without an image"),
        ("0.png 0.cls=1 1.heic=x 1.cls=0", {}, "0.png=1", "1 .heic without an image"),
        ("0.png 0.cls=1 ._0.png ._0.cls=x __MACOSX/0.png", {}, "0.png=1", "__MACOSX"),
        ('0.png 0.json={"label":2} 1.png 1.json={"lbl":1}', {"label": "json"}, "0.png=2 1.png=-1", "1 of 2"),
        ('0.png 0.json={"label":2} 1.png 1.json={"label":', {"label": "json"}, "0.png=2 1.png=-1", "1 of 2"),
        ('0.png 0.json={"label":2} 1.png 1.json=[2]', {"label": "json"}, "0.png=2 1.png=-1", "1 of 2"),
        ('0.png 0.json={"label":2} 1.png 1.json={"label":[]}', {"label": "json"}, "0.png=2 1.png=-1", "1 of 2"),
        ('0.png 0.json={"label":2} 1.png 1.json={"label":true}', {"label": "json"}, "0.png=2 1.png=-1", "1 of 2"),
        ('0.png 0.json={"label":2} 1.png 1.json={"label":NaN}', {"label": "json"}, "0.png=2 1.png=-1", "1 of 2"),
        ("0.png 0.txt=zebra 1.png 1.txt=ant", {"label": "txt"}, "0.png=zebra 1.png=ant", ""),
    ],
)  # fmt: skip
def test_samples_and_labels(opened, files, source, samples, said):
    images = opened(files, **source)
    assert found(images) == samples
    passed_over = "; ".join(f"{count} {kind}" for kind, count in images.passed_over.items())
    line = "; ".join(filter(None, [*images.remarks, passed_over]))
    assert said in line if said else not line


@pytest.mark.parametrize(
    ("files", "source", "said"),
    [
        ("0.jpg 0.png 0.cls=1", {}, "the sample 0 has 2 images, 0.jpg and 0.png: say which one counts, as image: jpg"),
        ("0.jpg 0.png", {}, "the sample 0 has 2 images"),
        ("0.rgb.png 0.depth.png 0.cls=1", {}, "say which one counts, as image: rgb.png"),
        ("1.a.png 1.b.png", {}, "as image: a.png (or image: png, where each is a sample of its own)"),
        ("0.png 0.cls=1 0.CLS=2", {}, "two labels of one sample"),
        ("0.png 0.cls=1 1.png 1.cls=x", {}, "1 of 2 labels is no whole number as the others are, the first: 'x' of"),
        ("0.png 0.cls=1", {"label": "txt"}, "no sample has a label in a member .txt: mend label or json_key"),
        ("0.cls=1", {}, "holds no image"),
    ],
)
def test_what_could_mean_two_things_is_refused(opened, files, source, said):
    assert said in failure(opened, files, **source)


@pytest.mark.parametrize("label", [b"\xff\xfe", b'{"label": ' + b"[" * 100_000, b'{"label": ' + b"9" * 5000 + b"}"])
def test_a_label_that_cannot_be_read_is_counted(opened, label):
    kind = "json" if label.startswith(b"{") else "cls"
    good = b'{"label": 1}' if kind == "json" else b"1"
    images = opened({"0.png": png(0), f"0.{kind}": good, "1.png": png(1), f"1.{kind}": label}, label=kind)
    assert images.labels.tolist() == [1, -1]
    assert "1 of 2 samples has no label that can be read, the first: s.tar/1.png" in images.remarks[0]


def test_samples_never_multiply_or_vanish(opened):
    """Of any mixture of keys, suffixes and labels every image is a sample, or counted, or the whole is refused."""
    rng = np.random.default_rng(0)
    kinds = ["png", "PNG", "seg.png", "cls", "CLS", "txt", "05.png", "05.cls", "jpg", "json"]
    refused = 0
    for _ in range(150):
        names = {f"{rng.integers(3)}.{kinds[rng.integers(len(kinds))]}" for _ in range(rng.integers(1, 9))}
        names = sorted(names, key=lambda name: rng.random())
        files = {name: png(k) if name.lower().endswith(("g",)) else b"3" for k, name in enumerate(names)}
        given = [name for name in names if name.lower().endswith(("png", "jpg"))]
        try:
            images = opened(files)
        except OodgridError:
            refused += 1
            continue
        beside = sum(count for kind, count in images.passed_over.items() if "beside" in kind)
        assert len(images) + beside == len(given)
        assert bool((images.labels < 0).any()) == any("no label" in remark for remark in images.remarks)
    assert 10 < refused < 140


@pytest.mark.parametrize(
    ("shards", "said"),
    [
        ("s-{5..0}.tar", "names no shard: numbers in its braces must rise"),
        ("s-{0,0}.tar", "s-0.tar twice"),
        ("s-{5..0}{0..999999999999}.tar", "more than 1,000,000 shards"),
        ("s-{0..999999999999}.tar", "more than 1,000,000 shards"),
        ("{0..9999}{0..9999}.tar", "more than 1,000,000 shards"),
    ],
)
def test_patterns_that_cannot_be_right(shards, said):
    with pytest.raises(OodgridError, match=said):
        open_split(Dataset(name="w", webdataset={"shards": shards}), "test")


def test_more_shards_than_files_may_be_open(opened, tmp_path):
    import resource

    opened("0.png 0.cls=1")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    whole = (tmp_path / "s.tar").read_bytes()
    for k in range(100):
        (tmp_path / f"s-{k}.tar").write_bytes(whole)
    resource.setrlimit(resource.RLIMIT_NOFILE, (80, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        images = open_split(Dataset(name="w", webdataset={"shards": str(tmp_path / "s-{0..99}.tar")}), "test")
        assert len({images.read(row) for row in range(100)}) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
