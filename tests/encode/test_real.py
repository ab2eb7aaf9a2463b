"""Real datasets in every layout that the field uses, made of tiny images; half of one, a wrong place, what is refused.

A test catalogue of three classes stands in for lists of a thousand; the entries themselves are those of the package.
"""

from __future__ import annotations

import gzip
import io
import json
import struct

import numpy as np
import pytest
import scipy.io
from PIL import Image

from oodgrid import cli
from oodgrid.catalogue import real
from oodgrid.config import Dataset
from oodgrid.encode.real import find, names_digest, read_split
from oodgrid.encode.real.fetching import fetch
from oodgrid.encode.real.status import status_of
from oodgrid.encode.sources import class_names, open_splits
from oodgrid.encode.sources.checking import check_sources
from oodgrid.errors import OodgridError

FEW = 3  # classes of the test catalogue
PER_CLASS = 2


def jpeg(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "JPEG")
    return buffer.getvalue()


JPEG = jpeg()


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(JPEG)


@pytest.fixture(scope="module")
def small_catalogue(tmp_path_factory):
    """The catalogue with lists cut to three classes, and splits to two images of each."""
    folder = tmp_path_factory.mktemp("catalogue")
    (folder / "sets").mkdir(parents=True)
    (folder / "classes").mkdir()
    for file in (real.FOLDER / "classes").glob("*.tsv"):
        lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        (folder / "classes" / file.name).write_text("\n".join(lines[:FEW]) + "\n")
    for file in (real.FOLDER / "sets").glob("*.yaml"):
        entry = real.real_set(file.stem).model_dump(exclude_unset=True)
        entry["splits"] = dict.fromkeys(entry["splits"], FEW * PER_CLASS)
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


# ----------------------------------------------------------------------------------------- makers of each layout


def class_folders(name, splits):
    def make(root):
        for folder in splits:
            for label, key in enumerate(real.class_keys(name)):
                for number in range(PER_CLASS):
                    put(root / folder / key / f"{folder.replace('/', '_')}_{label}_{number}.JPEG")

    return make


def numbered(root):
    for label in range(FEW):
        for number in range(PER_CLASS):
            put(root / f"imagenetv2-matched-frequency-format-val/{label}/{number}{label}.jpeg")


def flat(labels_file):
    def make(root):
        class_folders("imagenet", ["train"])(root)
        for number in range(1, FEW * PER_CLASS + 1):
            put(root / f"val/ILSVRC2012_val_{number:08}.JPEG")
        numbers = {key: number for number, key in real.devkit_numbers().items()}
        keys = [key for key in real.class_keys("imagenet") for _ in range(PER_CLASS)]
        file = root / labels_file
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".csv":
            rows = [f"ILSVRC2012_val_{row:08},{key} 1 2 3 4" for row, key in enumerate(keys, 1)]
            file.write_text("\n".join(["ImageId,PredictionString", *rows]))
        else:
            by_number = "ground_truth" in labels_file
            file.write_text("\n".join(str(numbers[key]) if by_number else key for key in keys) + "\n")

    return make


def coop(name, folder, images, split_file):
    def make(root):
        rows = {
            split: [
                [f"{label}/{split}{n}.jpg", label, key]
                for label, key in enumerate(real.class_keys(name))
                for n in (0, 1)
            ]
            for split in ("train", "val", "test")
        }
        for path, _, _ in (row for of_split in rows.values() for row in of_split):
            put(root / folder / images / path)
        (root / folder / split_file).write_text(json.dumps(rows))

    return make


def tree(folder):
    def make(root):
        for number in range(FEW * PER_CLASS):
            put(root / folder / f"{number % 2}/{number}.jpg")

    return make


def variants(root):
    for split in ("train", "val", "test"):
        lines = []
        for label, key in enumerate(real.class_keys("fgvc")):
            for number in range(PER_CLASS):
                put(root / f"fgvc-aircraft-2013b/data/images/{split}{label}{number}.jpg")
                lines.append(f"{split}{label}{number} {key}")
        (root / f"fgvc-aircraft-2013b/data/images_variant_{split}.txt").write_text("\n".join(lines) + "\n")


