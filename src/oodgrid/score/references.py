"""What the scores of one fit compare samples with, and the inputs of scores that it makes of them, block by block."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.score.contract import Bank, Head, local_logits, local_negatives, normalise
from oodgrid.score.sharing import frozen
from oodgrid.score.texts import Texts
from oodgrid.store import StoredRows
from oodgrid.vectors import filled

ROWS = 1024  # samples in a block: large enough for matrix products, small enough that what scores make of it is too
LOCAL_NUMBERS = 2**23  # in the local logits of a block, 64 MB, where FILLED rows have no more
FILLED = 64  # the rows of a block are a multiple of so many, so that no sample's scores depend on how many there are

Inputs = Callable[[], dict[str, Any]]  # makes the inputs of a block, on the thread that scores it


@dataclass(frozen=True)
class References:
    """What the scores of one fit are given beside the samples.

    Attributes:
        head: What makes logits of features; None where the method leaves logits, or there is no method.
        negatives: Shape (K, n, D), float64, or None.
        banks: By the needs "bank", "val" and "train", as far as there are any.
        texts: The texts.
        text_cosines: Whether the logits are cosines with texts of the backbone's own tower.
        normalises: Whether scores are given normalised features, as the banks then hold; else those as cached.
    """

    head: Head | None
    negatives: np.ndarray | None
    banks: dict[str, Bank]
    texts: Texts
    text_cosines: bool
    normalises: bool = True

    def inputs(
        self, name: str, features: np.ndarray, logits: np.ndarray | None, needs: Collection[str],
        more: Mapping[str, Any] | None = None,
        corrupted: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Return the inputs of scores for some samples, by the names of `oodgrid.score.contract`.

        Args:
            name: Of the set, for messages.
            features: Shape (N, D), as the method leaves them.
            logits: Shape (N, K), where those are what it leaves.
            needs: Of the scores that are to be computed.
            more: What else there is of each sample: `pair_texts` (N, D), as the method leaves them, and `pair_logits`
                (N,) where it does; `layer_features` (N, 1 + layers, D).
            corrupted: Features (N, D) of corrupted versions of the images, by `Corruption.split`; with a head alone.

        Raises:
            OodgridError: The features are of another width than what they are compared with.
        """
        inputs: dict[str, Any] = {"features": scaled(features, self.normalises), "text_cosines": self.text_cosines}
        width = features.shape[1]
        if logits is not None:
            inputs["logits"] = logits.astype(np.float64)
        elif self.head is not None:
            _check_width(width, self.head.weights.shape[1], name, "prototypes")
            inputs |= {"head": self.head, "logits": self.head.logits(inputs["features"])}
        if self.negatives is not None and "negative_logits" in needs:
            inputs["negative_logits"] = np.einsum("nd,kjd->nkj", inputs["features"], self.negatives, optimize=True)
        for need, bank in self.banks.items():
            _check_width(width, bank.features.shape[1], name, "training features")
            inputs[need] = bank
        for need, values in (more or {}).items():
            inputs[need] = normalise(values) if need == "pair_texts" else values.astype(np.float64)
        if corrupted and self.head is not None:
            inputs["corrupted_features"] = {name: scaled(each, self.normalises) for name, each in corrupted.items()}
            of_versions = inputs["corrupted_features"].items()
            inputs["corrupted_logits"] = {name: self.head.logits(each) for name, each in of_versions}
        inputs |= {need: texts for need, texts in self.texts.by_need.items() if texts.shape[-1] == width}
        inputs |= {} if self.texts.encoder is None else {"text_tower": self.texts.encoder}
        return frozen(inputs)

    def blocks(
        self, name: str, features: np.ndarray, logits: np.ndarray | None, needs: Collection[str],
        more: Mapping[str, Any] | None = None,
        corrupted: Mapping[str, StoredRows] | None = None,
    ) -> Iterator[tuple[Inputs, int]]:  # fmt: skip
        """Yield what makes the same in blocks of rows, each with the number of its samples; copies of the last fill it.

        Args: as of `inputs`.
        """
        for start in range(0, max(len(features), 1), ROWS):
            part = features[start : start + ROWS]
            of_part = None if logits is None else filled(logits[start : start + ROWS], FILLED)
            others = {need: filled(values[start : start + ROWS], FILLED) for need, values in (more or {}).items()}
            versions = {name: filled(rows[start : start + ROWS], FILLED) for name, rows in (corrupted or {}).items()}
            yield partial(self.inputs, name, filled(part, FILLED), of_part, needs, others, versions), len(part)

    def local_blocks(
        self, name: str, features: np.ndarray, local: Iterable[tuple[int, np.ndarray]], head: Head,
        needs: Collection[str],
    ) -> Iterator[tuple[Inputs, int]]:  # fmt: skip
        """Yield the same with the logits of the patches under the head, for features as cached.

        Args:
            name: Of the set, for messages.
            features: Shape (N, D).
            local: Local features (n, P, D) of samples in their order, each block behind the row where it begins.
            head: The head.
            needs: Of the scores that are to be computed.
        """
        negatives = self.negatives if "local_negative_logits" in needs else None
        width = len(head.weights) * (1 if negatives is None else 1 + negatives.shape[1])

        def inputs(row: int, part: np.ndarray) -> dict[str, Any]:
            whole = self.inputs(name, filled(features[row : row + len(part)], FILLED), None, needs)
            patches = normalise(filled(part, FILLED))
            if negatives is not None:
                whole |= {"local_negative_logits": local_negatives(patches, negatives)}
            return whole | {"local_logits": local_logits(patches, head)}

        for first, patches in local:
            fitting = LOCAL_NUMBERS // (patches.shape[1] * width)
            rows = max(FILLED, fitting // FILLED * FILLED)
            for start in range(0, len(patches), rows):
                part = patches[start : start + rows]
                yield partial(inputs, first + start, part), len(part)


def scaled(features: np.ndarray, normalises: bool) -> np.ndarray:
    """Return features (N, D) as scores are given them, float64: normalised, or by their own norm."""
    return normalise(features) if normalises else features.astype(np.float64)


def _check_width(width: int, expected: int, name: str, what: str) -> None:
    if width != expected:
        raise OodgridError(
            f"{name} has features of {counted(width, 'dimension')} but the {what} have {expected}: "
            "they come from different backbones; import or encode them again under one"
        )
