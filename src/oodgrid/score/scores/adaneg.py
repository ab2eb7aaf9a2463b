"""AdaNeg: NegLabel, with proxies of classes and negative texts that a memory of the stream adapts."""

from __future__ import annotations

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import LabelList, product
from oodgrid.score.mining import Fraction, Seed, in_groups, most_unlike
from oodgrid.score.shares import id_share
from oodgrid.score.sharing import frozen

CHUNK = 512  # texts at a time, so that their memories' cosines with a batch stay small


@score(
    title="AdaNeg",
    needs=("features", "logits", "class_texts"),
    family="vision-language",
    paper="Zhang & Zhang 2024 (NeurIPS); github.com/YBZh/OpenOOD-VLM (ttaprompt_postprocessor.py)",
    transductive=True,
)
def adaneg(
    features: np.ndarray,
    logits: np.ndarray,
    class_texts: np.ndarray,
    *,
    labels: LabelList,
    T: PositiveFloat = 0.01,
    groups: PositiveInt = 5,
    seed: Seed = 0,
    quantile: Fraction = 0.95,
    keep: Fraction = 0.15,
    length: PositiveInt = 10,
    threshold: Fraction = 0.5,
    gap: Fraction = 0.5,
    beta: NonNegativeFloat = 5.5,
    weight: NonNegativeFloat = 0.1,
    batch: PositiveInt = 256,
    order: Seed = 0,
) -> np.ndarray:
    """AdaNeg-like: S + weight S_0, of NegLabel's score S_0 and of S, the same of cosines with adaptive proxies.

    As in the code of record: the stream comes in batches. A sample with S_0 above threshold + gap (1 - threshold) is
    remembered for its class, one with S_0 below threshold - gap threshold for its negative text; then the batch is
    scored. A memory holds its text and up to length - 1 samples; when full, a sample of lower entropy (of the
    softmax over the classes, or over the negative texts) replaces the highest. The proxy of a text, for a sample x,
    is sum_m exp(-beta (1 - x m)) m over its memory, normalised; beta = 0 makes it the mean, the task-adaptive proxy.

    Not as in the code of record: it truncates beta to 5; it runs CLIP in half precision, where those entropies can be
    NaN, and then nothing is ever replaced; torch shuffles its groups, and texts that fill no group have a
    memory there. Where a method learned another classifier than `class_texts`, S_0, predictions and entropies are the
    method's, and the classes' memories begin with `class_texts`.

    Samples lie nearer to samples than to texts, so that what is remembered prevails: where hardly any sample was taken
    for a negative text, S is 1 but for rounding, and S_0 alone ranks.

    Args:
        features: Shape (N, D), normalised: the whole stream.
        logits: Shape (N, K), on the cosine scale, likewise.
        class_texts: Shape (K, D), normalised.
        labels: Candidates, mined as for `neglabel`.
        T: Temperature on cosines.
        groups: Number of groups of negative texts.
        seed: Of the grouping.
        quantile: Of a candidate's cosines with the classes, by which it is mined.
        keep: Share of every kind of candidate that is mined; 1 for a list that is already selected.
        length: Of a memory.
        threshold: Between ID and OOD, on S_0.
        gap: Share of either side of the threshold that is not remembered.
        beta: How much more a memory near to the sample counts.
        weight: Of S_0, the paper's lambda.
        batch: Samples that are remembered before they are scored.
        order: Seed of the stream's order; the stage uses it when it makes the stream, the score does not.

    Returns:
        Shape (N,), in [0, 1 + weight].

    Raises:
        Skip: No candidate is left.
    """
    chosen = most_unlike(labels, class_texts, quantile=quantile, keep=keep)
    negatives, groups = in_groups(labels, chosen, groups=groups, seed=seed)
    classes = len(class_texts)
    texts = frozen(np.vstack([class_texts, negatives]))
    memory = _Memory(features, texts, length - 1, beta)
    scores = np.empty(len(features))
    for start in range(0, len(features), batch):
        rows = np.arange(start, min(start + batch, len(features)))
        cosines = product(features[rows], texts)
        static = id_share(logits[rows], cosines[:, classes:].copy(), groups=groups, T=T)
        sure = static > threshold + gap * (1 - threshold)
        memory.remember(rows[sure], logits[rows[sure]], T)
        unlike = static < threshold - gap * threshold
        memory.remember(rows[unlike], cosines[unlike, classes:], T, first=classes)
        memory.adapt(features[rows], cosines)
        adaptive = id_share(cosines[:, :classes], cosines[:, classes:], groups=groups, T=T)
        scores[rows] = adaptive + weight * static
    return scores


class _Memory:
    """The samples of the stream that are remembered for each text, and the proxies that they make."""

    def __init__(self, features: np.ndarray, texts: np.ndarray, length: int, beta: float) -> None:
        self.features, self.texts, self.length, self.beta = features, texts, length, beta
        self.rows = np.zeros((len(texts), length), dtype=np.intp)
        self.entropies = np.zeros((len(texts), length))
        self.filled = np.zeros(len(texts), dtype=np.intp)

    def remember(self, rows: np.ndarray, logits: np.ndarray, T: float, first: int = 0) -> None:
        """Remember samples for the texts of their largest logits; `first` is the index of the first column's text."""
        from scipy.special import entr, softmax

        entropies = entr(softmax(logits / T, axis=1)).sum(axis=1)
        for row, text, entropy in zip(rows, first + logits.argmax(axis=1), entropies, strict=True):
            slot = self.filled[text]
            if slot < self.length:
                self.filled[text] += 1
            elif self.length and entropy < self.entropies[text].max():
                slot = self.entropies[text].argmax()
            else:
                continue
            self.rows[text, slot], self.entropies[text, slot] = row, entropy

    def adapt(self, samples: np.ndarray, cosines: np.ndarray) -> None:
        """Replace cosines with the texts, shape (n, texts), by those with the proxies."""
        active = np.flatnonzero(self.filled)
        active = active[np.argsort(self.filled[active], kind="stable")]  # neighbours have memories of one size
        for start in range(0, len(active), CHUNK):
            chunk = active[start : start + CHUNK]
            cosines[:, chunk] = self._with_proxies(samples, chunk)

    def _with_proxies(self, samples: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Return the cosines with the proxies of some texts, w s / sqrt(w G w), without making a proxy."""
        width = self.filled[texts].max()
        empty = np.arange(width) >= self.filled[texts, None]
        samples_held = self.features[self.rows[texts, :width]]
        samples_held[empty] = 0
        held = np.concatenate([self.texts[texts, None], samples_held], axis=1)
        gram = held @ held.transpose(0, 2, 1)
        cosines = np.einsum("nd,lmd->lnm", samples, held, optimize=True)
        weights = np.exp(-self.beta * (1 - cosines))
        squares = ((weights @ gram) * weights).sum(axis=2)
        return ((weights * cosines).sum(axis=2) / np.sqrt(squares)).T
