"""Tries the scores of plugins before anything is scored, on a few samples that are easy to tell apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import registry, texts
from oodgrid.config import Choice
from oodgrid.errors import OodgridError
from oodgrid.plugins import apart, state
from oodgrid.registry.banks import SHOTS
from oodgrid.score.compute import compute
from oodgrid.score.contract import Bank, Head, Skip, TextList, normalise
from oodgrid.score.sharing import frozen, shared_names

CLASSES, WIDTH, SAMPLES = 3, 8, 24
EXAMPLES = ("prototypes", "logits", "nothing")  # what methods leave
LOGITS = ("logits", "negative_logits", "local_logits", "local_negative_logits", "pair_logits", "corrupted_logits")
BY_SAMPLE = ("features", "layer_features", "pair_texts", "corrupted_features", *LOGITS)


def check_plugins(choices: Iterable[Choice]) -> None:
    """Refuse scores of plugins that break the contract; the tests hold the package's own to it.

    They are tried in a process of their own, so that none can end, stop or crash this one.

    Raises:
        OodgridError: One fails, does not end, or breaks what `check` demands; the message names the file.
    """
    plugins = [(choice, file) for choice in choices if (file := registry.find("score", choice.name).plugin) is not None]
    if plugins:
        files = list(dict.fromkeys(file for _, file in plugins))
        tried = [[choice.name, choice.params] for choice, _ in plugins]
        apart.run("oodgrid.score.checks:try_plugins", files, tried, doing="the trial of the plugins' scores")


def try_plugins(files: list[str], choices: list[tuple[str, dict[str, Any]]]) -> None:
    """Load the files and check the scores, each a name with parameters, here.

    Raises:
        OodgridError: As `check_plugins`.
    """
    for file in files:
        registry.load_plugin(Path(file))
    for name, params in choices:
        entry = registry.find("score", name)
        choice = Choice(name=name, **registry.check_params("score", name, params))
        apart.now(f"score {choice.listed('score')} in {entry.plugin}")
        try:
            check(choice)
        except Skip:
            pass  # no fault: it needs what these samples do not have
        except OodgridError as error:
            message = str(error)
            raise OodgridError(message if str(entry.plugin) in message else f"{entry.plugin}: {message}") from error


def check(choice: Choice) -> None:
    """Raise where a score breaks the contract on samples that are easy to tell apart, under every kind of method.

    Raises:
        Skip: The score makes no sense on them.
        OodgridError: It gives something else than a finite number per sample, other numbers the second time or for a
            sample alone, higher ones for OOD samples, or it changes its inputs or the state of the process.
    """
    import scipy.stats  # noqa: F401 - before the settings are read: importing SciPy changes the filters of warnings

    name, entry = choice.listed("score"), registry.find("score", choice.name)
    examples = dict.fromkeys(entry.label_lists, "away") | ({"bank": SHOTS} if entry.uses_bank else {})
    choice = Choice(name=choice.name, **choice.params | examples)
    process, names, skips = state.settings(), state.namespaces() if entry.plugin else {}, []
    for left in EXAMPLES:
        inputs, lists = example(left), {"away": example_texts()}
        try:
            _check_values(name, entry, choice, inputs, lists)
        except Skip as skip:
            skips.append(skip)
        if what := state.changed(process) or state.replaced(names):
            raise OodgridError(f"score {name} changes what belongs to all: {what}. It may return numbers, and no more")
        if not _alike((inputs, lists), (example(left), {"away": example_texts()})):
            raise OodgridError(f"score {name} changes what other scores are given too: let it change a copy")
    if len(skips) == len(EXAMPLES):
        raise skips[0]


def _check_values(
    name: str, entry: registry.Entry, choice: Choice, inputs: dict[str, Any], lists: dict[str, TextList]
) -> None:
    values = compute(choice, inputs, lists)
    if not np.array_equal(compute(choice, inputs, lists), values):
        raise OodgridError(f"score {name} gives other values when asked again: draw by np.random.default_rng(seed)")
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


def _alike(one: Any, other: Any) -> bool:
    """Return whether two values are equal, with all their fields and shared properties."""
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return _alike(tuple(one.items()), tuple(other.items()))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if is_dataclass(one):
        return all(_alike(getattr(one, name), getattr(other, name)) for name in shared_names(type(one)))
    return one == other


def example(left: str = "prototypes") -> dict[str, Any]:
    """Return inputs of scores: 24 samples near class centres, then 24 far from them.

    Args:
        left: What the method leaves: "prototypes", and then everything is there; "logits", and then there is no head;
            or "nothing", as under `any`.
    """
    from scipy.linalg import hadamard

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
    patches = normalise(features[:, None] + 0.1 * rng.normal(size=(2 * SAMPLES, 4, WIDTH)))
    bank = Bank(
        shots,
        labels.astype(np.int32),
        SAMPLES // CLASSES,
        logits=head.logits(shots) if left == "logits" else None,
        head=head if left == "prototypes" else None,
        layers=_layers(shots),
    )
    inputs = {
        "features": features,
        "layer_features": _layers(features),
        "pair_texts": np.concatenate([centres[labels], centres[labels]]),
        **dict.fromkeys(("bank", "train", "val"), bank),
        **{
            need: centres if source.averaged else normalise(centres + 0.02 * rng.normal(size=(4, CLASSES, WIDTH)))
            for need, source in texts.needs().items()
        },
        "text_cosines": left != "nothing",
    }
    if left != "nothing":
        inputs |= {"logits": head.logits(features), "pair_logits": np.repeat([2.0, -2.0], SAMPLES)}
    if left == "prototypes":
        inputs |= {
            "head": head,
            "negative_logits": np.stack([0.3 - head.logits(features)] * 2, axis=2),
            "corrupted_features": patches,
            "corrupted_logits": head.logits(patches),
            "local_logits": head.logits(patches),
            "local_negative_logits": np.stack([0.3 - head.logits(patches)] * 2, axis=3),
        }
    return frozen(inputs)


def _layers(features: np.ndarray) -> np.ndarray:
    """Return what three layers might give of samples that the last has as (N, D)."""
    return np.stack([np.zeros_like(features), np.tanh(2 * features), features], axis=1)


def example_texts() -> TextList:
    """Return 40 texts far from the classes of `example`, each under three templates."""
    from scipy.linalg import hadamard

    rng = np.random.default_rng(1)
    away = normalise(np.repeat(hadamard(WIDTH)[1 + CLASSES :] - 0.3, 10, axis=0) + 0.3 * rng.normal(size=(40, WIDTH)))
    looks = 0.1 * rng.normal(size=(3, 1, WIDTH))
    return TextList(away, [f"text {i}" for i in range(len(away))], [""] * len(away), away + looks)


def rows(inputs: dict[str, Any], which: np.ndarray) -> dict[str, Any]:
    """Return the inputs of some samples."""
    return {need: frozen(v[which]) if need in BY_SAMPLE else v for need, v in inputs.items()}


def auroc(values: np.ndarray) -> float:
    """Return the AUROC of the first half of the values, ID, against the second, OOD."""
    half = len(values) // 2
    differences = values[:half, None] - values[half:]
    return float(np.mean(differences > 0) + np.mean(differences == 0) / 2)
