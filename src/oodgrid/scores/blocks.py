"""Computes several scores of arrays, block by block, by the functions of the stage `score`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import registry, store
from oodgrid.config import Choice
from oodgrid.registry import Entry
from oodgrid.score.compute import Column
from oodgrid.score.contract import normalise
from oodgrid.score.references import LOCAL_NUMBERS, ROWS
from oodgrid.score.sharing import frozen
from oodgrid.score.states import State
from oodgrid.score.threads import on_threads
from oodgrid.scores import arguments
from oodgrid.signatures import STATE

OF_SAMPLES = ("features", "layer_features", "corrupted_features", *arguments.OF_SAMPLES)


def compute_all(
    choices: list[Choice],
    arrays: Mapping[str, Any],
    lists: Mapping[str, Any],
    what: str,
    file: str | PathLike[str] | None = None,
    state: State | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return scores of N samples, each of shape (N,), float64, and why there are no others.

    Args:
        choices: The scores.
        arrays: As `oodgrid.scores.arguments` describes them.
        lists: Lists of texts beside the classes, likewise.
        what: What they are for, for messages.
        file: A feature file with local features of the same samples.
        state: What a transductive score remembers; it is changed.

    Raises:
        OodgridError: An array is none or does not fit another, or a score is none.
    """
    inputs, texts = arguments.inputs(arrays, lists, what)
    # No method says whether logits are cosines to texts; whoever gives lists of texts means that they are.
    temperatures = [relative for choice in choices if (relative := _relative_temperature(choice)) is not None]
    for doubt in arguments.doubts(inputs, temperatures, cosines_known="text_cosines" in arrays):
        warnings.warn(f"{what}: {doubt}", stacklevel=3)  # of whoever calls the score
    inputs = frozen({**inputs, "text_cosines": arrays.get("text_cosines", True)})
    columns: dict[str, Column] = {}
    streams: dict[str, Column] = {}
    skipped: dict[str, str] = {}
    for choice in choices:
        name, entry = choice.listed("score"), registry.find("score", choice.name)
        if reason := _unmet(choice, entry, inputs, texts):
            skipped[name] = reason
            continue
        listed = choice.model_copy(update={each: each for each in entry.label_lists})
        (streams if entry.transductive else columns)[name] = Column(listed, _lacking, texts)
    local = {} if file is None or "local_logits" in inputs else _needing_patches(columns)
    _fill({name: column for name, column in columns.items() if name not in local}, _blocks(inputs, ROWS))
    _fill(streams, _blocks(inputs if state is None else inputs | {STATE: state}, None))
    _fill(local, _local_blocks(inputs, file))
    columns |= streams
    skipped |= {name: why for name, column in columns.items() if (why := column.skipped)}
    return {name: column.values() for name, column in columns.items() if not column.skipped}, skipped


def _relative_temperature(choice: Choice) -> float | None:
    """Return the temperature of a score as a multiple of its default; None where it has none."""
    params = registry.find("score", choice.name).params
    if "T" not in params:
        return None
    default = params["T"]  # None: that of a score which it is made of
    return 1.0 if default is None else choice.params.get("T", default) / default


def _unmet(choice: Choice, entry: Entry, inputs: Mapping[str, Any], texts: Mapping[str, Any]) -> str:
    """Return what of these inputs does not do for a score; "" where all does, or where its needs are for it to say."""
    if missing := [each for each in entry.label_lists if each not in texts]:
        return f"it needs texts beside the classes: give {' and '.join(missing)}"
    size = len(inputs["bank"].labels) if entry.uses_bank and "bank" in inputs else math.inf
    if (choice.params.get("k") or 0) > size:
        return f"k = {choice.params['k']}, and there are {size} labelled samples: give {size} at most"
    return ""


def _lacking(need: str) -> str:
    names = " and ".join(each.name for each in arguments.NEEDS[need].must)
    also = {"logits": ", or features and weights", "val": ", or val_features, val_labels and weights"}
    return f"give {names}{also.get(need, '')}"


def _needing_patches(columns: dict[str, Column]) -> dict[str, Column]:
    return {name: column for name, column in columns.items() if "local_logits" in column.needs}


def _fill(columns: dict[str, Column], blocks: Iterator[dict[str, Any]]) -> None:
    if columns:
        for scores in on_threads(lambda block: [column.of(block) for column in columns.values()], blocks):
            for column, values in zip(columns.values(), scores, strict=True):
                column.add(values)


def _blocks(inputs: dict[str, Any], rows: int | None) -> Iterator[dict[str, Any]]:
    """Yield the inputs in blocks of rows; without rows, all samples at once."""
    count = next((len(inputs[need]) for need in OF_SAMPLES if need in inputs), 0)
    for start in range(0, max(count, 1), rows or max(count, 1)):
        yield _block(inputs, slice(start, start + (rows or count)))


def _local_blocks(inputs: dict[str, Any], file: str | PathLike[str] | None) -> Iterator[dict[str, Any]]:
    """Yield the same with the local logits that the classifier makes of a file's local features."""
    head = inputs.get("head")
    if file is None or head is None or "local_features" not in store.array_shapes(Path(file)):
        yield _block(inputs, slice(0, ROWS))
        return
    for first, local in store.read_local_features(Path(file)):
        rows = max(1, LOCAL_NUMBERS // (local.shape[1] * len(head.weights)))
        for start in range(0, len(local), rows):
            part = local[start : start + rows]
            block = _block(inputs, slice(first + start, first + start + len(part)))
            yield block | {"local_logits": frozen(head.logits(normalise(part)))}


def _block(inputs: dict[str, Any], rows: slice) -> dict[str, Any]:
    block = {need: frozen(value[rows]) if need in OF_SAMPLES else value for need, value in inputs.items()}
    if "head" in inputs and "features" in inputs:
        block["logits"] = frozen(inputs["head"].logits(block["features"]))
    return block
