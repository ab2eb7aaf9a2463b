from __future__ import annotations

import hashlib

import pytest

from oodgrid import catalogue
from oodgrid.config import Backbone, Dataset, parse
from oodgrid.errors import OodgridError


@pytest.mark.parametrize("name", catalogue.entries("dataset"))
def test_every_dataset_is_valid(name):
    assert Dataset(name=name, **catalogue.entry("dataset", name)).name == name


@pytest.mark.parametrize("name", catalogue.entries("backbone"))
def test_every_backbone_is_valid(name):
    assert Backbone(name=name, **catalogue.entry("backbone", name)).name == name


def test_every_dataset_can_be_held_against_concepts(experiment_of):
    names = sorted(set(catalogue.entries("dataset")) - {"concepts"})
    experiment = parse(experiment_of(id_datasets=[{"name": "concepts", "ood": {"covariate": names}}]))
    assert [dataset.name for dataset in experiment.datasets()] == ["concepts", *names]


def test_no_two_names_mean_the_same_images():
    identities = [str(Dataset(name=n, **e).identity) for n, e in catalogue.entries("dataset").items()]
    assert len(set(identities)) == len(identities)


def test_unknown_names_are_asked_back():
    with pytest.raises(OodgridError, match="did you mean 'concepts'"):
        catalogue.entry("dataset", "concept")
    with pytest.raises(OodgridError, match="did you mean 'clip-vit-b16'"):
        catalogue.entry("backbone", "clip-vit-b-16")


def test_overlaps_hold_both_ways_and_say_why():
    assert "aircraft" in catalogue.overlap("imagenet", "fgvc")
    assert catalogue.overlap("imagenet", "fgvc") == catalogue.overlap("fgvc", "imagenet")
    assert catalogue.overlap("imagenet", "noise") is None


def test_overlap_records_are_pairs_without_repetition():
    pairs = [frozenset(record["pair"]) for record in catalogue._overlaps()]
    assert all(len(pair) == 2 for pair in pairs)
    assert len(set(pairs)) == len(pairs)
    assert all(record["why"] for record in catalogue._overlaps())


def test_packaged_files_are_known_by_their_bytes():
    name = "package:datasets.yaml"
    assert catalogue.packaged(name) == catalogue.FOLDER / "datasets.yaml"
    assert catalogue.file_sha256(name) == hashlib.sha256((catalogue.FOLDER / "datasets.yaml").read_bytes()).hexdigest()


def test_a_file_that_is_not_in_the_package_is_one_line():
    with pytest.raises(OodgridError, match=r"package:none\.bin"):
        catalogue.file_sha256("package:none.bin")
