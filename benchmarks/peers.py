"""Each score that pytorch-ood 0.4 has too, on the same arrays: fit and prediction apart, in float64 on both sides.

Scores of logits are given logits; all others are given features, and make logits of them where they need any. Both
sides get blocks of 1,024 samples, one thread, and take turns in one process. Some of pytorch-ood's detectors cast what
they are given to float32: these are timed as they are, beside ours with products in float32, and once more with that
cast turned into one to float64.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from made import Sizes, Study, study
from pytorch_ood import detector as peer
from timing import in_turn

from oodgrid import registry
from oodgrid.config import Choice
from oodgrid.score.compute import compute
from oodgrid.score.contract import Bank, Head
from oodgrid.score.references import ROWS
from oodgrid.score.sharing import frozen

FEW = 256  # samples of those whose prediction takes milliseconds a sample
logging.getLogger("pytorch_ood").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Peer:
    """One detector of pytorch-ood.

    Attributes:
        make: Returns it, of a linear head (`torch.nn.Linear`), not fitted.
        takes: What it predicts from: "logits", "features" or "maps", which are features (N, D, 1, 1).
        fits: What it is fitted with: "", "bank" or "val".
        casts: Whether it computes in float32, whatever it is given.
        dear: Whether it is timed on few samples.
    """

    make: Callable[[torch.nn.Linear], Any]
    takes: str
    fits: str = ""
    casts: bool = False
    dear: bool = False


def _pooled(head: torch.nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda maps: head(maps.flatten(1))


PEERS = {
    "msp": Peer(lambda head: peer.MaxSoftmax(None), "logits"),
    "mcm": Peer(lambda head: peer.MaxSoftmax(None, t=100.0), "logits"),
    "max_logit": Peer(lambda head: peer.MaxLogit(None), "logits"),
    "energy": Peer(lambda head: peer.EnergyBased(None), "logits"),
    "entropy": Peer(lambda head: peer.Entropy(None), "logits"),
    "gen": Peer(lambda head: peer.GEN(None, M=100), "logits"),
    "kl_matching": Peer(lambda head: peer.KLMatching(None), "logits", "val"),
    "mahalanobis": Peer(lambda head: peer.Mahalanobis(None), "features", "bank", dear=True),
    "relative_mahalanobis": Peer(lambda head: peer.RMD(None), "features", "bank", dear=True),
    "knn": Peer(lambda head: peer.KNN(None, k=10), "features", "bank"),
    "vim": Peer(lambda head: peer.ViM(None, 256, head.weight, head.bias), "features", "bank", casts=True),
    "she": Peer(lambda head: peer.SHE(None, head), "features", "bank"),
    "nnguide": Peer(lambda head: peer.NNGuide(None, head, k=10), "features", "bank", casts=True),
    "nci": Peer(lambda head: peer.NCI(None, head, alpha=1e-4), "features", "bank", casts=True),
    "fdbd": Peer(lambda head: peer.fDBD(None, head), "features", "bank", casts=True),
    "gradnorm": Peer(lambda head: peer.GradNorm(head, lambda name: name == "weight"), "whole", dear=True),
    "dice": Peer(lambda head: peer.DICE(None, head.weight, head.bias, 0.9), "features", "bank", casts=True, dear=True),
    "react": Peer(lambda head: peer.ReAct(None, head), "features_as_maps", "val"),
    "vra": Peer(lambda head: peer.VRA(None, head, 0.6, 0.95), "features_as_maps", "bank"),
    "ash_s": Peer(lambda head: peer.ASH(None, _pooled(head), "ash-s", 0.9), "maps"),
    "ash_b": Peer(lambda head: peer.ASH(None, _pooled(head), "ash-b", 0.65), "maps"),
    "ash_p": Peer(lambda head: peer.ASH(None, _pooled(head), "ash-p", 0.6), "maps"),
    "scale": Peer(lambda head: peer.SCALE(None, _pooled(head), 0.85), "maps"),
}


def measured(sizes: Sizes, only: Sequence[str], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return a row for each score, or for some: CPU seconds of the fit and µs a sample, ours and theirs."""
    made, rows = study(sizes, sizes.beside * 5 // 9, sizes.beside - sizes.beside * 5 // 9), []
    for name in only or PEERS:
        one = PEERS[name]
        row = compared(name, one, made, min(FEW, sizes.beside) if one.dear else sizes.beside)
        whole = {
            side: row["fit_s"].get(side, 0.0) + 1e-6 * each * (sizes.own + sizes.ood)
            for side, each in row["us_a_sample"].items()
        }
        rows.append({**row, "study_s": whole, "ratio_study": whole["theirs"] / whole["ours"]})
        say(f"{name}: theirs take {rows[-1]['ratio_study']:.2f} times as long")
    return rows


def compared(name: str, one: Peer, made: Study, samples: int) -> dict[str, Any]:
    """Return the row of one score."""
    ours, theirs = Ours(name, made, samples), Theirs(one, made, samples, "float64")
    sides: dict[str, Ours | Theirs] = {"ours": ours, "theirs": theirs}
    if one.casts:
        sides["ours_float32"] = Ours(name, made, samples, "float32")
        sides["theirs_float32"] = Theirs(one, made, samples, "float32")
    fits = in_turn({side: each.fit for side, each in sides.items()}, 3) if one.fits else {}
    for each in sides.values():
        each.fit()
    predicts = in_turn({side: each.predict for side, each in sides.items()}, 7)
    return {
        "score": name,
        "samples": samples,
        "fit_s": fits,
        "us_a_sample": {side: 1e6 * seconds / samples for side, seconds in predicts.items()},
        "ratio_fit": fits["theirs"] / fits["ours"] if fits else None,
        "ratio_predict": predicts["theirs"] / predicts["ours"],
    }


class Ours:
    """One score of oodgrid in the blocks of the stage; what it estimates of the shots is its fit."""

    def __init__(self, name: str, made: Study, samples: int, precision: str = "float64") -> None:
        self._choice, self._needs, self._study = Choice(name=name), registry.find("score", name).needs, made
        self._head = Head(made.head.weights, made.head.bias, precision)
        self._features, self._logits = made.features[:samples], made.logits[:samples]
        self._of_logits = "features" not in self._needs and "logits" in self._needs
        self._precision, self._given = precision, {}
        self.fit()

    def fit(self) -> None:
        """Estimate what the score needs of labelled samples: it does so with the first block, here of one sample."""
        made = self._study
        self._given = {"head": self._head}
        for need, values, labels in (("bank", made.bank, made.bank_labels), ("val", made.val, made.val_labels)):
            if any(need in each.split("|") for each in self._needs):
                self._given[need] = Bank(values, labels, made.shots, None, self._head, self._precision)
        self._block(0, 1)

    def predict(self) -> np.ndarray:
        """Return the score of all samples."""
        return np.concatenate([self._block(start, start + ROWS) for start in range(0, len(self._features), ROWS)])

    def _block(self, start: int, stop: int) -> np.ndarray:
        features = self._features[start:stop]
        inputs = {**self._given, "features": features}
        if "logits" in self._needs:
            inputs["logits"] = self._logits[start:stop] if self._of_logits else frozen(self._head.logits(features))
        return compute(self._choice, inputs)


class Theirs:
    """One detector of pytorch-ood, in a precision."""

    def __init__(self, one: Peer, made: Study, samples: int, precision: str) -> None:
        self._peer, self._type = one, getattr(torch, precision)
        tensor = partial(_tensor, kind=self._type)
        self._head = torch.nn.Linear(*made.head.weights.T.shape, dtype=self._type)
        self._head.load_state_dict({"weight": 100 * tensor(made.head.weights), "bias": tensor(made.head.bias)})
        self._head.requires_grad_(False)
        self._samples = tensor(100 * made.logits[:samples] if one.takes == "logits" else made.features[:samples])
        if one.takes == "maps":
            self._samples = self._samples[:, :, None, None]
        values, labels = (made.val, made.val_labels) if one.fits == "val" else (made.bank, made.bank_labels)
        self._known = tensor(values), torch.from_numpy(labels.astype(np.int64))
        self.fit()

    def fit(self) -> None:
        """Make the detector and fit it."""
        with _of_type(self._type):
            self._detector = self._peer.make(self._head)
            if self._peer.fits and self._peer.takes == "logits":
                self._detector.fit_logits(self._head(self._known[0]))
            elif self._peer.fits:
                takes_maps = self._peer.takes == "features_as_maps"
                fit = self._detector.fit_feature_maps if takes_maps else self._detector.fit_features
                fit(*self._known)

    def predict(self) -> torch.Tensor:
        """Return the score of all samples, in blocks as ours."""
        named = {"logits": "predict_logits", "features": "predict_features", "whole": "predict"}
        predict = getattr(self._detector, named.get(self._peer.takes, "predict_feature_maps"))
        with _of_type(self._type):
            return torch.cat([predict(block) for block in self._samples.split(ROWS)])


@contextmanager
def _of_type(kind: torch.dtype) -> Iterator[None]:
    """Make a precision the default, and that of what detectors cast to float32."""
    cast = torch.Tensor.float
    torch.set_default_dtype(kind)
    torch.Tensor.float = torch.Tensor.double if kind == torch.float64 else cast
    try:
        yield
    finally:
        torch.Tensor.float = cast
        torch.set_default_dtype(torch.float32)


def _tensor(values: np.ndarray, kind: torch.dtype) -> torch.Tensor:
    return torch.tensor(values, dtype=kind)
