"""Published values, as files have them: `catalogue/published.yaml`, and files of the same form of a user.

A file has sources, each with a setting and rows; a row gives numbers, and says where its setting differs from that of
its source. Every number becomes one `Value`. `form` says what may stand there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from oodgrid import catalogue, registry
from oodgrid.config.reading import read
from oodgrid.config.wording import lines_of
from oodgrid.errors import Mistakes, OodgridError, all_of, brief, printable, unknown
from oodgrid.published.form import FPR95, FPR95_UNSTATED, KINDS, OF_ID, Content, DatasetNames, Setting, Source, Value
from oodgrid.published.words import UNSTATED

FILE = catalogue.FOLDER / "published.yaml"


@cache
def catalogued() -> tuple[Value, ...]:
    """Return the published values that come with oodgrid."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return tuple(_values(yaml.load(FILE.read_text(encoding="utf-8"), loader), f"published values {FILE}", {}))


def read_values(path: Path) -> tuple[Value, ...]:
    """Return the published values of a user's own file.

    Raises:
        OodgridError: It cannot be read, or says something that no file of values may; `Mistakes` has a line for each.
    """
    what = f"published values {path}"
    try:
        raw, mistakes = read(path)
        if mistakes:
            raise Mistakes(mistakes)
    except OodgridError as error:
        text = str(error).replace(f"config {path}", what).replace("see config.yaml for an", "docs/compare.md has an")
        raise Mistakes(text.split("\n")) from None
    values = tuple(_values(raw, what, _known_datasets()))
    _check_duplicates([*catalogued(), *values], what)
    return values


def _known_datasets() -> dict[str, DatasetNames]:
    """Return the datasets that the catalogue's own file describes."""
    return {name: its for value in catalogued() for name, its in ((value.setting.id, value.id), *value.oods.items())}


def _values(raw: Any, what: str, known: Mapping[str, DatasetNames]) -> list[Value]:
    """Return the values of a parsed file.

    Args:
        raw: Its content.
        what: What to call it.
        known: Datasets that it need not describe.
    """
    content = _built(Content, raw, what)
    datasets = {**known, **content.datasets}
    values: list[Value] = []
    places = {key: f"{what}: sources.{key}" for key in content.sources}
    all_of(*(partial(_add_source, values, key, content.sources[key], datasets, place) for key, place in places.items()))
    _check_duplicates(values, what)
    return list({value.key: value for value in values}.values())  # what is said twice counts once


def _built(part: type[Any], fields: Any, what: str) -> Any:
    try:
        return part.model_validate(fields)
    except OodgridError as error:
        raise OodgridError(f"{what}: {error}") from None
    except ValidationError as error:
        lines = lines_of(error, what)
        raise Mistakes(line if line.startswith(what) else f"{what}: {line}" for line in lines) from None


def _add_source(values: list[Value], key: str, source: Source, datasets: Mapping[str, DatasetNames], what: str) -> None:
    settings = list(Setting.keys())
    if odd := [name for name in source.setting if name not in settings]:
        raise OodgridError(f"{what}.setting: {unknown('key', str(odd[0]), settings)}")
    own: list[Value] = []
    rows = [(row, f"{what}.rows.{number}") for number, row in enumerate(source.rows)]
    all_of(*(partial(_add_row, own, key, source, row, datasets, place) for row, place in rows))
    _check_unit(source, own, what)
    values += own


def _add_row(
    values: list[Value],
    key: str,
    source: Source,
    row: dict[str, Any],
    datasets: Mapping[str, DatasetNames],
    what: str,
) -> None:
    """Add the values of one row."""
    _check_keys(row, what)
    fields = set(Setting.keys())
    setting = _built(Setting, source.setting | {name: value for name, value in row.items() if name in fields}, what)
    _check_registered(setting, what)
    metrics = [name for name in row if name in KINDS]
    if not metrics:
        raise OodgridError(f"{what}: no number: give one of {', '.join(KINDS)}")
    n_id = None if setting.n_id == UNSTATED else setting.n_id
    id_set = _dataset(setting.id, n_id, datasets, setting.n_id == UNSTATED, f"{what}.id")
    n_id = None if setting.n_id == UNSTATED else id_set.count
    for metric in metrics:
        _check_said(source, setting, metric, what)
        oods = {} if metric in OF_ID else _oods(row, datasets, what)
        fraction = _fraction(metric, row[metric], source.unit, what)
        values.append(Value(key, source, setting, id_set, n_id, oods, metric, fraction))


