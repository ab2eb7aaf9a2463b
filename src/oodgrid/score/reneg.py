"""ReNeg: a plug-in that lets names near the classes, as the stream shows them, correct the score of a base.

Two things are remembered. Of every name of a pool, the samples that it catches (`Pool`): a name is trusted when these
lie clearly on its side, and their mean is how it looks. Of every class, the samples that surely belong to it (`Looks`).
A sample that looks more like a trusted name than like any class loses (`PlugIn`).

Source: NabilRafi/ReNeg 715a169 (MIT), docs/METHOD.md and src/reneg/core.py. The numbers below are its defaults, the
same for every base and mode. Two things differ: all is float64 (there float32), and the random directions of mode
`max` are NumPy's (there torch's).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from oodgrid.errors import OodgridError
from oodgrid.score.contract import Bank, Skip, TextList, normalise
from oodgrid.score.products import product
from oodgrid.score.shares import largest_share
from oodgrid.score.states import NO_STATE, State
from oodgrid.score.threads import AHEAD, on_threads

Mode = Literal["balanced", "max", "safe"]
Base = Callable[[slice, np.ndarray], tuple[np.ndarray, np.ndarray | None]]

PRIOR = 0.2  # trust in a name before it has caught EVIDENCE samples
EVIDENCE = 2  # from which on a name is judged, and has a look
PSEUDO = 2.0  # samples at the mean of its cluster that each name has from the start (gamma)
BOUND = 0.5  # width of the lower confidence bound (beta)
CENTRE, SOFTNESS = 1.0, 0.5  # of the trust in a name, in deviations of margins (delta, temp)
HALF, VOTE_SOFTNESS = 0.5, 0.1  # the same of the share of its samples that the base votes OOD (rho, vote_temp)
TRUSTED = 1e-4  # a name with less counts nowhere
CONFIDENT = 0.5  # largest probability from which on a sample may show how its class looks (p_min)
RECENT = 20_000  # values of the base that the vote looks back to
CANDIDATES = 200  # of the vote's threshold, quantiles from .01 to .99
DIRECTIONS, SPREAD = 10_000, 0.25  # of the background in mode max (n_bg, bg_noise)
EXTREME = 30  # at which the arguments of logistic functions are cut
TINY = 1e-7  # by which a share is kept from 0 and 1 before its log-odds are taken


def log_odds(shares: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)) of shares (N,), which are kept off 0 and 1: those within 1e-7 of them tie."""
    kept = np.clip(shares, TINY, 1 - TINY)
    return np.log(kept) - np.log1p(-kept)


def threshold(values: np.ndarray) -> float:
    """Return Otsu's threshold of values (N,), of 200 of their quantiles; of fewer than 10 values, minus infinity."""
    ordered, count = np.sort(values), len(values)
    if count < 10:
        return -np.inf
    candidates = np.quantile(ordered, np.linspace(0.01, 0.99, CANDIDATES))
    sums = np.cumsum(ordered)
    below = np.clip(np.searchsorted(ordered, candidates), 1, count - 1)
    apart = sums[below - 1] / below - (sums[-1] - sums[below - 1]) / (count - below)
    return float(candidates[np.argmax(below / count * (1 - below / count) * apart**2)])


def log_mass(cosines: np.ndarray, T: float, log_weights: np.ndarray | float = 0.0) -> np.ndarray:
    """Return log sum_j w_j exp(cos_j / T), shape (n,) of cosines (n, M)."""
    powers = cosines / T
    powers += log_weights
    top = powers.max(axis=1)
    powers -= top[:, None]
    return top + np.log(np.exp(powers, out=powers).sum(axis=1))


def _trust(values: np.ndarray, centre: float, softness: float) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip((values - centre) / softness, -EXTREME, EXTREME)))


