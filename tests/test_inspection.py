from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from oodgrid import store
from oodgrid.errors import OodgridError
from oodgrid.inspection import describe, verify


@pytest.fixture
def results(tmp_path, make_features):
    store.write_features(tmp_path / "test.h5", make_features())
    texts = store.Texts(np.ones((1, 2, 4), np.float32), ["a", "b"], ["the {}"], {"text": {"templates": ["the {}"]}})
    store.write_texts(tmp_path / "text.h5", texts)
    store.write_arrays(tmp_path / "fit.safetensors", {"prototypes": np.ones((2, 4), np.float32)}, {"C": 2.5})
    store.write_table(tmp_path / "metrics.parquet", pl.DataFrame({"auroc": [0.5, 0.75]}), {"overlaps": []})
    store.write_json(tmp_path / "apply.json", {"units": [1]})
    return tmp_path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("test.h5", ["image_features", "6 x 4 float32", "classes", "3", "split: test"]),
        ("text.h5", ["text_features", "1 x 2 x 4 float32", "classnames", "2", "the {}"]),
        ("fit.safetensors", ["prototypes", "(2, 4)", "C: 2.5"]),
        ("metrics.parquet", ["rows", "2", "auroc", "Float64", "overlaps"]),
        ("apply.json", ["units: [1]"]),
    ],
)
def test_every_kind_of_file_is_described_and_verified(results, name, said):
    text = describe(results / name)
    assert text.startswith(str(results / name))
    for part in said:
        assert part in text
    assert verify(results / name) is None


@pytest.mark.parametrize("name", ["test.h5", "text.h5", "fit.safetensors", "metrics.parquet"])
def test_a_flipped_byte_anywhere_is_found_by_both(results, name):
    good = (results / name).read_bytes()
    for place in (len(good) // 3, len(good) // 2, len(good) - 20):
        bad = bytearray(good)
        bad[place] ^= 0x10
        (results / name).write_bytes(bad)
        for look in (describe, verify):
            with pytest.raises(OodgridError, match=name):
                look(results / name)


def test_what_is_no_results_file_is_one_line(results):
    (results / "notes.txt").touch()
    with pytest.raises(OodgridError, match=r"none of \.h5, \.safetensors, \.parquet, \.json"):
        describe(results / "notes.txt")
    with pytest.raises(OodgridError, match="does not exist"):
        describe(results / "none.h5")
    (results / "broken.json").write_text('{"a": ')
    with pytest.raises(OodgridError, match=r"broken\.json is damaged"):
        verify(results / "broken.json")


def test_views_and_local_features_are_described(tmp_path, make_features):
    views = store.NewViews(np.array([3]), np.ones((1, 2, 4), np.float32), {"views": {"family": "rrc08"}})
    store.write_views(tmp_path / "v.h5", views)
    assert "1 x 2 x 4 float32" in describe(tmp_path / "v.h5")
    verify(tmp_path / "v.h5")
    store.write_features(tmp_path / "f.h5", make_features(local_features=np.zeros((6, 9, 4), np.float32)))
    assert "6 x 9 x 4 float32" in describe(tmp_path / "f.h5")


def test_long_lists_are_shortened(tmp_path, make_features):
    names = [f"class {k}" for k in range(1000)]
    store.write_features(tmp_path / "f.h5", make_features(provenance={"classnames": names}))
    text = describe(tmp_path / "f.h5")
    assert "class 4" in text
    assert "class 5" not in text
    assert "1000 in all" in text


def test_when_and_where_a_file_was_made_is_shown(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features())
    assert "created: " in describe(tmp_path / "f.h5")
