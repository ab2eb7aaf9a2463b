"""Files of every kind with damage of every kind: one line each, no hang, and no other numbers than were written."""

from __future__ import annotations

import json
import signal
from collections import Counter
from contextlib import contextmanager

import numpy as np
import polars as pl
import pytest

from oodgrid import store
from oodgrid.backbones.array_files import load_array
from oodgrid.backbones.weights import read_state
from oodgrid.config import LabelList
from oodgrid.encode.importing import import_arrays, import_npy
from oodgrid.encode.text_lists import read_text_list
from oodgrid.errors import OodgridError
from oodgrid.evaluate.score_files import read_scores
from oodgrid.inspection import describe

SECONDS = 20  # a case that takes longer hangs


def mutate(rng: np.random.Generator, data: bytes) -> bytes:
    """Return other bytes: what disks, copies, editors and attackers do to a file."""
    size, place = len(data), int(rng.integers(len(data)))
    stop = min(size, place + int(rng.integers(1, 64)))
    kind = int(rng.integers(9))
    if kind == 0:
        return data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :]
    if kind == 1:
        return data[:place] + rng.bytes(stop - place) + data[stop:]
    if kind == 2:
        return data[:place]
    if kind == 3:
        return data[:place] + data[stop:]
    if kind == 4:
        return data[:place] + rng.bytes(int(rng.integers(1, 40))) + data[place:]
    if kind == 5:
        return data[:place] + bytes(stop - place) + data[stop:]
    if kind == 6:
        return data[:place] + data[place:stop] + data[place:]
    if kind == 7:
        words = [b"9999999999", b"-1", b"NaN", b"{", b"[" * 3000, b"\xff", b"\0", b"1e999", b'"', b"\\ud800", b"\r"]
        return data[:place] + words[int(rng.integers(len(words)))] + data[stop:]
    digits = [row for row, byte in enumerate(data) if 48 <= byte < 58] or [place]
    chosen = digits[int(rng.integers(len(digits)))]
    return data[:chosen] + b"%d" % rng.integers(10) + data[chosen + 1 :]


