"""MDF: Mahalanobis distances of every layer of an encoder of texts."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from oodgrid.registry import score
from oodgrid.score.contract import Bank, Skip
from oodgrid.score.gaussians import Covariance, whole_bank
from oodgrid.score.sharing import shared

Combine = Literal["svm", "mean"]
TOLERANCE = 1e-6  # of libsvm, on distances whose mean is 1


@score(
    title="MDF",
    needs=("layer_features", "bank"),
    family="features",
    paper="Xu et al. 2021 (ACL), Unsupervised out-of-domain detection via pre-trained transformers; "
    "github.com/rivercold/BERT-unsupervised-OOD 9e1cd4c (ood_main.py, our_model.py)",
    adapted="covariance shrunk for few shots; nu and the sign are fixed, where the authors' code takes those of the "
    "best test AUROC; tokens are pooled as the backbone says",
)
def mdf(
    layer_features: np.ndarray,
    bank: Bank,
    *,
    covariance: Covariance = "ledoit_wolf",
    combine: Combine = "svm",
    nu: Annotated[float, Field(gt=0, le=1)] = 0.1,
) -> np.ndarray:
    """MDF: -sum_l w_l d_l, d_l = (x_l - mu_l)ᵀ S_l⁻¹ (x_l - mu_l), a Gaussian of the bank without its classes a layer.

    w is the normal of a linear one-class SVM of the bank's own distances, scaled to the sum 1. Distances are no less
    than 0, and so is every w_l: the farther, the lower, whatever nu is. Embeddings, layer 0, are left out as published.

    Args:
        layer_features: Shape (N, 1 + layers, D), as the encoder gives them, not normalised.
        bank: The shots, with their layers; labels do not count. As published all training texts: bank: train.
        covariance: "ledoit_wolf", or "empirical", the published estimator with its pseudo-inverse.
        combine: "svm", or "mean" over the layers.
        nu: Of the SVM, the largest share of the bank beyond its plane; .1 is fixed here and no choice of a set. At 1 w
            is the mean distance of the bank, below 1 / M a single sample decides.

    Returns:
        Shape (N,), at most 0.

    Raises:
        Skip: The bank has no layers, or no two samples that differ, or S_l is singular though shrunk.
    """
    banks = of_layers(bank)
    distances = [
        whole_bank(layer_features[:, layer].astype(np.float64), each, covariance=covariance)
        for layer, each in enumerate(banks, 1)
    ]
    if combine == "mean":
        return -np.mean(distances, axis=0)
    return -(normal(bank, covariance=covariance, nu=nu) @ np.array(distances))


@shared
def of_layers(bank: Bank) -> list[Bank]:
    """Return the bank as every layer but the embeddings has it.

    Raises:
        Skip: It has no layers, or embeddings alone.
    """
    if bank.layers is None:
        raise Skip("it needs what every layer gives of the labelled samples too")
    if bank.layers.shape[1] < 2:
        raise Skip("it needs a layer beside the embeddings")
    layers = bank.layers.astype(np.float64).swapaxes(0, 1)[1:]
    return [Bank(np.ascontiguousarray(features), bank.labels, bank.shots) for features in layers]


@shared
def normal(bank: Bank, *, covariance: Covariance, nu: float) -> np.ndarray:
    """Return the weight of every layer but the embeddings, shape (layers,), of the sum 1.

    Raises:
        Skip: As `mdf`.
    """
    own = np.array([whole_bank(each.features, each, covariance=covariance) for each in of_layers(bank)]).T
    if not own.any():
        raise Skip("the labelled samples have no distance from their mean")
    # at 1 every sample counts alike, and libsvm finds no plane's offset
    weights = own.mean(axis=0) if nu == 1 else _plane(own / own.mean(), nu)
    return weights / weights.sum()


def _plane(own: np.ndarray, nu: float) -> np.ndarray:
    """Return the normal (layers,) of the plane that holds samples (M, layers) apart from 0."""
    from sklearn.svm import OneClassSVM

    machine = OneClassSVM(kernel="linear", nu=nu, tol=TOLERANCE)
    machine.random_state = 0  # it decides nothing; without one the seed is drawn from the state that belongs to all
    return machine.fit(own).coef_[0]
