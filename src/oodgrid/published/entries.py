"""Published values, as files have them: `catalogue/published.yaml`, and files of the same form of a user.

A file has sources, each with a setting and rows; a row gives numbers, and says where its setting differs from that of
its source. Every number becomes one `Value`. `form` says what may stand there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from oodgrid import catalogue, registry
from oodgrid.config import Choice
from oodgrid.config.reading import read
from oodgrid.config.wording import lines_of
from oodgrid.errors import Mistakes, OodgridError, all_of, brief, printable, unknown
from oodgrid.published.form import FPR95, FPR95_UNSTATED, KINDS, OF_ID, Content, DatasetNames, Setting, Source, Value
from oodgrid.published.words import UNSTATED

FILE = catalogue.FOLDER / "published.yaml"
NOBODY = DatasetNames(names=["nobody"], count=1)  # in place of a description with a mistake of its own


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
    return tuple(_values(raw, what, _known_datasets(), catalogued()))


def _known_datasets() -> dict[str, DatasetNames]:
    """Return the datasets that the catalogue's own file describes."""
    return {name: its for value in catalogued() for name, its in ((value.setting.id, value.id), *value.oods.items())}


def _values(raw: Any, what: str, known: Mapping[str, DatasetNames], beside: Sequence[Value] = ()) -> list[Value]:
    """Return the values of a parsed file; all that is wrong with it is said at once.

    Args:
        raw: Its content.
        what: What to call it.
        known: Datasets that it need not describe.
        beside: Values that it may not contradict.
    """
    values: list[Value] = []
    places, datasets, mistaken = {}, dict(known), None
    try:
        content = _built(Content, raw, what)
        places, datasets = content.sources, {**known, **content.datasets}
    except OodgridError as error:
        mistaken, places = error, _sound(raw, "sources", Source)
        datasets |= _sound(raw, "datasets", DatasetNames)
        named = raw.get("datasets") if isinstance(raw, dict) else None
        datasets = {**dict.fromkeys(named, NOBODY), **datasets} if isinstance(named, dict) else datasets
    all_of(
        partial(_refuse, mistaken),
        *(partial(_add_source, values, key, its, datasets, f"{what}: sources.{key}") for key, its in places.items()),
        lambda: _check_duplicates([*beside, *values], what),
    )
    return list({value.key: value for value in values}.values())  # what is said twice counts once


def _sound(raw: Any, key: str, part: type[Any]) -> dict[str, Any]:
    """Return those entries of a file with mistakes that have none themselves: what is in them is read on."""
    entries = raw.get(key) if isinstance(raw, dict) else None
    sound = {}
    for name, fields in entries.items() if isinstance(entries, dict) else ():
        with suppress(OodgridError, ValidationError):
            sound[str(name)] = part.model_validate(fields)
    return sound


def _refuse(error: OodgridError | None) -> None:
    if error is not None:
        raise error


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
    shared = {name: value for name, value in source.setting.items() if name in settings}
    own: list[Value] = []
    rows = [(row, f"{what}.rows.{number}") for number, row in enumerate(source.rows)]
    all_of(
        partial(_check_known, source.setting, settings, f"{what}.setting"),
        *(partial(_add_row, own, key, source, shared, row, datasets, place) for row, place in rows),
        lambda: _check_unit(source, own, what),
    )
    values += own


def _check_known(given: Iterable[Any], known: Sequence[str], what: str) -> None:
    """Refuse keys that are none, each in a line."""
    if odd := [name for name in given if name not in known]:
        raise Mistakes(f"{what}: {unknown('key', str(name), known)}" for name in odd)


def _add_row(
    values: list[Value],
    key: str,
    source: Source,
    shared: Mapping[str, Any],
    row: dict[str, Any],
    datasets: Mapping[str, DatasetNames],
    what: str,
) -> None:
    """Add the values of one row."""
    fields = set(Setting.keys())
    metrics = [name for name in row if name in KINDS]
    of_sets = [metric for metric in metrics if metric not in OF_ID]
    found = _each(
        keys=partial(_check_keys, row, what),
        setting=partial(
            _setting, {**shared, **{name: value for name, value in row.items() if name in fields}}, datasets, what,
            of_sets,
        ),
        oods=partial(_oods, row, datasets, what) if of_sets or not metrics else dict,
        **{metric: partial(_number, metric, row[metric], source, what) for metric in metrics},
    )  # fmt: skip
    setting, id_set, n_id = found["setting"]
    for metric in metrics:
        oods = found["oods"] if metric in of_sets else {}
        values.append(Value(key, source, setting, id_set, n_id, oods, metric, found[metric]))