@contextmanager
def in_time():
    def late(number, frame):
        raise AssertionError(f"it hangs: more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def numbers_of(features):
    return [features.image_features.tobytes(), features.labels.tobytes(), list(features.paths)]


@pytest.fixture
def files(tmp_path, make_features):
    """Of every kind a file, what reads it, and whether a change of its numbers can be seen at all."""
    torch = pytest.importorskip("torch")
    from safetensors.numpy import save_file

    results, values = tmp_path / "results", make_features().image_features
    labels = np.array([0, 1, 2, 0, 1, 2])
    store.write_features(tmp_path / "f.h5", make_features(local_features=np.ones((6, 2, 4), np.float32)))
    texts = store.Texts(np.ones((2, 3, 4)), ["a", "b", "ç"], ["a {}", "the {}"], {"text": {}})
    store.write_texts(tmp_path / "t.h5", texts)
    store.write_views(
        tmp_path / "v.h5", store.NewViews(np.array([2, 5]), np.ones((2, 3, 4), np.float32), {"views": {}})
    )
    store.write_table(tmp_path / "s.parquet", pl.DataFrame({"mcm": [0.25, 0.5], "label": [1, -1]}), {"units": [1]})
    store.write_arrays(tmp_path / "a.safetensors", {"w": values}, {"C": 2.5})
    store.write_json(tmp_path / "m.json", {"auroc": 0.8501633986928104, "units": [1, 2, {"a": None}]})
    np.save(tmp_path / "x.npy", values)
    np.savez(tmp_path / "x.npz", image_features=values, labels=labels, provenance=np.array(json.dumps({"a": [1]})))
    np.savez_compressed(tmp_path / "y.npz", image_features=values, labels=labels)
    save_file({"image_features": values, "labels": labels}, tmp_path / "x.safetensors", {"provenance": "{}"})
    pl.DataFrame({"image_features": pl.Series(values=values), "labels": labels}).write_parquet(tmp_path / "x.parquet")
    pl.DataFrame({"mcm": [0.25, 0.5, 0.75]}).write_parquet(tmp_path / "scores.parquet")
    (tmp_path / "scores.csv").write_text("mcm\n0.25\n0.5\n0.75\n")
    np.save(tmp_path / "scores.npy", np.array([0.25, 0.5, 0.75]))
    torch.save({"state_dict": {"a.b": torch.ones(2, 3), "c": torch.ones(1)}, "best": np.float64(1)}, tmp_path / "w.pt")
    torch.save(torch.ones(4, 3), tmp_path / "x.pt")
    save_file({"a.b": values}, tmp_path / "w.safetensors")
    (tmp_path / "l.csv").write_text('label,kind\noak,noun\n"red, dark",adjective\n')
    (tmp_path / "l.json").write_text('{"far": ["oak", "elm"], "near": ["ash"]}')
    (tmp_path / "l.txt").write_text("oak\nelm\nash\n", encoding="utf-8")

    def imported(path):
        return numbers_of(store.read_features(import_arrays(results, "b", "d", path, "test")[0]))

    def plain(arrays):
        return {name: np.asarray(each).tobytes() for name, each in arrays.items()}

    def table(path):
        found, about = store.read_table(path)
        return found.to_dict(as_series=False), about

    def labelled(path):
        found = read_text_list(LabelList(name="l", file=str(path)))
        return found.names, found.kinds

    sealed = {
        "f.h5": lambda p: [numbers_of(store.read_features(p)), [v.tobytes() for _, v in store.read_local_features(p)]],
        "t.h5": lambda p: store.read_texts(p).text_features.tobytes(),
        "v.h5": lambda p: np.asarray(store.read_views(p).image_features).tobytes(),
        "s.parquet": table,
        "a.safetensors": lambda p: (plain(store.read_arrays(p)[0]), store.read_arrays(p)[1]),
        "m.json": store.read_json,
    }
    checked = {"x.npz": imported, "y.npz": imported}  # zip has sums
    others = {
        "x.npy": lambda p: numbers_of(store.read_features(import_npy(results, "b", "e", p, None, None, "test")[0])),
        "x.safetensors": imported,
        "x.parquet": imported,
        "scores.parquet": read_scores,
        "scores.csv": read_scores,
        "scores.npy": read_scores,
        "w.pt": lambda p: sorted(read_state(p)),
        "x.pt": lambda p: load_array(p).tobytes(),
        "w.safetensors": lambda p: sorted(read_state(p)),
        "l.csv": labelled,
        "l.json": labelled,
        "l.txt": labelled,
    }
    return {
        tmp_path / name: (read, same)
        for some, same in ((sealed, True), (checked, True), (others, False))
        for name, read in some.items()
    }


@pytest.mark.parametrize("cases", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_damage_of_any_kind_is_one_line(files, cases):
    """20 files: 200 cases in a moment, 4,000 in the long run."""
    seen: Counter = Counter()
    for number, (path, (read, same)) in enumerate(files.items()):
        good = path.read_bytes()
        expected = read(path)
        rng = np.random.default_rng([number, cases])
        for case in range(cases):
            bad = mutate(rng, good)
            path.write_bytes(bad)
            try:
                with in_time():
                    found = read(path)
                    if path.name in ("f.h5", "t.h5", "v.h5", "s.parquet", "a.safetensors", "m.json"):
                        describe(path)
            except OodgridError as error:
                assert "\n" not in str(error), (path.name, case)
                seen["refused"] += 1
            except MemoryError as error:
                assert path.name in str(error), (path.name, case)
                seen["no memory"] += 1
            except BaseException as error:
                raise AssertionError(f"{path.name}, case {case}: {type(error).__name__}: {error}") from error
            else:
                seen["read"] += 1
                if same:
                    assert found == expected, (path.name, case)
        path.write_bytes(good)
    assert seen["refused"] > seen["read"]