class Pool:
    """What the names of a pool have caught.

    Attributes:
        names: Embeddings, shape (P, D).
        trust: How much each name is trusted, shape (P,).
    """

    ARRAYS = ("caught", "margins", "squares", "voted")

    def __init__(self, pool: TextList, votes: bool, begun: State) -> None:
        self.names, self._votes = pool.features, votes
        # A name without a kind is a cluster of its own, of which the mean is its own.
        kinds = [kind or f"\0{place}" for place, kind in enumerate(pool.kinds)]
        self._cluster = np.unique(np.array(kinds, dtype=str), return_inverse=True)[1]
        of_names = len(self.names)
        self._caught, self._margins, self._squares, self._voted = (
            np.array(begun.get(name, np.zeros(of_names)), dtype=np.float64) for name in self.ARRAYS
        )
        self._sums = np.zeros(self.names.shape)
        if begun:
            self._sums[self._caught > 0] = begun["looks"]
        self._judge()

    def state(self) -> State:
        """Return what it holds, for a stream that goes on later."""
        of_names = (self._caught, self._margins, self._squares, self._voted)
        return dict(zip(self.ARRAYS, of_names, strict=True)) | {"looks": self._sums[self._caught > 0]}

    def looks(self) -> tuple[np.ndarray, np.ndarray]:
        """Return how the names look that have caught enough, shape (V, D), and the logarithms of their trust, (V,)."""
        seen = (self._caught >= EVIDENCE) & (self.trust > TRUSTED)
        return normalise(self._sums[seen]), np.log(self.trust[seen])

    def log_mass(self, cosines: np.ndarray, T: float) -> np.ndarray:
        """Return the logarithm of the names' trusted mass, shape (n,), of cosines with them (n, P)."""
        trusted = self.trust > TRUSTED
        if not trusted.any():
            return np.full(len(cosines), -np.inf)
        return log_mass(cosines[:, trusted], T, np.log(self.trust[trusted]))

    def catch(self, samples: np.ndarray, names: np.ndarray, margins: np.ndarray, voted: np.ndarray) -> None:
        """Remember samples (n, D) for the names that caught them (n,), each with its margin and the base's vote."""
        for sums, values in (
            (self._caught, np.ones(len(names))),
            (self._margins, margins),
            (self._squares, margins**2),
            (self._voted, voted),
            (self._sums, samples),
        ):
            np.add.at(sums, names, values)
        if len(names):
            self._judge()

    def _judge(self) -> None:
        """Trust a name when the lower bound of its mean margin is high, and (where votes count) the base agrees."""
        count, caught = max(self._caught.sum(), 1.0), self._caught
        deviation = np.sqrt(max(self._squares.sum() / count - (self._margins.sum() / count) ** 2, 1e-12))
        of_cluster = [np.bincount(self._cluster, weights=each) for each in (self._margins, caught)]
        expected = (of_cluster[0] / np.maximum(of_cluster[1], 1))[self._cluster]
        mean = (self._margins + PSEUDO * expected) / (caught + PSEUDO)
        trust = _trust(mean / deviation - BOUND / np.sqrt(caught + PSEUDO), CENTRE, SOFTNESS)
        if self._votes:
            trust *= _trust((self._voted + PSEUDO * HALF) / (caught + PSEUDO), HALF, VOTE_SOFTNESS)
        self.trust = np.where(caught >= EVIDENCE, trust, PRIOR)


class Looks:
    """How the classes look: sums of the samples that surely belong to each, and of all samples."""

    def __init__(self, shape: tuple[int, ...], labelled: Bank | None, begun: State) -> None:
        """Of class texts of that shape, (K, D)."""
        self._sums = np.array(begun.get("sums", np.zeros(shape)))
        self._counts = np.array(begun.get("counts", np.zeros(shape[0])))
        self._all = np.array(begun.get("all", np.zeros(shape[1])))
        if labelled is not None and not begun:
            self.add(labelled.directions, labelled.labels, np.ones(len(labelled.labels), dtype=bool))

    def state(self) -> State:
        """Return what it holds, for a stream that goes on later."""
        return {"sums": self._sums, "counts": self._counts, "all": self._all}

    def of_classes(self) -> np.ndarray:
        """Return how those classes look of which a sample was seen, shape (C, D), normalised."""
        return normalise(self._sums[self._counts > 0])

    def of_all(self) -> np.ndarray:
        """Return how samples look, shape (D,), normalised."""
        return normalise(self._all[None])[0]

    def add(self, samples: np.ndarray, labels: np.ndarray, sure: np.ndarray) -> None:
        """Remember samples (n, D), and those that are sure for their classes (n,)."""
        np.add.at(self._sums, labels[sure], samples[sure])
        np.add.at(self._counts, labels[sure], 1.0)
        self._all = self._all + samples.sum(axis=0)


@dataclass(frozen=True)
class Told:
    """What the plug-in is told.

    Attributes:
        score: The name of the score.
        mode: `max`: classes against a background and the names; `balanced`: names alone, and only where a sample looks
            more like them than like a class; `safe`: as balanced, for samples that a name catches. In the latter two a
            name is trusted only as far as the base votes its samples OOD.
        weight: Of the correction in the score.
        T: Temperature on cosines.
        batch: Samples that are scored together.
        seed: Of the directions of the background.
    """

    score: str
    mode: Mode
    weight: float
    T: float
    batch: int
    seed: int


