"""A network's own head: from its file through all stages, and its scores against the formulas as published."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from oodgrid import config, manifests, methods, paths, scores, store
from oodgrid.adapt.apply import apply
from oodgrid.adapt.fit import fit
from oodgrid.encode.heads import encode_head
from oodgrid.errors import OodgridError
from oodgrid.score.run import score

NAMES = ["red fox", "sea_otter", "snow leopard", "owl"]
OUTPUTS = ["owl", "lamp", "Sea otter", "Snow_Leopard", "tree", "red fox"]
ROWS = [5, 2, 3, 0]
LISTED = [
    "msp", "max_logit", "energy", "entropy", "gradnorm", "ash_s", "scale", {"name": "react", "bank": "train"},
    {"name": "knn", "bank": "train", "k": 3}, {"name": "vim", "bank": "train", "dim": 5},
    {"name": "mahalanobis", "bank": "train", "covariance": "empirical"},
    {"name": "single_gaussian", "bank": "train"},
    {"name": "she", "bank": "train"}, {"name": "dice", "bank": "train"}, "knn", "mcm",
]  # fmt: skip


@pytest.fixture
def headed(mini, tmp_path):
    """The miniature results with imported features, and a head in a file; and what it computes for each set."""
    rng = np.random.default_rng(5)
    weights, bias = rng.normal(size=(6, 16)), rng.normal(size=6)
    np.savez(tmp_path / "head.npz", weight=weights, bias=bias)
    mini.backbone = {**mini.backbone, "head": {"classes": OUTPUTS, "weights": str(tmp_path / "head.npz")}}
    mini.weights, mini.bias = weights[ROWS], bias[ROWS]
    return mini


def ran(mini, experiment, variant="own_head"):
    backbone, dataset = experiment.backbones[0], experiment.id_datasets[0]
    encode_head(mini.results, backbone, dataset)
    names = (mini.results, experiment, "mini", "pets", variant)
    fit(*names)
    apply(*names)
    table, metadata = store.read_table(score(*names))
    return table, metadata


def published(x, weights, bias, bank, labels):
    """The scores of raw features as their papers have them, at temperature 1, of the network's own logits."""
    z, known = x @ weights.T + bias, bank @ weights.T + bias
    p = softmax(z, axis=1)
    unit, of_bank = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, bank))
    cut = np.minimum(x, np.percentile(bank, 90))
    kept = x >= np.sort(x, axis=1)[:, [round(16 * 0.9)]]
    shaped = np.where(kept, x, 0) * np.exp(np.clip(x.sum(1) / np.where(kept, x, 0).sum(1), -100, 100))[:, None]
    u = -np.linalg.pinv(weights) @ bias
    axes = np.linalg.eigh((bank - u).T @ (bank - u))[1][:, -5:]
    residual = lambda v: np.linalg.norm((v - u) - (v - u) @ axes @ axes.T, axis=1)  # noqa: E731
    alpha = known.max(1).mean() / residual(bank).mean()
    means = np.stack([bank[labels == c].mean(0) for c in range(4)])
    inverse = np.linalg.pinv(np.cov((bank - means[labels]).T, bias=True))
    away = x[:, None] - means
    sorted_distances = np.sort(np.linalg.norm(unit[:, None] - of_bank, axis=2), axis=1)
    right = known.argmax(1) == labels
    patterns = np.stack([bank[(labels == c) & right].mean(0) if ((labels == c) & right).any() else means[c]
                         for c in range(4)])  # fmt: skip
    return {
        "msp": p.max(1),
        "max_logit": z.max(1) / 100,
        "energy": logsumexp(z, axis=1) / 100,
        "entropy": (p * np.log(p)).sum(1),
        "gradnorm": np.abs(x).sum(1) * np.abs(p - 1 / 4).sum(1),
        "ash_s": logsumexp(shaped @ weights.T + bias, axis=1) / 100,
        "react@bank=train": logsumexp(cut @ weights.T + bias, axis=1) / 100,
        "knn@k=3,bank=train": -sorted_distances[:, 2],
        "vim@dim=5,bank=train": (logsumexp(z, axis=1) - alpha * residual(x)) / 100,
        "mahalanobis@covariance=empirical,bank=train": -np.einsum("ncd,de,nce->nc", away, inverse, away).min(1),
        "she@bank=train": np.einsum("nd,nd->n", x, patterns[z.argmax(1)]),
        "mcm": softmax(z / 100, axis=1).max(1),
    }


