"""Metrics and curves of a made-up experiment in which ID scores are N(d, 1) and OOD scores N(0, 1.3²), so that all
numbers have a closed form and curves and metrics agree."""

from __future__ import annotations

import hashlib
from functools import cache
from math import log2
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

METHODS = ("zero_shot", "prototype", "linear_probe", "coop", "clip_adapter", "tip_adapter", "tip_adapter_f")
SCORES = ("mcm", "msp", "max_logit", "energy", "entropy")
FEATURE_SCORES = ("knn", "mahalanobis")
SETS = {
    "near": ["unseen-combinations", "unseen-shapes", "semantic_2"],
    "far": ["digits", "noise", "textures"],
    "covariate": ["blurred_3"],
}


@cache
def _unit(*names):
    """A number in [0, 1) that depends on the names alone."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, names)).encode()).digest()[:4]) / 2**32


def separation(method, shots, seed, score, ood, kind):
    base = {"near": 0.8, "far": 1.9, "covariate": 0.4}[kind]
    learned = 0.15 * log2(shots + 1) * (0.5 + _unit(method)) if shots else 0.0
    return base + learned + 0.5 * _unit(ood) - 0.5 * _unit(method, score) + 0.12 * _unit(method, shots, seed, ood)


SPREAD = 1.3  # standard deviation of OOD scores; ID scores have 1


Z95 = norm.ppf(0.95)
phi = NormalDist().cdf  # scipy's takes 50 µs for a scalar, and there are tens of thousands


def rates(d):
    return {
        "auroc": phi(d / (1 + SPREAD**2) ** 0.5),
        "fpr95_id_pos": phi((Z95 - d) / SPREAD),
        "fpr95_ood_pos": phi(SPREAD * Z95 - d),
        "aupr_in": phi(d / 1.3),
        "aupr_out": phi(d / 1.5),
    }


def row(method, shots, seed, score, ood, kind, skip=None, backbone="tiny", id_dataset="concepts"):
    numbers = dict.fromkeys(rates(1.0))
    accuracy = None
    if not skip:
        numbers = {
            name: float(value) for name, value in rates(separation(method, shots, seed, score, ood, kind)).items()
        }
        accuracy = (
            None
            if method == "any"
            else 0.62 + 0.05 * log2(shots + 1) * _unit(method) + 0.02 * _unit(method, shots, seed)
        )
    bounds = {}
    for name in BOUNDED:
        bounds[f"{name}_lo"] = None if skip else max(0.0, numbers[name] - 0.02)
        bounds[f"{name}_hi"] = None if skip else min(1.0, numbers[name] + 0.02)
    return {
        "experiment": "made-up", "backbone": backbone, "id_dataset": id_dataset, "ood_dataset": ood, "ood_kind": kind,
        "method": method, "base_method": method.split("@")[0], "shots": shots, "seed": seed, "score": score,
        "base_score": score.split("@")[0], "params": "{}",
        "status": "skipped" if skip else "ok", "reason": skip or "", "n_id": 1000, "n_ood": 800,
        **numbers, **bounds, "id_accuracy": accuracy,
    }  # fmt: skip


BOUNDED = ("auroc", "fpr95_id_pos", "fpr95_ood_pos")
NUMBERS = [*(f"{name}{end}" for name in BOUNDED for end in ("", "_lo", "_hi")), "aupr_in", "aupr_out", "id_accuracy"]


def frame_of(rows):
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return frame.with_columns(*(pl.col(name).cast(pl.Float64) for name in NUMBERS))


def build_metrics(
    methods=METHODS, shots=(1, 2, 4, 8, 16), seeds=(1, 2, 3), scores=SCORES, features=FEATURE_SCORES, sets=SETS,
    skip=None, pairs=(("tiny", "concepts"),),
):  # fmt: skip
    """`skip(method, shots, seed, score, ood)` returns a reason or None."""
    skip = skip or (lambda *_: None)
    rows = []
    for backbone, id_dataset in pairs:
        for method in (*methods, "any"):
            runs = [(0, 0)] if method == "zero_shot" else [(shot, seed) for shot in shots for seed in seeds]
            for shot, seed in runs:
                for score in features if method == "any" else scores:
                    for kind, oods in sets.items():
                        for ood in oods:
                            why = skip(method, shot, seed, score, ood)
                            rows.append(row(method, shot, seed, score, ood, kind, why, backbone, id_dataset))
    return frame_of(rows)


def build_curves(metrics):
    """Curves for the largest shots and first seed of each method."""
    keys = ["backbone", "id_dataset", "ood_dataset", "ood_kind", "method", "base_method", "shots", "seed", "score",
            "base_score"]  # fmt: skip
    best = metrics.group_by("method").agg(pl.col("shots").max(), pl.col("seed").min())
    rows = metrics.filter(pl.col("status") == "ok").join(
        best, on=["method", "shots", "seed"], how="semi", maintain_order="left"
    )
    curves = [{**{key: entry[key] for key in keys}, **_curve(entry)} for entry in rows.iter_rows(named=True)]
    lists = {"roc_fpr": pl.List(pl.Float32), "roc_tpr": pl.List(pl.Float32), "hist_edges": pl.List(pl.Float64),
             "hist_id": pl.List(pl.Float32), "hist_ood": pl.List(pl.Float32)}  # fmt: skip
    schema = {**{key: metrics.schema[key] for key in keys}, **lists,
              "threshold95": pl.Float64, "auroc": pl.Float64, "fpr95_id_pos": pl.Float64}  # fmt: skip
    return pl.DataFrame(curves, schema=schema, infer_schema_length=None)


def _curve(entry):
    d = separation(
        entry["method"],
        entry["shots"],
        entry["seed"],
        entry["score"],
        entry["ood_dataset"],
        entry["ood_kind"],
    )
    threshold = np.linspace(d + 5, -5, 400)
    edges = np.linspace(-4, d + 4, 101)
    widths = np.diff(edges)
    scale, shift = (0.0002, 0.001) if entry["score"] == "mcm" else (1.0, 0.0)
    return {
        "roc_fpr": norm.sf(threshold / SPREAD).astype("f4").tolist(),
        "roc_tpr": norm.sf(threshold - d).astype("f4").tolist(),
        "hist_edges": (edges * scale + shift).tolist(),
        "hist_id": (np.diff(norm.cdf(edges - d)) / widths / scale).astype("f4").tolist(),
        "hist_ood": (np.diff(norm.cdf(edges / SPREAD)) / widths / scale).astype("f4").tolist(),
        "threshold95": float((d - Z95) * scale + shift),
        "auroc": entry["auroc"],
        "fpr95_id_pos": entry["fpr95_id_pos"],
    }


def no_tower(method, shots, seed, score, ood):
    """Skip reasons as a grid on imported features has them."""
    if method == "coop":
        return "needs the text tower, which an import of 100% features & no weights has not"
    if score == "mahalanobis" and shots == 1:
        return "needs 2 shots a class"
    return None


@pytest.fixture(scope="session")
def metrics_of():
    return build_metrics


@pytest.fixture(scope="session")
def curves_of():
    return build_curves


@pytest.fixture(scope="session")
def metrics():
    """Seven methods, five shots, three seeds, CoOp skipped throughout."""
    return build_metrics(skip=no_tower)


@pytest.fixture(scope="session")
def curves(metrics):
    return build_curves(metrics)
