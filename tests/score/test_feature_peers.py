"""Scores of features against pytorch-ood's detectors on the same arrays: higher = OOD there."""

from __future__ import annotations

import numpy as np
import pytest

from tests.score.feature_world import score, world

torch = pytest.importorskip("torch")
detector = pytest.importorskip("pytorch_ood.detector", reason="pytorch-ood is a test-only extra")

SINGLE = {"rtol": 2e-4, "atol": 1e-6}  # these detectors compute in float32, whatever they are given


@pytest.fixture
def made():
    """Classes of many shots, all predicted at least once as themselves; a head with a bias."""
    return world(shots=30, classes=5, width=16, samples=50, noise=0.2, seed=1, bias=0.02 * np.arange(5.0))


@pytest.fixture(autouse=True)
def double():
    """Some detectors compute in torch's default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def tensors(*arrays):
    return [torch.from_numpy(np.array(array)) for array in arrays]


def linear(made, dtype):
    head = torch.nn.Linear(16, 5).to(dtype)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(made.head.weights))
        head.bias.copy_(torch.from_numpy(made.head.bias))
    return head


def of_pytorch_ood(detector, made, dtype=torch.float64):
    samples, bank, labels = tensors(made.features, made.bank.features, made.bank.labels)
    detector.fit_features(bank.to(dtype), labels)
    return -detector.predict_features(samples.to(dtype)).detach().numpy()


@pytest.mark.parametrize(("name", "kind"), [("mahalanobis", "Mahalanobis"), ("relative_mahalanobis", "RMD")])
def test_gaussians_of_the_empirical_covariance(name, kind, made):
    """Their covariance is a sum over M = 150 shots, plus 1e-6 on the diagonal: negligible of features 1000 times as
    long. Half the distance is theirs for Mahalanobis."""
    samples, bank, labels = tensors(1000 * made.features, 1000 * made.bank.features, made.bank.labels)
    fitted = getattr(detector, kind)(encoder=None).fit_features(bank, labels)
    theirs = -fitted.predict_features(samples).numpy() * 150 * (2 if kind == "Mahalanobis" else 1)
    np.testing.assert_allclose(score(name, made, covariance="empirical"), theirs, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 7])
def test_knn(k, made):
    theirs = of_pytorch_ood(detector.KNN(encoder=None, k=k, normalize=True), made)
    np.testing.assert_allclose(score("knn", made, k=k), theirs, rtol=1e-7)


def test_she(made):
    theirs = of_pytorch_ood(detector.SHE(lambda x: x, linear(made, torch.float64)), made)
    assert (made.bank.logits.argmax(axis=1) != made.bank.labels).any()
    np.testing.assert_allclose(score("she", made), theirs, rtol=1e-9)


def test_nnguide(made):
    theirs = of_pytorch_ood(detector.NNGuide(None, linear(made, torch.float32), k=6), made, torch.float32)
    np.testing.assert_allclose(score("nnguide", made, k=6, T=1.0), theirs, **SINGLE)


def test_fdbd(made):
    theirs = of_pytorch_ood(detector.fDBD(None, linear(made, torch.float32)), made, torch.float32)
    np.testing.assert_allclose(score("fdbd", made), theirs, **SINGLE)


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_nci(alpha, made):
    theirs = of_pytorch_ood(detector.NCI(None, linear(made, torch.float32), alpha=alpha), made, torch.float32)
    np.testing.assert_allclose(score("nci", made, alpha=alpha), theirs, **SINGLE)


@pytest.mark.parametrize("dim", [3, 12])
def test_vim(dim, made):
    weights, bias = tensors(made.head.weights, made.head.bias)
    theirs = of_pytorch_ood(detector.ViM(None, d=dim, w=weights, b=bias), made, torch.float32)
    np.testing.assert_allclose(score("vim", made, dim=dim, T=1.0), theirs, **SINGLE)
