from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest

from oodgrid import store
from oodgrid.store import hdf5, seal
from tests.failing import failure


def remade(path, change):
    """Change an HDF5 file and seal it again, as a faulty writer would."""
    with h5py.File(path, "r+") as file:
        change(file)
        places = {name: hdf5.place(item) for name, item in file.items()}
        checksums = {name: seal.checksum(item[:]) for name, item in file.items()}
    seal.write_seal(path, places, checksums)


def without(path, part):
    """Make an HDF5 file and its seal anew without one array: libhdf5 2.0 once crashed on deleting it in place."""
    beside = path.with_name("beside.h5")
    with h5py.File(path) as old, h5py.File(beside, "w", userblock_size=seal.USER_BLOCK) as new:
        new.attrs.update(old.attrs)
        for name in old.keys() - {part}:
            old.copy(name, new)
    beside.rename(path)
    remade(path, lambda file: None)


def same_features(one, other):
    return (
        np.array_equal(one.image_features, other.image_features)
        and np.array_equal(one.labels, other.labels)
        and np.array_equal(one.sha256, other.sha256)
        and one.paths == other.paths
        and one.provenance == other.provenance
    )


TEXTS = store.Texts(
    np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    ["chat", "chien", "été"],
    ["a {}.", "the {}."],
    {"text": {"templates": ["a {}.", "the {}."]}, "normalised": False},
)


@pytest.fixture
def one_of_each(tmp_path, make_features):
    """One file of every kind, with its reader."""
    store.write_features(tmp_path / "features.h5", make_features())
    store.write_texts(tmp_path / "texts.h5", TEXTS)
    store.write_arrays(tmp_path / "arrays.safetensors", {"weights": np.arange(6, dtype=np.float32)}, {"C": 2.5})
    store.write_table(tmp_path / "table.parquet", pl.DataFrame({"a": [0.5, 1.5], "b": ["x", "é"]}), {"k": [1]})
    store.write_json(tmp_path / "numbers.json", {"mcm": {"auroc": 0.8501633986928104}, "é": [1, None]})
    return {
        tmp_path / "features.h5": store.read_features,
        tmp_path / "texts.h5": store.read_texts,
        tmp_path / "arrays.safetensors": store.read_arrays,
        tmp_path / "table.parquet": store.read_table,
        tmp_path / "numbers.json": store.read_json,
    }


# ------------------------------------------------------------------------------------------------ round trips


def test_features_come_back_exactly(tmp_path, make_features):
    draws = np.array([1, 1, 2, 2, 2, 2], np.int32)
    written = make_features(draws=draws)
    store.write_features(tmp_path / "deep" / "f.h5", written)
    read = store.read_features(tmp_path / "deep" / "f.h5")
    assert same_features(read, written)
    assert (read.image_features.dtype, read.labels.dtype) == (np.float32, np.int32)
    np.testing.assert_array_equal(read.draws, draws)
    assert not read.normalised
    assert read.classnames == ["a", "b", "ç"]


def test_features_without_draws_have_none(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features())
    assert store.read_features(tmp_path / "f.h5").draws is None


@pytest.mark.parametrize(("given", "stored"), [("f2", "f2"), ("f4", "f4"), ("f8", "f4"), (">f4", "f4")])
def test_half_and_single_precision_are_stored_as_they_are(tmp_path, make_features, given, stored):
    values = make_features().image_features.astype(given)
    store.write_features(tmp_path / "f.h5", make_features(image_features=values))
    read = store.read_features(tmp_path / "f.h5", as_stored=True).image_features
    assert read.dtype == stored
    np.testing.assert_array_equal(read, values)
    read = store.read_features(tmp_path / "f.h5").image_features
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values)


def test_texts_come_back_exactly(tmp_path):
    store.write_texts(tmp_path / "t.h5", TEXTS)
    read = store.read_texts(tmp_path / "t.h5")
    np.testing.assert_array_equal(read.text_features, TEXTS.text_features)
    assert (read.classnames, read.templates) == (TEXTS.classnames, TEXTS.templates)
    assert read.provenance == TEXTS.provenance == store.read_provenance(tmp_path / "t.h5")


