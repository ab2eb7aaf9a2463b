"""ReNeg on NegLabel's negative texts: as `reneg`, with the trusted names among the negative texts too."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import LabelList, Skip, product
from oodgrid.score.mining import Fraction, Seed, most_unlike
from oodgrid.score.reneg import Mode, PlugIn, Told, log_mass
from oodgrid.score.states import State, identity, remembered
from oodgrid.streams import Stream


@score(
    title="ReNeg on NegLabel",
    needs=("features", "logits", "class_texts"),
    family="vision-language",
    paper="NabilRafi/ReNeg 715a169, docs/METHOD.md and src/reneg/core.py, ReNegNegLabel (2026)",
    transductive=True,
)
def reneg_neglabel(
    features: np.ndarray,
    logits: np.ndarray,
    class_texts: np.ndarray,
    *,
    labels: LabelList,
    pool: LabelList,
    mode: Mode = "max",
    weight: Fraction = 0.25,
    among: bool = True,
    T: PositiveFloat = 0.01,
    quantile: Fraction = 0.95,
    keep: Fraction = 0.15,
    batch: PositiveInt = 256,
    seed: Seed = 0,
    order: Seed = 0,
    stream: Stream = "mixed",
    state: State | None = None,
) -> np.ndarray:
    """ReNeg on NegLabel: as `reneg`, on log sum_k exp(s_k / T) - log(sum_j exp(n_j / T) + sum_i pi_i exp(t_i / T)).

    n are the cosines with NegLabel's mined texts, in one group; t those with the names of the pool, pi their trust. A
    sample counts for how its class looks where its largest softmax(s / T) is at least .5.

    Args:
        features: Shape (N, D), normalised: the whole stream.
        logits: Shape (N, K), on the cosine scale, likewise.
        class_texts: Shape (K, D), normalised.
        labels: Candidates, mined as for `neglabel`.
        pool: Names near the classes; the kind of a name is its cluster, and one without is a cluster of its own.
        mode: As in `reneg`; max is the configuration of the authors' ablation on this base.
        weight: Of the correction.
        among: Whether the names count among the negative texts. Without, and with weight 0, the score is the log-odds
            of NegLabel's with one group.
        T: Temperature on cosines.
        quantile: Of a candidate's cosines with the classes, by which it is mined.
        keep: Share of every kind of candidate that is mined; 1 for a list that is already selected.
        batch: Samples that are scored together.
        seed: Of the random directions of mode max.
        order: Seed of the stream's order; the stage uses it when it makes the stream, the score does not.
        stream: Its protocol, likewise: see `oodgrid.streams`.
        state: What it remembers of the stream so far; it is changed. A batch ends where a part of the stream does.

    Returns:
        Shape (N,).

    Raises:
        Skip: No candidate is left, or the pool has no name.
    """
    chosen = most_unlike(labels, class_texts, quantile=quantile, keep=keep)
    if not len(chosen):
        raise Skip("no negative text is left of its candidates")
    negatives, shape = labels.features[chosen], class_texts.shape
    told, texts = Told("reneg_neglabel", mode, weight, T, batch, seed), (class_texts, negatives, pool.features)
    of = identity(state, *texts, kinds=tuple(pool.kinds), among=among, **asdict(told))
    begun = remembered(state, "reneg_neglabel", of, **PlugIn.shapes(len(pool.features), shape))
    plug_in = PlugIn(pool, shape, told, begun)

    def base(rows: slice, near: np.ndarray) -> tuple[np.ndarray, None]:
        against = log_mass(product(features[rows], negatives), T)
        if among:
            against = np.logaddexp(against, plug_in.pool.log_mass(near, T))
        return log_mass(logits[rows], T) - against, None

    scores = plug_in.follow(features, logits, base)
    if state is not None:
        state |= plug_in.state() | of
    return scores
