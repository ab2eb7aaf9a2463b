"""TANL: negative texts that the samples of the stream itself activate, chosen anew for every batch."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from oodgrid.registry import score
from oodgrid.score.activated import Params, Queues
from oodgrid.score.contract import LabelList, TextList
from oodgrid.score.mining import Fraction, Seed
from oodgrid.score.states import State, identity, remembered
from oodgrid.signatures import ListName
from oodgrid.streams import Stream


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
    params, texts = Params(T, count, length, gap, alpha, recent, batch, seed), labels.features
    of = identity(state, class_texts, texts, noise.features, **asdict(params))
    begun = remembered(state, "tanl", of, **Queues.shapes(len(texts)))
    queues = Queues(class_texts, texts, noise.features, params, begun, "tanl")
    scores, _ = queues.follow(features, logits)
    if state is not None:
        state |= queues.state() | of
    return scores
