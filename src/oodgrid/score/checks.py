"""Scores of the user's own are tried before anything is scored: on a few samples made to be told apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.linalg import hadamard
from scipy.stats import rankdata

from oodgrid import registry
from oodgrid.config import Choice
from oodgrid.errors import OodgridError
from oodgrid.score.compute import compute
from oodgrid.score.contract import Bank, Head, Labels, Skip, normalise
from oodgrid.score.sharing import frozen

CLASSES, WIDTH, SAMPLES = 3, 8, 24
BY_SAMPLE = ("features", "logits", "negative_logits", "local_logits")


def check_plugins(choices: Iterable[Choice]) -> None:
    """Raise where a score from outside the package is not one; the package's own are held to the same by its tests.

    Raises:
        OodgridError: It fails, gives something else than a finite number a sample, looks at the samples beside, or is
            higher for OOD samples; the message names the file.
    """
    for choice in choices:
        entry = registry.find("score", choice.name)
        if entry.plugin is not None:
            try:
                check(choice)
            except Skip:
                pass  # it says itself why it makes no sense here
            except OodgridError as error:
                said = str(error)
                raise OodgridError(said if str(entry.plugin) in said else f"{entry.plugin}: {said}") from error


def check(choice: Choice) -> None:
    """Raise where a score breaks the contract on samples that are easy to tell apart.

    Raises:
        Skip: The score makes no sense on them.
        OodgridError: As `check_plugins`.
    """
    name, entry = choice.listed("score"), registry.find("score", choice.name)
    inputs, lists = example(), {"away": _labels()}
    choice = Choice(name=choice.name, **choice.params | dict.fromkeys(entry.label_lists, "away"))
    values = compute(choice, inputs, lists)
    if not entry.transductive:
        alone = [compute(choice, rows(inputs, np.array([row])), lists)[0] for row in range(len(values))]
        if not np.allclose(alone, values, rtol=1e-6, atol=1e-9):
            raise OodgridError(
                f"score {name} gives a sample another value beside other samples than alone: it may look at each row "
                "only, or registers as transductive=True"
            )
    if auroc(values) <= 0.5:
        raise OodgridError(
            f"score {name} is not higher for ID than for OOD samples where they are easy to tell apart (AUROC "
            f"{auroc(values):.2f}): higher means in-distribution, so it may want a minus sign"
        )


def example() -> dict[str, Any]:
    """Return everything that a score can need: 24 samples near class centres, then 24 that look away."""
    rng = np.random.default_rng(0)
    centres = normalise(
        hadamard(WIDTH)[1 : 1 + CLASSES] + 0.3
    )  # every dimension is active, as some scores expect of ID
    labels = np.arange(SAMPLES) % CLASSES
    near = centres[labels] + 0.08 * rng.normal(size=(SAMPLES, WIDTH))
    away = rng.normal(size=(SAMPLES, WIDTH)) - centres.sum(axis=0)
    features = normalise(np.concatenate([near, away]))
    head = Head(centres, np.zeros(CLASSES))
    shots = normalise(centres[labels] + 0.08 * rng.normal(size=(SAMPLES, WIDTH)))
    bank = Bank(shots, labels, SAMPLES // CLASSES, head.logits(shots))
    patches = normalise(features[:, None] + 0.1 * rng.normal(size=(2 * SAMPLES, 4, WIDTH)))
    given = {
        "features": features,
        "head": head,
        "logits": head.logits(features),
        "negative_logits": np.stack([0.3 - head.logits(features)] * 2, axis=2),
        "local_logits": head.logits(patches),
        "bank": bank,
        "train": bank,
        "val": bank,
        "class_texts": centres,
        "prompt_variants": normalise(centres + 0.02 * rng.normal(size=(4, CLASSES, WIDTH))),
    }
    for values in given.values():
        frozen(values)
    return given


def _labels() -> Labels:
    rng = np.random.default_rng(1)
    away = normalise(np.repeat(hadamard(WIDTH)[1 + CLASSES :] - 0.3, 10, axis=0) + 0.3 * rng.normal(size=(40, WIDTH)))
    return Labels(frozen(away), [f"label {i}" for i in range(len(away))], [""] * len(away))


def rows(inputs: dict[str, Any], which: np.ndarray) -> dict[str, Any]:
    """Return the inputs of some samples."""
    return {need: frozen(v[which]) if need in BY_SAMPLE else v for need, v in inputs.items()}


def auroc(values: np.ndarray) -> float:
    """Return the AUROC of the first half of the values, ID, against the second, OOD."""
    half = len(values) // 2
    return (rankdata(values)[:half].sum() - half * (half + 1) / 2) / half**2
