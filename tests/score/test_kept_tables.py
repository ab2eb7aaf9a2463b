"""Finished scores: found again whatever came between, made once, stored once, and never another's."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import partial

import numpy as np
import polars as pl
import pytest

from oodgrid import manifests, store
from oodgrid.errors import OodgridError
from oodgrid.kept import link
from oodgrid.manifests import ScoredFit, ScorePart, ScoreTable
from oodgrid.score import kept_tables
from oodgrid.score.kept_tables import Columns, KeptTables

OUTCOME = {"shots": 2, "status": "ok", "reason": None}
SETS = ("own", "near", "far")
SCORES = ("mcm", "vim", "knn")


class KilledError(Exception):
    """Stands for a job that is killed."""


def number(key):
    return int(hashlib.sha256(key.encode()).hexdigest()[:6], 16)


def values(rows, key):
    """Return the values of a column: as many as its rows say, and such as both say; null where it was skipped."""
    count = 1 + number(rows) % 3
    return [None if reason(rows, key) else number(f"{rows} {key}") + row / 8 for row in range(count)]


def reason(rows, key):
    return f"because of {key}" if number(f"{key} {rows}") % 4 == 0 else None


def columns(rows, scores):
    """Return the columns of some scores, as `KeptTables.make` wants them and `read` returns them."""
    table = pl.DataFrame({name: pl.Series(values(rows, key), dtype=pl.Float64) for name, key in scores.items()})
    skipped = {name: why for name, key in scores.items() if (why := reason(rows, key))}
    devices = {name: f"gpu of {key}" for name, key in scores.items() if number(key) % 2}
    return Columns(table, skipped, devices)


class Job:
    """A score job as `score.run` does it, of scores that cost nothing."""

    def __init__(self, results):
        self.results, self.made = results, []

    def run(self, experiment, wanted, version, most=99, scores=SCORES[:1]):
        """Compute the table of some seeds and sets under some scores; be killed when `most` parts are made.

        Args:
            wanted: By seed, the sets.
            version: Of the scores: one number, or by score.
            scores: Their names.
        """
        kept, path, made = KeptTables(self.results, "b", "d", "m"), self.path(experiment), []
        versions = version if isinstance(version, dict) else dict.fromkeys(scores, version)
        keys = {name: f"{versions[name]}-{name}" for name in scores}

        def make(rows, names):
            if len(made) == most:
                raise KilledError
            made.append(rows)
            self.made += [(rows, keys[name]) for name in names]
            return columns(rows, {name: keys[name] for name in names})

        fits, tables = [], []
        for seed, names in wanted.items():
            for name in names:
                kept.make(f"{seed}-{name}", keys, partial(make, f"{seed}-{name}"))
        for seed, names in wanted.items():
            of_sets = {name: kept.read(f"{seed}-{name}", keys) for name in names}
            for name, found in of_sets.items():
                expected = columns(f"{seed}-{name}", keys)
                assert found.table.equals(expected.table)
                assert (found.skipped, found.devices) == (expected.skipped, expected.devices)
                tables.append(found.table.with_columns(dataset=pl.lit(name), shots=pl.lit(2), seed=pl.lit(seed)))
            rows = {name: f"{seed}-{name}" for name in names}
            said = {"skipped_in": {n: c.skipped for n, c in of_sets.items()}}
            said["devices_in"] = {n: c.devices for n, c in of_sets.items()}
            fits.append(ScoredFit(**OUTCOME, seed=seed, rows=rows, parts=rows, **said))
        kept.write(pl.concat(tables), ScoreTable(fits=fits, params={name: {} for name in scores}, scores=keys), path)
        return made

    def path(self, experiment):
        return self.results / experiment / "m.parquet"

    def kept(self):
        return sorted((self.results / "kept").rglob("*.parquet"))


@pytest.mark.parametrize("seed", range(6))
def test_whatever_comes_between_nothing_is_made_twice_and_all_is_stored_once(tmp_path, seed):
    """Experiments gain and lose seeds, sets and scores, one score's code changes, jobs are killed, files damaged."""
    rng, job, there, tables = np.random.default_rng(seed), Job(tmp_path), set(), {}
    for _ in range(25):
        experiment, version = ("one", "two")[rng.integers(2)], {name: int(rng.integers(2)) for name in SCORES}
        sets = [name for name in SETS if rng.random() < 0.7] or ["own"]
        scores = [str(name) for name in rng.permutation(SCORES)[: 1 + rng.integers(3)]]
        wanted = {int(k): sets for k in rng.permutation(4)[: 1 + rng.integers(4)]}
        keys = {(f"{k}-{name}", f"{version[score]}-{score}") for k in wanted for name in sets for score in scores}
        job.path(experiment).unlink(missing_ok=True)  # as Snakemake does
        tables.pop(experiment, None)
        if rng.random() < 0.2 and (files := job.kept()):
            file = files[rng.integers(len(files))]
            file.write_bytes(file.read_bytes()[:-9])  # also of the other experiment: its next run must see it
            tables = {name: held for name, held in tables.items() if not job.path(name).samefile(file)}
            there = held_whole(tmp_path)
        try:
            job.made.clear()
            job.run(experiment, wanted, version, int(rng.integers(8)) if rng.random() < 0.3 else 99, scores)
            tables[experiment] = keys
        except KilledError:
            pass
        assert len(set(job.made)) == len(job.made)
        assert set(job.made) <= keys - there
        there |= set(job.made)
        assert held_whole(tmp_path) == there
        for name in tables:
            assert job.path(name).stat().st_nlink == 2
            store.check(job.path(name))


