"""A small demo from images to figures, through the tiny CLIP, as `make run` does it."""

from __future__ import annotations

import polars as pl
import pytest
import yaml

from oodgrid import registry


def _small_demo(clone) -> None:
    demo = yaml.safe_load((clone.folder / "config.yaml").read_text(encoding="utf-8"))
    demo["methods"] = ["zero_shot", {"name": "coop", "epochs": 2}]
    demo["shots"], demo["seeds"] = [1, 2], [1]
    demo["id_datasets"][0]["ood"] = {"near": ["moonlit-unseen-shapes"], "far": ["digits"]}
    clone.write(demo)


def test_images_become_tables_and_figures(whole):
    clone = whole
    _small_demo(clone)
    clone.snakemake()
    rows = clone.metrics("demo")
    assert set(rows["status"]) == {"ok", "skipped"}
    reasons = rows.filter(pl.col("status") == "skipped")["reason"].unique().to_list()
    assert reasons == ["the tied covariance needs at least 2 shots a class"]
    zero_shot = rows.filter(pl.col("method") == "zero_shot")
    assert 0.50 <= zero_shot["id_accuracy"][0] <= 0.75
    for figure in ("shots", "temperature", "geometry"):
        assert (clone.folder / f"results/demo/figures/tiny/moonlit/{figure}.png").stat().st_size > 10_000
    assert (clone.folder / "results/demo/figures/tiny/moonlit/shots.pdf").read_bytes().startswith(b"%PDF")
    assert clone.run("oodgrid", "verify", *map(str, (clone.folder / "results/features").rglob("*.h5")))


@pytest.mark.slow
def test_the_default_experiment_tells_methods_apart(clone):
    """What docs/toy-world.md asks of the default experiment: there is room to learn, shots help, methods differ.

    ID accuracy alone: nothing is asked of OOD scores, by which the experiment was not chosen.
    """
    clone.snakemake("metrics")
    rows = clone.metrics("demo").filter(pl.col("id_accuracy").is_not_null())
    means = rows.group_by("method", "shots").agg(pl.col("id_accuracy").mean())
    accuracy = {(method, shots): value for method, shots, value in means.rows()}
    zero_shot = accuracy.pop(("zero_shot", 0))
    methods = {method for method, _ in accuracy}
    assert len(methods) == 6
    assert 0.50 <= zero_shot <= 0.75
    for method in methods:
        assert accuracy[method, 1] < accuracy[method, 4] < accuracy[method, 16]
        assert accuracy[method, 16] > zero_shot
    assert max(accuracy.values()) > zero_shot + 0.1
    assert len({round(accuracy[method, 16], 3) for method in methods}) >= 4


@pytest.mark.slow
def test_every_method_runs_together(clone):
    """experiments/all-methods.yaml with fewer shots and seeds: every method on images, and each does something."""
    whole = yaml.safe_load((clone.folder / "experiments/all-methods.yaml").read_text(encoding="utf-8"))
    listed = {method if isinstance(method, str) else method["name"] for method in whole["methods"]}
    of_images = {
        name for name, entry in registry.entries("method").items() if not {"pairs", "pseudo_ood"} & set(entry.needs)
    }
    assert listed | {"own_head"} == of_images  # that needs a network with a head
    whole["shots"], whole["seeds"] = [2], [1]
    clone.write(whole)
    clone.snakemake("metrics")
    rows = clone.metrics("all-methods")
    assert set(rows.filter(pl.col("status") != "ok")["score"]) == {"neg_prompt", "lsn", "fa", "energy"}
    mcm = rows.filter(score="mcm", ood_dataset="digits")
    assert len(mcm) == len(whole["methods"])
    assert mcm["id_accuracy"].min() > 3 / 24, "chance is 1 of 24"
    assert mcm["auroc"].n_unique() >= len(mcm) - 2  # gentle recipes may leave zero-shot as it is
    with_negatives = rows.filter(score="lsn", status="ok")["method"].unique()
    assert {name.partition("@")[0] for name in with_negatives} == {"neg_prompt", "lsn", "fa"}
