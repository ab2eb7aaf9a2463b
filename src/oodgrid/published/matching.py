"""Published values beside ours: which row of ours each is about, whether settings agree, and how far they are apart.

A number is compared only where all that a source states of its setting holds of ours: backbone with preprocessing, ID
and OOD sets with their sizes, prompt, method, shots, score, and what the metric means. Else the reasons are given, of
that row of ours which has the fewest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oodgrid import registry
from oodgrid.config import ANY, Backbone
from oodgrid.errors import near
from oodgrid.published.comparison import Comparison, Reason, agree
from oodgrid.published.form import FPR95, FPR95_UNSTATED, OF_ID, DatasetNames, Named, Value
from oodgrid.published.ours import Ours, Row
from oodgrid.published.words import LEARNED, UNSTATED, architecture, plain, size_of
from oodgrid.registry.banks import SHOTS

SWAPS = (
    FPR95,
    ("aupr_in", "aupr_out"),
    ("aupr_in_balanced", "aupr_out_balanced"),
)  # metrics that are mistaken for others
# Weights of open_clip that are, for all models or for some, resized by another interpolation than all others.
NOT_BICUBIC = frozenset({"datacomp1b", "datacompdr", "datacompdr_lt", "dfndr2b", "laion2b", "meta"})
UNKNOWN = "ours is not known without a configuration (--config FILE)"


def compared(values: Iterable[Value], ours: Ours) -> list[Comparison]:
    """Return every published value beside what of ours is most like it, in the order of the values."""
    matching = _Matching(ours)
    return [matching.comparison(value) for value in values]


class _Axis(NamedTuple):
    """One of the things that settings agree or differ in, so that each of our values of it is looked at once.

    Attributes:
        check: Yields how the setting of a published value differs from one of ours.
        ours: Our values.
        places: Which of them each of our rows has, shape (R,).
    """

    check: Callable[[Value, Any], tuple[Reason, ...]]
    ours: list[Any]
    places: NDArray[np.int64]


def _axis(check: Callable[[Value, Any], tuple[Reason, ...]], of_rows: Iterable[Any]) -> _Axis:
    of_rows = list(of_rows)
    ours = list(dict.fromkeys(of_rows))
    places = {each: place for place, each in enumerate(ours)}
    return _Axis(check, ours, np.array([places[each] for each in of_rows], np.int64))


class _Matching:
    """Our rows, and how published values differ from them."""

    def __init__(self, ours: Ours) -> None:
        self.ours = ours
        self.known: dict[Any, tuple[Reason, ...]] = {}
        first: dict[Any, Row] = {}  # of every method and shots: selection on the test set is the same in all its rows
        for row in ours.rows:
            first.setdefault(row[:5], row)
        leaky = {key: ours.is_leaky(row) for key, row in first.items()}
        self.axes = [
            _axis(self._backbone, (row.backbone for row in ours.rows)),
            _axis(self._sets, ((row.backbone, row.id_dataset) for row in ours.rows)),
            _axis(self._method, ((row.method, row.base_method, row.shots, leaky[row[:5]]) for row in ours.rows)),
            _axis(self._score, ((row.score, row.base_score) for row in ours.rows)),
        ]

    def comparison(self, value: Value) -> Comparison:
        """Return a value beside that row of ours whose setting has the fewest differences from its own."""
        if not self.ours.rows:
            return Comparison(value, reasons=(Reason("results", "ours has no row"),))
        reasons = [[axis.check(value, each) for each in axis.ours] for axis in self.axes]
        costs = np.zeros(len(self.ours.rows), np.int64)
        for axis, of_axis in zip(self.axes, reasons, strict=True):
            costs += np.array([sum(reason.cost for reason in each) for each in of_axis])[axis.places]
        place = int(np.argmin(costs))
        row, unchecked = self.ours.rows[place], tuple(_unstated(value))
        of_row = tuple(
            reason for axis, of_axis in zip(self.axes, reasons, strict=True) for reason in of_axis[axis.places[place]]
        )
        if of_row:
            return Comparison(value, row, reasons=of_row, unchecked=unchecked)
        return self._numbers(value, row, unchecked)

    def _numbers(self, value: Value, row: Row, unchecked: tuple[str, ...]) -> Comparison:
        """Return a value beside ours where the settings agree."""
        oods = tuple(self._own_sets(value, row.backbone, row.id_dataset).values())
        metric = value.metric
        if metric == FPR95_UNSTATED:
            why = Reason("convention", "the source does not say whether ID or OOD is the positive class")
            return Comparison(value, row, oods, (why,), unchecked)
        if metric not in self.ours.frame.columns:
            what = "convention" if metric in FPR95 else "metric"
            return Comparison(value, row, oods, (Reason(what, f"our results have no {metric}"),), unchecked)
        number = self.ours.number(row, oods, metric)
        if number is None:
            why = Reason("result", f"ours gave no number: {self.ours.why_not(row, oods)}")
            return Comparison(value, row, oods, (why,), unchecked)
        doubts = tuple(self._doubts(value, row, oods, number.mean))
        return Comparison(value, row, oods, doubts, unchecked, number.mean, number.lo, number.hi, number.seeds)

    def _doubts(self, value: Value, row: Row, oods: Sequence[str], mean: float) -> Iterator[Reason]:
        """Yield what makes it likely that a number which differs is not what its file says it is."""
        theirs, tolerance = value.number, value.tolerance
        if agree(mean, theirs, tolerance):
            return
        for factor, said in ((100, "a fraction"), (0.01, "a percentage")):
            if theirs and theirs * factor <= 1 and agree(mean, theirs * factor, tolerance * min(factor, 1)):
                yield Reason("unit", f"theirs agrees with ours when read as {said}: mend unit: in its source")
                return
        for metrics in SWAPS:
            for other in (each for each in metrics if value.metric in metrics and each != value.metric):
                number = self.ours.number(row, oods, other) if other in self.ours.frame.columns else None
                if number is not None and agree(number.mean, theirs, tolerance):
                    text = f"theirs agrees with our {other} ({100 * number.mean:.2f}), not with our {value.metric}"
                    yield Reason("convention", f"{text}: does its file name the right one?")
                    return

    # ------------------------------------------------------------------------------- one kind of difference each

    def _backbone(self, value: Value, name: str) -> tuple[Reason, ...]:
        encoder = value.setting.backbone
        return self._once(
            ("backbone", str(encoder), name), lambda: _of_backbone(encoder, self.ours.backbone(name), name)
        )

    def _sets(self, value: Value, pair: tuple[str, str]) -> tuple[Reason, ...]:
        theirs = value.setting.id, str(value.id), value.n_id, str(value.setting.prompt), str(value.oods)
        return self._once(("sets", *theirs, pair), lambda: self._of_sets(value, *pair))

    def _method(self, value: Value, key: tuple[str, str, int, bool]) -> tuple[Reason, ...]:
        setting = value.setting
        theirs = str(setting.method), setting.shots, setting.leaky_selection_on_test, value.metric in OF_ID
        name = ("method", *theirs, key)
        return self._once(name, lambda: _of_method(value, *key))

    def _score(self, value: Value, key: tuple[str, str]) -> tuple[Reason, ...]:
        choice = value.setting.score
        if value.metric in OF_ID or choice is None:
            return ()
        return self._once(("score", str(choice), key), lambda: _of_choice("score", choice, *key))

    def _once(self, key: Any, reasons: Any) -> tuple[Reason, ...]:
        if key not in self.known:
            self.known[key] = tuple(reasons())
        return self.known[key]

    def _of_sets(self, value: Value, backbone: str, id_dataset: str) -> Iterator[Reason]:
        name, _ = self.ours.whole_name(id_dataset, id_dataset)
        if not _is_named(value.id, value.setting.id, name):
            yield Reason("ID set", f"ours {name}, theirs {value.setting.id}", 4)
            return
        yield from self._of_id(value, backbone, id_dataset)
        yield from self._of_prompt(value, id_dataset)
        yield from self._of_oods(value, backbone, id_dataset)

    def _of_id(self, value: Value, backbone: str, id_dataset: str) -> Iterator[Reason]:
        _, limit = self.ours.whole_name(id_dataset, id_dataset)
        if limit:
            yield Reason("limit", f"our ID set is cut to {limit} samples")
            return
        count, _ = self.ours.sizes[backbone, id_dataset]
        if value.n_id is None:
            yield Reason("n_id", "the source does not say")
        elif count != value.n_id:
            yield Reason("n_id", f"ours {_number(count)}, theirs {_number(value.n_id)}")

    def _of_prompt(self, value: Value, id_dataset: str) -> Iterator[Reason]:
        theirs, its = value.setting.prompt, self.ours.id_set(id_dataset)
        if its is not None and its.text != "classnames":
            yield Reason("prompt", "ours has visual prototypes in place of texts")
        elif theirs in (LEARNED, UNSTATED):
            return
        elif its is None:
            yield Reason("prompt", UNKNOWN)
        elif sorted(its.templates) != sorted(theirs):
            yield Reason("prompt", f"ours {_prompts(its.templates)}, theirs {_prompts(theirs)}")

    def _of_oods(self, value: Value, backbone: str, id_dataset: str) -> Iterator[Reason]:
        own = self._own_sets(value, backbone, id_dataset)
        if lacking := [name for name in value.oods if name not in own]:
            yield Reason("OOD set", f"ours lacks {', '.join(lacking)}", 2)
        for name, ours in own.items():
            count, theirs = self.ours.sizes[backbone, id_dataset][1][ours], value.oods[name].count
            _, limit = self.ours.whole_name(id_dataset, ours)
            if limit:
                yield Reason("limit", f"our {ours} is cut to {limit} samples")
            elif theirs is None:
                yield Reason("n_ood", f"the source does not say how many samples {name} has")
            elif count != theirs:
                yield Reason("n_ood", f"our {ours} has {_number(count)} samples, their {name} {_number(theirs)}")

    def _own_sets(self, value: Value, backbone: str, id_dataset: str) -> dict[str, str]:
        """Return our names of the OOD sets of a value: of sets with a name of theirs that which has their size."""
        sizes, own = self.ours.sizes[backbone, id_dataset][1], dict[str, str]()
        for name, its in value.oods.items():
            named = [ours for ours in sizes if _is_named(its, name, self.ours.whole_name(id_dataset, ours)[0])]
            if named:
                own[name] = next((ours for ours in named if sizes[ours] == its.count), named[0])
        return own


def _of_backbone(theirs: Any, ours: Backbone | None, name: str) -> Iterator[Reason]:
    if ours is None:
        yield Reason("backbone", f"what {name} is {UNKNOWN.removeprefix('ours ')}")
        return
    if (architecture(ours.model), ours.pretrained) != (architecture(theirs.model), theirs.pretrained):
        model = ours.model.removesuffix("-quickgelu")
        yield Reason("backbone", f"ours {model} {ours.pretrained}, theirs {theirs.model} {theirs.pretrained}", 2)
        return
    asked = "its weights' own (give it by interpolation:)"
    interpolation = ours.interpolation or (asked if ours.pretrained in NOT_BICUBIC else "bicubic")
    resize = ours.resize or ours.size or size_of(ours.model) or "its own size (give it by size:)"
    differing = []
    if theirs.interpolation not in (None, interpolation):
        differing.append(f"ours {interpolation}, theirs {theirs.interpolation}")
    if theirs.resize not in (None, resize):
        differing.append(f"ours resized to {resize}, theirs to {theirs.resize}")
    if differing:
        yield Reason("preprocessing", "; ".join(differing))


def _of_method(value: Value, method: str, base: str, shots: int, is_leaky: bool) -> Iterator[Reason]:
    setting = value.setting
    # scores of image features stand under `any`: to others they are of the encoder as it is
    if base != ANY or setting.method.name != "zero_shot" or value.metric in OF_ID:
        yield from _of_choice("method", setting.method, method, base)
    bank = None if setting.score is None else setting.score.params.get("bank", SHOTS)
    own = bank not in (None, SHOTS)
    if shots != setting.shots and not (base == ANY and own):  # it then looks at no shots of a fit
        yield Reason("shots", f"ours {shots}, theirs {setting.shots}")
    if (shots or own) and is_leaky != setting.leaky_selection_on_test:
        chosen = {True: "on the test set", False: "without it"}
        text = f"hyper-parameters of ours were chosen {chosen[is_leaky]}, theirs {chosen[not is_leaky]}"
        yield Reason("selection", text)


def _of_choice(kind: str, theirs: Named, name: str, base: str) -> Iterator[Reason]:
    """Yield how a method or score differs: in its name, or in a parameter that is not as stated, or no default."""
    known = registry.entries(kind)
    if theirs.name not in known:
        similar = near(theirs.name, known)
        meant = f" (is {similar} meant?)" if similar and plain(similar) == plain(theirs.name) else ""
        yield Reason(kind, f"oodgrid has no {kind} {theirs.name}{meant}", 2)
    elif theirs.name != base:
        yield Reason(kind, f"ours {base}, theirs {theirs.name}", 2)
    else:
        stated = registry.check_params(kind, theirs.name, theirs.params)
        defaults = known[theirs.name].params
        if (listed := registry.variant(theirs.name, stated, defaults)) != name:
            yield Reason(kind, f"ours {name}, theirs {listed}")


def _unstated(value: Value) -> Iterator[str]:
    """Yield what a source leaves open, and is therefore not compared."""
    if value.setting.prompt == UNSTATED:
        yield "prompt"
    if value.setting.backbone.interpolation is None:
        yield "interpolation"
    if value.setting.backbone.resize is None:
        yield "size"


def _is_named(dataset: DatasetNames, name: str, ours: str) -> bool:
    return plain(ours) in {plain(each) for each in (name, *dataset.names)}


def _number(count: int | None) -> str:
    return "none" if count is None else f"{count:,}"


def _prompts(templates: Sequence[str]) -> str:
    return f"'{templates[0]}'{f' and {len(templates) - 1} more' * (len(templates) > 1)}"
