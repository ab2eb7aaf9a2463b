"""Scores of features from their formulas, in loops, for one sample at a time.

Every function takes a world, the number of a sample, and the parameters of the score. None means that the score makes
no sense there and must be skipped.
"""

from __future__ import annotations

import math

import numpy as np

SMALL = 1e-9


def energy(logits, T):
    top = max(logits)
    return top + T * math.log(sum(math.exp((value - top) / T) for value in logits))


def softmax(logits, T):
    top = max(logits)
    parts = [math.exp((value - top) / T) for value in logits]
    return [part / sum(parts) for part in parts]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def norm(a):
    return math.sqrt(dot(a, a))


def l1(a):
    return sum(abs(x) for x in a)


def first_largest(values):
    values = list(values)
    return values.index(max(values))


def mean_of(rows):
    return np.array([sum(column) / len(rows) for column in zip(*rows, strict=True)])


# -------------------------------------------------------------------------------------------------- Gaussians


def class_residuals(bank):
    means = {c: mean_of(bank.features[bank.labels == c]) for c in sorted(set(bank.labels.tolist()))}
    residuals = np.array([x - means[c] for x, c in zip(bank.features, bank.labels.tolist(), strict=True)])
    return means, residuals


def empirical(deviations):
    return sum(np.outer(d, d) for d in deviations) / len(deviations)


def ledoit_wolf(deviations):
    """The shrunk covariance of Ledoit & Wolf 2004, section 3, for deviations whose mean is zero by construction."""
    count, width = deviations.shape
    covariance = empirical(deviations)
    target = np.trace(covariance) / width * np.eye(width)
    spread = np.sum((covariance - target) ** 2)
    error = sum(np.sum((np.outer(d, d) - covariance) ** 2) for d in deviations) / count**2
    share = min(error, spread) / spread if spread else 0
    return share * target + (1 - share) * covariance


def precision(deviations, covariance):
    if covariance == "empirical":
        return np.linalg.pinv(empirical(deviations), rcond=1e-11, hermitian=True)
    shrunk = ledoit_wolf(deviations)
    return np.linalg.inv(shrunk) if np.linalg.cond(shrunk) < 1e13 else None


def mahalanobis(world, i, covariance="ledoit_wolf"):
    means, residuals = class_residuals(world.bank)
    if np.abs(residuals).max() < SMALL:
        return None
    inverse = precision(residuals, covariance)
    if inverse is None:
        return None
    return -min(float((world.features[i] - mean) @ inverse @ (world.features[i] - mean)) for mean in means.values())


def single_gaussian(world, i, covariance="ledoit_wolf"):
    mean = mean_of(world.bank.features)
    deviations = np.array([x - mean for x in world.bank.features])
    if np.abs(deviations).max() < SMALL:
        return None
    off, inverse = world.features[i] - mean, precision(deviations, covariance)
    return None if inverse is None else -float(off @ inverse @ off)


def relative_mahalanobis(world, i, covariance="total"):
    if covariance != "total":
        near = mahalanobis(world, i, covariance)
        return None if near is None else near - single_gaussian(world, i, covariance)
    near = mahalanobis(world, i)
    if near is None:
        return None
    bank, mean = world.bank, mean_of(world.bank.features)
    means, residuals = class_residuals(bank)
    between = sum(np.outer(means[y] - mean, means[y] - mean) for y in bank.labels.tolist()) / len(bank.labels)
    off = world.features[i] - mean
    return near + float(off @ np.linalg.inv(ledoit_wolf(residuals) + between) @ off)


# ------------------------------------------------------------------------------------------------- neighbours


def knn(world, i, k=None):
    distances = sorted(math.dist(world.features[i], row) for row in world.bank.features)
    k = min(10, world.bank.shots) if k is None else k
    return -distances[min(k, len(distances)) - 1]


def nnguide(world, i, k=None, T=0.01):
    bank = world.bank
    guided = [energy(s, T) * dot(world.features[i], z) for z, s in zip(bank.features, bank.logits, strict=True)]
    k = min(min(10, bank.shots) if k is None else k, len(guided))
    return energy(world.logits[i], T) * sum(sorted(guided, reverse=True)[:k]) / k


def relation(world, i, power=1, threshold=0.03, T=0.01):
    total, p = 0.0, softmax(world.logits[i], T)
    for z, s in zip(world.bank.features, world.bank.logits, strict=True):
        related = max(dot(world.features[i], z), 0) * dot(p, softmax(s, T))
        total += related**power if related > threshold else 0
    return total


# ------------------------------------------------------------------------------------------ predicted classes


def mean_by_prediction(world, c, correct):
    bank = world.bank
    rows = [
        z
        for z, s, y in zip(bank.features, bank.logits, bank.labels, strict=True)
        if first_largest(s) == c and (y == c or not correct)
    ]
    rows = rows or [z for z, y in zip(bank.features, bank.labels, strict=True) if y == c]
    return mean_of(rows or list(bank.features))


