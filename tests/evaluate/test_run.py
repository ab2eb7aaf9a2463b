"""The stage evaluate on tables that it should take, and on others: a line that names the file and the mend."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest

from oodgrid import paths, store
from oodgrid.config import parse
from oodgrid.errors import OodgridError
from oodgrid.evaluate.intervals import all_metrics
from oodgrid.evaluate.metrics import detection_metrics
from oodgrid.evaluate.run import CURVES, METRICS, evaluate

SETS = ("concepts", "concepts-unseen-shapes", "noise")


@pytest.fixture
def world(tmp_path, experiment_of):
    """A folder of results with one table of scores, how to write another in its place, and how to evaluate."""
    experiment = parse(experiment_of(methods=["zero_shot"], scores=["mcm"]))
    path = paths.scores(tmp_path, "mini", "tiny", "concepts", "zero_shot")
    rng = np.random.default_rng(0)
    rows = [(name, 0, 0, i, f"{i}.png", i % 3, 0, float(rng.normal(name == "concepts")))
            for name in SETS for i in range(20)]  # fmt: skip
    table = pl.DataFrame(
        rows, ["dataset", "shots", "seed", "index", "path", "label", "prediction", "mcm"], orient="row"
    )
    fit = {"shots": 0, "seed": 0, "status": "ok", "reason": "", "skipped": {}, "parts": {n: n for n in SETS}}
    about = {"fits": [fit], "params": {"mcm": {"T": 1.0}}}
    store.write_table(path, table, about)
    return tmp_path, experiment, path, table, about


def test_metrics_have_every_column_that_is_documented(world):
    results, experiment, _, table, _ = world
    written, *_ = evaluate(results, experiment)
    rows, _ = store.read_table(written)
    assert rows.columns == list(METRICS)
    assert rows["ood_dataset"].to_list() == list(SETS[1:])
    scores = {name: table.filter(pl.col("dataset") == name)["mcm"].to_numpy() for name in SETS}
    for row in rows.iter_rows(named=True):
        expected = detection_metrics(scores["concepts"], scores[row["ood_dataset"]])
        assert {key: row[key] for key in expected} == expected


def test_false_positive_rates_at_other_recalls_come_behind_the_others(world, experiment_of):
    results, experiment, _, table, _ = world
    before, *_ = evaluate(results, experiment)
    plain = store.read_table(before)[0]
    config = experiment_of(methods=["zero_shot"], scores=["mcm"], metrics=["fpr@90", "fpr@95", "fpr@99.5", "fpr@90.0"])
    rows, _ = store.read_table(evaluate(results, parse(config))[0])
    added = rows.columns[len(METRICS) :]
    assert rows.select(plain.columns).equals(plain)
    assert added == [f"fpr{percent}_{positive}_pos{end}" for percent in ("90", "99_5") for positive in ("id", "ood")
                     for end in ("", "_lo", "_hi")]  # fmt: skip
    scores = {name: table.filter(pl.col("dataset") == name)["mcm"].to_numpy() for name in SETS}
    for row in rows.iter_rows(named=True):
        expected = all_metrics(scores["concepts"], scores[row["ood_dataset"]], recalls=[0.9, 0.995])
        assert {name: row[name] for name in added} == {name: expected[name] for name in added}
    means = store.read_table(paths.summary(results, "mini"))[0].filter(metric="fpr90_ood_pos")
    by_scope = dict(means.select("scope", "mean").filter(pl.col("scope") != "set").rows())
    near, far = rows["fpr90_ood_pos"]
    assert by_scope == pytest.approx({"near": near, "far": far, "overall": (near + far) / 2})
    evaluate(results, experiment)
    assert store.read_table(before)[0].equals(plain)


def table_of(experiment, seed=0):
    """A table of scores of every fit, with ties and a score that one fit lacks, and its metadata."""
    rng, frames, fits = np.random.default_rng(seed), [], []
    scores = [choice.listed("score") for choice in experiment.scores]
    for shots in experiment.shots:
        for number in experiment.seeds:
            skipped = {scores[0]: "not at one shot"} if shots == 1 else {}
            status = "failed" if (shots, number) == (2, 1) else "ok"
            parts = {name: f"{name}-{shots}-{number}-{seed}" for name in SETS}
            fit = {"shots": shots, "seed": number, "status": status, "reason": "it diverged" * (status != "ok")}
            fits.append(fit if status != "ok" else fit | {"skipped": skipped, "parts": parts})
            for name in SETS if status == "ok" else ():
                values = {s: rng.normal(name == SETS[0], size=30).round(1) for s in scores if s not in skipped}
                columns = {"label": np.arange(30) % 4 - 1, "prediction": rng.integers(0, 3, 30), **values}
                keys = {"dataset": name, "shots": shots, "seed": number}
                frames.append(pl.DataFrame(columns).with_columns(pl.lit(v).alias(k) for k, v in keys.items()))
    about = {"fits": fits, "params": {name: {"T": 1.0} for name in scores}, "broken_images": {SETS[2]: 2}}
    return pl.concat(frames, how="diagonal"), about


@pytest.fixture(scope="module")
def grid(tmp_path_factory, experiment_of):
    """Results with tables of three methods, and the experiment."""
    results = tmp_path_factory.mktemp("grid")
    methods = ["coop", {"name": "coop", "epochs": 2}, "clip_adapter"]
    experiment = parse(experiment_of(methods=methods, scores=["mcm", {"name": "mcm", "T": 0.5}], shots=[1, 2, 4]))
    for number, method in enumerate(experiment.methods):
        path = paths.scores(results, "mini", "tiny", "concepts", method.listed("method"))
        store.write_table(path, *table_of(experiment, number))
    return results, experiment


def test_every_row_is_what_its_samples_say(grid):
    results, experiment = grid
    rows, about = store.read_table(evaluate(results, experiment)[0])
    curves = store.read_table(paths.curves(results, "mini"))[0]
    assert (rows.schema, curves.schema) == (pl.Schema(METRICS), pl.Schema(CURVES))
    assert about["broken_images"] == [["tiny", SETS[2], 2]]
    assert rows["base_method"].unique(maintain_order=True).to_list() == ["coop", "clip_adapter"]
    assert set(rows["base_score"]) == {"mcm"}
    expected, shown = [], []
    for number, method in enumerate(experiment.methods):
        table, metadata = table_of(experiment, number)
        for fit in metadata["fits"]:
            samples = table.filter(shots=fit["shots"], seed=fit["seed"])
            own = samples.filter(pl.col("dataset") == SETS[0])
            known = own.filter(pl.col("label") >= 0)
            for score in metadata["params"]:
                for name in SETS[1:]:
                    key = (method.listed("method"), fit["shots"], fit["seed"], score, name)
                    status = "skipped" if score in fit.get("skipped", {}) else fit["status"]
                    other = samples.filter(pl.col("dataset") == name)
                    numbers = detection_metrics(own[score], other[score]) if status == "ok" else {}
                    accuracy = (known["label"] == known["prediction"]).mean() if fit["status"] == "ok" else None
                    expected.append((*key, status, numbers.get("auroc"), numbers.get("fpr95_ood_pos"), accuracy))
                    if (fit["shots"], fit["seed"]) == (4, experiment.seeds[0]):
                        shown.append((*key, numbers["auroc"]))
    keys = ["method", "shots", "seed", "score", "ood_dataset"]
    assert rows.select(*keys, "status", "auroc", "fpr95_ood_pos", "id_accuracy").rows() == expected
    assert curves.select(*keys, "auroc").rows() == shown


def test_files_do_not_depend_on_the_threads_nor_on_what_was_kept(grid, monkeypatch):
    results, experiment = grid
    found = set()
    for threads in ("1", "2", "7"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        for keep in (False, True):
            if not keep:
                shutil.rmtree(results / "kept", ignore_errors=True)
            found.add(tuple(path.read_bytes() for path in evaluate(results, experiment)))
    assert len(found) == 1


def test_one_fit_is_read_at_a_time_and_no_score_where_all_is_kept(grid, monkeypatch):
    results, experiment = grid
    read = []

    class Watched(store.OpenTable):
        def read(self, columns, **where):
            frame = super().read(columns, **where)
            read.append((frame.height, frame.width))
            return frame

    def read_table(path, whole=store.read_table):
        assert "scores" not in path.parts  # a table of scores is never read whole
        return whole(path)

    monkeypatch.setattr(store, "OpenTable", Watched)
    monkeypatch.setattr(store, "read_table", read_table)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    shutil.rmtree(results / "kept", ignore_errors=True)
    evaluate(results, experiment)
    fits = len(experiment.methods) * (len(experiment.shots) * len(experiment.seeds) - 1)
    assert len(read) == 5 * fits  # labels and scores, for metrics and for comparisons, and how many there are
    assert {height for height, _ in read} == {30 * len(SETS)}
    read.clear()
    evaluate(results, experiment)
    assert len(read) == fits + len(experiment.methods)  # labels of every fit, and scores of those that figures show


def test_a_missing_table_is_said_before_any_work(grid, tmp_path):
    results, experiment = grid
    copy = tmp_path / "results"
    shutil.copytree(results / "mini" / "scores", copy / "mini" / "scores")
    last = paths.scores(copy, "mini", "tiny", "concepts", experiment.methods[-1].listed("method"))
    last.unlink()
    with pytest.raises(OodgridError, match=f"{last} is missing: run snakemake"):
        evaluate(copy, experiment)
    assert not (copy / "kept").exists()


def wrong(table, about):
    """Tables of another config, of another tool, and with a score that took the name of a column."""
    renamed = {"params": {"label": {}}, "fits": about["fits"]}
    return {
        "an OOD set is not in it": (
            table.filter(pl.col("dataset") != "noise"),
            about,
            "holds no scores of noise for 0",
        ),
        "no sample of a fit": (
            table.with_columns(seed=pl.lit(1)),
            about,
            "holds no scores of concepts, .*noise for 0 sh",
        ),
        "a score is not in it": (table.drop("mcm"), about, "is no table of scores: it lacks mcm. Delete it"),
        "no prediction": (table.drop("prediction", "label"), about, "it lacks label, prediction"),
        "of another tool": (table, {}, "it lacks fits, params"),
        "a score called label": (table, renamed, "a score is called label, as another column of its table is"),
        "of other scores": (
            table.with_columns(msp=pl.col("mcm")),
            about | {"params": {"mcm": {}, "msp": {}}},
            "and the config differ in the scores msp: it was made from another config. snakemake --forcerun score",
        ),
        "scores that are none": (
            table.with_columns(mcm=pl.lit(float("nan"))),
            about,
            "ID scores: 20 of 20 numbers are NaN",
        ),
    }


WRONG = ("an OOD set is not in it", "no sample of a fit", "a score is not in it", "no prediction", "of another tool",
         "a score called label", "of other scores", "scores that are none")  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_tables_that_do_not_fit_the_config_are_refused_in_one_line(world, what):
    results, experiment, path, table, about = world
    changed, metadata, said = wrong(table, about)[what]
    store.write_table(path, changed, metadata)
    with pytest.raises(OodgridError, match=said) as error:
        evaluate(results, experiment)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
