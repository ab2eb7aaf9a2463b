"""Folders that are not quite as clip-retrieval leaves them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from oodgrid import store
from oodgrid.encode.importing import import_clip_retrieval
from tests.failing import failure

VALUES = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float16)


@pytest.fixture
def imported(tmp_path):
    """A function from parts and their metadata, each by the name of its file, to what they are imported as."""
    (tmp_path / "out/img_emb").mkdir(parents=True)
    (tmp_path / "out/metadata").mkdir()

    def call(parts, tables, label=None):
        for name, values in parts.items():
            np.save(tmp_path / f"out/img_emb/{name}.npy", values)
        for name, columns in tables.items():
            pl.DataFrame(columns).write_parquet(tmp_path / f"out/metadata/{name}.parquet")
        (path,) = import_clip_retrieval(tmp_path, "b", "d", tmp_path / "out", "test", label)
        return store.read_features(path, as_stored=True)

    return call


def named(*names, **columns):
    return {"image_path": list(names), **columns}


TWO = {"img_emb_0": VALUES[:2], "img_emb_1": VALUES[2:]}


def test_numbers_may_have_leading_zeros(imported):
    parts = {"img_emb_0010": VALUES[2:], "img_emb_0002": VALUES[:2]}
    found = imported(parts, {"metadata_0002": named("a", "b"), "metadata_0010": named("c", "d")})
    np.testing.assert_array_equal(found.image_features, VALUES)
    assert found.image_features.dtype == np.float16
    assert list(found.paths) == ["a", "b", "c", "d"]


def test_parts_whose_counts_differ_are_refused_even_where_the_sums_agree(imported):
    line = failure(imported, TWO, {"metadata_0": named("a"), "metadata_1": named("b", "c", "d")})
    assert "metadata_0.parquet: 1 row of metadata but embeddings of shape (2, 3)" in line


def test_two_files_of_one_number_are_refused(imported):
    line = failure(imported, {"img_emb_0": VALUES, "img_emb_00": VALUES}, {"metadata_0": named(*"abcd")})
    assert "img_emb_0.npy and img_emb_00.npy are both part 0" in line


def test_parts_of_several_encoders_are_refused(imported):
    parts = {"img_emb_0": VALUES[:2], "img_emb_1": VALUES[2:, :2]}
    line = failure(imported, parts, {"metadata_0": named("a", "b"), "metadata_1": named("c", "d")})
    assert "parts differ in dimensions, (2,), (3,)" in line


@pytest.mark.parametrize(
    ("first", "second", "labels", "classnames"),
    [
        ([None, None], ["b", "a"], [-1, -1, 1, 0], ["a", "b"]),  # a column that is empty in one part has no type there
        ([1.0, None], [0, 2], [1, -1, 0, 2], None),  # pandas makes whole numbers floats where one is missing
        ([1, 0], [float("nan"), 3.0], [1, 0, -1, 3], None),
        (["2", ""], ["0", "1"], [2, -1, 0, 1], None),
    ],
)
def test_labels_of_which_some_are_missing(imported, first, second, labels, classnames):
    tables = {"metadata_0": named("a", "b", y=first), "metadata_1": named("c", "d", y=second)}
    found = imported(TWO, tables, "y")
    assert found.labels.tolist() == labels
    assert found.classnames == classnames


def test_labels_that_are_no_whole_numbers_are_refused(imported):
    tables = {"metadata_0": named("a", "b", y=[0.5, 1]), "metadata_1": named("c", "d", y=[0.0, 1])}
    assert "whole numbers" in failure(imported, TWO, tables, "y")


def test_the_key_names_an_image_that_has_no_path(imported):
    found = imported({"img_emb_0": VALUES}, {"metadata_0": {"key": [7, 8, 9, None], "caption": list("abcd")}})
    assert list(found.paths) == ["7", "8", "9", ""]


def test_without_metadata_images_are_numbered(imported):
    assert list(imported({"img_emb_0": VALUES[:2]}, {}).paths) == ["d/test/0", "d/test/1"]
    assert "no column image_path" in failure(imported, {}, {}, "folder")


def test_metadata_of_captions_alone_are_counted_too(imported):
    assert len(imported({"img_emb_0": VALUES}, {"metadata_0": {"caption": list("abcd")}}).paths) == 4
    assert "3 rows" in failure(imported, {"img_emb_0": VALUES}, {"metadata_0": {"caption": list("abc")}})


def test_damaged_metadata_are_one_line(imported, tmp_path):
    imported({"img_emb_0": VALUES}, {"metadata_0": named(*"abcd")})
    file = tmp_path / "out/metadata/metadata_0.parquet"
    good = file.read_bytes()
    for bad in (b"", b"PAR1", good[:50], good[:-9]):
        file.write_bytes(bad)
        assert "metadata_0.parquet cannot be read as a table" in failure(imported, {}, {})
