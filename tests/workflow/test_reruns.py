"""What runs again, and what does not, after an edit, an addition, an error or a fresh clone."""

from __future__ import annotations

import os
import shutil
import time

import polars as pl
import pytest

from oodgrid import paths, store


def test_the_report_holds_every_row_and_a_second_run_does_nothing(reported):
    clone, _ = reported
    rows = clone.metrics()
    assert set(rows["method"]) == {"zero_shot", "prototype", "tip_adapter", "any"}
    assert rows.filter(pl.col("method") == "zero_shot")["status"].to_list() == ["skipped"]
    worked = rows.filter(pl.col("status") == "ok")
    assert len(worked) == 6  # prototype, tip_adapter under mcm and any under knn, each with 1 and 2 shots
    assert worked["auroc"].min() > 0.5
    assert (clone.folder / "results/mini/report.html").exists()
    assert "Nothing to be done" in clone.snakemake()


def test_adding_an_ood_set_a_seed_and_shots_computes_only_what_is_new(evaluated):
    clone, experiment = evaluated
    fits, measured = clone.times("kept/fit/*/*"), clone.times("kept/evaluate/*/*")
    manifests = clone.times("mini/adapted/**/fit.json")

    experiment["id_datasets"][0]["ood"]["far"] = [{"name": "another", "imported": {}}]
    clone.write(experiment)
    clone.snakemake("metrics")
    assert clone.times("mini/adapted/**/fit.json") == manifests  # fitting never sees a test file
    assert measured.items() <= clone.times("kept/evaluate/*/*").items()  # of the same parts of tables
    tables = [path for path in (clone.folder / "results").rglob("*.parquet") if "scores" in path.parts]
    assert all(path.stat().st_nlink == 2 for path in tables)
    assert len(clone.times("kept/score/**/*.parquet")) == len(tables) == 4  # stored once, and nothing of before
    assert set(clone.metrics()["ood_dataset"]) == {"other", "another"}

    experiment["seeds"], experiment["shots"] = [1, 2], [1, 2, 4]
    clone.write(experiment)
    clone.snakemake("metrics")
    after = clone.times("kept/fit/*/*")
    assert fits.items() <= after.items()
    assert len(after) == len(fits) + 8  # two methods x (3 shots x 2 seeds - 2)


def test_damaged_kept_work_never_reaches_a_table_and_comes_back_as_the_error_says(evaluated):
    clone, experiment = evaluated
    whole = clone.metrics()
    for file in (clone.folder / "results/kept").rglob("*.*"):
        data = file.read_bytes()
        file.write_bytes(data[:-10] + bytes([data[-10] ^ 1]) + data[-9:])
    experiment["scores"] = ["mcm", "knn", "energy"]  # needs what apply left, and metrics of what is new
    clone.write(experiment)
    output = clone.snakemake("metrics", ok=False)
    assert "is damaged: its checksum does not match. snakemake --forcerun apply makes it again" in output
    output = clone.snakemake("metrics", "--forcerun", "apply", ok=False)
    assert "is damaged: its checksum does not match. snakemake --forcerun fit makes it again" in output
    clone.snakemake("metrics", "--forcerun", "fit")
    same = clone.metrics().filter(pl.col("score") != "energy")
    assert same.equals(whole.filter(pl.col("score") != "energy"))


def test_editing_a_score_reruns_scoring_and_editing_a_plot_reruns_plots(reported):
    clone, _ = reported
    features, fits = clone.times("features/**/*.h5"), clone.times("mini/adapted/**/*.json")
    metrics = clone.times("mini/metrics.parquet")

    clone.edit("src/oodgrid/report/figures/__init__.py", "from __future__", "# A comment.\nfrom __future__")
    assert "Nothing to be done" in clone.snakemake()  # words are not code
    clone.edit("src/oodgrid/report/figures/forest.py", "def draw", "CHANGED = True\n\n\ndef draw")
    output = clone.snakemake()
    assert clone.times("mini/metrics.parquet") == metrics
    assert "3 of 3 steps" in output  # draw, page, all

    clone.edit("src/oodgrid/score/scores/mcm.py", "T=T)\n", "T=T) * 2\n")
    clone.snakemake()
    assert clone.times("mini/metrics.parquet") != metrics
    assert clone.times("mini/adapted/**/*.json") == fits
    assert clone.times("features/**/*.h5") == features


EVALUATED = ("metrics.parquet", "curves.parquet", "summary.parquet", "comparisons.parquet")  # before there were angles


def test_a_fresh_clone_redraws_figures_from_what_evaluate_left(reported):
    clone, _ = reported
    results = clone.folder / "results"
    kept = {name: (results / "mini" / name).read_bytes() for name in EVALUATED}
    shutil.rmtree(results)
    shutil.rmtree(clone.folder / ".snakemake")
    (results / "mini").mkdir(parents=True)
    for name, content in kept.items():
        (results / "mini" / name).write_bytes(content)
    clone.snakemake("figures")
    assert len(list(results.glob("mini/figures/**/*.png"))) == len(paths.FIGURES) * len(paths.WIDTHS)
    assert not (results / "features").exists()


def test_the_report_refuses_metrics_that_lack_what_the_config_wants(evaluated):
    clone, _ = evaluated
    table = clone.folder / "results/mini/metrics.parquet"
    content = table.read_bytes()
    rows, about = store.read_table(table)
    store.write_table(table, rows.filter(pl.col("shots") != 2), about)
    output = clone.run("oodgrid", "report", "tables", ok=False)
    assert "metrics.parquet lacks" in output
    assert "shots 2" in output
    table.write_bytes(content)
    assert "wrote" in clone.run("oodgrid", "report")


def test_moving_the_clone_reruns_nothing(reported, tmp_path):
    clone, _ = reported
    moved = tmp_path / "moved"
    clone.folder.rename(moved)
    clone.folder = moved
    clone.env["PYTHONPATH"] = str(moved / "src")
    assert "Nothing to be done" in clone.snakemake()


@pytest.mark.slow
def test_files_of_the_future_stop_a_run_before_its_first_job_and_the_command_that_it_names_mends_them(evaluated):
    clone, experiment = evaluated
    ahead = time.time() + 86400
    for file in (clone.folder / "results").rglob("*.*"):
        os.utime(file, (ahead, ahead))  # as a day ago, when the clock was ahead
    assert "Nothing to be done" in clone.snakemake("metrics")  # what stands is sound
    experiment["scores"] = ["mcm", "knn", "energy"]
    clone.write(experiment)
    output = clone.snakemake("metrics", ok=False)
    line = next(line for line in output.splitlines() if line.startswith("oodgrid: error: "))
    assert "come from the future" in line
    assert not (clone.folder / ".snakemake/locks").exists() or not list((clone.folder / ".snakemake/locks").iterdir())
    clone.run("bash", "-c", line.split("right again: ")[1])
    clone.snakemake("metrics")
    assert "energy" in set(clone.metrics()["score"])
    assert "Nothing to be done" in clone.snakemake("metrics")