def test_arrays_come_back_exactly(tmp_path):
    arrays = {"w": np.arange(6, dtype=np.float64).reshape(2, 3).T, "n": np.array([], np.int32), "s": np.float32(2.0)}
    store.write_arrays(tmp_path / "a.safetensors", arrays, {"C": 2.5, "notes": ["é"]})
    read, info = store.read_arrays(tmp_path / "a.safetensors")
    assert info == {"C": 2.5, "notes": ["é"]}
    assert read.keys() == arrays.keys()
    np.testing.assert_array_equal(read["w"], arrays["w"])
    assert read["w"].dtype == np.float64
    assert read["n"].shape == (0,)


def test_tables_come_back_exactly(tmp_path):
    table = pl.DataFrame({"score": [0.1, None, -1e-300], "name": ["ä", "", "b"]})
    store.write_table(tmp_path / "t.parquet", table, {"units": [[1, 2]]})
    read, metadata = store.read_table(tmp_path / "t.parquet")
    assert read.equals(table)
    assert metadata == {"units": [[1, 2]]}


def test_tables_and_arrays_without_metadata(tmp_path):
    store.write_table(tmp_path / "t.parquet", pl.DataFrame({"a": [1]}))
    store.write_arrays(tmp_path / "a.safetensors", {"a": np.zeros(1)})
    assert store.read_table(tmp_path / "t.parquet")[1] == store.read_arrays(tmp_path / "a.safetensors")[1] == {}


def test_files_of_other_tools_are_refused(tmp_path, make_features):
    """Without a seal nobody can tell whether numbers are those that were made."""
    from safetensors.numpy import save_file

    pl.DataFrame({"a": [1.0]}).write_parquet(tmp_path / "t.parquet")
    save_file({"a": np.ones(2)}, tmp_path / "a.safetensors")
    (tmp_path / "m.json").write_text('{"a": 1}')
    store.write_features(tmp_path / "ours.h5", make_features())
    with h5py.File(tmp_path / "ours.h5", "r") as old, h5py.File(tmp_path / "f.h5", "w") as new:
        for name in old:
            old.copy(name, new)
        new.attrs.update(old.attrs)
    readers = {"t.parquet": store.read_table, "a.safetensors": store.read_arrays, "m.json": store.read_json}
    for name, read in {**readers, "f.h5": store.read_features}.items():
        assert f"{name} is damaged: it has no seal" in failure(read, tmp_path / name)
        assert "it has no seal" in failure(store.check, tmp_path / name)


def test_manifests_come_back_exactly(tmp_path):
    thing = {"files": [{"n": 1}], "é": None}
    store.write_json(tmp_path / "m.json", thing)
    assert store.read_json(tmp_path / "m.json") == thing


def test_equal_data_have_equal_digests_and_other_data_others(tmp_path, make_features):
    def digest_of(**changes):
        store.write_features(tmp_path / "f.h5", make_features(**changes))
        return store.read_features(tmp_path / "f.h5").digest

    first = digest_of()
    assert digest_of(provenance={"split": "train"}) == first  # of the data alone
    assert digest_of(seed=1) != first
    assert digest_of(labels=np.zeros(6, np.int32)) != first


def test_the_same_arrays_make_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        store.write_arrays(tmp_path / name, {"b": np.ones(3), "a": np.zeros(2)}, {"x": 1, "y": 2})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_feature_file_says_when_and_with_what_it_was_made(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features())
    with h5py.File(tmp_path / "f.h5") as file:
        run = json.loads(file.attrs["run"])
    assert {"created", "host", "python", "oodgrid"} <= set(run)


# ------------------------------------------------------------------------------------- whole files or none


