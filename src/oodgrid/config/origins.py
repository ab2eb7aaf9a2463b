"""What pairs are made of: an entry `pairs: {of: NAME, scenario: …}` is given the entry of the dataset that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oodgrid import catalogue
from oodgrid.config.class_choice import mark_of
from oodgrid.config.dataset import OF_SAMPLES
from oodgrid.errors import OodgridError, unknown


def with_origins(id_datasets: Sequence[Any], written: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """Return the entries of ID sets, those of scenarios with the entry that they are made of, and a line per mistake.

    Scenarios of imported pairs are imported too: they are made of features, there being no images.

    Args:
        id_datasets: The entries, with what they share.
        written: The entries before that. A limit of their own stays, to be refused of imports; that of all falls away.
    """
    entries = {name: entry for entry in reversed([*_entries(id_datasets)]) if (name := _name(entry))}
    dicts = [entry for entry in _entries(written) if isinstance(entry, dict)]
    limited = {_written(entry) for entry in dicts if entry.get("limit") is not None}
    mistakes: list[str] = []

    def filled(entry: Any, id_set: str) -> Any:
        if not isinstance(entry, dict):
            return entry
        if isinstance(ood := entry.get("ood"), dict):
            lists = {kind: sets for kind, sets in ood.items() if isinstance(sets, list)}
            entry = entry | {"ood": ood | {kind: [filled(each, id_set) for each in lists[kind]] for kind in lists}}
        try:
            return _with_origin(entry, entries, id_set, _written(entry) in limited)
        except OodgridError as error:
            mistakes.append(f"dataset {_written(entry)}: {error}")
            return entry

    whole = [filled(entry, _name(entry)) for entry in id_datasets]
    return whole, list(dict.fromkeys(mistakes))


def _with_origin(entry: dict[str, Any], entries: dict[str, Any], id_set: str, is_limited: bool) -> dict[str, Any]:
    pairs = entry.get("pairs")
    if not (isinstance(pairs, dict) and isinstance(pairs.get("of"), str)):
        return entry
    of = _meant(pairs["of"], entries, id_set)
    origin = entries[of]
    origin = catalogue.entry("dataset", of) | {"name": of} if isinstance(origin, str) else origin
    if isinstance(origin.get("pairs"), dict) and origin["pairs"].get("of") is not None:
        raise OodgridError(f"{of} is made of other pairs itself: name the dataset that it is made of")
    if "imported" in origin:
        scenario = {key: value for key, value in pairs.items() if key != "source"}
        rest = {key: value for key, value in entry.items() if key != "pairs" and (key != "limit" or is_limited)}
        return {**rest, "imported": {"derived": scenario}}
    world = origin.get("concept_world")
    if "pairs" not in origin and not (isinstance(world, dict) and world.get("captions")):
        raise OodgridError(f"{of} has no pairs: name a dataset with pairs:, or concept_world: with captions: true")
    return {**entry, "pairs": {**pairs, "source": {key: origin[key] for key in OF_SAMPLES if key in origin}}}


def _meant(of: str, entries: Mapping[str, Any], id_set: str) -> str:
    """Return which entry is meant, by its name as files have it, or without the mark of a half or a limit.

    Raises:
        OodgridError: None is, or several could be.
    """
    parts = [name for name, entry in entries.items() if name == of or _written(entry) == of]
    if not parts:
        raise unknown("dataset of this experiment (pairs, of)", of, entries)
    if of in parts or len(parts) == 1:
        return of if of in parts else parts[0]
    if id_set in parts:
        return id_set
    raise OodgridError(
        f"pairs of {of} could be those of {' or '.join(sorted(parts))}: write which, as of: {min(parts)}"
    )


def _entries(id_datasets: Sequence[Any]) -> Iterator[Any]:
    """Yield every entry of a dataset, ID sets first."""
    yield from id_datasets
    for entry in id_datasets:
        ood = entry.get("ood") if isinstance(entry, dict) else None
        for sets in ood.values() if isinstance(ood, dict) else ():
            yield from sets if isinstance(sets, list) else ()


def _name(entry: Any) -> str:
    """Return the name of a dataset's entry as files have it, with its mark; "" where it has none that is a text."""
    mark = mark_of(entry) if isinstance(entry, dict) else ""
    name = _written(entry)
    return name.removesuffix(mark) + mark if name else ""


def _written(entry: Any) -> str:
    """Return the name of a dataset's entry as it is written, likewise."""
    name = entry.get("name") if isinstance(entry, dict) else entry
    return name if isinstance(name, str) else ""
