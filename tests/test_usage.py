"""What uses kept work: nothing that a result points to ever goes, and nothing else stays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from oodgrid import config, manifests, paths, plan, store, unlock, usage
from oodgrid.cli import main
from oodgrid.errors import OodgridError
from oodgrid.evaluate import score_table
from oodgrid.evaluate.run import evaluate
from oodgrid.kept import JOINED, Kept, link
from oodgrid.score.run import score
from oodgrid.unlock import alone, hold
from tests.score.conftest import CLASSES, WIDTH, Mini, computed, scored

__all__ = ["computed", "scored"]  # fixtures of the room score


class World(Mini):
    """A results folder in which two experiments compute, as the stages do it, and leave what they leave."""

    def compute(self, name, seeds=(1,), far=("cars",), scores=("mcm",)):
        """Fit, apply, score and evaluate one experiment; nothing that is kept is made again."""
        kept, place = Kept(self.results, "fit"), (self.results, name, "mini", "pets")
        learned, applied = [], []
        for seed in seeds:
            values = np.random.default_rng(seed).normal(size=(CLASSES, WIDTH)).astype(np.float32)
            make = partial(store.write_arrays, arrays={"prototypes": values})
            path = kept.get({"seed": seed}, ".safetensors", make)
            outcome = {"shots": 2, "seed": seed, "status": "ok", "reason": None}
            learned.append(manifests.LearnedFit(**outcome, file=kept.name(path)))
            again = Kept(self.results, "apply").get({"fit": seed}, ".safetensors", make)
            applied.append(manifests.AppliedFit(**outcome, classifier=kept.name(again)))
        fitted = manifests.Fitted(method="prototype", params={}, fits=learned)
        manifests.write(paths.fitted(*place, "prototype"), fitted)
        left = manifests.Applied(method="prototype", leaves="prototypes", fits=applied)
        manifests.write(paths.applied(*place, "prototype"), left)
        experiment = self.experiment(scores, seeds=seeds, far=far).model_copy(update={"experiment": name})
        score(self.results, experiment, "mini", "pets", "prototype")
        evaluate(self.results, experiment)

    def encoded(self, name, seed):
        """Leave a feature file as encoding does: kept, with a second name among the features."""
        about = {"split": "test", "dataset": {"name": name}, "seed": seed}
        whole = Kept(self.results, "encode").place(about) / JOINED
        values = np.random.default_rng(seed).normal(size=(5, WIDTH)).astype(np.float32)
        names = [f"{row}.png" for row in range(5)]
        features = store.Features(values, np.zeros(5, int), names, np.zeros((5, 32), np.uint8), about)
        store.write_features(whole, features)
        link(whole, path := paths.features(self.results, "mini", name, "test"))
        return whole, path

    def kept_files(self):
        return {path for path in (self.results / "kept").rglob("*") if path.is_file()}


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr("oodgrid.unlock._held", [])  # locks end with the test
    return World(tmp_path / "results")


def gc(world, *options):
    return main(["kept", "gc", "--results", str(world.results), *options])


def disk(folder):
    """Return the bytes of all files of a folder, those of two names once."""
    files = {(s.st_dev, s.st_ino): s.st_size for p in folder.rglob("*") if p.is_file() for s in [p.stat()]}
    return sum(files.values())


def named(results):
    """Yield every kept file that a manifest names."""
    for path in results.rglob("fit.json"):
        yield from (results / fit.file for fit in manifests.read(path, manifests.Fitted).fits)
    for path in results.rglob("apply.json"):
        yield from (results / name for fit in manifests.read(path, manifests.Applied).fits for name in fit.files)


def test_whatever_was_computed_before_gc_takes_nothing_that_a_result_needs(world, scored, monkeypatch):
    """Experiments come, grow, shrink and go; after gc all of them compute nothing, and a second gc finds nothing."""
    compared = []
    measure = score_table.all_metrics
    monkeypatch.setattr(
        score_table, "all_metrics", lambda *pair, **options: compared.append(1) or measure(*pair, **options)
    )
    rng = np.random.default_rng(0)
    whole, features = world.encoded("own", 1)
    now = {}
    for step in range(6):
        name = ("one", "two")[int(rng.integers(2))]
        now[name] = {
            "seeds": tuple(range(1, 2 + int(rng.integers(3)))),
            "far": ("cars",) if rng.integers(2) else (),
            "scores": ("mcm",) if rng.integers(2) else ("mcm", "max_logit"),
        }
        world.compute(name, **now[name])
        if step == 3 and len(now) > 1:
            del now["two"]
            shutil.rmtree(world.results / "two")
        before, held = world.kept_files(), disk(world.results)
        promised = usage.freed(usage.look(world.results).unused())
        assert gc(world) == 0
        assert world.kept_files() == before  # dry
        assert gc(world, "--yes") == 0
        assert held - disk(world.results) == promised
        assert all(store.check(path) is None for path in named(world.results))
        assert store.read_features(features).digest == store.read_features(whole).digest
        assert usage.look(world.results).unused() == []
        done = len(scored), len(compared)
        for other, choices in now.items():
            world.compute(other, **choices)
        assert (len(scored), len(compared)) == done
    assert min(done) > 0


def test_what_encoding_kept_goes_where_other_features_took_its_place_and_nothing_is_unfinished(world):
    old, _ = world.encoded("own", 1)
    new, features = world.encoded("own", 2)
    copied, plain = world.encoded("copied", 3)
    plain.unlink()
    shutil.copyfile(copied, plain)  # a file system without hard links
    views = Kept(world.results, "views").place({"views": 1})
    other = Kept(world.results, "views").place({"views": 2})
    made = store.NewViews(np.array([0]), np.ones((1, 2, WIDTH), np.float32), {"views": 1})
    for folder in (views, other):
        store.write_views(folder / "part.h5", made)
    store.write_views(paths.features(world.results, "mini", "own", "train.views-rrc50-0"), made)
    chunk = old.parent / "chunks" / "000000000.safetensors"
    store.write_arrays(chunk, {"usable": np.ones(1)})
    found = {piece.path: piece.users for piece in usage.look(world.results).pieces}
    kept = {new, copied, views / "part.h5"}
    assert {path for path, users in found.items() if users} == kept

    missing = paths.features(world.results, "tiny", "concepts", "test")  # of an experiment that is to be encoded
    wanted = {"experiment": "more", "backbones": ["tiny"], "methods": ["zero_shot"], "scores": ["mcm"],
              "shots": [1], "seeds": [1], "id_datasets": [{"name": "concepts", "ood": {"far": ["noise"]}}]}  # fmt: skip
    planned = plan.PlannedConfig.of(world.results, "more", wanted)
    planned.write()
    assert gc(world, "--yes") == 0
    assert world.kept_files() == {old, chunk, other / "part.h5"} | kept
    assert any(str(missing.parent) in line for line in usage.look(world.results).remarks)

    planned.path.unlink()
    assert gc(world, "--yes") == 0
    assert world.kept_files() == kept
    assert not old.parent.exists()
    assert store.read_features(features).digest == store.read_features(new).digest


def test_finished_fits_of_a_killed_run_stay_until_its_manifest_is_there(world):
    """`fit.json` is written last, and Snakemake deletes it first: till then no manifest names what took hours."""
    wanted = {"experiment": "more", "backbones": ["tiny"], "methods": ["prototype"], "scores": ["mcm"],
              "shots": [1], "seeds": [1], "id_datasets": [{"name": "concepts", "ood": {"far": ["noise"]}}]}  # fmt: skip
    planned = plan.PlannedConfig.of(world.results, "more", wanted)
    planned.write()
    for file in plan.encoded_files(world.results, config.parse(wanted)):  # all is encoded
        store.write_texts(file, store.Texts(np.ones((1, 2, 4), np.float32), ["a", "b"], ["{}"], {"of": file.name}))
    done = Kept(world.results, "fit").get({"seed": 1}, ".safetensors", partial(store.write_arrays, arrays={}))
    assert gc(world, "--yes") == 0
    assert done.exists()
    manifest = paths.fitted(world.results, "more", "tiny", "concepts", "prototype")
    manifests.write(manifest, manifests.Fitted(method="prototype", params={}, fits=[]))
    assert gc(world, "--yes") == 0
    assert not done.exists()


@pytest.mark.parametrize("there", ["nothing", "metrics", "test features", "images"])
def test_what_can_only_be_redrawn_is_not_unfinished(world, there):
    """Committed metrics of imports that are not here: a run draws them, and can take up nothing."""
    sets = {"name": "cars", "imported": {}} if there != "images" else "noise"
    wanted = {"experiment": "drawn", "backbones": ["tiny"], "methods": ["prototype"], "scores": ["mcm"], "shots": [1],
              "seeds": [1], "id_datasets": [{"name": "pets", "imported": {}, "ood": {"far": [sets]}}]}  # fmt: skip
    plan.PlannedConfig.of(world.results, "drawn", wanted).write()
    if there != "nothing":
        paths.metrics(world.results, "drawn").touch()
    if there == "test features":
        for name in ("pets", "cars"):
            file = paths.features(world.results, "tiny", name, "test")
            store.write_features(file, store.read_features(world.encoded(name, 1)[1]))
    done = Kept(world.results, "fit").get({"seed": 1}, ".safetensors", partial(store.write_arrays, arrays={}))
    remarks = usage.look(world.results).remarks
    assert [line.startswith("drawn (") for line in remarks] == [True] * (there != "metrics")
    assert gc(world, "--yes") == 0
    assert done.exists() == (there != "metrics")


def test_answers_that_were_paid_for_and_what_is_not_of_oodgrid_stay(world):
    answer = Kept(world.results, "labels").get({"q": 1}, ".json", lambda path: store.write_json(path, {"answer": "a"}))
    strange = world.results / "kept" / "mine" / "notes.txt"
    strange.parent.mkdir(parents=True)
    strange.write_text("mine")
    left = world.results / "kept" / "fit" / "ab" / ".abc.safetensors.xyz.part"  # of a killed writer
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert gc(world, "--yes") == 0
    assert world.kept_files() == {answer, strange}
    assert (world.results / "kept" / "fit").is_dir()


DAMAGED = ("adapted/mini/pets/prototype/fit.json", "adapted/mini/pets/prototype/apply.json",
           "scores/mini/pets/prototype.parquet", "../features/mini/cars/test.h5")  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_manifest_stops_gc_in_one_line(world, name, capsys):
    world.compute("one", seeds=(1, 2))
    world.compute("one", seeds=(1,))
    path = world.results / "one" / name
    good = path.read_bytes()
    places = [1000, len(good) - 40] if path.suffix == ".h5" else [len(good) // 2, len(good) - 20]
    before = world.kept_files()
    for bad in [good[:place] + bytes([good[place] ^ 8]) + good[place + 1 :] for place in places] + [good[:99], b""]:
        path.unlink()
        path.write_bytes(bad)
        capsys.readouterr()
        assert gc(world, "--yes") == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert str(path.name) in said
        assert world.kept_files() == before
    path.write_bytes(good)
    assert gc(world, "--yes") == 0
    assert len(world.kept_files()) < len(before)


def test_gc_and_runs_wait_for_each_other(world, capsys):
    world.compute("one")
    world.compute("one", scores=("max_logit",))
    before = world.kept_files()
    script = "import sys; from pathlib import Path; from oodgrid import unlock; getattr(unlock, sys.argv[1])(Path(sys.argv[2]), *sys.argv[3:]); print('.', flush=True); sys.stdin.read()"  # noqa: E501
    for arguments, attempt in (
        (("hold", str(world.results), "new"), lambda: gc(world, "--yes")),
        (("hold", str(world.results), "one"), lambda: gc(world)),
    ):
        command = [sys.executable, "-c", script, *arguments]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ) as process:
            process.stdout.read(1)
            assert attempt() == 1
            assert "is going on" in capsys.readouterr().err
            process.stdin.close()
        assert world.kept_files() == before
    hold(world.results, "one")
    hold(world.results, "two")  # runs do not keep each other out
    assert gc(world, "--yes") == 1
    assert world.kept_files() == before


def test_gc_keeps_a_run_from_beginning(world):
    (world.results / "one" / "configs").mkdir(parents=True)
    (world.results / "one" / "configs" / ".running").touch()
    for experiment in ("new", "one"):
        with alone(world.results), pytest.raises(OodgridError, match="oodgrid kept gc is going on in"):
            hold(world.results, experiment)
        hold(world.results, experiment)
        unlock._held.clear()  # that run ends


def test_du_counts_bytes_once_by_stage_and_by_who_uses_them(world, capsys):
    whole, _ = world.encoded("own", 1)
    world.compute("one", seeds=(1, 2))
    world.compute("two", seeds=(1,))
    world.compute("one", seeds=(1,))
    assert main(["kept", "du", "--results", str(world.results)]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = usage.look(world.results)
    assert lines[0].startswith(f"{world.results / 'kept'}: {len(world.kept_files())} files, ")
    assert usage.size(found.pieces) == disk(world.results / "kept")
    table = {line.split("  ")[0]: line.split()[-2:] for line in lines if line}
    assert list(table)[2:] == ["stage", "apply", "encode", "evaluate", "fit", "score",
                               "used by", "features and texts", "one", "two"]  # fmt: skip
    assert table["encode"] == ["0", "bytes"]
    assert table["fit"] != ["0", "bytes"]
    assert {piece.stage for piece in found.pieces if piece.users in ({"one"}, {"two"})} == {
        "score"
    }  # all else is shared
    assert usage.freed([piece for piece in found.pieces if piece.path == whole]) == 0


def test_nothing_kept_and_no_such_folder_are_said(world, capsys, tmp_path):
    assert main(["kept", "du", "--results", str(tmp_path / "nowhere")]) == 1
    assert f"there is no folder {tmp_path / 'nowhere'}" in capsys.readouterr().err
    assert gc(world) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_folders_that_are_links_to_other_disks_are_looked_into(world, tmp_path):
    world.encoded("own", 1)
    world.compute("one")
    for number, name in enumerate(("features/mini", "one/scores/mini", "one/adapted/mini/pets", "kept/fit")):
        other = tmp_path / "other disk" / str(number)
        other.parent.mkdir(exist_ok=True)
        (world.results / name).rename(other)
        (world.results / name).symlink_to(other)
    assert usage.look(world.results).unused() == []


def test_a_folder_of_version_1_keeps_the_parts_that_its_tables_name(world):
    world.compute("one")
    table = paths.scores(world.results, "one", "mini", "pets", "prototype")
    frame, about = store.read_table(table)
    part = world.results / "kept" / "score" / "ab" / "abc.parquet"
    store.write_table(part, frame, {"skipped": {}})
    outcome = {"shots": 2, "seed": 1, "status": "ok", "reason": None}
    fits = [{**outcome, "parts": {"pets": "kept/score/ab/abc.parquet"}, "skipped": {}}]
    table.unlink()
    store.write_table(table, frame, {"units": fits, "params": about["params"]})
    assert gc(world, "--yes") == 0
    assert part.exists()
    assert not [path for path in (world.results / "kept" / "score").rglob("*.parquet") if path != part]