def test_an_exception_leaves_the_old_file_and_no_debris(tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("old")

    def fails():
        with store.atomic(path) as beside:
            beside.write_text("new, half")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fails()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_where_nothing_can_be_written_is_one_line(tmp_path):
    (tmp_path / "results").write_text("a file where the folder should be")
    path = tmp_path / "results" / "features" / "m.json"
    assert failure(store.write_json, path, {}).startswith(f"{path} cannot be written: Not a directory")


def test_a_quota_is_named(tmp_path):
    def fails():
        with store.atomic(tmp_path / "m.json"):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    assert "m.json cannot be written: the disk quota is used up" in failure(fails)


def test_nothing_stands_at_the_path_before_the_end(tmp_path):
    path = tmp_path / "f.txt"
    with store.atomic(path) as beside:
        beside.write_text("whole")
        assert not path.exists()
        assert beside.parent == path.parent  # a rename within one file system is atomic
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_the_data_are_on_disk_before_the_name_is(tmp_path, monkeypatch):
    steps = []
    replace, fsync = Path.replace, os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (steps.append("sync"), fsync(handle)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("rename"), replace(self, to)))
    store.write_json(tmp_path / "m.json", {})
    assert steps == ["sync", "rename", "sync"]


WRITERS = {
    "m.json": lambda path: store.write_json(path, {}),
    "p.safetensors": lambda path: store.write_arrays(path, {"w": np.ones(2)}),
    "t.parquet": lambda path: store.write_table(path, pl.DataFrame({"a": [1]})),
    "f.h5": lambda path: hdf5.write(path, {"x": np.ones(2)}, {}),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_permissions_follow_the_umask_which_is_never_changed(tmp_path, monkeypatch, name, mask, mode):
    before = os.umask(mask)
    try:
        with monkeypatch.context() as context:
            # asking for the umask sets it for a moment, and files of other threads would be open to everybody
            context.setattr(os, "umask", lambda _: pytest.fail("the umask of the process was changed"))
            WRITERS[name](tmp_path / name)
    finally:
        os.umask(before)
    assert (tmp_path / name).stat().st_mode & 0o777 == mode


KILLED = """
import os, signal, sys, time
from pathlib import Path
import h5py, numpy as np
from oodgrid import store

create = h5py.Group.create_dataset
def stall(self, name, data=None, **more):
    made = create(self, name, data=data, **more)
    self.file.flush()
    if name == "labels":
        Path(sys.argv[2]).touch()
        time.sleep(60)
    return made
h5py.Group.create_dataset = stall
features = store.Features(np.ones((3, 2)), np.zeros(3), ["a", "b", "c"], np.zeros((3, 32)), {})
store.write_features(Path(sys.argv[1]), features)
"""


@pytest.mark.parametrize("old", [True, False])
def test_a_killed_writer_leaves_the_old_file_or_none(tmp_path, make_features, old):
    path, reached = tmp_path / "f.h5", tmp_path / "reached"
    if old:
        store.write_features(path, make_features())
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(path), str(reached)])
    while not reached.exists():
        assert child.poll() is None, "the writer ended before it could be killed"
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    if old:
        assert same_features(store.read_features(path), make_features())
    else:
        assert "missing" in failure(store.read_features, path)
    store.write_features(path, make_features(seed=5))  # what the kill left is in nobody's way
    assert same_features(store.read_features(path), make_features(seed=5))


# ------------------------------------------------------------------------------------------------------ damage


def test_a_flipped_byte_in_any_array_is_found(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features(n=6, d=4))
    good = (tmp_path / "f.h5").read_bytes()
    needles = {
        "features": make_features().image_features.tobytes(),
        "labels": make_features().labels.tobytes(),
        "sha256": make_features().sha256.tobytes(),
        "paths": "été 3.jpg".encode(),
        "provenance": b'"split": "test"',
    }
    for needle in needles.values():
        assert good.count(needle) == 1
        bad = bytearray(good)
        bad[good.index(needle) + 2] ^= 1
        (tmp_path / "f.h5").write_bytes(bad)
        line = failure(store.read_features, tmp_path / "f.h5")
        assert str(tmp_path / "f.h5") in line
        assert "checksum" in line


