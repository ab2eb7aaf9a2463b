"""Files of pseudo-OOD texts: what was made of the texts of each few-shot draw, and its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.store import hdf5
from oodgrid.store.features import check_finite, content_digest


@dataclass(frozen=True)
class PseudoOodTexts:
    """Texts out of distribution, made of the shots of some draws; a text that several draws gave stands once.

    Attributes:
        shots: Shape (M,): of the draw of each text that was made.
        seed: Shape (M,): likewise.
        index: Shape (M,): the row of the training split of which it was made, rising in each draw.
        place: Shape (M,): where it stands among the U texts.
        texts: U texts.
        text_features: Shape (U, D), float32, not normalised.
        provenance: What decides the numbers.
        digest: Of the data; "" before they are written.
    """

    shots: np.ndarray
    seed: np.ndarray
    index: np.ndarray
    place: np.ndarray
    texts: Sequence[str]
    text_features: np.ndarray
    provenance: dict[str, Any]
    digest: str = ""

    def of(self, shots: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return, of one draw, the rows (P,) of which texts were made and the features (P, D) of these texts."""
        rows = np.flatnonzero((self.shots == shots) & (self.seed == seed))
        return self.index[rows], self.text_features[self.place[rows]]


COLUMNS = ("shots", "seed", "index", "place")


def write_pseudo_ood(path: Path, made: PseudoOodTexts) -> None:
    """Write a file of pseudo-OOD texts.

    Raises:
        OodgridError: Shapes do not fit each other or a feature is not finite; nothing is written.
    """
    columns = {name: np.asarray(getattr(made, name), dtype=np.int64) for name in COLUMNS}
    if len({len(column) for column in columns.values()}) > 1 or len(made.texts) != len(made.text_features):
        shapes = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
        raise OodgridError(
            f"{path.name}: {counted(len(made.texts), 'text')}, features of shape {made.text_features.shape} and "
            f"columns ({shapes}) do not fit each other"
        )
    check_finite(made.text_features, path.name, made.texts)
    values = np.asarray(made.text_features, np.float32)
    hdf5.write(path, {**columns, "texts": hdf5.LongTexts(made.texts), "text_features": values}, made.provenance)


def read_pseudo_ood(path: Path) -> PseudoOodTexts:
    """Read a file of pseudo-OOD texts, checking its checksums.

    Raises:
        OodgridError: The file is missing or damaged.
    """
    content = hdf5.read(path, "text_features")
    columns = {name: content.array(name) for name in COLUMNS}
    texts = content.names("texts")
    return PseudoOodTexts(
        **columns, texts=texts, text_features=content.array("text_features"), provenance=content.provenance,
        digest=content_digest(content),
    )  # fmt: skip