class PlugIn:
    """ReNeg on some base.

    Args:
        pool: Names near the classes; their kinds are clusters.
        shape: Of the class texts, (K, D).
        told: What it is told.
        begun: What to begin with, of the shapes of `PlugIn.shapes`; empty for nothing.
        labelled: Labelled samples that show how classes look before the stream begins.

    Raises:
        Skip: The pool has no name.
        OodgridError: The state does not hold what it names.
    """

    def __init__(
        self, pool: TextList, shape: tuple[int, ...], told: Told, begun: State, labelled: Bank | None = None
    ) -> None:
        if not len(pool.features):
            raise Skip("no name is in the pool")
        _check(begun, told.score)
        self.told = told
        self.pool = Pool(pool, told.mode != "max", begun)
        self.looks = Looks(shape, labelled, begun)
        self._values = np.array(begun.get("values", np.empty(0)))
        self._directions = np.empty((0, shape[1]))
        if told.mode == "max":
            self._directions = normalise(np.random.default_rng(told.seed).normal(size=(DIRECTIONS, shape[1])))

    @staticmethod
    def shapes(names: int, shape: tuple[int, ...]) -> dict[str, tuple[int | None, ...]]:
        """Return the shapes of the arrays of a state, for that many names and class texts of a shape (K, D)."""
        of_classes = {"sums": shape, "counts": shape[:1], "all": shape[1:]}
        return dict.fromkeys(Pool.ARRAYS, (names,)) | {"looks": (None, shape[1]), "values": (None,)} | of_classes

    def state(self) -> State:
        """Return what it holds, for a stream that goes on later."""
        return self.pool.state() | self.looks.state() | {"values": self._values}

    def follow(self, features: np.ndarray, logits: np.ndarray, base: Base, *, unvoted: bool = False) -> np.ndarray:
        """Return the scores of a stream, shape (N,); each batch is scored by what came before it, and remembered then.

        Args:
            features: Shape (N, D).
            logits: Shape (N, K).
            base: Of some rows and their cosines with the names: the log-odds of the base (n,), and which samples it is
                sure are ID; None where it never says.
            unvoted: Whether a sample that the base votes OOD never counts for how its class looks.
        """
        parts = [slice(start, start + self.told.batch) for start in range(0, len(features), self.told.batch)]
        scores = np.empty(len(features))
        ahead = on_threads(lambda rows: product(features[rows], self.pool.names), parts, AHEAD)
        for rows, near in zip(parts, ahead, strict=True):
            odds, sure = base(rows, near)
            certain = largest_share(logits[rows], T=self.told.T) >= CONFIDENT
            certain = certain if sure is None else certain & sure
            scores[rows] = self._step(features[rows], logits[rows], near, odds, certain, unvoted)
        return scores

    def _step(
        self, samples: np.ndarray, logits: np.ndarray, near: np.ndarray, odds: np.ndarray, certain: np.ndarray,
        unvoted: bool,
    ) -> np.ndarray:  # fmt: skip
        names = near.argmax(axis=1)
        margins = np.take_along_axis(near, names[:, None], axis=1)[:, 0] - logits.max(axis=1)
        caught = margins > 0
        correction = self._correction(samples, np.where(caught, self.pool.trust[names], 0.0))
        weight = self.told.weight
        scores = odds if correction is None or not weight else (1 - weight) * odds + weight * correction
        self._values = np.concatenate([self._values, odds])[-RECENT:]
        voted = odds < threshold(self._values)
        self.pool.catch(samples[caught], names[caught], margins[caught], voted[caught])
        self.looks.add(samples, logits.argmax(axis=1), certain & ~voted if unvoted else certain)
        return scores

    def _correction(self, samples: np.ndarray, trust: np.ndarray) -> np.ndarray | None:
        """Return by how much samples look like classes, shape (n,); None as long as no class has a look.

        Args:
            samples: Shape (n, D).
            trust: In the name that catches each sample, shape (n,); 0 where none does.
        """
        classes = self.looks.of_classes()
        if not len(classes):
            return None
        T, against = self.told.T, np.full(len(samples), -np.inf)
        own = log_mass(product(samples, classes), T)
        names, log_trust = self.pool.looks()
        if len(names):
            against = log_mass(product(samples, names), T, log_trust)
        if self.told.mode == "max":
            return own - np.logaddexp(log_mass(self._background(samples), T), against)
        penalty = np.minimum(0.0, own - against)
        return penalty * trust if self.told.mode == "safe" else penalty

    def _background(self, samples: np.ndarray) -> np.ndarray:
        """Return cosines with random directions around the mean sample m, (m + SPREAD d) / |m + SPREAD d|."""
        mean = self.looks.of_all()
        lengths = np.sqrt(1 + SPREAD**2 + 2 * SPREAD * (self._directions @ mean))
        return ((samples @ mean)[:, None] + SPREAD * product(samples, self._directions)) / lengths


def _check(begun: State, score: str) -> None:
    """Refuse a state whose numbers do not fit together.

    Raises:
        OodgridError: It has not one look for each name that caught something, or numbers that are not finite.
    """
    if not begun:
        return
    if len(begun["looks"]) != np.count_nonzero(begun["caught"] > 0) or (begun["caught"] < 0).any():
        raise OodgridError(f"{score}: state has looks of names that caught nothing, or lacks some: {NO_STATE}")
    if not all(np.isfinite(values).all() for values in begun.values()):
        raise OodgridError(f"{score}: state has numbers that are not finite: {NO_STATE}")
