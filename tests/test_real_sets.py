"""The catalogue of real datasets: every entry is sound, and its lists are those that were published."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys

import numpy as np
import pytest

from oodgrid import catalogue
from oodgrid.catalogue import real
from oodgrid.config import Dataset, parse
from oodgrid.config.class_choice import Half, chosen
from oodgrid.errors import OodgridError

NAMES = real.names()
ASKED_FOR = """imagenet imagenet-openood imagenet-v2 imagenet-a imagenet-r imagenet-sketch imagenet-10 imagenet-20
imagenet-100 imagenet-x imagenet-x-ood caltech101 food101 stanford_cars oxford_pets flowers102 dtd sun397 ucf101 fgvc
eurosat cub200 cifar10 cifar100 inaturalist sun places textures textures-clean openimage-o ninco ssb-hard imagenet-o
svhn mnist""".split()  # noqa: SIM905


def parsed(experiment_of, *id_datasets, **changes):
    return parse(experiment_of(id_datasets=list(id_datasets), methods=["zero_shot"], **changes))


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_is_sound(name):
    entry = real.real_set(name)
    assert "test" in entry.splits
    assert real.layouts(name)
    assert entry.fetch or entry.get
    assert all(layout.at for layout in entry.layouts)
    assert entry.parent is None or entry.parent in NAMES
    assert set(entry.names) | set(entry.names_sha256) <= set(entry.splits)
    for download in entry.fetch:
        assert download.url.startswith(("http://", "https://"))
        if not (download.md5 or download.git_blob):  # then the names of the images are compared
            assert entry.names_sha256
    for part in entry.names.values():
        assert bool(part.only) != bool(part.without)
        assert real.file_names(part.only or part.without)
    keys = real.class_keys(name)
    assert len(set(keys.values())) == len(keys), "two classes with one text"
    assert all("{}" in prompt for prompts in real.prompts(name).values() for prompt in prompts)
    assert bool(entry.templates) == bool(entry.classes)
    dataset = Dataset(name=name, root="/data")
    assert dataset.split_names == tuple(split for split in ("train", "val", "test") if split in entry.splits)


def test_all_datasets_of_the_field_are_there():
    assert set(ASKED_FOR) <= set(NAMES)
    assert not set(NAMES) & set(catalogue.entries("dataset"))


@pytest.mark.parametrize(
    ("name", "count", "samples"),
    [
        ("imagenet", 1000, {0: "tench", 65: "sea snake", 134: "crane bird", 744: "projectile", 999: "toilet paper"}),
        ("imagenet-10", 10, {}),
        ("imagenet-20", 20, {}),
        ("imagenet-100", 100, {}),
        ("imagenet-x", 500, {0: "tench", 1: "great white shark"}),
        ("imagenet-a", 200, {0: "stingray"}),
        ("imagenet-r", 200, {0: "goldfish"}),
        ("caltech101", 100, {0: "face", 1: "leopard"}),
        ("food101", 101, {0: "apple pie", 100: "waffles"}),
        ("stanford_cars", 196, {0: "2000 AM General Hummer SUV"}),
        ("oxford_pets", 37, {0: "abyssinian"}),
        ("flowers102", 102, {0: "pink primrose"}),
        ("dtd", 47, {0: "banded", 46: "zigzagged"}),
        ("sun397", 397, {0: "abbey"}),
        ("ucf101", 101, {0: "Apply Eye Makeup"}),
        ("fgvc", 100, {}),
        ("eurosat", 10, {0: "Annual Crop Land"}),
        ("cub200", 200, {0: "Black footed Albatross", 199: "Common Yellowthroat"}),
        ("cifar10", 10, {0: "airplane", 9: "truck"}),
        ("cifar100", 100, {1: "aquarium fish"}),
    ],
)
def test_class_lists_are_those_that_were_published(name, count, samples):
    names = list(real.class_keys(name).values())
    assert len(names) == count
    assert {label: names[label] for label in samples} == samples


def test_imagenet_and_its_parts_agree():
    keys = list(real.class_keys("imagenet"))
    assert keys == sorted(keys)
    # the first eight lines of the devkit's ILSVRC2012_validation_ground_truth.txt, and the labels that the field has
    numbers, labels = (490, 361, 171, 822, 297, 482, 13, 704), (65, 970, 230, 809, 516, 57, 334, 415)
    assert tuple(keys.index(real.devkit_numbers()[number]) for number in numbers) == labels
    for part in (
        "imagenet-10",
        "imagenet-20",
        "imagenet-100",
        "imagenet-x",
        "imagenet-x-ood",
        "imagenet-a",
        "imagenet-r",
    ):
        assert set(real.class_keys(part)) <= set(keys)
    halves = [set(real.class_keys(part)) for part in ("imagenet-x", "imagenet-x-ood")]
    assert halves[0] | halves[1] == set(keys)
    assert not halves[0] & halves[1]
    assert len(set(real.class_keys("imagenet-20")) & set(real.class_keys("imagenet-100"))) == 2


def test_lists_of_names_are_those_of_the_benchmarks():
    val = real.file_names("imagenet-openood-val.txt")
    whole = {f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, 50_001)}
    assert len(val) == 5_000
    assert val <= whole
    digest = hashlib.sha256("\n".join(sorted(whole)).encode()).hexdigest()
    assert digest == real.real_set("imagenet").names_sha256["test"]
    assert len(real.file_names("textures-left-out.txt")) == 5_640 - 5_160
    assert len(real.file_names("openimage-o-openood-val.txt")) == 17_632 - 15_869


def test_class_lists_of_shared_data_agree(shared):
    import json

    split = json.loads((shared / "data/images/split_zhou_Caltech101.json").read_text())
    names = {label: name for rows in split.values() for _, label, name in rows}
    assert list(real.class_keys("caltech101")) == [names[label] for label in range(100)]
    folder = shared / "data/labels/mcm"
    for count in (10, 20, 100):
        listed = (folder / f"ImageNet{count}/class_list.txt").read_text().split()
        assert set(listed) == set(real.class_keys(f"imagenet-{count}"))


# --------------------------------------------------------------------------------------------- in configurations


def test_a_dataset_is_one_name_and_one_folder(experiment_of):
    ood = {
        "near": ["ninco"],
        "far": ["inaturalist", {"name": "textures", "root": "/other"}],
        "covariate": ["imagenet-v2"],
    }
    experiment = parsed(experiment_of, {"name": "imagenet", "ood": ood}, root="/data")
    by_name = {dataset.name: dataset for dataset in experiment.datasets()}
    assert by_name["imagenet"].split_names == ("train", "test")
    assert by_name["textures"].root == "/other"
    assert by_name["ninco"].root == "/data"
    assert len(by_name["imagenet"].known_classes) == 1000
    assert experiment.id_datasets[0].templates == ["a photo of a {}."]


def test_an_ood_set_alone_gives_its_test_split_only(experiment_of):
    one = {"name": "imagenet-10", "ood": {"near": ["imagenet-20"], "far": ["dtd"]}}
    other = {"name": "imagenet-20", "ood": {"near": ["imagenet-10"]}}
    experiment = parsed(experiment_of, one, other, root="/data")
    splits = {dataset.name: dataset.split_names for dataset in experiment.datasets()}
    assert splits == {"imagenet-10": ("train", "test"), "imagenet-20": ("train", "test"), "dtd": ("test",)}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "imagenet"}, "lies on your disk: write {name: imagenet, root: FOLDER}"),
        ({"name": "imagnet"}, "did you mean 'imagenet'"),
        ({"name": "mine", "root": "/data"}, "unknown real dataset 'mine'"),
        ({"name": "food101", "root": "/data", "folder": "/x"}, "needs one source"),
        ({"name": "food101", "root": "/data", "only": ["train"]}, "names no test split"),
        ({"name": "imagenet", "root": "/data", "only": ["val", "test"]}, "has no val split: it has train, test"),
        ({"name": "food101", "root": "/data", "classnames": ["a", "b"]}, "2 classnames for 101 classes"),
        ({"name": "food101", "root": "/data", "classes": ["pizza", "waffels"]}, "did you mean 'waffles'"),
        ({"name": "food101", "root": "/data", "classes": ["pizza", "Pizza"]}, "names Pizza twice"),
        ({"name": "food101", "root": "/data", "classes": []}, "classes is empty"),
        (
            {"name": "food101", "root": "/data", "classes": ["pizza", "waffles"]},
            "would show a part of food101 as food101: write another name and what it is of, as {name: food101-part, of",
        ),
        ({"name": "food101", "of": "food101", "root": "/data", "classes": {"half": 1}}, "a part of food101 as food101"),
        ({"name": "dtd", "of": "food101", "root": "/data", "classes": ["pizza", "waffles"]}, "part of food101 as dtd"),
        ({"name": "food101", "of": "food101-official", "root": "/data"}, "would show food101-official as food101"),
        ({"name": "food101", "root": "/data", "partial": "yes"}, "partial"),
        ({"name": "food101", "root": "/data", "classes": {"half": 3}}, "classes.half: one of 1 or 2 is wanted"),
        ({"name": "food101", "root": "/data", "templates": "opena"}, "no list of it (coop, openai)"),
        ({"name": "food101", "root": "/data", "splits": {"train": 1, "val": 1}}, "splits of its own"),
        ({"name": "x", "generated": {"kind": "noise"}, "partial": True}, "partial is for a dataset of root"),
    ],
)
def test_what_cannot_be_meant_is_one_line(experiment_of, entry, message):
    with pytest.raises(OodgridError) as error:
        parsed(experiment_of, {**entry, "ood": {"far": ["noise"]}})
    assert message in str(error.value)
    assert all(len(line) < 700 for line in str(error.value).splitlines())


def test_half_of_a_dataset_may_be_near_ood_to_the_other(experiment_of):
    half = {"name": "food101", "classes": {"half": 1}}
    ood = {"near": [{"name": "food101", "classes": {"half": 2}}]}
    experiment = parsed(experiment_of, {**half, "ood": ood}, root="/data")
    one, other = experiment.datasets()
    assert (one.name, other.name) == ("food101-half-1-seed-0", "food101-half-2-seed-0")
    assert {len(one.known_classes), len(other.known_classes)} == {50, 51}
    assert not set(one.known_classes) & set(other.known_classes)
    assert other.split_names == ("test",)
    for changed in ({"half": 1}, {"half": 2, "seed": 1}):
        with pytest.raises(OodgridError, match="overlaps"):
            parsed(experiment_of, {**half, "ood": {"near": [{"name": "food101", "classes": changed}]}}, root="/data")


SPLITS = {  # of EOE: its dataset, ID classes, and the others
    "cub200": ("cub-100", "cub-100-ood"),
    "food101": ("food-50", "food-51-ood"),
    "oxford_pets": ("oxford-pet-18", "oxford-pet-19-ood"),
    "stanford_cars": ("stanford-cars-98", "stanford-cars-98-ood"),
}


@pytest.mark.parametrize(("of", "names"), SPLITS.items())
def test_published_splits_of_classes_are_partitions_by_the_rule_that_drew_them(experiment_of, of, names):
    """The rule was found, and gives the published lists; of Stanford Cars the devkit's order is not known here."""
    files = [f"package:real_sets/splits/{name}.txt" for name in names]
    one, other = ({"name": name, "of": of, "classes": file} for name, file in zip(names, files, strict=True))
    experiment = parsed(experiment_of, {**one, "ood": {"near": [other]}}, root="/data")
    taken, left = (set(dataset.taken_labels) for dataset in experiment.datasets())
    count = len(real.class_keys(of))
    assert taken | left == set(range(count)) and not taken & left
    if of == "cub200":
        drawn = set(np.random.RandomState(5).choice(np.arange(1, 201), 100, replace=False) - 1)
    else:
        drawn = set(random.Random(5).sample(range(count), len(taken)))
    assert taken == drawn or of == "stanford_cars"


