from __future__ import annotations

import gzip
import hashlib
import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from oodgrid.config import Dataset
from oodgrid.counts import counted
from oodgrid.encode.decode import decode
from oodgrid.encode.sources import class_names, open_split
from oodgrid.errors import OodgridError
from tests.failing import failure


def picture(number=0, mode="RGB", kind="PNG", size=(8, 6)):
    """The bytes of an image file."""
    rng = np.random.default_rng(number)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def tree(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def archive(path, files):
    with zipfile.ZipFile(path, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def opened(split="test", **source):
    return open_split(Dataset(name="own", **source), split)


FILES = {f"{name}/{k}.png": picture(k + 10 * i) for i, name in enumerate(("cat", "dog")) for k in range(3)}


# ---------------------------------------------------------------------------------------- folders and archives


@pytest.fixture(params=["folder", "archive"])
def source(request, tmp_path):
    """A function from files to the part of a dataset that names them, once as a folder and once as a zip."""

    def make(files):
        if request.param == "folder":
            return {"folder": str(tree(tmp_path / "own set", files))}
        return {"archive": str(archive(tmp_path / "own set.zip", files))}

    (tmp_path / "own set").mkdir()
    return make


def read(images, row):
    """What stands in a row, as source and as picture."""
    source = images.read(row)
    return source if isinstance(source, bytes) else source.tobytes(), decode(source, images.place(row))


def test_classes_are_the_folders(source):
    images = opened(**source(FILES))
    assert images.classnames == ["cat", "dog"]
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.labels.dtype == np.int32
    assert images.paths == sorted(FILES)


def test_an_image_comes_with_its_source_bytes(source):
    images = opened(**source(FILES))
    for row, path in enumerate(images.paths):
        data, image = read(images, row)
        assert data == FILES[path]
        expected = np.asarray(Image.open(io.BytesIO(FILES[path])))
        np.testing.assert_array_equal(np.asarray(image), expected)
        assert image.mode == "RGB"


def test_names_may_have_spaces_accents_and_upper_case(source):
    files = {"sea lion/a b.PNG": picture(), "été/ö.JPEG": picture(kind="JPEG"), "été/Ω.Jpg": picture(1, kind="JPEG")}
    images = opened(**source(files))
    assert images.classnames == ["sea lion", "été"]
    assert images.paths == ["sea lion/a b.PNG", "été/ö.JPEG", "été/Ω.Jpg"]
    for row in range(3):
        read(images, row)


def test_the_class_is_the_innermost_folder(source):
    files = {f"train/data/{name}": data for name, data in FILES.items()}
    images = opened(**source(files))
    assert images.classnames == ["cat", "dog"]
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_other_files_do_not_count(source):
    junk = {
        "cat/notes.txt": b"x",
        "README": b"x",
        "cat/.hidden.png": b"x",
        "__MACOSX/cat/._0.png": b"x",
        "dog/x.csv": b"",
    }
    assert opened(**source({**FILES, **junk})).paths == sorted(FILES)


def test_nothing_to_find_is_one_line(source):
    line = failure(opened, **source({}))
    assert "own holds no image" in line
    assert ".png" in line
    assert "own holds no image" in failure(opened, **source({"cat/notes.txt": b"x"}))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(source, mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    if mode == "I;16":
        file = io.BytesIO()
        Image.fromarray(np.full((6, 8), 300, np.uint16)).save(file, "PNG")
        data = file.getvalue()
    else:
        data = picture(mode=mode, kind=kind)
    _, image = read(opened(**source({f"a/x.{kind.lower()}": data})), 0)
    assert image.mode == "RGB"
    assert image.size == (8, 6)


def test_16_bit_images_keep_their_shades(source):
    """Pillow's own conversion makes all that is above 255 of 65535 white."""
    shades = np.linspace(0, 65535, 48).reshape(6, 8).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(shades).save(file, "PNG")
    _, image = read(opened(**source({"a/x.png": file.getvalue()})), 0)
    for channel in np.moveaxis(np.asarray(image), 2, 0):
        np.testing.assert_array_equal(channel, shades // 256)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_a_truncated_image_is_named(source, kind):
    whole = picture(kind=kind, size=(64, 64))
    images = opened(**source({"cat/good.png": picture(), f"cat/half.{kind.lower()}": whole[: len(whole) // 2]}))
    read(images, 0)
    assert f"cat/half.{kind.lower()} is a broken image" in failure(read, images, 1)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_images_of_any_kind_are_one_line(source):
    rng = np.random.default_rng(0)
    files = {}
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"):
        for number in range(30):
            data = bytearray(picture(kind=kind, size=(16, 16)))
            for place in rng.integers(0, len(data), 4):
                data[place] = rng.integers(256)
            files[f"a/{kind}-{number}.{kind.lower()}"] = bytes(data)
    images = opened(**source({**files, "a/empty.png": b"", "a/text.jpg": b"no image"}))
    broken = 0
    for row, path in enumerate(images.paths):
        try:
            read(images, row)
        except OodgridError as error:
            broken += 1
            assert path in str(error)
            assert "\n" not in str(error)
    assert broken > 20


def test_class_folders_may_be_links(tmp_path):
    tree(tmp_path / "whole", FILES)
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "dog").symlink_to(tmp_path / "whole" / "dog")
    images = opened(folder=str(tmp_path / "part"))
    assert images.classnames == ["dog"]
    assert len(images) == 3


def test_variables_in_paths_are_filled_in(tmp_path, monkeypatch):
    tree(tmp_path, FILES)
    monkeypatch.setenv("OODGRID_TEST_ROOT", str(tmp_path))
    assert len(opened(folder="${OODGRID_TEST_ROOT}")) == 6


@pytest.mark.parametrize(("key", "name"), [("folder", "none"), ("archive", "none.zip")])
def test_a_missing_path_is_one_line(tmp_path, key, name):
    assert f"{name} does not exist" in failure(opened, **{key: str(tmp_path / name)})


def test_a_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    assert "file does not exist" in failure(opened, folder=str(tmp_path / "file"))


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04" + bytes(50)])
def test_what_is_no_zip_is_one_line(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    assert "a.zip is not a readable zip file" in failure(opened, archive=str(tmp_path / "a.zip"))


def test_a_truncated_zip_is_one_line(tmp_path):
    path = archive(tmp_path / "a.zip", FILES)
    path.write_bytes(path.read_bytes()[:-30])
    assert "a.zip is not a readable zip file" in failure(opened, archive=str(path))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_flipped_byte_in_a_zip_is_named(tmp_path, compression):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("cat/0.bmp", picture(kind="BMP", size=(32, 32)))
    data = bytearray(path.read_bytes())
    for place in range(60, 90):
        data[place] ^= 0xFF
    path.write_bytes(data)
    assert "cat/0.bmp" in failure(opened(archive=str(path)).read, 0)


def test_a_name_in_a_zip_that_is_no_utf_8_is_one_line(tmp_path):
    path = archive(tmp_path / "a.zip", {"é/0.png": picture()})
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xff"))
    assert "a.zip is not a readable zip file" in failure(opened, archive=str(path))


def test_an_encrypted_zip_is_one_line(tmp_path):
    path = archive(tmp_path / "a.zip", {"cat/0.png": picture()})
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag in the local header …
    data[data.index(b"PK\x01\x02") + 8] |= 1  # … and in the directory
    path.write_bytes(data)
    assert "cat/0.png cannot be read" in failure(opened(archive=str(path)).read, 0)


# -------------------------------------------------------------------------------------------------- idx files


PIXELS = np.random.default_rng(1).integers(0, 256, (5, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 2, 1, 2, 0], np.uint8)


def idx(path, array, compress=False):
    data = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if compress else data)
    return str(path)


@pytest.mark.parametrize("compress", [False, True])
def test_idx_files(tmp_path, compress):
    end = ".gz" if compress else ""
    pair = {
        "images": idx(tmp_path / f"i{end}", PIXELS, compress),
        "labels": idx(tmp_path / f"l{end}", LABELS, compress),
    }
    images = opened(idx=pair)
    assert images.labels.tolist() == [0, 2, 1, 2, 0]
    assert images.classnames == ["0", "1", "2"]
    assert images.paths[3] == f"i{end}#3"
    data, image = read(images, 3)
    assert data == PIXELS[3].tobytes()
    assert image.size == (3, 4)
    np.testing.assert_array_equal(np.asarray(image), np.repeat(PIXELS[3][..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-1], "truncated"),
        (lambda data: data + b"x", "truncated"),
        (lambda data: data[:7], "not an idx file"),
        (lambda data: b"", "not an idx file"),
        (lambda data: b"\x00\x00\x0d\x03" + data[4:], "not an idx file of uint8"),
    ],
)
def test_a_damaged_idx_file_is_one_line(tmp_path, damage, said):
    pair = {"images": idx(tmp_path / "i", PIXELS), "labels": idx(tmp_path / "l", LABELS)}
    (tmp_path / "i").write_bytes(damage((tmp_path / "i").read_bytes()))
    assert said in failure(opened, idx=pair)


def test_damaged_gzip_is_one_line(tmp_path):
    pair = {"images": idx(tmp_path / "i.gz", PIXELS, True), "labels": idx(tmp_path / "l", LABELS)}
    good = (tmp_path / "i.gz").read_bytes()
    flipped = bytearray(good)
    flipped[14] ^= 0xFF
    for bad in (good[: len(good) // 2], b"no gzip", bytes(flipped)):
        (tmp_path / "i.gz").write_bytes(bad)
        assert "i.gz is not readable" in failure(opened, idx=pair)


def test_idx_files_of_other_lengths_are_one_line(tmp_path):
    pair = {"images": idx(tmp_path / "i", PIXELS), "labels": idx(tmp_path / "l", LABELS[:4])}
    assert "i holds 5 images but l 4 labels" in failure(opened, idx=pair)


def test_idx_files_that_are_missing_or_swapped_are_one_line(tmp_path):
    pair = {"images": idx(tmp_path / "i", PIXELS), "labels": idx(tmp_path / "l", LABELS)}
    assert "none does not exist" in failure(opened, idx={**pair, "images": str(tmp_path / "none")})
    assert "3 dimensions" in failure(opened, idx={"images": pair["labels"], "labels": pair["images"]})


def test_an_empty_idx_pair_is_one_line(tmp_path):
    pair = {"images": idx(tmp_path / "i", PIXELS[:0]), "labels": idx(tmp_path / "l", LABELS[:0])}
    assert "own holds no image" in failure(opened, idx=pair)


# ---------------------------------------------------------------------------------------------------- splits


MANY = {f"{name}/{k:02}.png": bytes([k]) for name in ("cat", "dog", "eel") for k in range(12)}


def rows(source, split, **splits):
    images = opened(split, **source, splits={"train": 3, "val": 2, **splits})
    return images.paths, images.labels.tolist()


def test_splits_are_disjoint_exact_and_complete(source):
    place = source(MANY)
    parts = {split: rows(place, split) for split in ("train", "val", "test")}
    found = [path for paths, _ in parts.values() for path in paths]
    assert sorted(found) == sorted(MANY)
    for split, count in (("train", 3), ("val", 2), ("test", 7)):
        paths, labels = parts[split]
        assert labels == sorted([0, 1, 2] * count)
        assert [("cat", "dog", "eel").index(path.split("/")[0]) for path in paths] == labels


def test_splits_are_seeded(source):
    place = source(MANY)
    assert rows(place, "train") == rows(place, "train")
    assert rows(place, "train", seed=1) != rows(place, "train")


def test_a_subset_reads_its_own_rows(source):
    images = opened("val", **source({name: picture(k) for k, name in enumerate(MANY)}), splits={"train": 3, "val": 2})
    for row, path in enumerate(images.paths):
        assert read(images, row)[0] == picture(list(MANY).index(path))


def test_splits_do_not_depend_on_the_order_of_the_files(tmp_path):
    orders = [MANY, dict(reversed(MANY.items()))]
    places = [{"archive": str(archive(tmp_path / f"{k}.zip", files))} for k, files in enumerate(orders)]
    assert rows(places[0], "train") == rows(places[1], "train")


def test_classes_draw_apart(source):
    """The same places in every class would tie the draws of the classes together."""
    paths, _ = rows(source(MANY), "train")
    numbers = {name: {path.split("/")[1] for path in paths if path.startswith(name)} for name in ("cat", "dog", "eel")}
    assert len({frozenset(n) for n in numbers.values()}) > 1


@pytest.mark.parametrize("taken", [(12, 1), (10, 2), (6, 6)])
def test_too_few_images_are_named(source, taken):
    line = failure(opened, "train", **source(MANY), splits={"train": taken[0], "val": taken[1]})
    assert "12 images, too few for" in line


def test_images_without_a_class_are_for_the_test_split_alone(tmp_path):
    """Label -1 is no class of its own, of which images could be drawn into training."""
    names = [f"{row}.png" for row in range(20)]
    images = tree(tmp_path / "data", {name: picture(row) for row, name in enumerate(names)})
    labels = [row % 2 if row < 12 else -1 for row in range(20)]
    table = tmp_path / "list.csv"
    table.write_text("path,label\n" + "".join(f"{n},{k}\n" for n, k in zip(names, labels, strict=True)))
    place = {"list": {"file": str(table), "root": str(images)}}
    parts = {split: opened(split, **place, splits={"train": 4, "val": 1}) for split in ("train", "val", "test")}
    assert [len(part) for part in parts.values()] == [8, 2, 10]
    assert [int((part.labels == -1).sum()) for part in parts.values()] == [0, 0, 8]
    line = failure(opened, "train", generated={"kind": "noise", "images": 20}, splits={"train": 4, "val": 2})
    assert "no image has one: leave out splits" in line


# --------------------------------------------------------------------------------------- names, generated sets


def test_class_names_can_be_given(source):
    place = source(FILES)
    dataset = Dataset(name="own", **place, classnames=["Katze", "Hund"])
    assert open_split(dataset, "test").classnames == class_names(dataset) == ["Katze", "Hund"]
    assert class_names(Dataset(name="own", **place)) == ["cat", "dog"]


@pytest.mark.parametrize("given", [["one"], ["one", "two", "three"]])
def test_a_wrong_number_of_class_names_is_one_line(source, given):
    line = failure(opened, **source(FILES), classnames=given)
    assert f"{counted(len(given), 'classname')} for 2 classes" in line


def test_an_image_beside_the_class_folders_makes_no_class_without_a_name(source):
    place = source({**FILES, "stray.png": picture()})
    assert "images lie beside the folders cat, dog: move them into one" in failure(opened, **place)
    assert opened(**place, class_folder="none").labels.tolist() == [-1] * 7


def test_a_class_whose_name_is_no_text_is_one_line(tmp_path):
    for name in ("caf\udce9", "tea"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "a.png")
    with pytest.raises(OodgridError, match="is no UTF-8 text: rename it, or give classnames"):
        class_names(Dataset(name="x", folder=str(tmp_path)))
    given = Dataset(name="x", folder=str(tmp_path), classnames=["coffee", "tea"])
    assert class_names(given) == ["coffee", "tea"]


def test_a_source_without_class_names_is_one_line():
    dataset = Dataset(name="own", generated={"kind": "noise", "images": 3})
    assert "own has no class names: give classnames" in failure(class_names, dataset)


@pytest.mark.parametrize("kind", ["textures", "noise", "digits"])
def test_generated_images_are_as_many_as_wished(kind):
    images = opened(generated={"kind": kind, "images": 7})
    assert len(images) == len(set(images.paths)) == 7
    data, image = read(images, 6)
    assert (image.mode, image.size) == ("RGB", (48, 48))
    assert data == np.asarray(image).tobytes()


def test_there_are_no_more_digits_than_there_are():
    assert len(opened(generated={"kind": "digits", "images": 5000})) == 1797


def test_concept_world_splits_are_its_own():
    world = {"group": "id", "train": 2, "val": 1, "test": 1}
    parts = {split: opened(split, concept_world=world) for split in ("train", "val", "test")}
    assert [len(part) for part in parts.values()] == [48, 24, 24]
    digests = [hashlib.sha256(read(part, i)[0]).digest() for part in parts.values() for i in range(len(part))]
    assert len(set(digests)) == len(digests)
    assert parts["test"].classnames[parts["test"].labels[5]] == parts["train"].classnames[5]


def test_a_shift_of_concept_world_changes_the_same_images():
    clean = opened(concept_world={"group": "id", "test": 1})
    blurred = opened(concept_world={"group": "id", "test": 1, "blur": 3})
    assert clean.paths == blurred.paths
    assert read(clean, 0)[0] != read(blurred, 0)[0]


def test_imported_sets_have_no_images():
    assert "oodgrid import" in failure(opened, imported={"tip_adapter": "x"})


# -------------------------------------------------------------------------------------------------- real images


@pytest.mark.parametrize(
    ("file", "images", "classes"),
    [("mnist_test.zip", 10_000, 10), ("cifar10_test.zip", 3000, 10), ("dtd_10classes_224.zip", 600, 10)],
)
def test_real_archives(shared, file, images, classes):
    found = opened(archive=str(shared / "data" / "images" / file))
    assert (len(found), len(found.classnames)) == (images, classes)
    assert read(found, images // 2)[1].mode == "RGB"


def test_real_idx_files(shared):
    folder = shared / "data" / "images" / "notmnist"
    images, labels = sorted(folder.glob("*images*.gz"))[0], sorted(folder.glob("*labels*.gz"))[0]
    found = opened(idx={"images": str(images), "labels": str(labels)})
    assert (len(found), len(found.classnames)) == (10_000, 10)
    assert read(found, 0)[1].size == (28, 28)