def she(world, i):
    return dot(world.features[i], mean_by_prediction(world, first_largest(world.logits[i]), correct=True))


def caref(world, i):
    x = world.features[i]
    mean = mean_by_prediction(world, first_largest(world.logits[i]), correct=False)
    return -l1(x - mean) / max(l1(x), 1e-12)


def cadref(world, i, T=0.01):
    x, y = world.features[i], first_largest(world.logits[i])
    mean, alike, against = mean_by_prediction(world, y, correct=False), 0.0, 0.0
    for value, centre, weight in zip(x, mean, world.head.weights[y], strict=True):
        signed = (value - centre) * np.sign(weight)
        alike, against = alike + max(signed, 0), against + max(-signed, 0)
    mean_energy = sum(energy(s, T) for s in world.bank.logits) / len(world.bank.logits)
    own = energy(world.logits[i], T) or 1e-12
    return -(alike / own + against / mean_energy) / max(l1(x), 1e-12)


def fdbd(world, i):
    y, weights = first_largest(world.logits[i]), world.head.weights
    distances = [
        (world.logits[i][y] - world.logits[i][c]) / norm(weights[y] - weights[c])
        for c in range(len(weights))
        if norm(weights[y] - weights[c]) > 1e-6
    ]
    if not distances:
        return None
    return sum(distances) / len(distances) / max(norm(world.features[i] - mean_of(world.bank.features)), 1e-12)


def unit(a):
    return a / max(norm(a), 1e-12)


def ora(world, i, boundary="plane"):
    """Every projection and both legs of every angle as vectors, the angle by half its tangent."""
    x, logits, weights, bank = world.features[i], world.logits[i], world.head.weights, world.bank
    y, angles = first_largest(logits), []
    means = [mean_of(bank.features[bank.labels == c]) for c in sorted(set(bank.labels.tolist()))]
    centre = mean_of(means if boundary == "plane" else [unit(m) for m in means])
    for c in range(len(weights)):
        gap = weights[y] - weights[c]
        if norm(gap) > 1e-6:
            other = x - (logits[y] - logits[c]) / norm(gap) ** 2 * gap
            other = unit(other) if boundary == "sphere" else other
            a, b = unit(x - centre), unit(other - centre)
            angles.append(2 * math.atan2(norm(a - b), norm(a + b)))
    return max(angles) / math.pi if angles else None


def nci(world, i, alpha=1e-4):
    off = world.features[i] - mean_of(world.bank.features)
    weight = world.head.weights[first_largest(world.logits[i])]
    return dot(weight, off) / max(norm(off), 1e-12) + alpha * l1(world.features[i])


# ------------------------------------------------------------------------------------------------- subspaces


def principal_axes(rows):
    """Return the right singular vectors of rows, as many as their rank, the first ones first."""
    _, values, axes = np.linalg.svd(rows)
    return axes[: int(np.sum(values > SMALL * max(values[0], SMALL)))]


def outside(x, axes):
    return norm(x - sum((dot(x, axis) * axis for axis in axes), np.zeros(len(x))))


def principal_space(world, origin, dim):
    width = world.features.shape[1]
    axes = principal_axes(np.array([z - origin for z in world.bank.features]))
    published = 1000 if width >= 2048 else 512 if width >= 768 else width // 2
    dim = max(math.floor(published / width * len(axes) + SMALL), 1) if dim is None else dim
    return None if dim < 1 or dim > len(axes) or dim >= width else axes[:dim]


def residual(world, i, dim=None):
    axes = principal_space(world, np.zeros(world.features.shape[1]), dim)
    return None if axes is None else -outside(world.features[i], axes)


def vim(world, i, dim=None, T=0.01):
    origin = -np.linalg.pinv(world.head.weights, rcond=1e-12) @ world.head.bias
    axes = principal_space(world, origin, dim)
    if axes is None:
        return None
    residuals = sum(outside(z - origin, axes) for z in world.bank.features)
    if residuals < SMALL:
        return None
    alpha = sum(max(s) for s in world.bank.logits) / residuals
    return energy(world.logits[i], T) - alpha * outside(world.features[i] - origin, axes)


def neco(world, i, dim=None):
    bank = world.bank.features
    mean = mean_of(bank)
    spread = [math.sqrt(sum((z[d] - mean[d]) ** 2 for z in bank) / len(bank)) for d in range(len(mean))]
    scale = np.array([s if s > SMALL else 1.0 for s in spread])
    axes = principal_axes(np.array([(z - mean) / scale for z in bank]))
    if max(spread) < SMALL:
        return None
    dim = min(100, len(mean) // 2, len(axes)) if dim is None else dim
    if not 0 < dim <= len(axes):
        return None
    standard = (world.features[i] - mean) / scale
    inside = math.sqrt(sum(dot(standard, axis) ** 2 for axis in axes[:dim]))
    return inside / max(norm(standard), 1e-12) * max(world.logits[i])