MISSILES = ["n03773504", "n04008634"]  # OpenAI's list calls the two alike
OPENAI = "package:real_sets/classes/imagenet-openai.txt"


def part_of_imagenet(name, classes, **changes):
    return {"name": name, "of": "imagenet", "classes": classes, **changes}


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (["n01440764", "n01443537"], ["tench", "goldfish"], "overlaps"),
        (["n01440764", "goldfish"], ["Goldfish", "n01494475"], "overlaps"),
        (["tench", "goldfish"], ["n01494475", "tiger shark"], None),
        ({"half": 1}, ["tench"], "overlaps"),
        ({"half": 2}, ["tench"], None),
    ],
)
def test_parts_of_one_set_are_compared_by_labels(experiment_of, one, other, why):
    assert 0 in Dataset(name="x", root="/data", of="imagenet", classes={"half": 1}).taken_labels
    entry = part_of_imagenet("some", one, ood={"near": [part_of_imagenet("others", other)]})
    if why is None:
        assert parsed(experiment_of, entry, root="/data")
    else:
        with pytest.raises(OodgridError, match=why):
            parsed(experiment_of, entry, root="/data")


def test_parts_of_one_set_with_one_text_are_refused(experiment_of):
    one, other = (
        part_of_imagenet(key, [key, also], classnames=OPENAI) for key, also in zip(MISSILES, "ab", strict=True)
    )
    one["classes"][1], other["classes"][1] = "tench", "goldfish"
    with pytest.raises(OodgridError, match="both have 1 class, as 'missile'"):
        parsed(experiment_of, {**one, "ood": {"near": [other]}}, root="/data")


