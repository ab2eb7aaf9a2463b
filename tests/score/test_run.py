"""The stage score on a miniature results folder: the table, its metadata, and what is kept between calls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from oodgrid import fewshot, manifests, paths, registry, store
from oodgrid.config import Choice
from oodgrid.errors import OodgridError
from oodgrid.evaluate import score_table
from oodgrid.evaluate.run import evaluate
from oodgrid.score import run as run_module
from oodgrid.score.compute import compute
from oodgrid.score.contract import Bank, Head, Skip
from oodgrid.score.run import score

SETS = {"pets": 10, "noise": 5, "cars": 7}  # the ID set, then near, then far, as the experiment lists them
LOGIT_SCORES = ["mcm", "mcm@T=0.5", "max_logit"]
FEATURE_SCORES = ["mahalanobis", "knn@k=1"]
SAMPLE = ["dataset", "shots", "seed", "index", "path", "label", "prediction"]


def run(mini, method="prototype", **experiment):
    path = score(mini.results, mini.experiment(**experiment), "mini", "pets", method)
    assert path == paths.scores(mini.results, "mini", "mini", "pets", method)
    return manifests.read_table(path, manifests.ScoreTable)


def unit_norm(values):
    values = values.astype(np.float64)
    return values / np.sqrt((values**2).sum(axis=1))[:, None]


def naive_mcm(logits, T=1.0):
    shares = np.exp(logits / T)
    return shares.max(axis=1) / shares.sum(axis=1)


def rows_of(table, dataset, **keys):
    for key, value in {"dataset": dataset, **keys}.items():
        table = table.filter(pl.col(key) == value)
    return table


def call(name, *given, **params):
    return registry.find("score", name).make(*given, **params)


# ------------------------------------------------------------------------------------------------ the table


def test_table_of_a_method_with_prototypes(mini):
    fit = mini.prototypes(bias=np.array([0.1, -0.2, 0.3], dtype=np.float32))
    mini.applied("prototype", "prototypes", [fit.fit])
    table, _ = run(mini)

    assert table.columns == [*SAMPLE, *LOGIT_SCORES]
    assert table.schema == {
        "dataset": pl.String, "shots": pl.Int32, "seed": pl.Int32, "index": pl.Int32, "path": pl.String,
        "label": pl.Int32, "prediction": pl.Int32, **dict.fromkeys(LOGIT_SCORES, pl.Float64),
    }  # fmt: skip
    assert table["dataset"].to_list() == [name for name, count in SETS.items() for _ in range(count)]
    for name, count in SETS.items():
        got, features = rows_of(table, name), mini.read(name)
        logits = unit_norm(features.image_features) @ fit.values.T + np.array([0.1, -0.2, 0.3], dtype=np.float32)
        assert got["index"].to_list() == list(range(count))
        assert got["path"].to_list() == features.paths
        assert got["label"].to_list() == features.labels.tolist()
        assert got["prediction"].to_list() == logits.argmax(axis=1).tolist()
        np.testing.assert_allclose(got["mcm"], naive_mcm(logits), rtol=1e-13)
        np.testing.assert_allclose(got["mcm@T=0.5"], naive_mcm(logits, 0.5), rtol=1e-13)
        np.testing.assert_allclose(got["max_logit"], logits.max(axis=1), rtol=1e-13)


def test_metadata_of_a_method(mini):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    _, about = run(mini)
    assert about.params == {"mcm": {"T": 1.0}, "mcm@T=0.5": {"T": 0.5}, "max_logit": {}}
    [fit] = about.fits
    angles = {"geometry": fit.geometry, "no_geometry": fit.no_geometry}
    assert fit == manifests.ScoredFit(
        shots=2, seed=1, status="ok", reason=None, parts=fit.parts, rows=fit.rows, **angles
    )
    assert list(fit.parts) == list(fit.rows) == list(SETS)
    assert len(set(fit.parts.values())) == len(set(fit.rows.values())) == 3
    assert list(about.scores) == ["prediction", *LOGIT_SCORES]


def test_names_that_are_no_utf_8_are_told_apart(mini):
    features = mini.read("pets")
    names = [f"caf\udce9/{row}.png" for row in range(len(features.labels))]
    store.write_features(paths.features(mini.results, "mini", "pets", "test"), replace(features, paths=names))
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    found = run(mini)[0].filter(pl.col("dataset") == "pets")["path"]
    assert found.to_list() == [rf"caf\xe9/{row}.png" for row in range(len(names))]


def test_any_holds_the_feature_scores_of_the_cached_shots(mini):
    table, about = run(mini, "any")
    assert table.columns == [*SAMPLE, *FEATURE_SCORES]
    mahalanobis = {"covariance": "ledoit_wolf", "bank": "shots"}
    assert about.params == {"mahalanobis": mahalanobis, "knn@k=1": {"k": 1, "bank": "shots"}}
    assert table["prediction"].null_count() == len(table)
    train = mini.read("pets", "train")
    rows = fewshot.draw(train.labels, None, 2, 1).train
    bank = Bank(unit_norm(train.image_features[rows]), train.labels[rows], 2)
    for name in SETS:
        x, got = unit_norm(mini.read(name).image_features), rows_of(table, name)
        np.testing.assert_allclose(got["knn@k=1"], call("knn", x, bank, k=1), rtol=1e-12)
        np.testing.assert_allclose(got["mahalanobis"], call("mahalanobis", x, bank), rtol=1e-9)


def test_any_uses_the_fixed_draw_of_an_import(mini):
    train = mini.read("pets", "train")
    draws = np.repeat([2, 4], 12).astype(np.int32)
    fixed = store.Features(train.image_features, train.labels, train.paths, train.sha256, {}, draws)
    store.write_features(paths.features(mini.results, "mini", "pets", "train"), fixed)
    table, about = run(mini, "any", shots=[2, 8])
    bank = Bank(unit_norm(train.image_features[:12]), train.labels[:12], 2)
    x = unit_norm(mini.read("cars").image_features)
    np.testing.assert_allclose(rows_of(table, "cars")["knn@k=1"], call("knn", x, bank, k=1), rtol=1e-12)
    assert [fit.status for fit in about.fits] == ["ok", "skipped"]
    assert "no draw of 8 shots (they hold: 2, 4)" in about.fits[1].reason


def test_any_without_a_training_split_is_skipped_with_the_reason(mini):
    paths.features(mini.results, "mini", "pets", "train").unlink()
    table, about = run(mini, "any")
    assert table.is_empty()
    assert table.columns == [*SAMPLE, *FEATURE_SCORES]
    skipped = manifests.ScoredFit(shots=2, seed=1, status="skipped", reason="pets has no training split")
    assert about.fits == [skipped]


def test_a_score_of_any_that_compares_with_no_shots_does_not_miss_them(mini):
    paths.features(mini.results, "mini", "pets", "train").unlink()
    table, about = run(mini, "any", scores=["mcm", "knn", {"name": "knn", "bank": "train"}, "tag"])
    [fit] = about.fits
    assert fit.status == "ok"
    assert fit.skipped["knn"] == "it needs bank: pets has no training split"
    assert "train split" in fit.skipped["knn@bank=train"]
    assert "prompt_variants" in fit.skipped["tag"]
    assert len(table) == 22


def test_the_whole_train_split_as_the_bank(mini):
    mini.applied("zero_shot", "prototypes", [mini.prototypes().fit.model_copy(update={"shots": 0, "seed": 0})])
    scores = ["mcm", {"name": "vim", "bank": "train"}, "vim"]
    table, about = run(mini, "zero_shot", methods=["zero_shot"], scores=scores)
    assert list(about.fits[0].skipped) == ["vim"]
    train = mini.read("pets", "train")
    x = unit_norm(train.image_features)
    head = Head(mini.prototypes().values, np.zeros(3))
    bank = Bank(x, train.labels, 8, head.logits(x))
    samples = unit_norm(mini.read("cars").image_features)
    wanted = call("vim", samples, head.logits(samples), head, bank)
    np.testing.assert_allclose(rows_of(table, "cars")["vim@bank=train"], wanted, rtol=1e-9)


def test_mahalanobis_of_one_shot_is_null_with_its_reason(mini):
    table, about = run(mini, "any", shots=[1, 2])
    one, two = about.fits
    assert one.status == "ok"
    assert list(one.skipped) == ["mahalanobis"]
    assert "at least 2 shots" in one.skipped["mahalanobis"]
    assert two.skipped == {}
    counts = {
        (row["shots"], row["n"]) for row in table.group_by("shots").agg(n=pl.col("mahalanobis").count()).to_dicts()
    }
    assert counts == {(1, 0), (2, 22)}
    assert table["knn@k=1"].null_count() == 0


def test_a_method_that_changes_features_has_feature_scores_of_its_own(mini):
    fit = mini.prototypes()
    changed = {name: np.tanh(mini.read(name).image_features) for name in SETS}
    bank = np.random.default_rng(5).normal(size=(6, 6)).astype(np.float32)
    labels = np.repeat(np.arange(3), 2).astype(np.int32)
    sets = {name: mini.kept(f"changed-{name}", features=values) for name, values in changed.items()}
    left = fit.fit.model_copy(update={"sets": sets, "bank": mini.kept("bank", features=bank, labels=labels)})
    mini.applied("clip_adapter", "features", [left])
    table, _ = run(mini, "clip_adapter", methods=["clip_adapter"])
    assert table.columns == [*SAMPLE, "mcm", "mcm@T=0.5", "max_logit", "mahalanobis", "knn@k=1"]
    for name in SETS:
        x, got = unit_norm(changed[name]), rows_of(table, name)
        np.testing.assert_allclose(got["max_logit"], (x @ fit.values.T).max(axis=1), rtol=1e-13)
        np.testing.assert_allclose(got["knn@k=1"], call("knn", x, Bank(unit_norm(bank), labels, 2), k=1), rtol=1e-12)


def test_a_method_that_leaves_logits(mini):
    logits = {name: np.random.default_rng(9).normal(size=(count, 4)).astype(np.float32) for name, count in SETS.items()}
    sets = {name: mini.kept(f"logits-{name}", logits=values) for name, values in logits.items()}
    mini.applied("tip_adapter", "logits", [mini.prototypes().fit.model_copy(update={"sets": sets})])
    table, _ = run(mini, "tip_adapter", methods=["tip_adapter"])
    for name in SETS:
        got = rows_of(table, name)
        np.testing.assert_allclose(got["mcm"], naive_mcm(logits[name].astype(np.float64)), rtol=1e-13)
        assert got["prediction"].to_list() == logits[name].argmax(axis=1).tolist()


def test_fits_that_were_skipped_or_failed_keep_their_reason_and_have_no_rows(mini):
    skipped = manifests.AppliedFit(shots=1, seed=1, status="skipped", reason="no such draw")
    failed = manifests.AppliedFit(shots=4, seed=1, status="failed", reason="the loss became nan")
    mini.applied("prototype", "prototypes", [skipped, mini.prototypes().fit, failed])
    table, about = run(mini)
    assert table["shots"].unique().to_list() == [2]
    assert [(fit.shots, fit.status, fit.reason, fit.parts) for fit in about.fits[::2]] == [
        (1, "skipped", "no such draw", {}),
        (4, "failed", "the loss became nan", {}),
    ]


def test_a_table_without_any_fit_that_worked_is_empty_but_whole(mini):
    mini.applied("prototype", "prototypes", [{"shots": 2, "seed": 1, "status": "skipped", "reason": "why"}])
    table, _ = run(mini)
    assert table.is_empty()
    assert table.columns == [*SAMPLE, *LOGIT_SCORES]


def test_fits_stand_under_each_other_in_the_order_of_the_manifest(mini):
    fits = [mini.prototypes(shots, seed) for shots, seed in ((4, 1), (2, 1), (2, 3))]
    mini.applied("prototype", "prototypes", [fit.fit for fit in fits])
    table, _ = run(mini)
    assert table.select("shots", "seed").unique(maintain_order=True).rows() == [(4, 1), (2, 1), (2, 3)]
    x = unit_norm(mini.read("cars").image_features)
    for fit in fits:
        got = rows_of(table, "cars", shots=fit.fit.shots, seed=fit.fit.seed)
        np.testing.assert_allclose(got["max_logit"], (x @ fit.values.T).max(axis=1), rtol=1e-13)


# --------------------------------------------------------------------------------------------------- mistakes


def test_features_of_another_width_than_the_prototypes(mini):
    mini.features("cars", "test", np.arange(7) % 2, seed=4, width=5)
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    with pytest.raises(OodgridError, match=r"^cars has features of 5 dimensions but the prototypes have 6.*under one$"):
        run(mini)


def test_features_of_another_width_than_the_shots(mini):
    mini.features("cars", "test", np.arange(7) % 2, seed=4, width=5)
    with pytest.raises(OodgridError, match="cars has features of 5 dimensions but the training features have 6"):
        run(mini, "any")


@pytest.mark.parametrize("method", ["prototype", "any"])
def test_a_missing_test_file_is_named(mini, method):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    path = paths.features(mini.results, "mini", "noise", "test")
    path.unlink()
    with pytest.raises(OodgridError, match=f"^{path} is missing: [^\n]+$"):
        run(mini, method)


def test_a_missing_manifest_is_named(mini):
    with pytest.raises(OodgridError, match=r"apply\.json"):
        run(mini)


def test_a_kept_file_that_is_damaged_is_named_in_one_line(mini):
    fit = mini.prototypes()
    mini.applied("prototype", "prototypes", [fit.fit])
    (mini.results / fit.fit.classifier).write_bytes(b"nothing that was ever a safetensors file")
    with pytest.raises(OodgridError, match=f"^[^\n]*{fit.fit.classifier} is damaged[^\n]*$"):
        run(mini)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"PAR1 or not", lambda data: b""])
def test_a_kept_table_that_is_damaged_or_gone_comes_back(mini, damage, scored):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    whole = run(mini)
    [table] = mini.kept_scores()
    table.write_bytes(damage(table.read_bytes()))
    assert run(mini)[0].equals(whole[0])
    table.unlink()
    assert run(mini)[0].equals(whole[0])
    assert mini.kept_scores() == [table]
    assert len(scored) == 9


def test_classes_that_both_sets_have_are_refused(mini):
    mini.features("pets", "test", np.arange(10) % 3, seed=2, classnames=["Sea_Otter", "wolf", "fox"])
    mini.features("cars", "test", np.arange(7) % 2, seed=4, classnames=["van", "sea otter"])
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    with pytest.raises(
        OodgridError, match="OOD set cars overlaps ID set pets: they share 1 class name, as 'sea otter'"
    ):
        run(mini)
    assert len(run(mini, allow_overlap=True)[0]) == 22


def test_a_covariate_shift_has_the_same_classes_of_course(mini):
    for name, count in SETS.items():
        mini.features(name, "test", np.arange(count) % 3, seed=2, classnames=["otter", "wolf", "fox"])
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    shifted = {"covariate": [{"name": name, "imported": {}} for name in ("noise", "cars")]}
    assert len(run(mini, ood=shifted)[0]) == 22


# ------------------------------------------------------------------------------------------------ second calls


def test_a_second_call_computes_nothing_and_gives_the_same_file_which_is_stored_once(mini, scored):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    first = run(mini)
    table = paths.scores(mini.results, "mini", "mini", "pets", "prototype")
    table.unlink()  # as Snakemake does before it runs a job again
    second = run(mini)
    assert len(scored) == 3
    [kept] = mini.kept_scores()
    assert kept.samefile(table)
    assert first[0].equals(second[0])
    assert first[1] == second[1]


@pytest.mark.parametrize("method", ["prototype", "any"])
def test_the_order_of_shots_seeds_and_scores_in_the_configuration_decides_nothing(mini, method, scored):
    mini.applied("prototype", "prototypes", [mini.prototypes(seed=seed).fit for seed in (1, 2)])
    scores = ["mcm", {"name": "mcm", "T": 0.5}, "max_logit", "knn", {"name": "mahalanobis"}]
    first, _ = run(mini, method, shots=[1, 2], seeds=[1, 2], scores=scores)
    once = len(scored)
    second, _ = run(mini, method, shots=[2, 1], seeds=[2, 1], scores=scores[::-1])
    assert len(scored) == once > 0
    assert sorted(second.columns) == sorted(first.columns)
    assert second.select(first.columns).equals(first)


@pytest.mark.parametrize("method", ["prototype", "any"])
def test_a_new_seed_computes_only_its_own_parts(mini, method, scored):
    fits = [mini.prototypes(seed=seed).fit for seed in (1, 2)]
    mini.applied("prototype", "prototypes", fits[:1])
    first = run(mini, method)[0]
    mini.applied("prototype", "prototypes", fits)
    second = run(mini, method, seeds=[1, 2])[0]
    assert scored == [(seed, name) for seed in (1, 2) for name in SETS]
    assert len(mini.kept_scores()) == 1  # the first table holds nothing that the second does not
    assert rows_of(second, "cars", seed=1).equals(rows_of(first, "cars"))
    assert len(second) == 2 * len(first)


def test_a_new_ood_set_computes_only_its_own_part(mini, scored):
    mini.features("planes", "test", np.zeros(4, dtype=int), seed=8)
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    run(mini)
    table, _ = run(mini, far=["cars", "planes"])
    assert scored == [(1, name) for name in (*SETS, "planes")]
    assert len(rows_of(table, "planes")) == 4


def test_other_features_under_the_same_name_are_scored_anew(mini, scored):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    first = run(mini)[0]
    mini.features("cars", "test", np.arange(7) % 2, seed=99)
    second = run(mini)[0]
    assert scored == [(1, name) for name in (*SETS, "cars")]
    assert rows_of(first, "pets").equals(rows_of(second, "pets"))
    assert not rows_of(first, "cars")["mcm"].equals(rows_of(second, "cars")["mcm"])


def test_other_training_features_make_the_scores_of_any_anew(mini, scored):
    first = run(mini, "any")[0]
    mini.features("pets", "train", np.repeat(np.arange(3), 8), seed=77)
    second = run(mini, "any")[0]
    assert len(scored) == 6
    assert not first["knn@k=1"].equals(second["knn@k=1"])


def test_a_score_with_another_parameter_is_not_taken_from_what_was_kept(mini):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    first = run(mini, scores=[{"name": "mcm", "T": 0.5}])[0]
    second = run(mini, scores=[{"name": "mcm", "T": 0.25}])[0]
    assert second.columns == [*SAMPLE, "mcm@T=0.25"]
    assert not np.allclose(first["mcm@T=0.5"], second["mcm@T=0.25"])


def test_a_score_whose_parameter_looks_the_same_in_its_name_is_not_either(mini, scored):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    for T in (0.5, 0.50000001):
        assert run(mini, scores=[{"name": "mcm", "T": T}])[0].columns == [*SAMPLE, "mcm@T=0.5"]
    assert len(scored) == 6


def test_what_a_killed_job_has_computed_of_a_new_score_is_not_computed_again(mini, computed, monkeypatch):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    run(mini, scores=["mcm"])
    computed.clear()
    of_set = run_module.of_set

    def killed(fit, samples, choices, **options):
        if samples.name == "cars":
            raise KeyboardInterrupt
        return of_set(fit, samples, choices, **options)

    monkeypatch.setattr(run_module, "of_set", killed)
    with pytest.raises(KeyboardInterrupt):
        run(mini, scores=["energy", "mcm"])
    monkeypatch.setattr(run_module, "of_set", of_set)
    assert run(mini, scores=["mcm", "energy"])[0]["energy"].null_count() == 0
    assert computed == [(1, name, ["energy"]) for name in SETS]
    assert not list((mini.results / "kept" / "score").rglob("parts/*"))


def test_a_score_of_a_sweep_that_is_listed_too_is_computed_once(mini, computed):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    experiment = mini.experiment(scores=["mcm", "knn"]).model_copy(update={"temperatures": [0.5, 1.0]})
    score(mini.results, experiment, "mini", "pets", "prototype")
    assert computed == [(1, name, names) for names in (["mcm"], ["mcm@T=0.5"]) for name in SETS]
    tables = [path(mini.results, "mini", "mini", "pets", "prototype") for path in (paths.scores, paths.sweeps)]
    first, sweep = (store.read_table(path)[0] for path in tables)
    assert sweep["mcm"].equals(first["mcm"]) and sweep["prediction"].equals(first["prediction"])


def test_of_a_new_score_alone_metrics_are_computed_and_older_tables_are_read(mini, monkeypatch):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    measured, all_metrics = [], score_table.all_metrics
    monkeypatch.setattr(
        score_table, "all_metrics", lambda *sides, **options: measured.append(1) or all_metrics(*sides, **options)
    )

    def metrics(scores):
        measured.clear()
        run(mini, scores=scores)
        return store.read_table(evaluate(mini.results, mini.experiment(scores=scores))[0])[0], len(measured)

    _, once = metrics(["mcm"])
    both, added = metrics(["energy", "mcm"])
    one, taken_out = metrics(["energy"])
    assert (once, added, taken_out) == (2, 2, 0)
    assert one.equals(both.filter(score="energy"))
    table, about = run(mini, scores=["energy", "mcm"])
    fits = [fit.model_copy(update={"rows": {}}) for fit in about.fits]  # as before columns were kept apart
    older = about.model_copy(update={"scores": {}, "fits": fits})
    path = paths.scores(mini.results, "mini", "mini", "pets", "prototype")
    path.unlink()
    manifests.write_table(path, table, older)
    measured.clear()
    again, _ = store.read_table(evaluate(mini.results, mini.experiment(scores=["energy", "mcm"]))[0])
    assert again.equals(both)
    assert len(measured) == 4


def test_metrics_that_two_experiments_add_side_by_side_are_kept_of_both(mini, monkeypatch):
    fits = [mini.prototypes().fit]
    mini.applied("prototype", "prototypes", fits)
    other = mini.experiment(scores=["energy"]).model_copy(update={"experiment": "other"})
    applied = manifests.Applied(method="prototype", leaves="prototypes", fits=fits)
    manifests.write(paths.applied(mini.results, "other", "mini", "pets", "prototype"), applied)
    all_metrics, measured = score_table.all_metrics, []

    def meanwhile(*sides, **options):
        measured.append(1)
        if len(measured) == 1:  # the other experiment is evaluated from beginning to end
            score(mini.results, other, "mini", "pets", "prototype")
            evaluate(mini.results, other)
        return all_metrics(*sides, **options)

    monkeypatch.setattr(score_table, "side_by_side", map)
    monkeypatch.setattr(score_table, "all_metrics", meanwhile)
    for scores in (["mcm"], ["energy", "mcm"]):
        run(mini, scores=scores)
        evaluate(mini.results, mini.experiment(scores=scores))
    assert len(measured) == 4


@pytest.mark.parametrize("part", ["classifier", "sets", "bank"])
def test_what_apply_left_anew_is_scored_anew(mini, part, scored):
    """Apply names its files by content: another name is another content."""
    fit, drawn = mini.prototypes(), np.repeat(np.arange(3, dtype=np.int32), 2)
    left = {
        label: {
            "classifier": mini.kept(f"classifier-{label}", prototypes=(sign * fit.values).astype(np.float32)),
            "sets": {
                name: mini.kept(f"{name}-{label}", features=sign * mini.read(name).image_features) for name in SETS
            },
            "bank": mini.kept(f"bank-{label}", features=sign * np.repeat(fit.values, 2, axis=0), labels=drawn),
        }
        for label, sign in (("old", 1), ("new", -1))
    }
    tables = []
    for label in ("old", "new"):
        changed = fit.fit.model_copy(update={**left["old"], part: left[label][part]})
        mini.applied("clip_adapter", "features", [changed])
        tables.append(run(mini, "clip_adapter", methods=["clip_adapter"])[0])
    column = "knn@k=1" if part == "bank" else "max_logit"
    assert not np.allclose(tables[0][column], tables[1][column])
    assert len(scored) == 6


# ---------------------------------------------------------------------------------------------------- compute


def test_compute_skips_a_score_whose_needs_are_not_there():
    with pytest.raises(Skip, match="it needs bank"):
        compute(Choice(name="knn"), {"logits": np.zeros((2, 3)), "features": np.zeros((2, 3))})


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ([1.0, np.nan], "1 of 2 values that are not finite"),
        ([1.0], r"shape \(1,\) for 2 samples: one number per sample"),
    ],
)
def test_compute_refuses_values_that_are_no_score(monkeypatch, values, fault):
    from dataclasses import replace

    broken = replace(registry.find("score", "mcm"), make=lambda logits: np.array(values), plugin=Path("mine.py"))
    monkeypatch.setitem(registry.entries("score"), "mcm", broken)
    with pytest.raises(OodgridError, match=rf"score mcm in mine\.py gave {fault}"):
        compute(Choice(name="mcm"), {"logits": np.zeros((2, 3))})


@pytest.mark.parametrize("text_cosines", [True, False])
def test_label_lists_are_compared_only_where_a_fit_says_that_its_logits_are_cosines_to_texts(mini, text_cosines):
    method = "zero_shot" if text_cosines else "prototype"
    fit = mini.prototypes(*((0, 0) if text_cosines else (2, 1)))
    mini.applied(method, "prototypes", [fit.fit.model_copy(update={"text_cosines": text_cosines})])
    texts = np.random.default_rng(3).normal(size=(1, 5, 6)).astype(np.float32)
    provenance = {"text": {"kinds": [""] * 5}}
    path = paths.label_texts(mini.results, "mini", "cma-agents")
    store.write_texts(path, store.Texts(texts, list("abcde"), ["{}"], provenance))
    table, about = run(mini, method, methods=[method], scores=["mcm", "cma"])
    assert table["cma"].null_count() == (0 if text_cosines else len(table))
    assert list(about.fits[0].skipped) == ([] if text_cosines else ["cma"])
