from __future__ import annotations

import os

import numpy as np
import pytest

from oodgrid import store
from oodgrid.errors import OodgridError
from oodgrid.kept import JOINED, Kept, is_whole, link


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path / "results", "fit")


def write(text):
    return lambda path: store.write_json(path, {"text": text})


def text(path):
    return store.read_json(path)["text"]


def never(path):
    raise AssertionError("made again")


def test_work_is_done_once_and_found_again(kept):
    first = kept.get({"shots": 1, "data": "abc"}, ".txt", write("one"))
    again = kept.get({"data": "abc", "shots": 1}, ".txt", never)  # the order of the keys says nothing
    assert first == again
    assert text(first) == "one"


def test_other_identities_are_other_work(kept):
    files = {kept.get({"shots": k}, suffix, write(f"{k}{suffix}")) for k in (1, 2) for suffix in (".a", ".b")}
    assert len(files) == 4
    assert {text(file) for file in files} == {"1.a", "1.b", "2.a", "2.b"}


def test_stages_do_not_share(kept, tmp_path):
    other = Kept(tmp_path / "results", "apply")
    assert kept.get({}, "", write("fit")) != other.get({}, "", write("apply"))


def test_failed_work_leaves_nothing_and_is_done_anew(kept):
    def fails(path):
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        kept.get({"k": 1}, ".txt", fails)
    assert [path for path in kept.folder.rglob("*") if path.is_file()] == []
    assert text(kept.get({"k": 1}, ".txt", write("whole"))) == "whole"


def test_damaged_work_is_done_anew(kept):
    path = kept.get({"k": 1}, ".json", lambda path: store.write_json(path, {"auroc": 0.75}))
    good = path.read_bytes()
    for bad in (good.replace(b"0.75", b"0.95"), good[:-20], b""):
        path.write_bytes(bad)
        assert kept.get({"k": 1}, ".json", lambda path: store.write_json(path, {"auroc": 0.75})) == path
        assert store.read_json(path) == {"auroc": 0.75}
    assert kept.get({"k": 1}, ".json", never) == path


def test_any_file_of_results_is_checked_by_its_seal(tmp_path, make_features):
    place = Kept(tmp_path, "encode").place({"split": "test"})
    assert place.parent == tmp_path / "kept" / "encode"
    writers = {
        JOINED: lambda path: store.write_features(path, make_features()),
        "a.safetensors": lambda path: store.write_arrays(path, {"x": np.ones(300)}),
        "a.json": lambda path: store.write_json(path, {"x": 300 * [1]}),
    }
    for name, writer in writers.items():
        path = place / name
        assert not is_whole(path)
        writer(path)
        good = path.read_bytes()
        for at in range(0, len(good), max(1, len(good) // 40)):
            path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
            assert not is_whole(path), f"{name}: byte {at}"
        path.write_bytes(good)
        assert is_whole(path)
    (place / "a.txt").write_text("without a seal")
    assert not is_whole(place / "a.txt")


@pytest.mark.parametrize("stage", ["fit", "apply"])
def test_who_reads_damaged_work_is_told_what_makes_it_again(tmp_path, stage):
    path = Kept(tmp_path, stage).get({}, ".json", lambda path: store.write_json(path, {}))
    path.write_bytes(path.read_bytes()[:-5])
    for said in ("damaged", "missing"):
        with pytest.raises(OodgridError, match=f"is {said}.*snakemake --forcerun {stage} makes it again"):
            store.read_json(path)
        path.unlink(missing_ok=True)


def test_names_in_manifests_survive_a_move_of_the_results(kept, tmp_path):
    path = kept.get({"k": 1}, ".txt", write("x"))
    name = kept.name(path)
    assert name.startswith("kept/fit/")
    (tmp_path / "results").rename(tmp_path / "moved")
    assert text(tmp_path / "moved" / name) == "x"


def test_the_same_work_under_two_names_of_results_leaves_the_first_its_time(kept, tmp_path):
    """Snakemake sets the time of every output: what was made of the other would be made again."""
    whole = kept.get({"words": "a b"}, ".txt", write("texts"))
    one, two = tmp_path / "results" / "one.txt", tmp_path / "results" / "two.txt"
    link(whole, one)
    assert one.samefile(whole)  # stored once
    os.utime(one, (10**9, 10**9))
    for _ in range(2):
        link(whole, two)
        two.touch()
        assert one.stat().st_mtime == 10**9
        assert text(one) == text(two) == "texts"
    link(whole, one)  # again: it is still no copy
    assert one.samefile(whole)
    two.unlink()
    one.unlink()
    link(whole, two)
    assert two.samefile(whole)
