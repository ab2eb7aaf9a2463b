"""ReNeg on TANL: names near the classes, as the stream shows them, correct TANL's score."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from oodgrid.registry import score
from oodgrid.score.activated import Params, Queues
from oodgrid.score.contract import LabelList, TextList
from oodgrid.score.mining import Fraction, Seed
from oodgrid.score.reneg import Mode, PlugIn, Told, log_odds
from oodgrid.score.states import State, identity, remembered
from oodgrid.signatures import ListName
from oodgrid.streams import Stream


@score(
    title="ReNeg",
    needs=("features", "logits", "class_texts"),
    family="vision-language",
    paper="NabilRafi/ReNeg 715a169, docs/METHOD.md and src/reneg/reneg_tanl.py (2026)",
    transductive=True,
)
def reneg(
    features: np.ndarray,
    logits: np.ndarray,
    class_texts: np.ndarray,
    *,
    labels: LabelList,
    pool: LabelList,
    noise: Annotated[TextList, ListName("noise-images")],
    mode: Mode = "balanced",
    weight: Fraction = 0.25,
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
    """ReNeg on TANL: (1 - weight) log-odds of TANL's score + weight a correction by names near the classes.

    TANL goes its own way. Of each batch, after it was scored:

    1. A sample nearer to a name of the pool than to any class is caught by that name, with the difference of the two
       cosines as its margin. A name's mean margin, drawn to that of its cluster, has a lower bound, and a logistic
       function of it is its trust pi. The mean of what it caught is how it looks.
    2. A sample whose largest softmax(s / T) is at least .5, and which TANL is sure is ID, is added to how its class
       looks.

    With own = log sum over classes of exp(cos / T) with their looks, and near the same over the names' with weights pi:

    * balanced: min(0, own - near). safe: that times the trust in the name that catches the sample; 0 where none does.
      max: own - log(exp near + the same sum over 10,000 random directions around the mean sample).
    * Of balanced and safe, pi is also multiplied by a logistic function of the share of the name's samples whose
      log-odds of TANL lie below Otsu's threshold of the last 20,000.

    Before any class has a look the score is the log-odds alone, so that a first batch is on another scale; the log-odds
    of shares within 1e-7 of 0 or 1 tie: published so. With weight 0 the score is the log-odds throughout.

    Where a method learned another classifier than `class_texts`, cosines with the classes are the method's, and TANL's
    ID queue begins with `class_texts`.

    Args:
        features: Shape (N, D), normalised: the whole stream.
        logits: Shape (N, K), on the cosine scale, likewise.
        class_texts: Shape (K, D), normalised.
        labels: TANL's: all texts of which negative ones are chosen.
        pool: Names near the classes; the kind of a name is its cluster, and one without is a cluster of its own.
        noise: Features of images of noise.
        mode: The published operating point: balanced, max (best on near OOD) or safe (smallest changes to TANL).
        weight: Of the correction; the authors' omega.
        T: Temperature on cosines.
        count: TANL's, as all up to `recent`: how many negative texts count.
        length: Of either queue.
        gap: Share of either side of the threshold that is not sure.
        alpha: Weight of the queues beside the batch.
        recent: How many scores the threshold looks back to.
        batch: Samples that are scored together.
        seed: Of TANL's queues, and of the random directions.
        order: Seed of the stream's order; the stage uses it when it makes the stream, the score does not.
        stream: Its protocol, likewise: see `oodgrid.streams`.
        state: What it remembers of the stream so far; it is changed. A batch ends where a part of the stream does.

    Returns:
        Shape (N,).

    Raises:
        Skip: There is no text, or no name.
    """
    params, shape = Params(T, count, length, gap, alpha, recent, batch, seed), class_texts.shape
    told, texts = Told("reneg", mode, weight, T, batch, seed), (class_texts, labels.features, noise.features)
    decides = asdict(params) | asdict(told)
    of = identity(state, *texts, pool.features, kinds=tuple(pool.kinds), **decides)
    shapes = Queues.shapes(len(labels.features)) | PlugIn.shapes(len(pool.features), shape)
    begun = remembered(state, "reneg", of, **shapes)
    queues, plug_in = Queues(*texts, params, begun, "reneg"), PlugIn(pool, shape, told, begun)
    shares, sure = queues.follow(features, logits)
    odds = log_odds(shares)
    scores = plug_in.follow(features, logits, lambda rows, near: (odds[rows], sure[rows]))
    if state is not None:
        state |= queues.state() | plug_in.state() | of
    return scores
