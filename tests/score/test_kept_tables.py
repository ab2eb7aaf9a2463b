"""Finished scores: found again whatever came between, made once, stored once, and never another's."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import numpy as np
import polars as pl
import pytest

from oodgrid import manifests, store
from oodgrid.errors import OodgridError
from oodgrid.manifests import ScoredFit, ScorePart, ScoreTable
from oodgrid.score import kept_tables
from oodgrid.score.kept_tables import KeptTables

OUTCOME = {"shots": 2, "status": "ok", "reason": None}
SETS = ("own", "near", "far")


class KilledError(Exception):
    """Stands for a job that is killed."""


def number(key):
    return int(hashlib.sha256(key.encode()).hexdigest()[:6], 16)


def rows(key):
    """Return the samples of a part: as many, and of such scores, as its key says."""
    values = number(key) + np.arange(1 + number(key) % 3) / 8
    return pl.DataFrame({"index": np.arange(len(values), dtype=np.int32), "mcm": values})


def reasons(key):
    return {"vim": f"because of {key}"} if number(key) % 3 == 0 else {}


class Job:
    """A score job as `score.run` does it, of parts that cost nothing."""

    def __init__(self, results):
        self.results, self.made = results, []

    def run(self, experiment, wanted, version, most=99):
        """Compute the table of some seeds and sets under some scores; be killed when `most` parts are made."""
        kept, path, made = KeptTables(self.results, "b", "d", "m"), self.path(experiment), []

        def make(key, file):
            if len(made) == most:
                raise KilledError
            manifests.write_table(file, rows(key), ScorePart(skipped=reasons(key)))
            made.append(key)
            self.made.append(key)

        fits, tables = [], []
        for seed, names in wanted.items():
            parts = {name: f"{version}-{seed}-{name}" for name in names}
            for key in parts.values():
                kept.make(key, lambda file, key=key: make(key, file))
            fits.append((seed, parts))
        about = []
        for seed, parts in fits:
            skipped = {}
            for name, key in parts.items():
                table, part = kept.read(key)
                skipped[name] = part.skipped
                assert table.equals(rows(key))
                assert skipped[name] == reasons(key)
                tables.append(table.with_columns(dataset=pl.lit(name), shots=pl.lit(2), seed=pl.lit(seed)))
            skipped_in = {name: found for name, found in skipped.items() if found}
            about.append(ScoredFit(**OUTCOME, seed=seed, parts=parts, skipped_in=skipped_in))
        kept.write(pl.concat(tables), ScoreTable(fits=about, params={"mcm": {}}), path)
        return made

    def path(self, experiment):
        return self.results / experiment / "m.parquet"

    def kept(self):
        return sorted((self.results / "kept").rglob("*.parquet"))


@pytest.mark.parametrize("seed", range(6))
def test_whatever_comes_between_nothing_is_made_twice_and_all_is_stored_once(tmp_path, seed):
    rng, job, there, tables = np.random.default_rng(seed), Job(tmp_path), set(), {}
    for _ in range(25):
        experiment, version = ("one", "two")[rng.integers(2)], int(rng.integers(2))
        chosen = [name for name in SETS if rng.random() < 0.7] or ["own"]
        wanted = {int(k): chosen for k in rng.permutation(4)[: 1 + rng.integers(4)]}
        keys = {f"{version}-{k}-{name}" for k in wanted for name in chosen}
        job.path(experiment).unlink(missing_ok=True)  # as Snakemake does
        tables.pop(experiment, None)
        if rng.random() < 0.2 and (files := job.kept()):
            file = files[rng.integers(len(files))]
            file.write_bytes(file.read_bytes()[:-9])  # also of the other experiment: its next run must see it
            tables = {name: held for name, held in tables.items() if not job.path(name).samefile(file)}
            there = held_whole(tmp_path)
        try:
            job.made.clear()
            job.run(experiment, wanted, version, int(rng.integers(8)) if rng.random() < 0.3 else 99)
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
    """Return the keys of all parts that lie in whole tables, or as files that are whole."""
    found = set()
    for path in (results / "kept").rglob("*.parquet"):
        with suppress(OodgridError):
            store.check(path)
            found |= {path.stem} if path.parent.name == "parts" else manifests.read(path, ScoreTable).parts
    return found


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
    first.make("0-1-own", lambda file: manifests.write_table(file, rows("0-1-own"), ScorePart(skipped={})))
    job.run("other", {1: ["own"], 2: ["own"]}, 0)  # takes the part, and takes it away
    assert first.read("0-1-own")[0].equals(rows("0-1-own"))
    for path in job.kept():
        path.unlink()
    gone = KeptTables(tmp_path, "b", "d", "m")
    with pytest.raises(OodgridError, match=r"0-1-own.parquet is missing: another run took it away\. Run snakemake"):
        gone.read("0-1-own")


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
    assert job.run("one", {1: SETS, 2: SETS}, 0) == [f"0-2-{name}" for name in SETS]
    assert len(job.kept()) == 1
