"""LAID, reconstructed: an orthogonal transform that parts features into what they mean and how they look.

Long et al. 2024, IS-OOD (NeurIPS Datasets and Benchmarks, arXiv 2406.09867) learn such a transform on texts, one for
each pair of a semantic and a covariate prompt, and measure with it how far an image is shifted in either. Neither their
code nor their formulas could be read, so what stands here is ours, after their abstract:

* Texts x[c, s] under C covariate prompts and S semantic words, of unit norm, minus their mean. The two-way means are
  m[s] over prompts and n[c] over words, with the scatters A = mean m mᵀ and B = mean n nᵀ.
* The transform Q has a first part, the semantic one, that holds as much of A and as little of B as an orthogonal
  transform can: tr(P (A - B)) is largest for the projector P on eigenvectors of A - B. The smallest number of them is
  taken that holds a `share` of the positive eigenvalues; Q's other rows are the covariate part.
* From there, `steps` of descent over all such parts on cross-entropies: which word it is, by the semantic part and the
  means m; which prompt, by the covariate part and the means n; T = .01. Without steps it is the closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from oodgrid.score.contract import Bank, Skip, TextList, directions, normalise, of_directions
from oodgrid.score.gaussians import whitening
from oodgrid.score.sharing import frozen, shared

Share = Annotated[float, Field(gt=0, le=1)]
Steps = Annotated[int, Field(ge=0, le=1000)]
T = 0.01
FIRST_STEP = 1e-3
HALVINGS = 20  # of a step that does not descend, before the descent has ended


@dataclass(frozen=True, eq=False)
class Transform:
    """An orthogonal transform in two parts.

    Attributes:
        semantic: Shape (D, d), orthonormal columns.
        covariate: Shape (D, D - d), likewise, and orthogonal to these.
    """

    semantic: np.ndarray
    covariate: np.ndarray

    def __post_init__(self) -> None:
        frozen(self)


@shared
def transform(texts: TextList, *, share: float, steps: int) -> Transform:
    """Return the transform that texts under several templates determine: words are semantic, templates covariate.

    Raises:
        Skip: There are fewer than two words or two templates, or texts do not vary with either.
    """
    if texts.by_template is None or min(texts.by_template.shape[:2]) < 2:
        raise Skip("LAID parts words from prompts: its list needs at least two labels under at least two templates")
    grid = normalise(texts.by_template)
    grid = grid - grid.mean(axis=(0, 1))
    words, prompts = grid.mean(axis=0), grid.mean(axis=1)
    basis, rest = _closed_form(words, prompts, share)
    if steps:
        basis = _descend(basis, grid, words, prompts, steps)
        rest = np.linalg.qr(np.hstack([basis, rest]))[0][:, basis.shape[1] :]
    return Transform(basis, rest)


def _closed_form(words: np.ndarray, prompts: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return orthonormal bases of the semantic part, (D, d), and of the covariate part, (D, D - d)."""
    scatter = words.T @ words / len(words) - prompts.T @ prompts / len(prompts)
    values, vectors = np.linalg.eigh(scatter)
    values, vectors = values[::-1], vectors[:, ::-1]
    positive = np.clip(values, 0, None)
    if positive[0] <= 1e-12 or values[-1] >= -1e-12:
        raise Skip("the texts of LAID's list do not vary both with their words and with their prompts")
    held = np.cumsum(positive) / positive.sum()
    count = min(int(np.searchsorted(held, share - 1e-12)) + 1, int(np.sum(values > 0)))
    return vectors[:, :count], vectors[:, count:]


def _descend(basis: np.ndarray, grid: np.ndarray, words: np.ndarray, prompts: np.ndarray, steps: int) -> np.ndarray:
    """Return a basis with a lower loss: gradients along the Grassmannian, QR back onto it, halved until it descends."""
    loss, slope = _loss(basis, grid, words, prompts)
    step = FIRST_STEP
    for _ in range(steps):
        direction = 2 * (slope @ basis)
        direction -= basis @ (basis.T @ direction)
        for _ in range(HALVINGS):
            candidate = _orthonormal(basis - step * direction)
            lower, steeper = _loss(candidate, grid, words, prompts)
            if lower < loss:
                basis, loss, slope, step = candidate, lower, steeper, 2 * step
                break
            step /= 2
        else:
            break
    return basis


def _orthonormal(basis: np.ndarray) -> np.ndarray:
    q, r = np.linalg.qr(basis)
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)  # near the basis, not mirrored


def _loss(basis: np.ndarray, grid: np.ndarray, words: np.ndarray, prompts: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the sum of both cross-entropies under the projector P = basis basisᵀ, and its gradient in P, (D, D)."""
    flat = grid.reshape(-1, grid.shape[2])
    inside = flat @ basis
    which_prompt, which_word = np.divmod(np.arange(len(flat)), grid.shape[1])
    semantic, of_words = _cross_entropy(inside @ (words @ basis).T, which_word)
    cosines = flat @ prompts.T - inside @ (prompts @ basis).T
    covariate, of_prompts = _cross_entropy(cosines, which_prompt)
    slope = flat.T @ (of_words @ words - of_prompts @ prompts)
    return semantic + covariate, (slope + slope.T) / 2


def _cross_entropy(cosines: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean cross-entropy of softmax(cosines / T), and its gradient, the shape of the cosines."""
    shifted = (cosines - cosines.max(axis=1, keepdims=True)) / T
    powers = np.exp(shifted)
    sums = powers.sum(axis=1)
    rows = np.arange(len(labels))
    loss = np.mean(np.log(sums) - shifted[rows, labels])
    gradient = powers / sums[:, None]
    gradient[rows, labels] -= 1
    return float(loss), gradient / (T * len(labels))


@shared
def semantic_similarity(features: np.ndarray, bank: Bank, texts: TextList, *, share: float, steps: int) -> np.ndarray:
    """Return the largest cosine of the semantic part with that of a class mean of the bank, shape (N,)."""
    part = transform(texts, share=share, steps=steps).semantic
    means = of_directions(bank).means
    return (normalise(directions(features) @ part) @ normalise(means @ part).T).max(axis=1)


@shared
def covariate_distance(features: np.ndarray, bank: Bank, texts: TextList, *, share: float, steps: int) -> np.ndarray:
    """Return the Mahalanobis distance, squared, of the covariate part to that of the whole bank, shape (N,)."""
    part = transform(texts, share=share, steps=steps).covariate
    of_bank = _part_of(of_directions(bank), part)
    points = directions(features) @ part - of_bank.centre
    points = whitening(of_bank, tied=False, covariance="ledoit_wolf").coordinates(points)
    return np.einsum("nd,nd->n", points, points)


@shared
def _part_of(bank: Bank, part: np.ndarray) -> Bank:
    return Bank(bank.features @ part, bank.labels, bank.shots)