def test_every_score_sees_the_networks_own_logits_and_norms(headed):
    experiment = headed.experiment("own_head", imported=True, text="own_head", classnames=NAMES, scores=LISTED)
    table, metadata = ran(headed, experiment)
    bank = headed.read("pets", "train")
    about = manifests.ScoreTable.model_validate_json(metadata) if isinstance(metadata, str) else metadata
    for name in ("pets", "cars"):
        x = headed.read(name).image_features.astype(np.float64)
        rows = table.filter(table["dataset"] == name)
        expected = published(x, headed.weights, headed.bias, bank.image_features.astype(np.float64), bank.labels)
        by_column = {frozenset(column.replace("@", ",").split(",")): column for column in rows.columns}
        for variant, values in expected.items():
            column = by_column[frozenset(variant.replace("@", ",").split(","))]
            np.testing.assert_allclose(rows[column].to_numpy(), values, rtol=2e-4, atol=1e-6, err_msg=variant)
        logits = x @ headed.weights.T + headed.bias
        assert rows["prediction"].to_list() == logits.argmax(1).tolist()
        assert rows["knn"].is_null().all()  # no shots: it says so
    assert "bank: train takes the whole train split" in str(about)


def test_a_text_list_is_no_match_for_a_head(headed):
    data = headed.experiment("own_head", imported=True, text="own_head", classnames=NAMES)
    assert not data.method("own_head").params
    with pytest.raises(OodgridError, match="has no head: write head:"):
        config.parse(
            {
                "experiment": "x",
                "backbones": [{"name": "b", "model": "timm/test_vit", "pretrained": "random"}],
                "id_datasets": [{"name": "concepts", "text": "own_head", "ood": {"far": ["noise"]}}],
                "methods": ["own_head"],
                "scores": ["msp"],
            }
        )


def test_without_a_head_it_is_skipped_with_the_reason(mini):
    experiment = mini.experiment("own_head", imported=True)
    path = fit(mini.results, experiment, "mini", "pets", "own_head")
    [left] = manifests.read(path, manifests.Fitted).fits
    assert left.status == "skipped"
    assert "write text: own_head" in left.reason


def test_features_whose_norm_an_import_has_lost_are_skipped(headed):
    headed.features("cars", "test", np.tile([0, 1], 4), 4, normalised=True)
    experiment = headed.experiment("own_head", imported=True, text="own_head", classnames=NAMES)
    table, about = ran(headed, experiment)
    assert not len(table)
    assert "the features of cars were normalised before they were imported" in str(about)


def test_another_head_is_refused_by_name(headed, tmp_path):
    from oodgrid import plan

    experiment = headed.experiment("own_head", imported=True, text="own_head", classnames=NAMES)
    encode_head(headed.results, experiment.backbones[0], experiment.id_datasets[0])
    shutil.rmtree(headed.results / "features")
    plan.check_identities(headed.results, experiment)
    np.savez(tmp_path / "head.npz", weight=np.eye(6, 16), bias=np.zeros(6))
    with pytest.raises(OodgridError, match=r"pets\.head\.h5 is not what the config means"):
        plan.check_identities(headed.results, experiment)


def test_the_head_is_a_file_of_the_plan(headed):
    from oodgrid import plan

    experiment = headed.experiment("own_head", imported=True, text="own_head", classnames=NAMES)
    file = paths.texts(headed.results, "mini", "pets", ".head")
    assert file in plan.encoded_files(headed.results, experiment)
    assert file in plan.fit_input(headed.results, experiment, "mini", "pets")
    assert file not in plan.encoded_files(headed.results, headed.experiment("own_head", imported=True))


