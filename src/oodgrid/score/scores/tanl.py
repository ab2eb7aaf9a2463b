"""TANL: negative texts that the samples of the stream itself activate, chosen anew for every batch."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from oodgrid.errors import OodgridError
from oodgrid.registry import score
from oodgrid.score.contract import LabelList, Skip, TextList, product
from oodgrid.score.draws import TorchDraws
from oodgrid.score.mining import Fraction, Seed
from oodgrid.score.states import NO_STATE, State, remembered
from oodgrid.signatures import ListName
from oodgrid.streams import Stream

THRESHOLDS = (np.arange(100, dtype=np.float64) * 0.01).astype(np.float32).astype(np.float64)  # as torch.arange has them


@score(
    title="TANL",
    needs=("features", "logits", "class_texts"),
    family="vision-language",
    paper="Zhang et al. 2026 (CVPR); github.com/YBZh/OpenOOD-VLM (activated_neg_postprocessor.py)",
    transductive=True,
)
def tanl(
    features: np.ndarray,
    logits: np.ndarray,
    class_texts: np.ndarray,
    *,
    labels: LabelList,
    noise: Annotated[TextList, ListName("noise-images")],
    T: PositiveFloat = 0.01,
    count: PositiveInt = 1000,
    length: PositiveInt = 300,
    gap: Fraction = 0.2,
    alpha: Fraction = 0.95,
    recent: PositiveInt = 20_000,
    batch: PositiveInt = 256,
    seed: Seed = 0,
    order: Seed = 0,
    stream: Stream = "mixed",
    state: State | None = None,
) -> np.ndarray:
    """TANL: the classes' share beside the most activated negative texts, the mean over the first 1, 2, ... count.

    a_j(x) = softmax over the classes and all texts of cosines / T, at text j, is how x activates it. A queue of sure
    ID samples and one of sure OOD samples hold activations, at most `length` each; at first those of the class texts
    and of images of noise. Of each batch, with means m over the queues:

    1. S_0 = the `count` texts of the largest m_OOD - m_ID; the share s_0(x) = mean over i of
       C / (C + sum of the first i of exp(n_j / T)), C = sum_k exp(s_k / T), gives a threshold t: Otsu's on the
       `recent` last s_0 (at first of class texts and noise), over 0, .01, ..., .99, of equals the middle one.
    2. Samples with s_0 > t + gap (1 - t) are ID for sure, those with s_0 < t - gap t OOD.
    3. S = the same of alpha m + (1 - alpha) mean over the batch's sure samples; the score is the share with S.
    4. The activations of the sure samples enter the queues, of which the oldest leave.

    The paper has gap .2 and alpha .95; the released script (official.sh) runs gap .5 and alpha 0, and gets other
    numbers. In half precision, as released, shares have steps of about .0005; here all is float64. The
    code draws which class texts enter the ID queue without a seed, and noise images too.

    Where a method learned another classifier than `class_texts`, the classes' cosines of samples are the method's, and
    the ID queue begins with `class_texts`.

    Args:
        features: Shape (N, D), normalised: the whole stream.
        logits: Shape (N, K), on the cosine scale, likewise.
        class_texts: Shape (K, D), normalised.
        labels: All texts of which negative ones are chosen, the whole of WordNet in the paper; nothing is mined.
        noise: Features of images of noise.
        T: Temperature on cosines.
        count: How many negative texts count.
        length: Of either queue.
        gap: Share of either side of the threshold that is not sure.
        alpha: Weight of the queues beside the batch.
        recent: How many scores the threshold looks back to.
        batch: Samples that are scored together.
        seed: Of the order in which class texts and noise enter their queues.
        order: Seed of the stream's order; the stage uses it when it makes the stream, the score does not.
        stream: Its protocol, likewise: see `oodgrid.streams`.
        state: What it remembers of the stream so far; it is changed. A batch ends where a part of the stream does.

    Returns:
        Shape (N,), in [0, 1].

    Raises:
        Skip: There is no text.
    """
    if not len(labels.features):
        raise Skip("no negative text is left of 0 candidates")
    queues = _Queues(class_texts, labels.features, noise.features, (T, count, length, recent, seed), state)
    scores = np.empty(len(features))
    for start in range(0, len(features), batch):
        rows = slice(start, start + batch)
        scores[rows] = queues.score(logits[rows], product(features[rows], labels.features), gap=gap, alpha=alpha)
    if state is not None:
        state |= queues.state()
    return scores


class _Queues:
    """The activations of sure ID and OOD samples, and the scores by which samples were sure."""

    def __init__(
        self,
        class_texts: np.ndarray,
        texts: np.ndarray,
        noise: np.ndarray,
        params: tuple[float, int, int, int, int],
        state: State | None,
    ) -> None:
        self.T, count, self.length, self.recent, seed = params
        self.count = min(count, len(texts))
        wide = (None, len(texts))
        if begun := remembered(state, "tanl", id=wide, ood=wide, scores=(None,)):
            self.id, self.ood, self.scores = (np.array(begun[name]) for name in ("id", "ood", "scores"))
            if not all(len(each) and np.isfinite(each).all() for each in (self.id, self.ood, self.scores)):
                raise OodgridError(f"tanl: state has an empty queue, or numbers that are not finite: {NO_STATE}")
            return
        draws, first = TorchDraws(seed), []
        for begin in (class_texts, noise):
            first.append((product(begin, class_texts), product(begin, texts)))
        self.id, self.ood = (
            activations(*each, T=self.T)[draws.permutation(len(each[0]))][-self.length :] for each in first
        )
        chosen = self._chosen(self.ood.mean(axis=0) - self.id.mean(axis=0))
        self.scores = np.concatenate([activated_share(s, n[:, chosen], T=self.T) for s, n in first])

    def state(self) -> State:
        """Return what they hold, for a stream that goes on later."""
        return {"id": self.id, "ood": self.ood, "scores": self.scores}

    def score(self, logits: np.ndarray, others: np.ndarray, *, gap: float, alpha: float) -> np.ndarray:
        """Return the score of a batch, shape (n,), of cosines with classes (n, K) and texts (n, M), and remember it."""
        means = [self.id.mean(axis=0), self.ood.mean(axis=0)]
        chosen = self._chosen(means[1] - means[0])
        shares = activated_share(logits, others[:, chosen], T=self.T)
        self.scores = np.concatenate([self.scores, shares])[-self.recent :]
        threshold = otsu(self.scores)
        sure = shares > threshold + gap * (1 - threshold), shares < threshold - gap * threshold
        active = activations(logits, others, T=self.T)
        of_batch = [active[rows] for rows in sure]
        blended = [
            alpha * mean + (1 - alpha) * each.mean(axis=0) if len(each) else mean
            for mean, each in zip(means, of_batch, strict=True)
        ]
        chosen = self._chosen(blended[1] - blended[0])
        self.id, self.ood = (
            np.concatenate([queue, each])[-self.length :] if len(each) else queue
            for queue, each in zip((self.id, self.ood), of_batch, strict=True)
        )
        return activated_share(logits, others[:, chosen], T=self.T)

    def _chosen(self, differences: np.ndarray) -> np.ndarray:
        """Return the texts of the largest values, the largest first; of equals the earlier."""
        return np.argsort(-differences, kind="stable")[: self.count]


def activations(logits: np.ndarray, others: np.ndarray, *, T: float) -> np.ndarray:
    """Return softmax over classes and texts, at the texts: shape (n, M), of cosines (n, K) and (n, M)."""
    top = np.maximum(logits.max(axis=1), others.max(axis=1))[:, None]
    powers = np.exp((others - top) / T)
    powers /= powers.sum(axis=1, keepdims=True) + np.exp((logits - top) / T).sum(axis=1, keepdims=True)
    return powers


def activated_share(logits: np.ndarray, others: np.ndarray, *, T: float) -> np.ndarray:
    """Return the classes' share beside the first text, the first two and so on, the mean of all: shape (n,).

    Args:
        logits: Cosines with classes, shape (n, K).
        others: With texts, the most activated first, shape (n, M).
        T: Temperature.
    """
    top = logits.max(axis=1, keepdims=True)
    classes = np.exp((logits - top) / T).sum(axis=1, keepdims=True)
    with np.errstate(over="ignore"):
        sums = np.exp((others - top) / T).cumsum(axis=1)
        return (classes / (classes + sums)).mean(axis=1)


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
