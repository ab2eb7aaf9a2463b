"""CLIPScope: confidence over the prior of the predicted class, which the stream so far has shaped."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import LabelList, by_rows
from oodgrid.score.mining import Seed, farthest_and_nearest, in_groups
from oodgrid.score.scores.neglabel import grouped_share
from oodgrid.score.shares import largest_share
from oodgrid.score.states import State, identity, remembered
from oodgrid.streams import Stream


@score(
    title="CLIPScope",
    needs=("features", "logits", "class_texts"),
    family="vision-language",
    paper="Fu et al. 2025 (WACV); github.com/fu1001hao/CLIPScope (CLIPScope.py)",
    transductive=True,
)
def clipscope(
    features: np.ndarray,
    logits: np.ndarray,
    class_texts: np.ndarray,
    *,
    labels: LabelList,
    T: PositiveFloat = 0.01,
    rank: PositiveInt = 50,
    each: PositiveInt = 5000,
    order: Seed = 0,
    stream: Stream = "mixed",
    frozen: bool = False,
    state: State | None = None,
) -> np.ndarray:
    """CLIPScope: p q / prior of the predicted class k, over a stream of samples in the order given.

    p = max_k softmax(s / T)_k over the classes, q the classes' share of one softmax over classes and mined texts, and
    prior = c_k / sum_i c_i of counts that are 1 at first; after each sample, ID or OOD, that of its class grows by 1.
    Texts are mined as `oodgrid.score.mining.farthest_and_nearest` says. The code of record mines under "the {}" and
    scores under "a photo of a {}" (nearest: "a photo of {}"); here both are under the one text of the list.

    Args:
        features: Shape (N, D), normalised: the whole stream.
        logits: Shape (N, K), on the cosine scale, likewise.
        class_texts: Shape (K, D), normalised.
        labels: Candidates, WordNet's nouns in the paper.
        T: Temperature on cosines.
        rank: Which of a candidate's cosines with the classes is its nearness, from the largest.
        each: How many of the farthest candidates, and of the nearest.
        order: Seed of the stream's order; the stage uses it when it makes the stream, the score does not.
        stream: Its protocol, likewise: see `oodgrid.streams`.
        frozen: Leave the prior out: p q, which looks at each sample alone.
        state: What it remembers of the stream so far: `counts`, shape (K,), and its identity. It is changed.

    Returns:
        Shape (N,), in [0, K + N).

    Raises:
        Skip: There is no candidate.
    """
    chosen = farthest_and_nearest(labels, class_texts, rank=rank, each=each)
    negatives, _ = in_groups(labels, chosen, groups=1, seed=0)
    confidence = by_rows(lambda block: largest_share(block, T=T), logits, rows=1024)
    confidence *= grouped_share(features, logits, negatives, groups=1, T=T)
    if frozen:
        return confidence
    of = identity(state, class_texts, negatives, T=T)
    before = remembered(state, "clipscope", of, counts=logits.shape[1:])
    counts = np.array(before.get("counts", np.ones(logits.shape[1])))
    shares = prior(logits.argmax(axis=1), counts)
    if state is not None:
        state |= {"counts": counts} | of
    return confidence / shares


def prior(predicted: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return, for each class predicted in a stream, its share of the counts just before: shape (N,).

    The counts (K,) go on with it.
    """
    before, shares = counts.sum(), np.empty(len(predicted))
    for i, k in enumerate(predicted):
        shares[i] = counts[k] / (before + i)
        counts[k] += 1
    return shares
