"""`limit: N`: a part of every split, for trials, that nobody can take for the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from oodgrid import catalogue, config
from oodgrid.config import Dataset
from oodgrid.encode.sources import open_splits
from oodgrid.encode.sources.limit import drawn_rows
from oodgrid.errors import OodgridError

EXPERIMENT = {
    "experiment": "trial", "backbones": ["tiny"], "methods": ["zero_shot"], "scores": ["mcm"],
    "id_datasets": [
        {
            "name": "concepts",
            "ood": {"near": ["concepts-unseen-shapes"], "far": ["digits", {"name": "noise", "limit": 7}]},
        }
    ],
}  # fmt: skip


@given(labels=st.lists(st.integers(-1, 6), min_size=2, max_size=200), part=st.floats(0.01, 0.99), name=st.text())
def test_every_class_gives_its_share_and_a_smaller_limit_a_part_of_it(labels, part, name):
    labels = np.asarray(labels, dtype=np.int32)
    limit = max(1, int(part * len(labels)))
    rows = drawn_rows(labels, limit, name)
    assert len(rows) == limit and (np.diff(rows) > 0).all()
    # All classes stop at the same step; each is within one image of it, and so all together within one a class.
    for label in np.unique(labels):
        of_class, most = (labels == label).mean(), len(np.unique(labels))
        assert abs((labels[rows] == label).sum() - limit * of_class) < 1 + most * of_class + 1e-9
    assert (rows == drawn_rows(labels, limit, name)).all()
    if limit > 1:
        assert set(drawn_rows(labels, limit - 1, name)) < set(rows)


def test_it_is_no_slice_and_another_split_is_another_draw():
    labels = np.repeat(np.arange(100, dtype=np.int32), 10)
    rows = drawn_rows(labels, 100, "a/test")
    assert len(np.unique(labels[rows])) > 80
    assert len(np.unique(rows % 10)) == 10
    assert set(rows) != set(drawn_rows(labels, 100, "b/test"))


def test_a_dataset_with_a_limit_has_another_name_another_identity_and_fewer_images():
    whole, part = Dataset(name="concepts"), Dataset(name="concepts", limit=30)
    assert part.name == "concepts-limit-30" and part.whole_name == whole.name == whole.whole_name
    assert part.identity == whole.identity | {"limit": 30} and "limit" not in whole.identity
    opened, all_images = open_splits(part), open_splits(whole)
    for split, images in opened.items():
        assert len(images) == 30 and images.classnames == all_images[split].classnames
        assert set(images.paths) < set(all_images[split].paths)
        assert f"limit: 30 of {len(all_images[split])} images" in images.remarks
        row = all_images[split].paths.index(images.paths[7])
        assert np.array_equal(images.read(7), all_images[split].read(row))
    assert open_splits(Dataset(name="concepts", limit=100_000))["test"].paths == all_images["test"].paths


def test_the_limit_of_an_experiment_is_that_of_all_its_datasets_but_where_they_have_their_own():
    names = [dataset.name for dataset in config.parse(EXPERIMENT | {"limit": 50}).datasets()]
    assert names == ["concepts-limit-50", "concepts-unseen-shapes-limit-50", "digits-limit-50", "noise-limit-7"]
    assert [d.name for d in config.parse(EXPERIMENT).datasets()][:3] == ["concepts", "concepts-unseen-shapes", "digits"]


def test_a_part_overlaps_what_the_whole_overlaps():
    sets = [{"name": name, "folder": "nowhere"} for name in ("imagenet", "dtd")]
    assert catalogue.overlap(*(each["name"] for each in sets))
    id_dataset = {**sets[0], "splits": {"train": 1, "val": 1}, "ood": {"far": sets[1:]}}
    for limit in (None, 3):
        with pytest.raises(OodgridError, match="overlaps ID set"):
            config.parse(EXPERIMENT | {"id_datasets": [id_dataset], "limit": limit})


@pytest.mark.parametrize("limit", [0, -3, "5", 2.5, True, [5]])
def test_a_wrong_limit_is_named(limit):
    with pytest.raises(OodgridError, match="limit"):
        config.parse(EXPERIMENT | {"limit": limit})


def test_imports_are_whole():
    imported = {"name": "mine", "imported": {}}
    experiment = EXPERIMENT | {"limit": 9, "id_datasets": [{**imported, "ood": {"far": ["noise"]}}]}
    assert [d.name for d in config.parse(experiment).datasets()] == ["mine", "noise-limit-9"]
    with pytest.raises(ValidationError, match="imports are whole"):
        Dataset(**imported, limit=5)
