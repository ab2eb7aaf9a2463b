"""What pairs are made of: an entry `pairs: {of: NAME, scenario: …}` is given the entry of the dataset that it names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from oodgrid import catalogue
from oodgrid.config.dataset import OF_SAMPLES
from oodgrid.errors import OodgridError, unknown


def with_origins(id_datasets: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """Return the entries of ID sets, those of scenarios with the entry that they are made of, and a line per mistake.

    Scenarios of imported pairs are imported too: they are made of features, there being no images.
    """
    entries = {name: entry for entry in reversed([*_entries(id_datasets)]) if (name := _name(entry))}
    mistakes: list[str] = []

    def filled(entry: Any) -> Any:
        if not isinstance(entry, dict):
            return entry
        if isinstance(ood := entry.get("ood"), dict):
            lists = {kind: [filled(each) for each in sets] for kind, sets in ood.items() if isinstance(sets, list)}
            entry = entry | {"ood": ood | lists}
        try:
            return _with_origin(entry, entries)
        except OodgridError as error:
            mistakes.append(f"dataset {_name(entry)}: {error}")
            return entry

    whole = [filled(entry) for entry in id_datasets]
    return whole, list(dict.fromkeys(mistakes))


def _with_origin(entry: dict[str, Any], entries: dict[str, Any]) -> dict[str, Any]:
    pairs = entry.get("pairs")
    if not (isinstance(pairs, dict) and isinstance(of := pairs.get("of"), str)):
        return entry
    if of not in entries:
        raise unknown("dataset of this experiment (pairs, of)", of, entries)
    origin = entries[of]
    origin = catalogue.entry("dataset", of) | {"name": of} if isinstance(origin, str) else origin
    if isinstance(origin.get("pairs"), dict) and origin["pairs"].get("of") is not None:
        raise OodgridError(f"{of} is made of other pairs itself: name the dataset that it is made of")
    if "imported" in origin:
        scenario = {key: value for key, value in pairs.items() if key != "source"}
        rest = {key: value for key, value in entry.items() if key not in ("pairs", "limit")}
        return {**rest, "imported": {"derived": scenario}}
    world = origin.get("concept_world")
    if "pairs" not in origin and not (isinstance(world, dict) and world.get("captions")):
        raise OodgridError(f"{of} has no pairs: name a dataset with pairs:, or concept_world: with captions: true")
    return {**entry, "pairs": {**pairs, "source": {key: origin[key] for key in OF_SAMPLES if key in origin}}}


def _entries(id_datasets: Sequence[Any]) -> Iterator[Any]:
    """Yield every entry of a dataset, ID sets first."""
    yield from id_datasets
    for entry in id_datasets:
        ood = entry.get("ood") if isinstance(entry, dict) else None
        for sets in ood.values() if isinstance(ood, dict) else ():
            yield from sets if isinstance(sets, list) else ()


def _name(entry: Any) -> str:
    """Return the name of a dataset's entry; "" where it has none that is a text."""
    name = entry.get("name") if isinstance(entry, dict) else entry
    return name if isinstance(name, str) else ""
