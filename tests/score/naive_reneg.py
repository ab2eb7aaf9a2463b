"""ReNeg as its recipe is written: loops over samples and names that keep every list."""

from __future__ import annotations

import math

import numpy as np


def odds_of(share):
    share = min(max(share, 1e-7), 1 - 1e-7)
    return math.log(share) - math.log1p(-share)


def naive_threshold(values):
    ordered = sorted(values)
    if len(ordered) < 10:
        return -math.inf
    best, chosen = -1.0, 0.0
    for step in np.linspace(0.01, 0.99, 200):
        place = step * (len(ordered) - 1)
        low = int(place)
        candidate = ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])
        under = min(max(sum(value < candidate for value in ordered), 1), len(ordered) - 1)
        sides = ordered[:under], ordered[under:]
        gap = math.fsum(sides[0]) / under - math.fsum(sides[1]) / len(sides[1])
        apart = under * len(sides[1]) * gap**2 / len(ordered) ** 2
        if apart > best * (1 + 1e-12):
            best, chosen = apart, candidate
    return chosen


def unit(vector):
    length = math.sqrt(math.fsum(value * value for value in vector))
    return [value / length for value in vector]


def dot(one, other):
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def mean_of(vectors):
    return unit([math.fsum(column) for column in zip(*vectors, strict=True)])


def log_sum(exponents):
    exponents = list(exponents)
    return max(exponents) + math.log(math.fsum(math.exp(each - max(exponents)) for each in exponents))


def logistic(value, centre, softness):
    return 1 / (1 + math.exp(-min(max((value - centre) / softness, -30), 30)))


class Naive:
    """Every sample that a name caught, and every sample of a class, in lists."""

    def __init__(self, pool, classes, mode, labelled=(), unvoted=False):
        """Of a list of names and so many classes; `unvoted`: what is voted OOD never counts for its class."""
        self.pool, self.mode, self.unvoted = pool, mode, unvoted
        self.caught = [[] for _ in pool.names]  # (sample, margin, whether voted)
        self.of_class = [[] for _ in range(classes)]
        self.all, self.past = [], []
        for sample, label in labelled:
            self.of_class[label].append(sample)
            self.all.append(sample)

    def trust(self):
        margins = [margin for each in self.caught for _, margin, _ in each]
        if not margins:
            return [0.2] * len(self.caught)
        mean = math.fsum(margins) / len(margins)
        deviation = math.sqrt(max(math.fsum(m * m for m in margins) / len(margins) - mean**2, 1e-12))
        trusts = []
        for name, own in enumerate(self.caught):
            kind = self.pool.kinds[name]
            cluster = [
                each for i, each in enumerate(self.caught) if (self.pool.kinds[i] == kind if kind else i == name)
            ]
            of_cluster = [margin for each in cluster for _, margin, _ in each]
            expected = math.fsum(of_cluster) / len(of_cluster) if of_cluster else 0.0
            drawn = (math.fsum(margin for _, margin, _ in own) + 2 * expected) / (len(own) + 2)
            trust = logistic(drawn / deviation - 0.5 / math.sqrt(len(own) + 2), 1.0, 0.5)
            if self.mode != "max":
                trust *= logistic((sum(voted for *_, voted in own) + 2 * 0.5) / (len(own) + 2), 0.5, 0.1)
            trusts.append(trust if len(own) >= 2 else 0.2)
        return trusts

    def pool_mass(self, sample, T):
        trusted = [(t, name) for t, name in zip(self.trust(), self.pool.features.tolist(), strict=True) if t > 1e-4]
        return log_sum(dot(sample, name) / T + math.log(t) for t, name in trusted) if trusted else -math.inf

    def image(self, sample, logits, T, background):
        classes = [mean_of(each) for each in self.of_class if each]
        if not classes:
            return None
        own = log_sum(dot(sample, each) / T for each in classes)
        trusts = self.trust()
        names = [
            dot(sample, mean_of([row for row, *_ in each])) / T + math.log(trust)
            for each, trust in zip(self.caught, trusts, strict=True)
            if len(each) >= 2 and trust > 1e-4
        ]
        if self.mode == "max":
            m = mean_of(self.all)
            around = [unit([a + 0.25 * b for a, b in zip(m, noise, strict=True)]) for noise in background]
            return own - log_sum([*(dot(sample, each) / T for each in around), *names])
        penalty = min(0.0, own - log_sum(names)) if names else 0.0
        if self.mode == "safe":
            cosines = [dot(sample, name) for name in self.pool.features.tolist()]
            best = max(cosines)
            penalty *= trusts[cosines.index(best)] if best > max(logits) else 0.0
        return penalty

    def score(self, sample, own, value, T, weight, background):
        """The score of a sample with logits and the log-odds of the base."""
        image = self.image(sample, own, T, background)
        return value if image is None or not weight else (1 - weight) * value + weight * image

    def see(self, samples, logits, odds, sure, T):
        self.past = [*self.past, *odds][-20000:]
        limit = naive_threshold(self.past)
        for sample, own, value, is_sure in zip(samples, logits, odds, sure, strict=True):
            voted = value < limit
            cosines = [dot(sample, name) for name in self.pool.features.tolist()]
            if max(cosines) > max(own):
                self.caught[cosines.index(max(cosines))].append((sample, max(cosines) - max(own), voted))
            confidence = 1 / math.fsum(math.exp((each - max(own)) / T) for each in own)
            if confidence >= 0.5 and is_sure and not (self.unvoted and voted):
                self.of_class[own.index(max(own))].append(sample)
            self.all.append(sample)
