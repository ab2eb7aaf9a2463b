"""TINS: negative texts of labelled images, and more that are inverted from the images of the stream that score low."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.progress import progress
from oodgrid.registry import score
from oodgrid.score.contract import Bank, Encoder, LabelList, TextList, product
from oodgrid.score.draws import TorchDraws
from oodgrid.score.mining import Fraction, Seed, class_directions, inter_modal
from oodgrid.score.products import device
from oodgrid.score.shares import id_share
from oodgrid.score.sharing import shared
from oodgrid.score.states import NO_STATE, State, identity, remembered
from oodgrid.streams import Stream
from oodgrid.text_tower.inversion import Inversion, load

if TYPE_CHECKING:
    from oodgrid.text_tower import TextTower


@score(
    title="TINS",
    needs=("features", "logits", "class_texts", "bank", "text_tower"),
    family="vision-language",
    paper="Yang et al. 2026 (arXiv 2605.10756); github.com/zxk1212/tins (eval_tins_w_init.py)",
    transductive=True,
)
def tins(
    features: np.ndarray,
    logits: np.ndarray,
    class_texts: np.ndarray,
    bank: Bank,
    text_tower: Encoder,
    *,
    labels: LabelList,
    T: PositiveFloat = 0.01,
    groups: PositiveInt = 5,
    seed: Seed = 0,
    count: PositiveInt = 2000,
    threshold: Fraction = 0.3,
    steps: NonNegativeInt = 30,
    lr: NonNegativeFloat = 0.02,
    decay: NonNegativeFloat = 0.01,
    weight: Annotated[float, Field(ge=0)] = 0.3,
    length: PositiveInt = 2000,
    buffer: NonNegativeInt = 2000,
    batch: PositiveInt = 256,
    order: Seed = 0,
    stream: Stream = "mixed",
    state: State | None = None,
) -> np.ndarray:
    """TINS: the score of `interneg` with `group: mean`, whose negative texts grow by inverted images of the stream.

    Of each batch the images x with a score below `threshold` are inverted: the embedding of one token, z, is learned so
    that t, the feature of "a photo of a <z>.", has a small 1 - t x + weight mean_c (1 + t mu_c), mu_c the normalised
    mean of the shots of class c. z starts as the last token of the mined word whose own prompt has the least of that,
    and stays in that prompt. Each t with t mu_c < t_c mu_c for every class text t_c is kept; the batch is scored again.

    Kept are the `length` of the largest mean_c (t_c mu_c - t mu_c). What they push out waits; when `buffer` wait, the
    better half of them joins the kept, of all these `length` are drawn, and none waits.

    As in the code of record, but for: the code computes in half precision, and divides the gradient of each image by
    how many are inverted with it, which AdamW undoes but for its 1e-8; groups are drawn as for `interneg`. The code's
    random start is not here.

    This trains on test images: its numbers are those of a stream, and no detector's of single samples. With
    threshold = 0 nothing is inverted, and each sample is scored alone against what `state` holds.

    Args:
        features: Shape (N, D), normalised: the whole stream.
        logits: Shape (N, K), on the cosine scale, likewise.
        class_texts: Shape (K, D), normalised; published for "The nice {}.".
        bank: The labelled shots, at least one a class; 16 in the paper.
        text_tower: What encoded the class texts.
        labels: Candidates, mined as for `interneg`.
        T: Temperature on cosines.
        groups: Number of groups of negative texts.
        seed: Of the grouping, and of the draw of those that wait.
        count: How many texts are mined.
        threshold: Scores below it are inverted.
        steps: Of AdamW; 0 keeps the mined words' own prompts.
        lr: Its learning rate.
        decay: Its weight decay.
        weight: Of the term that keeps t from the classes' images; .3 for ImageNet, .5 for CIFAR.
        length: How many inverted texts are kept.
        buffer: How many wait before half of them have another chance; 0: none, as released for temporal shift.
        batch: Samples that are scored together.
        order: Seed of the stream's order; the stage uses it when it makes the stream, the score does not.
        stream: Its protocol, likewise: see `oodgrid.streams`.
        state: What it remembers of the stream so far; it is changed. A batch ends where a part of the stream does.

    Returns:
        Shape (N,), in [0, 1].

    Raises:
        Skip: A class has no shot, no candidate survives, or the text tower never saw one of them.
    """
    chosen = inter_modal(labels, class_texts, bank, count=count)
    centres = class_directions(bank, len(class_texts))
    own = np.einsum("kd,kd->k", class_texts, centres)
    fixed, away = labels.features[chosen], weight * centres.mean(axis=0)
    how = {"steps": steps, "lr": lr, "decay": decay, "weight": weight, "length": length, "buffer": buffer}
    of = identity(state, class_texts, fixed, centres, T=T, groups=groups, seed=seed, **how)  # whatever the threshold
    kept = _Kept(class_texts.shape[1], length, buffer, seed, state, of)
    scores = np.empty(len(features))
    for start in progress(range(0, len(features), batch), desc="tins", unit="batch"):
        rows = slice(start, start + batch)
        cosines = product(features[rows], fixed)
        scores[rows] = kept.share(features[rows], logits[rows], cosines, groups, T)
        low = features[rows][scores[rows] < threshold]
        if not len(low):
            continue
        inverted = _inversion(labels, chosen, text_tower).of(low - away, steps=steps, lr=lr, decay=decay)
        near = inverted @ centres.T
        apart = (near < own).all(axis=1)
        if apart.any():
            kept.add(inverted[apart], (own - near[apart]).mean(axis=1))
            scores[rows] = kept.share(features[rows], logits[rows], cosines, groups, T)
    if state is not None:
        state |= kept.state() | of
    return scores


class _Kept:
    """The inverted texts that are kept and those that wait, each with how far it lies from the classes' images."""

    def __init__(self, width: int, length: int, buffer: int, seed: int, state: State | None, of: State) -> None:
        self.length, self.buffer, self.seed = length, buffer, seed
        shapes = {"kept": (None, width), "gaps": (None,), "waiting": (None, width), "waiting_gaps": (None,)}
        begun = remembered(state, "tins", of, **shapes)
        none = np.empty((0, width)), np.empty(0)
        self.kept = (begun["kept"], begun["gaps"]) if begun else none
        self.waiting = (begun["waiting"], begun["waiting_gaps"]) if begun else none
        for texts, gaps in (self.kept, self.waiting):
            if len(texts) != len(gaps) or not (np.isfinite(texts).all() and np.isfinite(gaps).all()):
                raise OodgridError(f"tins: state has {counted(len(texts), 'text')} and other gaps: {NO_STATE}")

    def state(self) -> State:
        """Return what it holds, for a stream that goes on later."""
        return dict(zip(("kept", "gaps", "waiting", "waiting_gaps"), (*self.kept, *self.waiting), strict=True))

    def add(self, texts: np.ndarray, gaps: np.ndarray) -> None:
        """Take texts (n, D) with their gaps (n,), and let the worst wait."""
        texts, gaps = _sorted(np.vstack([self.kept[0], texts]), np.concatenate([self.kept[1], gaps]))
        self.kept = texts[: self.length], gaps[: self.length]
        if not self.buffer:
            return
        self.waiting = (
            np.vstack([self.waiting[0], texts[self.length :]]),
            np.concatenate([self.waiting[1], gaps[self.length :]]),
        )
        if (count := len(self.waiting[1])) >= self.buffer:
            better = [each[: count // 2] for each in _sorted(*self.waiting)]
            pool = np.vstack([self.kept[0], better[0]]), np.concatenate([self.kept[1], better[1]])
            drawn = TorchDraws(self.seed).permutation(len(pool[1]))[: self.length]
            self.kept, self.waiting = (pool[0][drawn], pool[1][drawn]), (texts[:0], gaps[:0])

    def share(self, features: np.ndarray, logits: np.ndarray, fixed: np.ndarray, groups: int, T: float) -> np.ndarray:
        """Return the classes' share (n,) of samples with logits (n, K) and cosines (n, M) with the mined texts."""
        others = np.hstack([fixed, product(features, self.kept[0])]) if len(self.kept[0]) else fixed
        groups = min(groups, others.shape[1])
        drawn = np.random.default_rng(self.seed).permutation(others.shape[1] // groups * groups)
        return id_share(logits, others[:, drawn], groups=groups, T=T, mean=True)


def _sorted(texts: np.ndarray, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return texts and gaps, the largest gap first; of equals the earlier."""
    order = np.argsort(-gaps, kind="stable")
    return texts[order], gaps[order]


@shared
def _inversion(labels: TextList, chosen: np.ndarray, text_tower: Encoder) -> Inversion:
    """Return what inverts images from the mined words on; once a job."""
    inversion = Inversion(_tower(text_tower), [labels.names[row] for row in chosen])
    if (width := inversion.features.shape[1]) != labels.features.shape[1]:
        raise OodgridError(
            f"labels have {counted(labels.features.shape[1], 'dimension')}, and the texts of backbone "
            f"{text_tower.backbone.name} {width}: give the backbone that encoded them"
        )
    return inversion


@shared
def _tower(text_tower: Encoder) -> TextTower:
    return load(text_tower.dataset, text_tower.weights_sha256, text_tower.backbone, device())
