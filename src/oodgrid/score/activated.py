"""TANL's queues: how sure ID and OOD samples of a stream activate texts, and which texts are negative by that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oodgrid.errors import OodgridError
from oodgrid.score.contract import Skip, product
from oodgrid.score.draws import TorchDraws
from oodgrid.score.states import NO_STATE, State
from oodgrid.score.threads import AHEAD, on_threads

THRESHOLDS = (np.arange(100, dtype=np.float64) * 0.01).astype(np.float32).astype(np.float64)  # as torch.arange has them


@dataclass(frozen=True)
class Params:
    """What TANL is told, as its arguments say."""

    T: float = 0.01
    count: int = 1000
    length: int = 300
    gap: float = 0.2
    alpha: float = 0.95
    recent: int = 20_000
    batch: int = 256
    seed: int = 0


class _Latest:
    """The latest rows that were added, at most `length` of them: a queue that seldom moves what it holds."""

    def __init__(self, rows: np.ndarray, length: int) -> None:
        self._length, self._end = length, 0
        self._held = np.empty((length + length // 2, rows.shape[1]))
        self.add(rows, np.ones(len(rows), dtype=bool))

    @property
    def rows(self) -> np.ndarray:
        """They, the oldest first."""
        return self._held[max(self._end - self._length, 0) : self._end]

    def add(self, rows: np.ndarray, which: np.ndarray) -> None:
        """Add some of these rows."""
        places = np.flatnonzero(which)[-self._length :]
        if self._end + len(places) > len(self._held):
            kept = self.rows[max(len(self.rows) + len(places) - self._length, 0) :]
            self._held[: len(kept)], self._end = kept, len(kept)
        np.take(rows, places, axis=0, out=self._held[self._end : self._end + len(places)], mode="clip")
        self._end += len(places)


class Queues:
    """The activations of sure ID and OOD samples, and the scores by which samples were sure.

    Args:
        class_texts: Shape (K, D).
        texts: Of which negative ones are chosen, shape (M, D).
        noise: Shape (n, D).
        params: What TANL is told.
        begun: What to begin with, of the shapes of `Queues.shapes`; empty for nothing.
        score: The name of the score, for messages.

    Raises:
        Skip: There is no text.
        OodgridError: The state has an empty queue, or numbers that are not finite.
    """

    def __init__(
        self, class_texts: np.ndarray, texts: np.ndarray, noise: np.ndarray, params: Params, begun: State, score: str
    ) -> None:
        if not len(texts):
            raise Skip("no negative text is left of 0 candidates")
        self.texts, self.params, self.count = texts, params, min(params.count, len(texts))
        if begun:
            of_id, of_ood, self.scores = (np.array(begun[name], dtype=np.float64) for name in ("id", "ood", "scores"))
            if not all(len(each) and np.isfinite(each).all() for each in (of_id, of_ood, self.scores)):
                raise OodgridError(f"{score}: state has an empty queue, or numbers that are not finite: {NO_STATE}")
        else:
            draws = TorchDraws(params.seed)
            first = [self._seen(product(begin, class_texts), begin) for begin in (class_texts, noise)]
            of_id, of_ood = (seen.active[draws.permutation(len(seen.active))] for seen in first)
        self.id, self.ood = (_Latest(each, params.length) for each in (of_id, of_ood))
        if not begun:
            chosen = self._chosen(*(queue.rows.mean(axis=0) for queue in (self.id, self.ood)))
            self.scores = np.concatenate([seen.share(chosen) for seen in first])

    @staticmethod
    def shapes(texts: int) -> dict[str, tuple[int | None, ...]]:
        """Return the shapes of the arrays of a state, for that many texts."""
        return {"id": (None, texts), "ood": (None, texts), "scores": (None,)}

    def state(self) -> State:
        """Return what they hold, for a stream that goes on later."""
        return {"id": self.id.rows.copy(), "ood": self.ood.rows.copy(), "scores": self.scores}

    def follow(self, features: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return of a stream the scores (N,), and which samples are ID for sure (N,); remember what is sure.

        What depends on no sample before, the cosines with all texts and the activations, is made on all threads of the
        job, some batches ahead.
        """
        scores, sure = np.empty(len(features)), np.empty(len(features), dtype=bool)
        parts = [slice(start, start + self.params.batch) for start in range(0, len(features), self.params.batch)]
        ahead = on_threads(lambda rows: self._seen(logits[rows], features[rows]), parts, AHEAD)
        for rows, seen in zip(parts, ahead, strict=True):
            scores[rows], sure[rows] = self._step(seen)
        return scores, sure

    def _seen(self, logits: np.ndarray, samples: np.ndarray) -> Seen:
        return Seen(logits, product(samples, self.texts), self.params.T)

    def _step(self, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of a batch and which samples are ID for sure, each shape (n,), and remember it."""
        means = [queue.rows.mean(axis=0) for queue in (self.id, self.ood)]
        shares, gap, alpha = seen.share(self._chosen(*means)), self.params.gap, self.params.alpha
        self.scores = np.concatenate([self.scores, shares])[-self.params.recent :]
        threshold = otsu(self.scores)
        sides = shares > threshold + gap * (1 - threshold), shares < threshold - gap * threshold
        blended = [
            alpha * mean + (1 - alpha) * (side.astype(np.float64) @ seen.active) / side.sum() if side.any() else mean
            for mean, side in zip(means, sides, strict=True)
        ]
        for queue, side in zip((self.id, self.ood), sides, strict=True):
            queue.add(seen.active, side)
        return seen.share(self._chosen(*blended)), sides[0]

    def _chosen(self, of_id: np.ndarray, of_ood: np.ndarray) -> np.ndarray:
        """Return the texts that OOD samples activate most beside ID samples, the first first; of equals the earlier."""
        return np.argsort(of_id - of_ood, kind="stable")[: self.count]


class Seen:
    """What of a batch depends on no sample before.

    Attributes:
        active: How its samples activate all texts: softmax over classes and texts, at the texts, shape (n, M).
    """

    ROWS = 16  # at a time, so that several passes over them stay in the cache of a core

    def __init__(self, logits: np.ndarray, others: np.ndarray, T: float) -> None:
        """Of cosines with classes (n, K) and texts (n, M)."""
        self._others, self._T, self._top = others, T, logits.max(axis=1, keepdims=True)
        self._classes = np.exp((logits - self._top) / T).sum(axis=1, keepdims=True)
        self.active = np.empty_like(others)
        for start in range(0, len(others), self.ROWS):
            self._activate(slice(start, start + self.ROWS))

    def _activate(self, rows: slice) -> None:
        others, powers, own = self._others[rows], self.active[rows], self._top[rows]
        top = np.maximum(own, others.max(axis=1, keepdims=True))
        np.subtract(others, top, out=powers)
        powers /= self._T
        np.exp(powers, out=powers)
        powers /= powers.sum(axis=1, keepdims=True) + self._classes[rows] * np.exp((own - top) / self._T)

    def share(self, chosen: np.ndarray) -> np.ndarray:
        """Return the classes' share beside the first text, the first two and so on, the mean of all: shape (n,).

        Args:
            chosen: The texts, the most activated first, shape (m,).
        """
        sums = self._others[:, chosen]
        sums -= self._top
        sums /= self._T
        with np.errstate(over="ignore"):
            np.cumsum(np.exp(sums, out=sums), axis=1, out=sums)
            sums += self._classes
            return np.divide(self._classes, sums, out=sums).mean(axis=1)


def otsu(scores: np.ndarray) -> float:
    """Return the threshold of 0, .01, ..., .99 on both sides of which scores (N,) vary least; of equals the middle."""
    ordered = np.sort(scores)
    sums, squares = (np.concatenate([[0.0], np.cumsum(ordered**power)]) for power in (1, 2))
    below = np.searchsorted(ordered, THRESHOLDS, side="left")
    above = len(ordered) - below
    with np.errstate(divide="ignore", invalid="ignore"):
        within = squares[-1] - sums[below] ** 2 / below - (sums[-1] - sums[below]) ** 2 / above
    within[(below == 0) | (above == 0)] = np.inf
    least = np.flatnonzero(within == within.min())
    return float(THRESHOLDS[least[len(least) // 2]])
