"""WeiPer+KLD: are activations and perturbed logits spread as those of the shots?"""

from __future__ import annotations

import numpy as np
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import Bank, Head
from oodgrid.score.perturbation import counts, densities, divergence, perturbed_logits
from oodgrid.score.shares import largest_share

FLOOR, FLOOR_PERTURBED = 0.01, 0.025  # added to every bin; constants of the authors' code


@score(
    title="WeiPer+KLD",
    needs=("features", "logits", "head", "bank"),
    family="activations",
    paper="Granz et al. 2024 (NeurIPS), WeiPer+KLD; github.com/mgranz/weiper (weiper_kldiv/utils.py)",
    adapted="made for penultimate features of any norm and sign; here on signed, L2-normalised ones of few shots",
)
def weiper_kld(
    features: np.ndarray,
    logits: np.ndarray,
    head: Head,
    bank: Bank,
    *,
    delta: NonNegativeFloat = 2.0,
    repeats: PositiveInt = 100,
    seed: NonNegativeInt = 0,
    bins: PositiveInt = 80,
    lambda_1: NonNegativeFloat = 2.5,
    lambda_2: NonNegativeFloat = 0.1,
    smoothing: PositiveInt = 40,
    smoothing_perturbed: PositiveInt = 15,
    T: PositiveFloat = 0.01,
) -> np.ndarray:
    """WeiPer+KLD: -(KLD(x) + lambda_1 KLD(W_1 x + b, ..., W_R x + b) - lambda_2 MSP_W), MSP_W and W_r as in `weiper`.

    KLD takes the D values of a sample, or its R·K perturbed logits, as draws of one distribution. It is the symmetric
    Kullback-Leibler divergence between two histograms over the range of the shots: the mean one of the shots, and the
    sample's own, smoothed by a moving mean. What lies outside that range is dropped. Draws are fixed by the seed for
    shots and samples (the authors' code draws anew for each batch, and they report a median over runs).

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), what the head makes of them.
        head: The classifier.
        bank: The labelled shots.
        delta: Length of a perturbation in lengths of its weights.
        repeats: How many perturbed heads.
        seed: Of the draws.
        bins: Of both histograms.
        lambda_1: Weight of the divergence of perturbed logits.
        lambda_2: Weight of MSP_W.
        smoothing: Width of the moving mean of feature values, in bins.
        smoothing_perturbed: The same of perturbed logits.
        T: Temperature on cosines, of MSP_W alone.

    All defaults but T, which is the classifier's own, are those published for ImageNet and ViT-B/16.

    Returns:
        Shape (N,).
    """
    of_bank = densities(head, bank, bins=bins, delta=delta, repeats=repeats, seed=seed)
    (low, high, latent), (low_w, high_w, perturbed) = of_bank
    msp, counts_w = np.zeros(len(features)), np.zeros((len(features), bins))
    for rows, block in perturbed_logits(features, logits, head, delta=delta, repeats=repeats, seed=seed):
        counts_w[rows] += counts(block, low_w, high_w, bins)
        msp[rows] += largest_share(block, T=T) / repeats
    kld = divergence(latent, counts(features, low, high, bins) / features.shape[1], smoothing, FLOOR)
    kld_w = divergence(perturbed, counts_w / (repeats * logits.shape[1]), smoothing_perturbed, FLOOR_PERTURBED)
    return -(kld + lambda_1 * kld_w - lambda_2 * msp)
