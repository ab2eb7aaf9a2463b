"""ReNeg on TANL and TINS together, or on TINS alone: as `reneg`, with labelled shots and inverted texts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from oodgrid.registry import score
from oodgrid.score.activated import Params, Queues
from oodgrid.score.contract import Bank, Encoder, LabelList, TextList
from oodgrid.score.mining import Fraction, Seed
from oodgrid.score.reneg import Mode, PlugIn, Told, log_odds
from oodgrid.score.scores.tins import tins
from oodgrid.score.states import State, identity, remembered
from oodgrid.signatures import ListName
from oodgrid.streams import Stream

OF_TINS = "tins_"  # before the names of what TINS remembers


@score(
    title="ReNeg on TANL + TINS",
    needs=("features", "logits", "class_texts", "bank", "text_tower"),
    family="vision-language",
    paper="NabilRafi/ReNeg 715a169, docs/METHOD.md and src/reneg/{multi,tins}.py (2026)",
    transductive=True,
)
def reneg_tanl_tins(
    features: np.ndarray,
    logits: np.ndarray,
    class_texts: np.ndarray,
    bank: Bank,
    text_tower: Encoder,
    *,
    labels: LabelList,
    pool: LabelList,
    noise: Annotated[TextList, ListName("noise-images")],
    base: Literal["both", "tins"] = "both",
    mode: Mode = "balanced",
    weight: Fraction = 0.25,
    T: PositiveFloat = 0.01,
    count: PositiveInt = 1000,
    length: PositiveInt = 300,
    gap: Fraction = 0.2,
    alpha: Fraction = 0.95,
    recent: PositiveInt = 20_000,
    groups: PositiveInt = 5,
    mined: PositiveInt = 2000,
    threshold: Fraction = 0.3,
    steps: NonNegativeInt = 30,
    kept: PositiveInt = 2000,
    batch: PositiveInt = 256,
    seed: Seed = 0,
    order: Seed = 0,
    stream: Stream = "mixed",
    state: State | None = None,
) -> np.ndarray:
    """ReNeg on TANL + TINS: as `reneg`, on the mean of the log-odds of `tanl` and of `tins`, each by itself.

    The shots show how classes look from the start. After that those samples count whose largest softmax(s / T) is at
    least .5, of which TANL is sure that they are ID, and that are not voted OOD: whose log-odds are not below Otsu's
    threshold of the last 20,000. With base = tins the log-odds are those of TINS, and TANL has no say.

    TINS has no buffer here, as in the code of record, and its rate, decay and weight are its defaults. With weight 0
    the score is the log-odds. With base = tins and threshold 0 it is `reneg_tins`.

    This trains on test images, as `tins`: its numbers are those of a stream, and no detector's of single samples.

    Args:
        features: Shape (N, D), normalised: the whole stream.
        logits: Shape (N, K), on the cosine scale, likewise.
        class_texts: Shape (K, D), normalised.
        bank: The labelled shots, at least one a class; about 5 in ReNeg's table.
        text_tower: What encoded the class texts.
        labels: TANL's texts, and TINS' candidates.
        pool: Names near the classes; the kind of a name is its cluster, and one without is a cluster of its own.
        noise: Features of images of noise, TANL's.
        base: Both, or TINS alone.
        mode: The published operating point: balanced, max or safe, as in `reneg`.
        weight: Of the correction.
        T: Temperature on cosines.
        count: TANL's, as all up to `recent`: how many negative texts count.
        length: Of either queue.
        gap: Share of either side of the threshold that is not sure.
        alpha: Weight of the queues beside the batch.
        recent: How many scores the threshold looks back to.
        groups: TINS', as all up to `kept`: number of groups of negative texts.
        mined: How many texts are mined.
        threshold: Scores below it are inverted.
        steps: Of AdamW.
        kept: How many inverted texts are kept.
        batch: Samples that are scored together.
        seed: Of TANL's queues, the grouping, and the random directions of mode max.
        order: Seed of the stream's order; the stage uses it when it makes the stream, the score does not.
        stream: Its protocol, likewise: see `oodgrid.streams`.
        state: What it remembers of the stream so far; it is changed. A batch ends where a part of the stream does.

    Returns:
        Shape (N,).

    Raises:
        Skip: As `tins`; or the pool has no name.
    """
    params, shape = Params(T, count, length, gap, alpha, recent, batch, seed), class_texts.shape
    told, texts = Told("reneg_tanl_tins", mode, weight, T, batch, seed), (class_texts, labels.features, noise.features)
    of_tins = {"count": mined, "threshold": threshold, "steps": steps, "length": kept, "groups": groups}
    decides = asdict(params) | asdict(told) | {f"{OF_TINS}{name}": value for name, value in of_tins.items()}
    kinds, shown = tuple(pool.kinds), tuple(bank.labels.tolist())
    of = identity(state, *texts, pool.features, bank.directions, kinds=kinds, shown=shown, base=base, **decides)
    of_tanl = Queues.shapes(len(labels.features)) if base == "both" else {}
    begun = remembered(
        state, "reneg_tanl_tins", of, **of_tanl, **PlugIn.shapes(len(pool.features), shape), **_shapes(shape[1])
    )
    plug_in = PlugIn(pool, shape, told, begun, bank)
    inverted = None if state is None else {
        name.removeprefix(OF_TINS): values for name, values in begun.items() if name.startswith(OF_TINS)
    }  # fmt: skip
    shares = tins(
        features, logits, class_texts, bank, text_tower,
        labels=labels, T=T, seed=seed, buffer=0, batch=batch, state=inverted, **of_tins,
    )  # fmt: skip
    odds, sure, left = log_odds(shares), None, {}
    if base == "both":
        queues = Queues(*texts, params, begun, "reneg_tanl_tins")
        of_queues, sure = queues.follow(features, logits)
        odds, left = (log_odds(of_queues) + odds) / 2, queues.state()
    scores = plug_in.follow(
        features, logits, lambda rows, near: (odds[rows], None if sure is None else sure[rows]), unvoted=True
    )
    if state is not None and inverted is not None:
        state |= left | plug_in.state() | {f"{OF_TINS}{name}": values for name, values in inverted.items()} | of
    return scores


def _shapes(width: int) -> dict[str, tuple[int | None, ...]]:
    """Return the shapes of what TINS remembers, for texts of a width."""
    of_texts: dict[str, tuple[int | None, ...]] = {
        "kept": (None, width), "gaps": (None,), "waiting": (None, width), "waiting_gaps": (None,), "identity": (None,)
    }  # fmt: skip
    return {f"{OF_TINS}{name}": shape for name, shape in of_texts.items()}
