"""AdaNeg's memory: samples of the stream that are remembered for each text, and the proxies that they make."""

from __future__ import annotations

import numpy as np

from oodgrid.errors import OodgridError
from oodgrid.score.contract import probabilities
from oodgrid.score.products import product
from oodgrid.score.states import NO_STATE, State
from oodgrid.threads import side_by_side

CHUNK = 256  # texts, and
ROWS = 128  # samples at a time, so that what is made of memories stays small; on as many threads as the job has
TINY = 1e-8  # which the code of record adds to probabilities before it takes logarithms; 0 in half precision


def entropies(logits: np.ndarray, T: float, half: bool) -> np.ndarray:
    """Return the entropy of softmax(s / T), shape (N,) of logits (N, K), by which samples are remembered.

    In half precision small probabilities are 0, and 0 log 0 is not a number: nor is then the entropy.
    """
    if not half:
        p = probabilities(logits, T=T)
        return -(p * np.log(np.minimum(p + TINY, 1))).sum(axis=1)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        rounded = (logits / T).astype(np.float16).astype(np.float32)
        p = probabilities(rounded, T=1.0).astype(np.float16)
        return -(p * np.log(p + np.float16(TINY))).sum(axis=1, dtype=np.float32).astype(np.float64)


class Memory:
    """For each of L texts the samples that are remembered for it, at most `length`, and their entropies.

    Args:
        texts: Shape (L, D).
        length: Of one memory, beside the text itself.
        beta: How much more what is near to a sample counts in its proxies.
        begun: What to begin with, of the shapes of `Memory.shapes`; empty for nothing.

    Raises:
        OodgridError: The state does not hold what it names.
    """

    def __init__(self, texts: np.ndarray, length: int, beta: float, begun: State) -> None:
        self.texts, self.length, self.beta = texts, length, beta
        shape = (len(texts), length)
        self._rows = begun.get("rows", np.zeros(shape, dtype=np.int64)).astype(np.int64)
        self._entropies = np.array(begun.get("entropies", np.zeros(shape)))
        self._filled = begun.get("filled", np.zeros(len(texts))).astype(np.int64)
        held = begun.get("held", np.empty((0, texts.shape[1])))
        slots = np.arange(length) < self._filled[:, None]
        within = (self._filled >= 0).all() and (self._filled <= length).all()
        if not within or not np.array_equal(np.sort(self._rows[slots]), np.arange(len(held))):
            raise OodgridError(f"adaneg: state has rows of samples that it does not hold: {NO_STATE}")
        self._rows[~slots] = 0
        self._held, self._used = np.array(held), len(held)
        self._sums, self._grams = np.array(texts), np.zeros((len(texts), length + 1, length + 1)) if beta else None
        for text in np.flatnonzero(self._filled).tolist():
            self._changed(text)

    @staticmethod
    def shapes(texts: np.ndarray, length: int) -> dict[str, tuple[int | None, ...]]:
        """Return the shapes of the arrays of a state, for these texts (L, D)."""
        shape = (len(texts), length)
        return {"held": (None, texts.shape[1]), "rows": shape, "entropies": shape, "filled": shape[:1]}

    def state(self) -> State:
        """Return what it holds, for a stream that goes on later."""
        held = self._held[: self._used].copy()
        return {"held": held, "rows": self._rows, "entropies": self._entropies, "filled": self._filled}

    def remember(self, samples: np.ndarray, texts: np.ndarray, entropies: np.ndarray) -> None:
        """Remember samples (n, D), each for one text (n,): where it is full, in place of the one of highest entropy."""
        for sample, text, entropy in zip(samples, texts.tolist(), entropies.tolist(), strict=True):
            slot = int(self._filled[text])
            if slot < self.length:
                self._filled[text] += 1
                self._rows[text, slot] = self._append(sample)
            elif (entropy < self._entropies[text]).any():
                slot = int(self._entropies[text].argmax())
                self._held[self._rows[text, slot]] = sample
            else:
                continue
            self._entropies[text, slot] = entropy
        for text in np.unique(texts).tolist():
            self._changed(text)

    def adapt(self, samples: np.ndarray, cosines: np.ndarray) -> None:
        """Replace the cosines (n, L) of samples with texts by those with the proxies, where there is a memory."""
        active = np.flatnonzero(self._filled)
        if not self.beta:
            sums = self._sums[active]
            sums /= np.linalg.norm(sums, axis=1, keepdims=True)
            cosines[:, active] = product(samples, sums)
            return
        active = active[np.argsort(self._filled[active], kind="stable")]  # neighbours have memories of one size
        parts = [slice(start, start + ROWS) for start in range(0, len(samples), ROWS)]
        for _ in side_by_side(lambda rows: self._adapt(samples[rows], cosines[rows], active), parts):
            pass

    def _adapt(self, samples: np.ndarray, cosines: np.ndarray, active: np.ndarray) -> None:
        """Replace the cosines of some samples with the texts that have a memory."""
        with_held = product(self._held[: self._used], samples)
        for start in range(0, len(active), CHUNK):
            chunk = active[start : start + CHUNK]
            cosines[:, chunk] = self._with_proxies(cosines[:, chunk].T, with_held, chunk)

    def _with_proxies(self, with_text: np.ndarray, with_held: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Return the cosines with the proxies of some texts, w s / sqrt(w G w), without making a proxy."""
        assert self._grams is not None
        width = int(self._filled[texts].max())
        filled = np.arange(width) < self._filled[texts, None]
        cosines = np.empty((len(texts), 1 + width, with_text.shape[1]))
        cosines[:, 0], cosines[:, 1:] = with_text, with_held[self._rows[texts, :width]]
        weights = cosines - 1
        weights *= self.beta
        np.exp(weights, out=weights)
        weights[:, 1:] *= filled[:, :, None]
        squares = self._grams[texts, : width + 1, : width + 1] @ weights
        squares *= weights
        cosines *= weights
        return (cosines.sum(axis=1) / np.sqrt(squares.sum(axis=1))).T

    def _append(self, sample: np.ndarray) -> int:
        """Hold one more sample and return its row."""
        if self._used == len(self._held):
            more = np.empty((max(1024, len(self._held)), self.texts.shape[1]))
            self._held = np.concatenate([self._held, more])
        self._held[self._used] = sample
        self._used += 1
        return self._used - 1

    def _changed(self, text: int) -> None:
        """Make anew what proxies need of a text's memory."""
        held = self._held[self._rows[text, : self._filled[text]]]
        self._sums[text] = self.texts[text] + held.sum(axis=0)
        if self._grams is not None:
            both = np.vstack([self.texts[text, None], held])
            self._grams[text, : len(both), : len(both)] = both @ both.T