def held_whole(results):
    """Return what decides all columns that lie in whole tables, or in parts that are whole."""
    held = set()
    for path in (results / "kept").rglob("*.parquet"):
        with suppress(OodgridError):
            store.check(path)
            if path.parent.name == "parts":
                part = manifests.read(path, ScorePart)
                held |= {(part.rows, key) for key in part.scores.values()}
            else:
                held |= manifests.read(path, ScoreTable).columns
    return held


def test_a_table_of_before_columns_were_kept_apart_is_no_fault_and_makes_room(tmp_path):
    job = Job(tmp_path)
    job.run("one", {1: SETS}, 0)
    [kept] = job.kept()
    fits = [ScoredFit(**OUTCOME, seed=1, parts={"own": "1-own"}, devices={"own": "a GPU"})]
    older = kept.with_name("older.parquet")
    manifests.write_table(older, pl.DataFrame({"mcm": [0.5]}), ScoreTable(fits=fits, params={"mcm": {}}))
    held = job.path("two")
    link(older, held)
    assert job.run("one", {1: SETS, 2: SETS}, 0) == [f"2-{name}" for name in SETS]
    assert older.exists()  # an experiment has it
    held.unlink()
    job.run("one", {1: SETS, 2: SETS}, 0)
    assert not older.exists()


def test_tables_of_growing_experiments_leave_one_file(tmp_path):
    job = Job(tmp_path)
    for seeds in range(1, 5):
        job.path("one").unlink(missing_ok=True)
        assert len(job.run("one", dict.fromkeys(range(seeds), SETS), 0)) == 3
        assert len(job.kept()) == 1


def test_the_same_scores_of_another_experiment_are_not_made_again_and_leave_the_first_one_s_file_alone(tmp_path):
    """Snakemake would take its new time for new scores."""
    job = Job(tmp_path)
    job.run("one", {1: SETS}, 0)
    before = job.path("one").stat()
    assert len(job.run("two", {1: SETS}, 0)) == 0
    after = job.path("one").stat()
    assert (before.st_mtime_ns, before.st_ino, before.st_nlink) == (after.st_mtime_ns, after.st_ino, after.st_nlink)


def test_parts_that_another_job_put_into_its_table_meanwhile_are_found_there(tmp_path):
    job = Job(tmp_path)
    first = KeptTables(tmp_path, "b", "d", "m")
    scores = {"mcm": "0-mcm"}
    first.make("1-own", scores, lambda names: columns("1-own", scores))
    job.run("other", {1: ["own"], 2: ["own"]}, 0)  # takes the part, and takes it away
    assert first.read("1-own", scores).table.equals(columns("1-own", scores).table)
    for path in job.kept():
        path.unlink()
    gone = KeptTables(tmp_path, "b", "d", "m")
    with pytest.raises(OodgridError, match=r"lacks scores \(mcm\) that another run removed\. Run snakemake again$"):
        gone.read("1-own", scores)


def test_a_table_that_another_experiment_removes_before_it_has_its_second_name_is_written_again(tmp_path, monkeypatch):
    job, removed = Job(tmp_path), []
    job.run("one", {1: SETS}, 0)
    job.path("one").unlink()  # as Snakemake does: the kept table is nobody's now
    link = kept_tables.link

    def after_the_other_job(kept, path):
        monkeypatch.setattr(kept_tables, "link", link)
        Job(tmp_path).run("other", {1: SETS, 2: SETS}, 0)  # holds all its parts, and so removes it
        removed.append(not kept.exists())
        link(kept, path)

    monkeypatch.setattr(kept_tables, "link", after_the_other_job)
    assert job.run("one", {1: SETS}, 0) == []
    assert removed == [True]
    for name in ("one", "other"):
        store.check(job.path(name))


def test_other_methods_sets_and_backbones_have_tables_of_their_own(tmp_path):
    places = [("b", "d", "m"), ("b", "d", "n"), ("b", "e", "m"), ("c", "d", "m")]
    assert len({KeptTables(tmp_path, *place).folder for place in places}) == 4


def test_without_hard_links_a_table_is_a_copy_and_found_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("oodgrid.kept.os.link", lambda *_: (_ for _ in ()).throw(OSError(95, "not supported")))
    job = Job(tmp_path)
    job.run("one", {1: SETS}, 0)
    job.path("one").unlink()
    assert job.run("one", {1: SETS, 2: SETS}, 0) == [f"2-{name}" for name in SETS]
    assert len(job.kept()) == 1
