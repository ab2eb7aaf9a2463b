"""AdaNeg: NegLabel, with proxies of classes and negative texts that a memory of the stream adapts."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from oodgrid.counts import counted
from oodgrid.registry import score
from oodgrid.score.contract import LabelList, Skip, product
from oodgrid.score.draws import TorchDraws
from oodgrid.score.memory import Memory, entropies
from oodgrid.score.mining import Fraction, Seed, most_unlike
from oodgrid.score.shares import id_share
from oodgrid.score.sharing import frozen
from oodgrid.score.states import State, identity, remembered
from oodgrid.score.threads import AHEAD, on_threads
from oodgrid.streams import Stream


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
    beta: NonNegativeFloat = 5.0,
    weight: NonNegativeFloat = 0.1,
    precision: Literal["full", "half"] = "full",
    batch: PositiveInt = 256,
    order: Seed = 0,
    stream: Stream = "mixed",
    state: State | None = None,
) -> np.ndarray:
    """AdaNeg: S + weight S_0, of NegLabel's score S_0 and of S, the same of cosines with adaptive proxies.

    As in the code of record: the stream comes in batches. A sample with S_0 above threshold + gap (1 - threshold) is
    remembered for its class, one with S_0 below threshold - gap threshold for its negative text; then the batch is
    scored. A memory holds its text and up to length - 1 samples; when full, a sample of lower entropy (of the
    softmax over the classes, or over the negative texts) replaces the highest. The proxy of a text, for a sample x,
    is sum_m exp(-beta (1 - x m)) m over its memory, normalised. That is the sample-adaptive proxy, `samada: True`
    there, with beta = 5 (the scripts say 5.5, of which the code takes the whole part); beta = 0 makes it the mean,
    the task-adaptive proxy, `samada: False`.

    Two behaviours are published. precision = full is the paper's rule. The released code runs CLIP in half precision,
    where small probabilities are 0 and the entropy 0 log 0 is not a number, so that nothing is ever replaced: the
    first sure samples of a text stay. precision = half takes entropies in half precision, and so does that; all else
    stays float64.

    Texts are mined as for `neglabel`; all have a memory, and those that fill no group are in no share. Groups are
    drawn as torch draws them. Where a method learned another classifier than `class_texts`, S_0, predictions and
    entropies are the method's, and the classes' memories begin with `class_texts`.

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
        precision: Of the entropies: full, or half as in the released code.
        batch: Samples that are remembered before they are scored.
        order: Seed of the stream's order; the stage uses it when it makes the stream, the score does not.
        stream: Its protocol, likewise: see `oodgrid.streams`.
        state: What it remembers of the stream so far; it is changed. A batch ends where a part of the stream does.

    Returns:
        Shape (N,), in [0, 1 + weight].

    Raises:
        Skip: No candidate is left.
    """
    negatives, groups, grouped = _negatives(labels, class_texts, quantile, keep, groups, seed)
    classes, texts = len(class_texts), frozen(np.vstack([class_texts, negatives]))
    of = identity(state, texts, T=T, groups=groups, length=length, threshold=threshold, gap=gap, beta=beta,
                  precision=precision, batch=batch)  # fmt: skip
    begun = remembered(state, "adaneg", of, **Memory.shapes(texts, length - 1))
    memory = Memory(texts, length - 1, beta, begun)

    def seen(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return what depends on no sample before: cosines with all texts, and S_0."""
        cosines = product(features[rows], texts)
        of_groups = cosines[:, classes : classes + grouped].copy()
        return cosines, id_share(logits[rows], of_groups, groups=groups, T=T)

    scores = np.empty(len(features))
    parts = [slice(start, start + batch) for start in range(0, len(features), batch)]
    for rows, (cosines, static) in zip(parts, on_threads(seen, parts, AHEAD), strict=True):
        of_negatives = cosines[:, classes:]
        sure = static > threshold + gap * (1 - threshold)
        unlike = static < threshold - gap * threshold
        for which, among, first in ((sure, logits[rows], 0), (unlike, of_negatives, classes)):
            if length > 1 and which.any():
                chosen = among[which]
                entropy = entropies(chosen, T, precision == "half")
                memory.remember(features[rows][which], first + chosen.argmax(axis=1), entropy)
        memory.adapt(features[rows], cosines)
        adaptive = id_share(cosines[:, :classes], of_negatives[:, :grouped], groups=groups, T=T)
        scores[rows] = adaptive + weight * static
    if state is not None:
        state |= memory.state() | of
    return scores


def _negatives(
    labels: LabelList, class_texts: np.ndarray, quantile: float, keep: float, groups: int, seed: int
) -> tuple[np.ndarray, int, int]:
    """Return the mined texts (n, D), group after group and then those that fill none, the groups, and how many fill.

    Raises:
        Skip: No candidate is left.
    """
    chosen = most_unlike(labels, class_texts, quantile=quantile, keep=keep)
    if not len(chosen):
        raise Skip(f"no negative text is left of {counted(len(labels.names), 'candidate')}")
    groups = min(groups, len(chosen))
    grouped = len(chosen) // groups * groups
    places = np.concatenate([TorchDraws(seed).permutation(grouped), np.arange(grouped, len(chosen))])
    return labels.features[chosen[places]], groups, grouped