def cub(root):
    base, rows = root / "CUB_200_2011", []
    for split in (1, 0):
        for label, key in enumerate(real.class_keys("cub200")):
            rows += [(f"{key}/{split}{n}.jpg", label + 1, split) for n in range(PER_CLASS)]
    for path, _, _ in rows:
        put(base / "images" / path)
    for column, file in enumerate(("images.txt", "image_class_labels.txt", "train_test_split.txt")):
        (base / file).write_text("\n".join(f"{row} {values[column]}" for row, values in enumerate(rows, 1)) + "\n")


def cifar(root):
    for file, count in (("test_batch.bin", FEW * PER_CLASS), *((f"data_batch_{n}.bin", 0) for n in range(2, 6))):
        _cifar_file(root / "cifar-10-batches-bin" / file, count)
    _cifar_file(root / "cifar-10-batches-bin/data_batch_1.bin", FEW * PER_CLASS)


def _cifar_file(file, count):
    file.parent.mkdir(parents=True, exist_ok=True)
    records = np.zeros((count, 3073), np.uint8)
    records[:, 0] = np.arange(count) // PER_CLASS
    records[:, 1:1025] = 250  # red
    file.write_bytes(records.tobytes())


def mnist(root):
    count = FEW * PER_CLASS
    (root / "MNIST/raw").mkdir(parents=True)
    pixels = struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28) + bytes(count * 784)
    (root / "MNIST/raw/t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels))
    labels = struct.pack(">4BI", 0, 0, 8, 1, count) + bytes(range(count))
    (root / "MNIST/raw/t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


def svhn(root):
    (root / "svhn").mkdir(parents=True)
    pixels = np.zeros((32, 32, 3, FEW * PER_CLASS), np.uint8)
    scipy.io.savemat(root / "svhn/test_32x32.mat", {"X": pixels, "y": np.ones((FEW * PER_CLASS, 1), np.uint8)})


LAYOUTS = {
    "imagenet": {
        "ILSVRC": class_folders("imagenet", ["train", "val"]),
        "below imagenet": class_folders("imagenet", ["imagenet/train", "imagenet/val"]),
        "CoOp": class_folders("imagenet", ["imagenet/images/train", "imagenet/images/val"]),
        "Kaggle": class_folders("imagenet", ["ILSVRC/Data/CLS-LOC/train", "ILSVRC/Data/CLS-LOC/val"]),
        "flat": flat("ILSVRC2012_validation_ground_truth.txt"),
        "flat with devkit": flat("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"),
        "flat with synsets": flat("imagenet_2012_validation_synset_labels.txt"),
        "flat with Kaggle's labels": flat("LOC_val_solution.csv"),
    },
    "imagenet-10": {"of MCM": class_folders("imagenet-10", ["ImageNet10/train", "ImageNet10/val"])},
    "imagenet-v2": {"numbers": numbered},
    "imagenet-a": {
        "own": class_folders("imagenet-a", ["imagenet-a"]),
        "CoOp": class_folders("imagenet-a", ["imagenet-adversarial/imagenet-a"]),
    },
    "caltech101": {"CoOp": coop("caltech101", "caltech-101", "101_ObjectCategories", "split_zhou_Caltech101.json")},
    "food101": {"CoOp": coop("food101", "food-101", "images", "split_zhou_Food101.json")},
    "stanford_cars": {"CoOp": coop("stanford_cars", "stanford_cars", "", "split_zhou_StanfordCars.json")},
    "dtd": {
        "CoOp": coop("dtd", "dtd", "images", "split_zhou_DescribableTextures.json"),
        "below torchvision's": coop("dtd", "dtd/dtd", "images", "split_zhou_DescribableTextures.json"),
    },
    "eurosat": {"CoOp": coop("eurosat", "eurosat", "2750", "split_zhou_EuroSAT.json")},
    "sun397": {"CoOp": coop("sun397", "sun397", "SUN397", "split_zhou_SUN397.json")},
    "fgvc": {"torchvision": variants},
    "cub200": {"own": cub},
    "cifar10": {"binary": cifar, "folders": class_folders("cifar10", ["cifar10/train", "cifar10/test"])},
    "mnist": {"idx": mnist},
    "svhn": {"mat": svhn, "OpenOOD": tree("images_classic/svhn/test")},
    "inaturalist": {"MOS": tree("iNaturalist/images"), "OpenOOD": tree("images_largescale/inaturalist/images")},
    "textures": {"own": tree("dtd/images"), "OpenOOD": tree("images_classic/texture")},
    "ninco": {"own": tree("ninco/NINCO/NINCO_OOD_classes"), "OpenOOD": tree("images_largescale/ninco")},
    "ssb-hard": {"OpenOOD": tree("images_largescale/ssb_hard")},
}
CASES = [(name, how, make) for name, layouts in LAYOUTS.items() for how, make in layouts.items()]


@pytest.mark.parametrize(("name", "make"), [(n, m) for n, _, m in CASES], ids=[f"{n}, {h}" for n, h, _ in CASES])
def test_each_layout_is_read_with_labels_of_the_catalogue(few, name, make):
    make(few)
    dataset = Dataset(name=name, root=str(few))
    check_sources([dataset], {})
    keys = real.class_keys(name)
    for images in open_splits(dataset).values():
        assert len(images) == FEW * PER_CLASS
        assert images.classnames == (list(keys.values()) or None)
        assert images.labels.tolist() == (np.repeat(np.arange(FEW), PER_CLASS).tolist() if keys else [-1] * len(images))
        assert images.read(0) == JPEG if isinstance(images.read(0), bytes) else images.read(0).dtype == np.uint8
    assert not keys or class_names(dataset) == list(keys.values())


@pytest.mark.parametrize("folder", ["iNaturalist", "images_largescale/inaturalist"])
def test_root_may_be_the_folder_of_the_set_itself(few, folder):
    tree(f"{folder}/images")(few)
    assert find("inaturalist", few / folder).base == few / folder
    with pytest.raises(OodgridError, match="dataset sun is not in"):
        find("sun", few / folder)


@pytest.mark.parametrize("name", ["food101-official", "dtd-official"])
def test_what_torchvision_reads_has_labels_of_the_catalogue(few, name):
    keys = list(real.class_keys(name))
    for key in keys:
        for number in range(PER_CLASS):
            put(few / f"food-101/images/{key}/{number}.jpg")
            put(few / f"dtd/dtd/images/{key}/{key}_{number}.jpg")
    (few / "food-101/meta").mkdir(parents=True)
    (few / "dtd/dtd/labels").mkdir(parents=True)
    backwards = list(reversed(keys))  # torchvision sorts its classes, and CoOp need not
    for split in ("train", "val", "test"):
        listed = {key: [f"{key}/{number}" for number in range(PER_CLASS)] for key in backwards}
        (few / f"food-101/meta/{split}.json").write_text(json.dumps(listed))
        lines = [f"{key}/{key}_{number}.jpg" for key in keys for number in range(PER_CLASS)]
        (few / f"dtd/dtd/labels/{split}1.txt").write_text("\n".join(lines) + "\n")
    images = read_split(find(name, few), "test")
    assert len(images) == FEW * PER_CLASS
    classes = [images.classnames[label] for label in images.labels]
    assert sorted(set(classes)) == sorted(real.class_keys(name).values())
    assert images.read(0).dtype == np.uint8


def test_pixels_of_binary_cifar_are_red_green_blue(few):
    cifar(few)
    pixels = open_splits(Dataset(name="cifar10", root=str(few), only=["test"]))["test"].read(0)
    assert pixels.shape == (32, 32, 3)
    assert pixels.reshape(-1, 3).max(axis=0).tolist() == [250, 0, 0]


# ------------------------------------------------------------------------------------------ what is not whole


@pytest.mark.parametrize(
    ("name", "make", "spoil", "message"),
    [
        ("imagenet", LAYOUTS["imagenet"]["ILSVRC"], "val/n01440764/val_0_0.JPEG", "the test split has 5 of 6 images"),
        ("imagenet", LAYOUTS["imagenet"]["ILSVRC"], "val/n01443537", "none of 1 of 3 classes, as goldfish"),
        (
            "imagenet",
            LAYOUTS["imagenet"]["ILSVRC"],
            "train",
            "train does not exist, and its train split would lie there",
        ),
        (
            "imagenet",
            LAYOUTS["imagenet"]["flat"],
            "ILSVRC2012_validation_ground_truth.txt",
            "no labels are beside them",
        ),
        ("food101", LAYOUTS["food101"]["CoOp"], "food-101/images/0/test0.jpg", "1 of 6 listed images are not in"),
        (
            "food101",
            LAYOUTS["food101"]["CoOp"],
            "food-101/split_zhou_Food101.json",
            "food-101 has images but not split_zhou",
        ),
        ("food101", LAYOUTS["food101"]["CoOp"], "food-101/images", "images does not exist"),
        ("fgvc", variants, "fgvc-aircraft-2013b/data/images/test00.jpg", "1 of 6 listed images are not in"),
        ("inaturalist", LAYOUTS["inaturalist"]["MOS"], "iNaturalist/images/0", "the test split has 3 of 6 images"),
        ("cifar10", cifar, "cifar-10-batches-bin/data_batch_3.bin", "data_batch_3.bin is missing"),
        ("cifar10", cifar, ("cifar-10-batches-bin/test_batch.bin", 100), "test_batch.bin is broken off"),
        ("cifar10", cifar, ("cifar-10-batches-bin/test_batch.bin", 3073), "the test split has 1 of 6 images"),
        ("cifar10", cifar, ("cifar-10-batches-bin/data_batch_1.bin", 0), "the train split has no image"),
        ("mnist", mnist, ("MNIST/raw/t10k-images-idx3-ubyte.gz", 40), "is not readable"),
        ("svhn", svhn, ("svhn/test_32x32.mat", 1000), "test_32x32.mat cannot be read"),
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
    LAYOUTS["imagenet"]["ILSVRC"](few)
    (few / "train").rename(few.parent / "elsewhere")
    if empty:
        (few / "train").mkdir()
    with pytest.raises(OodgridError, match=r"train split would lie there|train split (has no image|lacks 3 of 3)"):
        check_sources([Dataset(name="imagenet", root=str(few), **trial)], {})


@pytest.mark.parametrize("trial", [{"partial": True}, {"limit": 3}])
def test_of_a_large_split_the_files_are_counted(few, trial, monkeypatch):
    """ImageNet's training images are too many to be looked through while a user waits."""
    monkeypatch.setattr("oodgrid.encode.real.splits.LOOKED_THROUGH", 1)
    LAYOUTS["imagenet"]["ILSVRC"](few)
    whole, part = Dataset(name="imagenet", root=str(few)), Dataset(name="imagenet", root=str(few), **trial)
    check_sources([whole], {})
    (few / "train/n01440764/train_0_0.JPEG").unlink()
    with pytest.raises(OodgridError, match="the train split has 5 of 6 images"):
        check_sources([whole], {})
    (few / "train/n01440764").rename(few / "train/aside")
    with pytest.raises(OodgridError, match="lacks 1 of 3 class folders, as n01440764"):
        check_sources([whole], {})
    check_sources([part], {})


@pytest.mark.parametrize("trial", [{"partial": True}, {"limit": 3}])
def test_a_part_is_taken_where_that_is_said_and_called_so(few, trial, capsys):
    LAYOUTS["imagenet"]["ILSVRC"](few)
    (few / "val/n01440764/val_0_0.JPEG").unlink()
    dataset = Dataset(name="imagenet", root=str(few), **trial)
    check_sources([dataset], {})
    assert "the test split has 5 of 6 images" in capsys.readouterr().err
    assert dataset.name in ("imagenet-partial", "imagenet-limit-3")
    assert len(open_splits(dataset)["test"]) == (5 if "partial" in trial else 3)


def test_other_images_than_were_published_are_refused(few, monkeypatch):
    LAYOUTS["inaturalist"]["MOS"](few)
    entry = real.real_set("inaturalist")
    names = [f"{number}.jpg" for number in range(FEW * PER_CLASS)]
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
        with pytest.raises(OodgridError, match="7 images, more than the 6"):
            check_sources([Dataset(name="inaturalist", root=str(few), **trial)], {})


def test_more_images_of_a_large_split_than_were_published_are_refused(few, monkeypatch):
    monkeypatch.setattr("oodgrid.encode.real.splits.LOOKED_THROUGH", 1)
    LAYOUTS["imagenet"]["ILSVRC"](few)
    put(few / "train/n01440764/another.JPEG")
    with pytest.raises(OodgridError, match="7 images, more than the 6"):
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
    LAYOUTS["imagenet"]["below imagenet"](few)
    (few / "ILSVRC2012").symlink_to(few / "imagenet")
    assert find("imagenet", few).base == few / "imagenet"
    (few / "ILSVRC2012").unlink()
    class_folders("imagenet", ["ILSVRC2012/train", "ILSVRC2012/val"])(few)
    with pytest.raises(OodgridError, match=r"lies in .*imagenet, .*ILSVRC2012: write one of them as root"):
        find("imagenet", few)
    status = status_of("imagenet", few)
    assert status.state == "unclear"
    assert "write one of them as root" in status.lacks[0]


def test_a_set_in_two_places_is_not_fetched_a_third_time(few, capsys):
    for folder in ("iNaturalist", "inaturalist"):
        tree(f"{folder}/images")(few)
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
    LAYOUTS["imagenet"]["flat"](few)
    (few / "ILSVRC2012_validation_ground_truth.txt").unlink()
    (few / "meta.bin").write_bytes(b"\x80")
    with pytest.raises(OodgridError, match=r"meta\.bin is a pickle"):
        read_split(find("imagenet", few), "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [("1\n2\n", "do not fit the images"), ("1\n2\n3\n4\n5\n5000\n", "do not fit the images"), (b"\xff\xfe", "as text")],
)
def test_labels_of_other_images_are_refused(few, text, message):
    LAYOUTS["imagenet"]["flat"](few)
    file = few / "ILSVRC2012_validation_ground_truth.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
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
    coop("dtd", "dtd", "images", "split_zhou_DescribableTextures.json")(few)
    put(few / "dtd/images/0/a.jpg")
    (few / "dtd/split_zhou_DescribableTextures.json").write_text(text)
    with pytest.raises(OodgridError, match=message):
        read_split(find("dtd", few), "val", incomplete=True)
    if "test" in text:
        assert len(read_split(find("dtd", few), "test", incomplete=True)) == 1


def test_a_class_that_was_not_published_is_refused(few):
    coop("dtd", "dtd", "images", "split_zhou_DescribableTextures.json")(few)
    file = few / "dtd/split_zhou_DescribableTextures.json"
    file.write_text(file.read_text().replace('"blotchy"', '"spotted"'))
    with pytest.raises(OodgridError, match="has the class 'spotted', which is none of the 3"):
        read_split(find("dtd", few), "test", incomplete=True)


# -------------------------------------------------------------------------------------------------- parts of classes


def test_halves_of_any_dataset_share_no_image(few):
    coop("dtd", "dtd", "images", "split_zhou_DescribableTextures.json")(few)
    parts = [open_splits(Dataset(name="dtd", root=str(few), classes={"half": half, "seed": 3})) for half in (1, 2)]
    tests = [part["test"] for part in parts]
    assert sorted(tests[0].classnames + tests[1].classnames) == sorted(real.class_keys("dtd"))
    assert not set(tests[0].paths) & set(tests[1].paths)
    for images in tests:
        assert sorted(set(images.labels.tolist())) == list(range(len(images.classnames)))


def test_the_images_of_a_part_are_those_of_its_labels(few):
    """Names of the user's own stand for texts only, be they those of other classes."""
    LAYOUTS["imagenet"]["ILSVRC"](few)
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