def test_a_table_of_anybody_is_taken_and_ours_only_as_sealed(tmp_path):
    pl.DataFrame({"a": [0.25]}).write_parquet(tmp_path / "theirs.parquet")
    store.check_ours(tmp_path / "theirs.parquet")
    store.write_table(tmp_path / "ours.parquet", pl.DataFrame({"a": [0.25]}), {"k": 1})
    store.check_ours(tmp_path / "ours.parquet")
    good = (tmp_path / "ours.parquet").read_bytes()
    for needle in (store.SEAL.encode(), np.float64(0.25).tobytes()):
        place = good.rfind(needle) if needle == store.SEAL.encode() else good.find(needle)
        (tmp_path / "ours.parquet").write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert "is damaged" in failure(store.check_ours, tmp_path / "ours.parquet")


def flips(size, marked, others):
    """Places and bits to flip: all bits of what marks the seal, one of some other places."""
    rng = np.random.default_rng(0)
    for place in sorted({*marked, *rng.choice(size, min(size, others), replace=False).tolist()}):
        for bit in range(8) if place in marked else [int(rng.integers(8))]:
            yield place, 1 << bit


@pytest.mark.parametrize("others", [150, pytest.param(3000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["features.h5", "texts.h5", "arrays.safetensors", "table.parquet", "numbers.json"])
def test_any_flipped_byte_of_any_file_is_found(one_of_each, kind, others):
    """Of the marks of the seal too. Libraries hang, abort or read on over some of these, so the seal comes first."""
    path, read = next((path, read) for path, read in one_of_each.items() if path.name == kind)
    good = path.read_bytes()
    word = good.rfind(store.SEAL.encode())
    marked = range(0, 48) if kind.endswith(".h5") else range(word - 12, word + len(store.SEAL) + 66)
    for place, bit in flips(len(good), marked, others):
        bad = bytearray(good)
        bad[place] ^= bit
        path.write_bytes(bad)
        assert path.name in failure(read, path)
    path.write_bytes(good)
    read(path)


@pytest.mark.parametrize("step", [29, pytest.param(5, marks=pytest.mark.slow)])
def test_a_seal_of_hdf5_is_as_written_in_every_byte(tmp_path, make_features, step):
    """A blank turned into another blank is the same JSON, and no seal of ours."""
    path = tmp_path / "f.h5"
    store.write_features(path, make_features())
    good = path.read_bytes()
    for place in range(0, seal.USER_BLOCK, step):
        for other in (good[place] ^ 1, 0, 9, 10, 32, 48, 255):
            bad = bytearray(good)
            bad[place] = other
            if bad != good:
                path.write_bytes(bad)
                assert "is damaged" in failure(store.read_provenance, path)


def test_a_truncated_file_is_found(one_of_each):
    for path, read in one_of_each.items():
        good = path.read_bytes()
        for size in (0, 1, 8, len(good) // 2, len(good) - 1):
            path.write_bytes(good[:size])
            assert path.name in failure(read, path)


def test_swapped_data_behind_a_valid_seal_is_found_by_name(tmp_path, make_features):
    """The checksums stand in the file too, beside what decides its numbers."""
    store.write_features(tmp_path / "f.h5", make_features())

    def swap(file):
        file["labels"][0] = 2

    remade(tmp_path / "f.h5", swap)
    assert "/labels" in failure(store.read_features, tmp_path / "f.h5")


def test_edited_hdf5_is_refused(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features())
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["labels"][0] = 2
    assert "checksum" in failure(store.read_features, tmp_path / "f.h5")


@pytest.mark.parametrize("part", ["labels", "paths", "sha256"])
def test_a_missing_array_is_one_line(tmp_path, make_features, part):
    store.write_features(tmp_path / "f.h5", make_features())
    without(tmp_path / "f.h5", part)
    line = failure(store.read_features, tmp_path / "f.h5")
    assert "damaged" in line
    assert part in line


@pytest.mark.parametrize("attribute", ["format", "complete", "provenance", "checksums"])
def test_an_incomplete_file_is_one_line(tmp_path, make_features, attribute):
    store.write_features(tmp_path / "f.h5", make_features())
    remade(tmp_path / "f.h5", lambda file: file.attrs.__delitem__(attribute))
    line = failure(store.read_features, tmp_path / "f.h5")
    assert attribute in line or store.FORMAT in line


def test_another_format_is_refused(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features())
    remade(tmp_path / "f.h5", lambda file: file.attrs.__setitem__("format", "oodgrid-99"))
    assert store.FORMAT in failure(store.read_features, tmp_path / "f.h5")
    assert store.FORMAT in failure(store.read_provenance, tmp_path / "f.h5")


@pytest.mark.parametrize("content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_results_file_is_one_line(tmp_path, content):
    readers = (store.read_features, store.read_texts, store.read_provenance, store.read_arrays, store.read_table)
    for read in (*readers, store.read_json):
        (tmp_path / "f").write_bytes(content)
        assert str(tmp_path / "f") in failure(read, tmp_path / "f")


def test_a_missing_file_says_that_it_is_missing(tmp_path):
    for name in ("features", "texts", "provenance", "arrays", "table", "json"):
        line = failure(getattr(store, f"read_{name}"), tmp_path / "none")
        assert "missing" in line
        assert "damaged" not in line


def test_texts_are_no_features_and_features_no_texts(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features())
    store.write_texts(tmp_path / "t.h5", TEXTS)
    assert "holds no image_features" in failure(store.read_features, tmp_path / "t.h5")
    assert "holds no text_features" in failure(store.read_texts, tmp_path / "f.h5")


def test_pipes_and_folders_are_no_files(one_of_each):
    """A pipe would never end."""
    for path, read in one_of_each.items():
        path.unlink()
        os.mkfifo(path)
        assert "is a pipe" in failure(read, path)
        path.unlink()
        path.mkdir()
        assert "is a folder" in failure(read, path)


def test_who_reads_holds_on_to_what_was_opened(tmp_path, make_features, monkeypatch):
    """Snakemake deletes what it makes again, perhaps while another clone reads it through a shared folder."""
    store.write_features(tmp_path / "f.h5", make_features())
    read_seal = hdf5.read_seal

    def deleted_meanwhile(path, raw):
        path.unlink()
        return read_seal(path, raw)

    monkeypatch.setattr(hdf5, "read_seal", deleted_meanwhile)
    assert same_features(store.read_features(tmp_path / "f.h5"), make_features())
    assert not (tmp_path / "f.h5").exists()


def test_a_file_that_another_run_makes_again_is_waited_for(tmp_path, make_features, monkeypatch, capfd):
    """As the workflow asks, whose jobs start when all their inputs are there."""
    path = tmp_path / "f.h5"
    store.write_features(path, make_features())
    path.rename(tmp_path / "other.h5")
    monkeypatch.setenv("OODGRID_WAIT", "30")
    back = threading.Timer(0.5, lambda: (tmp_path / "other.h5").rename(path))
    back.start()
    assert same_features(store.read_features(path), make_features())
    back.join()
    assert "f.h5 is missing: it was there before" in capfd.readouterr().err
    monkeypatch.setenv("OODGRID_WAIT", "0.3")
    assert "none.h5 is missing" in failure(store.read_features, tmp_path / "none.h5")
    monkeypatch.setenv("OODGRID_WAIT", "1000")
    assert "is missing" in failure(store.read_json, tmp_path / "kept" / "none.json")  # there it is looked for


def test_too_little_memory_is_no_damage(one_of_each, monkeypatch):
    def none(*given, **more):
        raise MemoryError

    monkeypatch.setattr(np, "empty", none)
    monkeypatch.setattr("safetensors.numpy.load", none)
    monkeypatch.setattr(pl, "read_parquet", none)
    monkeypatch.setattr(json, "loads", none)
    for path, read in one_of_each.items():
        with pytest.raises(MemoryError):
            read(path)


def test_reading_needs_no_lock_on_the_file(tmp_path, make_features):
    """As on file systems without locks, and beside a process that holds one."""
    store.write_features(tmp_path / "f.h5", make_features())
    with (tmp_path / "f.h5").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="lock"):
            h5py.File(tmp_path / "f.h5", "r", locking=True)
        assert same_features(store.read_features(tmp_path / "f.h5"), make_features())


# ------------------------------------------------------------------------------------- what may not be written


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused_with_row_and_path(tmp_path, make_features, value):
    features = make_features()
    features.image_features[[2, 4], 1] = value
    line = failure(store.write_features, tmp_path / "test.h5", features)
    assert "2 of 6" in line
    assert "row 2" in line
    assert features.paths[2] in line
    assert not list(tmp_path.iterdir())


def test_texts_that_are_not_finite_are_refused_with_the_class(tmp_path):
    values = TEXTS.text_features.copy()
    values[1, 2, 0] = np.nan
    texts = store.Texts(values, TEXTS.classnames, TEXTS.templates, {})
    assert "été" in failure(store.write_texts, tmp_path / "t.h5", texts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": np.zeros(5, np.int32)},
        {"paths": ["only one"]},
        {"sha256": np.zeros((7, 32), np.uint8)},
        {"draws": np.zeros(2, np.int32)},
    ],
)
def test_counts_that_do_not_match_are_refused(tmp_path, make_features, changes):
    line = failure(store.write_features, tmp_path / "f.h5", make_features(**changes))
    assert f"{len(next(iter(changes.values())))} {next(iter(changes))}" in line
    assert "6 image_features" in line


@pytest.mark.parametrize("shape", [(6,), (6, 2, 2)])
def test_features_of_another_rank_are_refused(tmp_path, make_features, shape):
    features = make_features(image_features=np.ones(shape))
    assert str(shape) in failure(store.write_features, tmp_path / "f.h5", features)


@pytest.mark.parametrize("shape", [(3, 4), (1, 3, 4), (2, 4, 3)])
def test_texts_of_another_shape_are_refused(tmp_path, shape):
    texts = store.Texts(np.ones(shape), TEXTS.classnames, TEXTS.templates, {})
    assert str(shape) in failure(store.write_texts, tmp_path / "t.h5", texts)


def test_an_empty_set_is_one_line(tmp_path, make_features):
    store.write_features(tmp_path / "f.h5", make_features(n=0))
    assert "no sample" in failure(store.read_features, tmp_path / "f.h5")


# ------------------------------------------------------------------------------------- local features and views


@pytest.mark.parametrize("n", [1, 255, 256, 257, 600])
@pytest.mark.parametrize("cut", [100, 256, 1000])
def test_local_features_come_back_in_checked_blocks(tmp_path, make_features, n, cut):
    values = np.random.default_rng(0).normal(size=(n, 3, 4)).astype(np.float32)
    blocks = store.Blocks(values.shape, values.dtype, (values[k : k + cut] for k in range(0, n, cut)))
    for given in (values, blocks):
        store.write_features(tmp_path / "f.h5", make_features(n=n, local_features=given))
        read = dict(store.read_local_features(tmp_path / "f.h5"))
        assert list(read) == list(range(0, n, 256))
        np.testing.assert_array_equal(np.concatenate(list(read.values())), values)
    assert store.read_features(tmp_path / "f.h5").local_features is None
    with h5py.File(tmp_path / "f.h5") as file:
        np.testing.assert_array_equal(file["local_features"][:], values)


def test_a_flipped_byte_in_local_features_is_found_where_they_are_read(tmp_path, make_features):
    values = np.random.default_rng(0).normal(size=(600, 3, 4)).astype(np.float32)
    store.write_features(tmp_path / "f.h5", make_features(n=600, local_features=values))
    data = bytearray((tmp_path / "f.h5").read_bytes())
    data[data.index(values[300].tobytes())] ^= 1
    (tmp_path / "f.h5").write_bytes(data)
    store.read_features(tmp_path / "f.h5")  # these are whole
    assert "/local_features does not match at row 256" in failure(
        lambda p: list(store.read_local_features(p)), tmp_path / "f.h5"
    )
    assert "/local_features" in failure(store.check, tmp_path / "f.h5")


def test_rows_that_were_promised_and_did_not_come_are_refused(tmp_path, make_features):
    blocks = store.Blocks((6, 4), np.dtype(np.float32), iter([np.ones((5, 4), np.float32)]))
    assert "5 rows came where 6" in failure(
        store.write_features, tmp_path / "f.h5", make_features(image_features=blocks)
    )
    assert not list(tmp_path.iterdir())


VIEWS = store.NewViews(
    np.array([2, 5]), np.arange(24, dtype=np.float32).reshape(2, 3, 4), {"views": {"family": "rrc08"}}
)


def test_views_come_back_exactly(tmp_path):
    store.write_views(tmp_path / "v.h5", VIEWS)
    read = store.read_views(tmp_path / "v.h5")
    np.testing.assert_array_equal(read.index, VIEWS.index)
    np.testing.assert_array_equal(read.image_features, VIEWS.image_features)
    assert read.provenance == VIEWS.provenance
    assert read.local_features is None


def test_views_that_do_not_fit_are_refused(tmp_path):
    wrong = store.NewViews(np.array([1]), VIEWS.image_features, {})
    assert "do not fit an index of 1" in failure(store.write_views, tmp_path / "v.h5", wrong)


READERS = {
    "features": (store.read_features, store.read_sources, store.read_labels),
    "texts": (store.read_texts,),
    "views": (store.read_views,),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_file_of_another_kind_is_refused_by_every_reader(tmp_path, make_features, kind):
    path = tmp_path / "x.h5"
    {
        "features": lambda: store.write_features(path, make_features()),
        "texts": lambda: store.write_texts(path, TEXTS),
        "views": lambda: store.write_views(path, VIEWS),
    }[kind]()
    for other, readers in READERS.items():
        for read in readers:
            if other == kind:
                read(path)
            else:
                assert "it is not the kind of file that is needed here" in failure(read, path)


@pytest.mark.parametrize("name", ["labels", "paths", "sha256"])
def test_a_feature_file_without_one_of_its_arrays_is_refused(tmp_path, make_features, name):
    store.write_features(tmp_path / "f.h5", make_features())
    content = hdf5.read(tmp_path / "f.h5", "image_features")
    others = {key: values for key, values in {**content.arrays, **content.texts}.items() if key != name}
    hdf5.write(tmp_path / "f.h5", others, content.provenance)
    assert f"holds no {name}" in failure(store.read_features, tmp_path / "f.h5")


# -------------------------------------------------------------------------------------------- sources and names


def test_sources_are_read_without_the_features(tmp_path, make_features):
    stamps = np.arange(12).reshape(6, 2)
    store.write_features(tmp_path / "f.h5", make_features(stamps=stamps))
    found = store.read_sources(tmp_path / "f.h5")
    np.testing.assert_array_equal(found.stamps, stamps)
    assert found.paths == make_features().paths


def test_when_a_file_was_touched_does_not_change_its_digest(tmp_path, make_features):
    digests = []
    for time_ in (1, 2):
        store.write_features(tmp_path / "f.h5", make_features(stamps=np.full((6, 2), time_)))
        digests.append(store.read_features(tmp_path / "f.h5").digest)
    assert digests[0] == digests[1]


@pytest.mark.parametrize("first", ["", "ä" * 300, os.fsdecode(b"\xff.jpg")])
def test_names_of_any_kind(tmp_path, make_features, first):
    names = [first, *"bcdef"]
    store.write_features(tmp_path / "f.h5", make_features(paths=names))
    found = store.read_features(tmp_path / "f.h5").paths
    assert list(found) == names
    assert found[0] == names[0]
    assert found[1:3] == names[1:3]


def test_a_name_with_nul_is_refused(tmp_path, make_features):
    assert "NUL" in failure(store.write_features, tmp_path / "f.h5", make_features(paths=["a\0b", *"bcdef"]))


@pytest.mark.parametrize(
    "name",
    [
        "results/features/b/d/test.h5",
        "results/demo/metrics.parquet",
        "results/demo/tables.digests.json",
        "results/demo/scores/b/d/any.parquet",
    ],
)
def test_only_files_of_a_run_are_to_be_deleted_without_a_question(name):
    assert store.mend(Path(name)) == "Delete it, and the next run makes it again"
    assert store.mend(Path("my") / Path(name).name.replace("metrics", "photos").replace("digests", "notes")).startswith(
        "If a run made it"
    )
