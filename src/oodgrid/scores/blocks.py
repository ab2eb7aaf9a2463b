"""Several scores of arrays, block by block, by the functions of the stage `score`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import registry, store
from oodgrid.config import Choice
from oodgrid.score.compute import Column
from oodgrid.score.contract import normalise
from oodgrid.score.inputs import LOCAL_NUMBERS, ROWS
from oodgrid.score.sharing import frozen
from oodgrid.score.threads import on_threads
from oodgrid.scores import arguments

OF_SAMPLES = ("features", "logits", "negative_logits", "local_logits")


def compute_all(
    choices: list[Choice],
    arrays: Mapping[str, Any],
    lists: Mapping[str, Any],
    what: str,
    file: str | PathLike[str] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return scores of N samples, each of shape (N,), float64, and why there are no others.

    Args:
        choices: The scores.
        arrays: As `oodgrid.scores.arguments` describes them.
        lists: Lists of texts beside the classes, likewise.
        what: What they are for, for messages.
        file: A feature file with local features of the same samples.

    Raises:
        OodgridError: An array is none or does not fit another, or a score is none.
    """
    given, texts = arguments.inputs(arrays, lists, what)
    # Without a method to say it, who gives lists of texts says that they compare with the logits.
    given = frozen({**given, "text_cosines": arrays.get("text_cosines", True)})
    columns: dict[str, Column] = {}
    streams: dict[str, Column] = {}
    skipped: dict[str, str] = {}
    for choice in choices:
        name, entry = choice.listed("score"), registry.find("score", choice.name)
        if unsaid := [each for each in entry.label_lists if each not in texts]:
            skipped[name] = f"it needs texts beside the classes: give {' and '.join(unsaid)}"
            continue
        listed = choice.model_copy(update={each: each for each in entry.label_lists})
        (streams if entry.transductive else columns)[name] = Column(listed, _lacking, texts)
    local = {} if file is None or "local_logits" in given else _needing_patches(columns)
    _fill({name: column for name, column in columns.items() if name not in local}, _blocks(given, ROWS))
    _fill(streams, _blocks(given, None))
    _fill(local, _local_blocks(given, file))
    columns |= streams
    skipped |= {name: str(column.skipped) for name, column in columns.items() if column.skipped}
    return {name: column.values() for name, column in columns.items() if not column.skipped}, skipped


def _lacking(need: str) -> str:
    said = " and ".join(each.name for each in arguments.NEEDS[need].must)
    also = {"logits": ", or features and weights", "val": ", or val_features, val_labels and weights"}
    return f"give {said}{also.get(need, '')}"


def _needing_patches(columns: dict[str, Column]) -> dict[str, Column]:
    return {name: column for name, column in columns.items() if "local_logits" in column.needs}


def _fill(columns: dict[str, Column], blocks: Iterator[dict[str, Any]]) -> None:
    if columns:
        for values in on_threads(lambda block: [column.of(block) for column in columns.values()], blocks):
            for column, found in zip(columns.values(), values, strict=True):
                column.add(found)


def _blocks(given: dict[str, Any], rows: int | None) -> Iterator[dict[str, Any]]:
    """Yield what there is of all samples in blocks of rows; without rows, of all at once."""
    count = next((len(given[need]) for need in OF_SAMPLES if need in given), 0)
    for start in range(0, max(count, 1), rows or max(count, 1)):
        yield _block(given, slice(start, start + (rows or count)))


def _local_blocks(given: dict[str, Any], file: str | PathLike[str] | None) -> Iterator[dict[str, Any]]:
    """Yield the same with the local logits that the classifier makes of a file's local features."""
    head = given.get("head")
    if file is None or head is None or "local_features" not in store.array_shapes(Path(file)):
        yield _block(given, slice(0, ROWS))
        return
    for first, local in store.read_local_features(Path(file)):
        rows = max(1, LOCAL_NUMBERS // (local.shape[1] * len(head.weights)))
        for start in range(0, len(local), rows):
            part = local[start : start + rows]
            block = _block(given, slice(first + start, first + start + len(part)))
            yield block | {"local_logits": frozen(head.logits(normalise(part)))}


def _block(given: dict[str, Any], rows: slice) -> dict[str, Any]:
    block = {need: frozen(found[rows]) if need in OF_SAMPLES else found for need, found in given.items()}
    if "head" in given and "features" in given:
        block["logits"] = frozen(given["head"].logits(block["features"]))
    return block