def _check_said(source: Source, setting: Setting, metric: str, what: str) -> None:
    """Refuse a number whose tolerance or score is not said."""
    kind = KINDS[metric]
    if getattr(source.tolerance, kind) is None:
        raise OodgridError(f"{what}: {metric} has no tolerance: give its source tolerance: {{{kind}: …}}")
    if setting.score is None and metric not in OF_ID:
        raise OodgridError(f"{what}: {metric} is of a score: say which by score")


def _check_keys(row: dict[str, Any], what: str) -> None:
    if fpr := next((name for name in row if str(name).lower().startswith("fpr") and name not in KINDS), None):
        raise OodgridError(
            f"{what}: {printable(str(fpr), 40)} has two incompatible conventions: write {', '.join(FPR95)}, or "
            f"{FPR95_UNSTATED} where the source does not say which"
        )
    known = [*Setting.keys(), "ood", "n_ood", *KINDS]
    if odd := [name for name in row if name not in known]:
        raise OodgridError(f"{what}: {unknown('key', str(odd[0]), known)}")


def _check_registered(setting: Setting, what: str) -> None:
    """Refuse parameters that a method or score which oodgrid has does not know; others may be any."""
    for kind, choice in (("method", setting.method), ("score", setting.score)):
        if choice and choice.name in registry.entries(kind):
            try:
                registry.check_params(kind, choice.name, choice.params)
            except OodgridError as error:
                raise OodgridError(f"{what}.{kind}: {error}") from None


def _oods(row: dict[str, Any], datasets: Mapping[str, DatasetNames], what: str) -> dict[str, DatasetNames]:
    """Return the OOD sets of a row, each with its count."""
    names = row.get("ood")
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise OodgridError(f"{what}.ood: the name of an OOD set is wanted, or a list of those whose mean it is")
    if len(set(names)) < len(names):
        raise OodgridError(f"{what}.ood: names a set twice")
    count = row.get("n_ood")
    if count is not None and (len(names) > 1 or not _is_count(count)):
        raise OodgridError(f"{what}.n_ood: how many samples one OOD set has, not {brief(count)}")
    return {name: _dataset(name, count, datasets, False, f"{what}.ood") for name in names}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _dataset(name: str, count: Any, datasets: Mapping[str, DatasetNames], is_unstated: bool, what: str) -> DatasetNames:
    """Return what a name means: as it is described, or, given how many samples it has, itself."""
    if name in datasets:
        described = datasets[name]
        return described.model_copy(update={"count": count}) if count else described
    if count or is_unstated:
        return DatasetNames(names=[name], count=count)
    raise OodgridError(f"{what}: {unknown('dataset', name, datasets)}, or describe it under datasets, with its count")


def _fraction(metric: str, number: Any, unit: str, what: str) -> float:
    """Return a number as a fraction.

    Raises:
        OodgridError: It is none, or not of the unit of its source.
    """
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise OodgridError(f"{what}.{metric}: a number is wanted, not {brief(number)}")
    most = 100 if unit == "percent" else 1
    if not 0 <= number <= most:
        hint = ": is it a percentage? Write unit: percent" if unit == "fraction" and 1 < number <= 100 else ""
        raise OodgridError(f"{what}.{metric}: {brief(number)} is no {unit}, from 0 to {most}{hint}")
    if metric == "auroc" and unit == "percent" and number <= 1:
        raise OodgridError(f"{what}.auroc: {brief(number)} percent is no AUROC: is it a fraction? Write unit: fraction")
    return number / most


def _check_unit(source: Source, values: Sequence[Value], what: str) -> None:
    """Refuse a source in percent whose numbers all are at most 1."""
    if source.unit == "percent" and values and all(0 < value.number <= 0.01 for value in values):
        raise OodgridError(f"{what}: no number is above 1 percent: are they fractions? Write unit: fraction")


def _check_duplicates(values: Iterable[Value], what: str) -> None:
    """Refuse one thing with two numbers.

    Raises:
        OodgridError: The message names the source, the metric and both numbers.
    """
    first: dict[str, Value] = {}
    mistakes = []
    for value in values:
        other = first.setdefault(value.key, value)
        if not math.isclose(other.number, value.number, rel_tol=1e-9):
            of = " + ".join(value.oods) or value.setting.id
            mistakes.append(
                f"{what}: sources.{value.source}: {value.metric} of {of} is both {100 * other.number:g} and "
                f"{100 * value.number:g} percent in one setting: take one out, or say what differs"
            )
    if mistakes:
        raise Mistakes(mistakes)