def _each(**makers: Callable[[], Any]) -> dict[str, Any]:
    """Return what each makes, by its name.

    Raises:
        OodgridError: As `all_of`.
    """
    found: dict[str, Any] = {}

    def keep(name: str, make: Callable[[], Any]) -> None:
        found[name] = make()

    all_of(*(partial(keep, name, make) for name, make in makers.items()))
    return found


def _setting(
    fields: Mapping[str, Any], datasets: Mapping[str, DatasetNames], what: str, scored: Sequence[str]
) -> tuple[Setting, DatasetNames, int | None]:
    """Return the setting of a row, its ID set and how many samples that has; a number of an OOD set is of a score."""
    setting = _built(Setting, fields, what)
    is_unstated = setting.n_id == UNSTATED
    count = None if is_unstated else setting.n_id
    unsaid = [OodgridError(f"{what}: {scored[0]} is of a score: say which by score")] if scored else []
    found = _each(
        unsaid=partial(_refuse, unsaid[0] if unsaid and setting.score is None else None),
        **{
            kind: partial(_check_registered, kind, choice, what)
            for kind, choice in (("method", setting.method), ("score", setting.score))
            if choice
        },
        id=partial(_dataset, setting.id, count, datasets, is_unstated, f"{what}.id"),
    )
    return setting, found["id"], None if is_unstated else found["id"].count


def _number(metric: str, number: Any, source: Source, what: str) -> float:
    """Return a number as a fraction.

    Raises:
        OodgridError: As `_fraction`; or its tolerance is not said.
    """
    kind = KINDS[metric]
    untold = OodgridError(f"{what}: {metric} has no tolerance: give its source tolerance: {{{kind}: …}}")
    return _each(
        tolerance=partial(_refuse, untold if getattr(source.tolerance, kind) is None else None),
        number=partial(_fraction, metric, number, source.unit, what),
    )["number"]


def _check_keys(row: dict[str, Any], what: str) -> None:
    """Refuse keys of a row that are none, each in a line, and a row that gives no number."""
    conventions = [name for name in row if str(name).lower().startswith("fpr") and name not in KINDS]
    known = [*Setting.keys(), "ood", "n_ood", *KINDS]
    lines = [
        f"{what}: {printable(str(fpr), 40)} has two incompatible conventions: write {', '.join(FPR95)}, or "
        f"{FPR95_UNSTATED} where the source does not say which"
        for fpr in conventions
    ]
    odd = [name for name in row if name not in (*known, *conventions)]
    lines += [f"{what}: {unknown('key', str(name), known)}" for name in odd]
    if not lines and not any(name in KINDS for name in row):
        lines = [f"{what}: no number: give one of {', '.join(KINDS)}"]
    if lines:
        raise Mistakes(lines)


def _check_registered(kind: str, choice: Choice, what: str) -> None:
    """Refuse parameters that a method or score which oodgrid has does not know; others may be any."""
    if choice.name in registry.entries(kind):
        try:
            registry.check_params(kind, choice.name, choice.params)
        except OodgridError as error:
            raise Mistakes(f"{what}.{kind}: {line}" for line in str(error).split("\n")) from None


def _oods(row: dict[str, Any], datasets: Mapping[str, DatasetNames], what: str) -> dict[str, DatasetNames]:
    """Return the OOD sets of a row, each with its count."""
    names, count = row.get("ood"), row.get("n_ood")
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise OodgridError(f"{what}.ood: the name of an OOD set is wanted, or a list of those whose mean it is")
    if len(set(names)) < len(names):
        raise OodgridError(f"{what}.ood: names a set twice")
    if count is not None and (len(names) > 1 or not _is_count(count)):
        raise OodgridError(f"{what}.n_ood: how many samples one OOD set has, not {brief(count)}")
    return _each(**{name: partial(_dataset, name, count, datasets, False, f"{what}.ood") for name in names})


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
