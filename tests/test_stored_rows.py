"""Rows that stay in their file: the same numbers as in memory, and no byte more than is asked for."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from oodgrid import store
from oodgrid.adapt.apply import _blocks
from oodgrid.errors import OodgridError
from oodgrid.store import rows as rows_module


def values_of(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def views_file(path, images=11, views=3, patches=4, width=5):
    arrays = values_of((images, views, width)), values_of((images, views, patches, width), seed=1)
    store.write_views(path, store.NewViews(np.arange(0, 2 * images, 2), arrays[0], {"views": {}}, arrays[1]))
    return arrays


def features_file(path, images, patches=4, width=5, dtype=np.float32):
    local = values_of((images, patches, width), dtype)
    names, sha256 = [f"{row}.png" for row in range(images)], np.zeros((images, 32), np.uint8)
    features = values_of((images, width))
    store.write_features(path, store.NewFeatures(features, np.zeros(images), names, sha256, {}, local_features=local))
    return local


@pytest.fixture
def read_bytes(monkeypatch):
    """The sizes of all reads by rows."""
    sizes, pread = [], os.pread

    def counted(file, size, start):
        part = pread(file, size, start)
        sizes.append(len(part))
        return part

    monkeypatch.setattr(rows_module.os, "pread", counted)
    return sizes


@pytest.mark.parametrize("seed", range(20))
def test_rows_and_views_are_those_of_the_array(tmp_path, seed):
    _, local = views_file(tmp_path / "v.h5")
    draw = np.random.default_rng(seed)
    stored = store.read_views(tmp_path / "v.h5").local_features
    for kept, expected in [(stored, local), (stored.of(chosen := draw.integers(0, 11, 7)), local[chosen])]:
        rows, views = draw.integers(0, len(expected), 6), draw.integers(0, 3, 6)
        assert (kept.shape, len(kept), kept.nbytes) == (expected.shape, len(expected), expected.nbytes)
        np.testing.assert_array_equal(kept[rows], expected[rows])
        np.testing.assert_array_equal(kept[rows, views], expected[rows, views])
        np.testing.assert_array_equal(kept[2:5], expected[2:5])
        np.testing.assert_array_equal(kept[1, 2], expected[1, 2])
        np.testing.assert_array_equal(kept[-1, -2], expected[-1, -2])
        with pytest.raises(IndexError):
            kept[0, 3]
        with pytest.raises(IndexError):
            kept[len(expected)]
        np.testing.assert_array_equal(np.asarray(kept), expected)
        assert kept.checksum() == store.checksum(expected)
        assert kept[np.empty(0, np.int64)].shape == (0, *expected.shape[1:])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("seed", range(5))
def test_local_features_of_some_rows_are_those_of_the_array(tmp_path, monkeypatch, dtype, seed):
    monkeypatch.setattr(store.local_features, "LOCAL_ROWS", 7)
    local = features_file(tmp_path / "f.h5", 40, dtype=dtype)
    rows = np.random.default_rng(seed).permutation(40)[:13]
    read = store.read_local_rows(tmp_path / "f.h5", rows)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, local[rows])
    stored = store.open_local_rows(tmp_path / "f.h5", rows)
    np.testing.assert_array_equal(np.asarray(stored.as_one_view()), local[rows][:, None])
    np.testing.assert_array_equal(stored.as_one_view()[np.array([3]), np.array([0])], local[rows][[3]])
    np.testing.assert_array_equal(np.concatenate([block for _, block in _blocks(stored)]), local[rows])


def test_no_more_is_read_than_is_asked_for_and_blocks_are_small(tmp_path, read_bytes, monkeypatch):
    _, local = views_file(tmp_path / "v.h5", images=50)
    stored = store.read_views(tmp_path / "v.h5").local_features
    assert not read_bytes  # to open and check it reads no row
    stored[np.array([3, 40]), np.array([0, 2])]
    assert sum(read_bytes) == 2 * local[0, 0].nbytes
    read_bytes.clear()
    monkeypatch.setattr(rows_module, "BLOCK", 4 * local[0].nbytes)
    stored.checksum()
    assert max(read_bytes) == 4 * local[0].nbytes
    assert sum(read_bytes) == local.nbytes


def test_rows_of_many_blocks_hold_none_of_them(tmp_path):
    """A draw takes some rows of every block: once all blocks stayed in memory with them, and so the whole split."""
    local = features_file(tmp_path / "f.h5", 20 * 256, patches=8, width=16)
    rows = np.arange(0, len(local), 256)
    tracemalloc.start()
    try:
        read = store.read_local_rows(tmp_path / "f.h5", rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(read, local[rows])
    assert peak < local.nbytes / 4


def test_an_open_file_may_be_deleted_and_one_that_shrinks_is_named(tmp_path):
    _, local = views_file(tmp_path / "v.h5")
    stored = store.read_views(tmp_path / "v.h5").local_features
    os.link(tmp_path / "v.h5", tmp_path / "other.h5")
    (tmp_path / "v.h5").unlink()
    np.testing.assert_array_equal(stored[:], local)
    os.truncate(tmp_path / "other.h5", 5000)
    with pytest.raises(OodgridError, match=r"v\.h5 is damaged: it ends before its arrays do"):
        stored[10]


@pytest.mark.parametrize("wanted", [True, False])
def test_damage_is_found_when_views_are_opened_where_local_features_are_wanted(tmp_path, wanted):
    _, local = views_file(tmp_path / "v.h5")
    data = bytearray((tmp_path / "v.h5").read_bytes())
    data[data.find(local[5, 1].tobytes())] ^= 1
    (tmp_path / "v.h5").write_bytes(data)
    if wanted:
        with pytest.raises(OodgridError, match="the checksum of /local_features does not match"):
            store.read_views(tmp_path / "v.h5")
    else:
        assert store.read_views(tmp_path / "v.h5", local=False).local_features is None


def test_handles_are_closed(tmp_path):
    views_file(tmp_path / "v.h5")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        store.read_views(tmp_path / "v.h5").local_features.of(np.array([1]))[:]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("seed", range(10))
def test_blocks_cut_anew_hold_the_same_rows(seed):
    draw = np.random.default_rng(seed)
    blocks = [values_of((rows, 2)) for rows in draw.integers(0, 9, 6)]
    size = int(draw.integers(1, 12))
    cut = list(store.recut(blocks, size))
    np.testing.assert_array_equal(np.concatenate([np.empty((0, 2)), *cut]), np.concatenate(blocks))
    assert all(len(block) == size for block in cut[:-1])
