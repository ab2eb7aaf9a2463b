"""ReNeg on TINS' static score: as `reneg`, with labelled shots for what classes look like."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import Bank, LabelList
from oodgrid.score.mining import Fraction, Seed
from oodgrid.score.reneg import Mode, PlugIn, Told, log_odds
from oodgrid.score.scores.interneg import interneg
from oodgrid.score.states import State, identity, remembered
from oodgrid.streams import Stream


@score(
    title="ReNeg on TINS",
    needs=("features", "logits", "class_texts", "bank"),
    family="vision-language",
    paper="NabilRafi/ReNeg 715a169, docs/METHOD.md and src/reneg/multi.py (2026)",
    adapted="on the static negatives of TINS alone, without texts inverted from the images of the test stream",
    transductive=True,
)
def reneg_tins(
    features: np.ndarray,
    logits: np.ndarray,
    class_texts: np.ndarray,
    bank: Bank,
    *,
    labels: LabelList,
    pool: LabelList,
    mode: Mode = "balanced",
    weight: Fraction = 0.25,
    T: PositiveFloat = 0.01,
    groups: PositiveInt = 5,
    count: PositiveInt = 2000,
    batch: PositiveInt = 256,
    seed: Seed = 0,
    order: Seed = 0,
    stream: Stream = "mixed",
    state: State | None = None,
) -> np.ndarray:
    """ReNeg on TINS: as `reneg`, on `interneg` with group: mean; the shots show how classes look from the start.

    TINS has no samples that it is sure of: those count that are not voted OOD, so whose log-odds are not below Otsu's
    threshold of the last 20,000.

    Args:
        features: Shape (N, D), normalised: the whole stream.
        logits: Shape (N, K), on the cosine scale, likewise.
        class_texts: Shape (K, D), normalised.
        bank: The labelled shots, at least one a class; about 5 in ReNeg's table.
        labels: Candidates, mined as for `interneg`.
        pool: Names near the classes; the kind of a name is its cluster, and one without is a cluster of its own.
        mode: The published operating point: balanced, max or safe, as in `reneg`.
        weight: Of the correction; with 0 the score is the log-odds of `interneg`'s.
        T: Temperature on cosines.
        groups: Number of groups of negative texts.
        count: How many texts are mined.
        batch: Samples that are scored together.
        seed: Of the grouping, and of the random directions of mode max.
        order: Seed of the stream's order; the stage uses it when it makes the stream, the score does not.
        stream: Its protocol, likewise: see `oodgrid.streams`.
        state: What it remembers of the stream so far; it is changed. A batch ends where a part of the stream does.

    Returns:
        Shape (N,).

    Raises:
        Skip: A class has no shot, no candidate survives, or the pool has no name.
    """
    shape, texts = class_texts.shape, (class_texts, labels.features, pool.features, bank.directions)
    told, of_base = Told("reneg_tins", mode, weight, T, batch, seed), {"groups": groups, "count": count}
    kinds, shown = tuple(pool.kinds), tuple(bank.labels.tolist())
    of = identity(state, *texts, kinds=kinds, shown=shown, **asdict(told), **of_base)
    begun = remembered(state, "reneg_tins", of, **PlugIn.shapes(len(pool.features), shape))
    plug_in = PlugIn(pool, shape, told, begun, bank)
    shares = interneg(features, logits, class_texts, bank, labels=labels, group="mean", T=T, seed=seed, **of_base)
    odds = log_odds(shares)
    scores = plug_in.follow(features, logits, lambda rows, near: (odds[rows], None), unvoted=True)
    if state is not None:
        state |= plug_in.state() | of
    return scores
