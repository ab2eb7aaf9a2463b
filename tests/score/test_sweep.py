"""Scores under other temperatures: in tables of their own, and from there in temperatures.parquet and nowhere else."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from oodgrid import grid, manifests, paths, registry, store
from oodgrid.evaluate.run import evaluate
from oodgrid.evaluate.sweep import TEMPERATURES
from oodgrid.score.run import score

POINTS = [0.003, 0.01, 0.05, 1.0, 7.0]  # those asked for, the defaults of both scores, and what is listed
SCORES = ["mcm", {"name": "mcm", "T": 0.05}, "energy", "max_logit", "knn"]
TABLES = ("metrics", "curves", "summary", "comparisons", "geometry")


@pytest.fixture
def swept(mini):
    """Two fits of the largest shots and one of fewer, scored and evaluated with temperatures."""
    fits = [mini.prototypes(shots=shots, seed=seed) for shots, seed in ((1, 1), (1, 2), (2, 1), (2, 2))]
    mini.applied("prototype", "prototypes", [fit.fit for fit in fits])
    plain = mini.experiment(scores=SCORES, shots=[1, 2], seeds=[1, 2])
    experiment = plain.model_copy(update={"temperatures": [7.0, 0.003]})
    return fits[2:], plain, experiment


def stages(mini, experiment):
    for method in ("prototype", "any"):
        score(mini.results, experiment, "mini", "pets", method)
    evaluate(mini.results, experiment)
    return {name: store.read_table(getattr(paths, name)(mini.results, "mini"))[0] for name in (*TABLES, "temperatures")}


def test_every_score_of_logits_with_a_temperature_is_swept_over_the_same_points(mini, swept):
    experiment = swept[2]
    variants = grid.sweep(experiment, "prototype")
    by_score = {name: [v.params["T"] for v in variants if v.name == name] for name in ("mcm", "energy")}
    assert by_score == {"mcm": POINTS, "energy": POINTS}
    assert len(variants) == 2 * len(POINTS) == len({v.listed("score") for v in variants})
    assert grid.sweep(experiment, "any") == grid.sweep(swept[1], "prototype") == []


def test_aurocs_are_those_of_the_logits_at_every_temperature_over_seeds_and_sets(mini, swept):
    fits, _, experiment = swept
    found = stages(mini, experiment)["temperatures"]
    assert found.schema == pl.Schema(TEMPERATURES)
    features = {name: mini.read(name).image_features.astype(float) for name in ("pets", "noise", "cars")}
    unit = {name: values / np.linalg.norm(values, axis=1, keepdims=True) for name, values in features.items()}
    for base, default in (("mcm", 1.0), ("energy", 0.01)):
        for T in POINTS:
            row = {}
            for kind, ood in (("near", "noise"), ("far", "cars")):
                aurocs = []
                for fit in fits:
                    values = [
                        registry.find("score", base).make(unit[name] @ fit.values.T, T=T) for name in ("pets", ood)
                    ]
                    aurocs.append(roc_auc_score([1] * 10 + [0] * len(values[1]), np.concatenate(values)))
                row[kind] = found.filter(base_score=base, T=T, scope=kind).row(0, named=True)
                assert row[kind]["auroc"] == pytest.approx(np.mean(aurocs))
                assert row[kind]["auroc_sd"] == pytest.approx(np.std(aurocs, ddof=1))
                assert (row[kind]["shots"], row[kind]["seeds"], row[kind]["curve"]) == (2, 2, base)
                assert row[kind]["is_default"] == (default == T)
            overall = found.filter(base_score=base, T=T, scope="overall")["auroc"].item()
            assert overall == pytest.approx((row["near"]["auroc"] + row["far"]["auroc"]) / 2)


def test_no_other_table_knows_of_them(mini, swept):
    _, plain, experiment = swept
    without, table = stages(mini, plain), paths.sweeps(mini.results, "mini", "mini", "pets", "prototype")
    assert not table.exists()
    swept_too = stages(mini, experiment)
    assert table.exists()
    for name in TABLES:
        assert swept_too[name].equals(without[name]), name
    assert without["temperatures"].is_empty()


@pytest.mark.parametrize("sweep_first", [True, False])
def test_what_is_kept_of_a_sweep_is_not_taken_for_the_metrics_of_the_same_scores(mini, sweep_first):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    sweep = mini.experiment(scores=["mcm"]).model_copy(update={"temperatures": [0.05]})
    listed = mini.experiment(scores=[{"name": "mcm", "T": 1.0}, {"name": "mcm", "T": 0.05}])
    tables = {}
    for name, experiment in (("sweep", sweep), ("listed", listed))[:: 1 if sweep_first else -1]:
        score(mini.results, experiment, "mini", "pets", "prototype")
        evaluate(mini.results, experiment)
        which = paths.temperatures if name == "sweep" else paths.metrics
        tables[name] = store.read_table(which(mini.results, "mini"))[0]
    assert tables["listed"]["auroc_lo"].null_count() == tables["listed"]["tied"].null_count() == 0
    of_sets = tables["listed"].filter(ood_dataset="cars").select("score", "auroc")
    assert dict(tables["sweep"].filter(scope="far").select("score", "auroc").rows()) == dict(of_sets.rows())


def test_recalls_change_nothing_that_is_kept_of_a_sweep(mini, swept):
    experiment = swept[2]
    stages(mini, experiment)
    before = set((mini.results / "kept" / "evaluate").rglob("*.json"))
    stages(mini, experiment.model_copy(update={"metrics": ["fpr@90"]}))
    added = set((mini.results / "kept" / "evaluate").rglob("*.json")) - before
    scores = [row for path in added for row in manifests.read(path, manifests.PairMetrics).metrics.values()]
    assert scores and all("fpr90_id_pos" in row for row in scores)


def test_sets_that_overlap_are_in_no_mean(mini, swept):
    experiment = swept[2]
    every = stages(mini, experiment)
    id_dataset = experiment.id_datasets[0].model_copy(update={"allow_overlap": True})
    overlapping = experiment.model_copy(update={"id_datasets": [id_dataset]})
    object.__setattr__(overlapping, "overlaps", lambda: [("pets", "cars")])
    assert overlapping.overlaps() == [("pets", "cars")]
    evaluate(mini.results, overlapping)
    for name in ("temperatures", "geometry"):
        rows = store.read_table(getattr(paths, name)(mini.results, "mini"))[0]
        assert "far" not in set(rows["scope"])
        overall, near = (rows.filter(scope=scope).drop("scope") for scope in ("overall", "near"))
        assert overall.equals(near) and len(near)
        assert near.equals(every[name].filter(scope="near").drop("scope"))


def test_angles_are_averaged_over_seeds_and_the_sets_of_a_kind(mini, swept):
    fits, plain, _ = swept
    found = stages(mini, plain)["geometry"]
    path = paths.scores(mini.results, "mini", "mini", "pets", "prototype")
    about = manifests.read(path, manifests.ScoreTable)
    of_fits = [fit.geometry["prototypes"] for fit in about.fits if fit.shots == 2]
    assert len(of_fits) == len(fits)
    for scope, oods in {"near": ["noise"], "far": ["cars"], "overall": ["noise", "cars"]}.items():
        row = found.filter(method="prototype", centres="prototypes", scope=scope).row(0, named=True)
        apart = [np.mean([fit.ood_angles[ood] for ood in oods]) - fit.id_angle for fit in of_fits]
        assert row["separation"] == pytest.approx(np.mean(apart))
        assert row["separation_sd"] == pytest.approx(np.std(apart, ddof=1))
        assert row["compactness"] == pytest.approx(np.mean([fit.compactness for fit in of_fits]))
        assert (row["shots"], row["seeds"], row["sets"], row["classes"]) == (2, 2, len(oods), 3)
        cached = found.filter(method="any", centres="means", scope=scope).row(0, named=True)
        assert cached["dispersion"] == about.cached.dispersion and cached["seeds"] == 1
    reasons = found.filter(method="prototype", centres="means")
    assert reasons["status"].to_list() == ["skipped"] and "as they are cached" in reasons["reason"][0]
    sets = found.filter(method="prototype", centres="prototypes", scope="set")
    assert sets["ood_dataset"].to_list() == ["noise", "cars"]