def test_classes_go_by_the_catalogue_whatever_texts_they_have():
    dataset = Dataset(root="/data", **part_of_imagenet("weapons", ["missile", "tench"], classnames=OPENAI))
    keys = list(real.class_keys("imagenet"))
    assert [keys[label] for label in dataset.taken_labels] == ["n01440764", MISSILES[0]]
    assert dataset.known_classes == ["tench", "missile"]


@pytest.mark.parametrize("name", [name for name in NAMES if real.class_keys(name)])
def test_every_word_of_a_list_stands_for_one_class(name):
    keys = real.class_keys(name)
    for words in (list(keys), list(keys.values())):
        assert chosen(words, list(keys.values()), list(keys), name) == list(range(len(keys)))


@pytest.mark.parametrize(
    ("choice", "keys", "answer"),
    [
        (["missile"], ["a", "b", "c"], "'missile' of classes stands for 2 of its classes: write a or b"),
        (["missile"], [], "stands for 2 of its classes: give each a name of its own"),
        (["MISSILE"], [], "stands for 3 of its classes"),
        (["Missile"], [], [2]),
        (["a", "b"], ["a", "b", "c"], [0, 1]),
        (["missile"], ["a", "b", "missile"], "stands for 3 of its classes"),
    ],
)
def test_a_word_for_two_classes_is_refused(choice, keys, answer):
    names = ["missile", "missile", "Missile"]
    if isinstance(answer, str):
        with pytest.raises(OodgridError, match=answer):
            chosen(choice, names, keys, "dataset x")
    else:
        assert chosen(choice, names, keys, "dataset x") == answer