def test_the_library_takes_weights_and_features_as_they_are():
    rng = np.random.default_rng(1)
    weights, bias, x = rng.normal(size=(3, 8)), rng.normal(size=3), 5 * rng.normal(size=(20, 8))
    network = methods.own_head(weights, head_bias=bias)
    z = x @ weights.astype(np.float32).T + bias.astype(np.float32)
    np.testing.assert_allclose(100 * network.logits(x), z, rtol=1e-5, atol=1e-4)
    values, _ = scores.all_scores(x, method=network, names=["msp", "energy", "gradnorm"])
    np.testing.assert_allclose(values["msp"], softmax(z, axis=1).max(1), rtol=1e-4)
    np.testing.assert_allclose(100 * values["energy"], logsumexp(z, axis=1), rtol=1e-4, atol=1e-4)
    with pytest.raises(OodgridError, match=r"head_bias: shape \(2,\)"):
        methods.own_head(weights, head_bias=bias[:2])


def test_scores_of_features_by_their_norm_are_those_of_pytorch_ood():
    """As others run them: the network's own layer at temperature 1, features by their norm, the training split."""
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("pytorch_ood.detector", reason="pytorch-ood is a test-only extra")
    rng = np.random.default_rng(4)
    labels = np.repeat(np.arange(5), 30)
    centres = 2 * rng.normal(size=(5, 16))
    bank = np.abs(centres[labels] + rng.normal(size=(150, 16))).astype(np.float32)  # without ties at 0
    x = np.abs(np.concatenate([bank[:10] + 0.1, 2 * rng.normal(size=(20, 16))])).astype(np.float32)
    means = np.stack([bank[labels == c].mean(0) for c in range(5)])  # the nearest of them is the class, nearly always
    weights, bias = (0.3 * means).astype(np.float32), (-0.15 * (means**2).sum(1)).astype(np.float32)
    layer = torch.nn.Linear(16, 5)
    layer.weight.data, layer.bias.data = torch.from_numpy(weights), torch.from_numpy(bias)
    samples, known, classes = torch.from_numpy(x), torch.from_numpy(bank), torch.from_numpy(labels)
    maps, of_maps = samples[:, :, None, None], lambda maps: layer(maps.flatten(1))
    threshold = float(np.percentile(bank, 90))
    detectors = {
        "ash_s": theirs.ASH(None, of_maps, variant="ash-s", percentile=0.9).predict_feature_maps(maps) / 100,
        "ash_b": theirs.ASH(None, of_maps, variant="ash-b", percentile=0.65).predict_feature_maps(maps) / 100,
        "scale": theirs.SCALE(None, of_maps, percentile=0.85).predict_feature_maps(maps) / 100,
        "react": theirs.ReAct(None, of_maps, threshold=threshold).predict_feature_maps(maps) / 100,
        "gradnorm": theirs.GradNorm(layer, param_filter=lambda name: name == "weight").predict(samples),
        "energy": theirs.EnergyBased(layer).predict(samples) / 100,
        "msp": theirs.MaxSoftmax(layer).predict(samples),
        "vim@dim=5": theirs.ViM(None, d=5, w=layer.weight, b=layer.bias).fit_features(known, classes)
        .predict_features(samples) / 100,
        "knn@k=3": theirs.KNN(None, k=3, normalize=True).fit_features(known, classes).predict_features(samples),
        "she": theirs.SHE(lambda x: x, layer).fit_features(known, classes).predict_features(samples),
        "dice@p=70": theirs.DICE(None, layer.weight, layer.bias, 0.7).fit_features(known, classes)
        .predict_features(samples) / 100,
    }  # fmt: skip
    names = [name.partition("@")[0] for name in detectors]
    params = {"vim": {"dim": 5}, "knn": {"k": 3}, "dice": {"p": 70}}
    values, skipped = scores.all_scores(
        x, method=methods.own_head(weights, head_bias=bias), train_features=bank, train_labels=labels,
        names=[{"name": name, **params.get(name, {})} for name in names],
    )  # fmt: skip
    assert not skipped
    for name, expected in detectors.items():
        np.testing.assert_allclose(values[name], -expected.detach().numpy(), rtol=1e-3, atol=1e-4, err_msg=name)
