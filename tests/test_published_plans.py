"""The catalogue's experiments on ImageNet are planned on standard folders of a few images, as a user tries first."""

from __future__ import annotations

import pytest

from oodgrid.cli.checking import check_experiment
from oodgrid.encode.text_lists import read_text_list
from oodgrid.encode.texts import classes_of
from tests.published_data import ON_IMAGENET, lay_out

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return {each.experiment: each for each in lay_out(list(ON_IMAGENET), root)}


@pytest.mark.parametrize("name", ON_IMAGENET)
def test_every_dataset_is_found_and_every_check_before_the_first_job_passes(planned, tmp_path, name):
    experiment = planned[name]
    found = check_experiment(tmp_path, experiment)
    listed = {dataset.name for dataset in experiment.datasets()}
    drawn = {each.name for each in experiment.id_datasets if each.train == "drawn"}  # too large to be counted first
    assert set(found) | drawn == listed
    assert all(count in (4, 8) for count in found.values())  # four of each split


def test_words_that_are_nouns_too_are_nouns_and_classes_are_left_out(planned, tmp_path):
    experiment = planned["openood-vlm"]
    (entry,) = experiment.label_lists
    table = read_text_list(entry, classes_of(tmp_path, experiment, "clip-vit-b16-256", entry.classes_of))
    kinds = dict(zip(table.names, table.kinds, strict=True))
    assert kinds["shared word"] == "noun"  # it stands in every file
    assert set(kinds.values()) == {"noun", "adjective"}
    outliers = planned["negative-texts-four-ood"].label_list("eoe-far-500")
    names = classes_of(tmp_path, planned["negative-texts-four-ood"], "clip-vit-b16-bilinear", outliers.classes_of)
    assert read_text_list(outliers, names).names == ["kelp forest", "lava tube"]  # tench is a class