@pytest.mark.parametrize("classes", [2, 3, 10, 37, 100, 1001])
def test_halves_are_a_partition_whatever_the_seed(classes):
    names = [f"class {label}" for label in range(classes)]
    halves = set()
    for seed in range(5):
        one, other = (chosen(Half(half=half, seed=seed), names, [], "x") for half in (1, 2))
        assert sorted(one + other) == list(range(classes))
        assert len(other) - len(one) == classes % 2
        halves.add(tuple(one))
    assert len(halves) > 1


def test_lists_may_be_files_and_texts_differ_by_backbone(experiment_of, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(f"meal {row}" for row in range(101)))
    (tmp_path / "prompts.json").write_text('["a {}", "the {}"]')
    entry = {"name": "food101", "root": "/data", "ood": {"far": ["noise"]}, "classnames": str(tmp_path / "names.txt")}
    entry |= {"templates": str(tmp_path / "prompts.json"), "text": {"tiny": "visual_prototypes"}}
    dataset = parsed(experiment_of, entry).id_datasets[0]
    assert dataset.known_classes[100] == "meal 100"
    assert dataset.templates == ["a {}", "the {}"]
    assert (dataset.text_under("tiny"), dataset.text_under("any other")) == ("visual_prototypes", "classnames")
    with pytest.raises(OodgridError, match="unknown backbone of this experiment 'tinny': did you mean 'tiny'"):
        parsed(experiment_of, {**entry, "text": {"tinny": "visual_prototypes"}})
    (tmp_path / "prompts.json").write_text("{}")
    with pytest.raises(OodgridError, match="is no list of texts"):
        parsed(experiment_of, entry)
    with pytest.raises(OodgridError, match="does not exist"):
        parsed(experiment_of, {**entry, "templates": "gone.txt"})


def test_the_published_names_of_imagenet_can_be_had(experiment_of):
    entry = {"name": "imagenet", "root": "/data", "ood": {"far": ["noise"]}, "templates": "openai"}
    entry |= {"classnames": "package:real_sets/classes/imagenet-openai.txt"}
    dataset = parsed(experiment_of, entry).id_datasets[0]
    assert dataset.known_classes.count("missile") == dataset.known_classes.count("sunglasses") == 2
    assert len(dataset.templates) == 80


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("imagenet", "fgvc", "airliner"),
        ("imagenet-openood", "fgvc", "airliner"),
        ("food101-official", "imagenet", "guacamole"),
        ("imagenet", "imagenet-v2", "the classes of imagenet"),
        ("food101", "food101-official", "the classes of food101"),
        ("dtd", "textures", "same images"),
        ("imagenet", "ninco", None),
        ("imagenet-10", "food101", None),
        ("cifar10", "cifar100", None),
    ],
)
def test_overlaps_hold_for_sets_with_the_same_classes(one, other, why):
    found = catalogue.overlap(one, other)
    assert (found is None) if why is None else (why in found)
    assert catalogue.overlap(other, one) == found


def test_identity_is_of_the_name_and_not_of_marks(experiment_of):
    dataset = Dataset(name="food101", root="/data", classes={"half": 1}, limit=4)
    again = Dataset(name=dataset.name, **dataset.identity)
    assert again.name == dataset.name == "food101-half-1-seed-0-limit-4"
    assert again.identity == dataset.identity
    assert (
        Dataset(name="food101", root="/data").identity != Dataset(name="food101", root="/data", partial=True).identity
    )


def test_reading_such_a_config_needs_neither_torch_nor_the_data():
    code = (
        "import sys; from oodgrid.config import Dataset; Dataset(name='imagenet', root='/nowhere');"
        "sys.exit(any(name in sys.modules for name in ('torch', 'torchvision', 'urllib.request')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
