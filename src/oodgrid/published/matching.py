"""Published values beside ours: which row of ours each is about, whether settings agree, and how far they are apart.

A number is compared only where all that a source states of its setting holds of ours: backbone with preprocessing, ID
and OOD sets with their sizes, prompt, method, shots, score, and what the metric means. Else the reasons are given, of
that row of ours which has the fewest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from oodgrid import registry
from oodgrid.config import Backbone
from oodgrid.errors import near
from oodgrid.published.entries import FPR95, FPR95_UNSTATED, OF_ID, DatasetNames, Named, Value
from oodgrid.published.ours import Ours, Row
from oodgrid.published.words import LEARNED, UNSTATED, architecture, plain

WITHIN, DIFFERS, NOT = "within tolerance", "differs", "not comparable"
VERDICTS = (WITHIN, DIFFERS, NOT)
SWAPS = (
    FPR95,
    ("aupr_in", "aupr_out"),
    ("aupr_in_balanced", "aupr_out_balanced"),
)  # metrics that are mistaken for others
LARGE = 336  # pixels a side that some models of that name see; 224 the others
UNKNOWN = "ours is not known without a configuration (--config FILE)"


class Reason(NamedTuple):
    """Why a number does not compare: what differs, and how; and how much that makes two settings differ."""

    what: str
    text: str
    cost: int = 1

    def __str__(self) -> str:
        """Return it as part of a line."""
        return f"{self.what}: {self.text}"


@dataclass(frozen=True)
class Comparison:
    """One published value beside ours.

    Attributes:
        value: The published value.
        row: Of ours, that which is most like it; None where there is none.
        oods: Our names of its OOD sets, where they match.
        reasons: Why the two do not compare; empty where they do.
        unchecked: What the source does not state, and so was not compared.
        ours: Our number; also where something after the setting forbids the comparison.
        lo, hi: Its 95 % interval, where there is one.
        seeds: Fits behind it.
    """

    value: Value
    row: Row | None = None
    oods: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    unchecked: tuple[str, ...] = ()
    ours: float | None = None
    lo: float | None = None
    hi: float | None = None
    seeds: int = 0

    @property
    def difference(self) -> float | None:
        """Ours less theirs."""
        return None if self.ours is None else self.ours - self.value.number

    @property
    def cost(self) -> int:
        """How unlike the settings are."""
        return sum(reason.cost for reason in self.reasons)

    @property
    def verdict(self) -> str:
        """Whether the two agree; one of `VERDICTS`."""
        if self.reasons or self.difference is None:
            return NOT
        return WITHIN if _agree(self.ours, self.value.number, self.value.tolerance) else DIFFERS

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values: fractions, as in metrics.parquet."""
        value = self.value
        theirs = {
            "source": value.source,
            "title": value.about.title,
            "paper": value.about.paper,
            "read": value.about.read,
            "setting": value.setting.model_dump(mode="json"),
            "n_id": value.n_id,
            "ood": {name: its.count for name, its in value.oods.items()},
            "metric": value.metric,
            "theirs": value.number,
            "tolerance": value.tolerance,
            "tolerance_why": value.about.tolerance.why,
            "sd_published": value.about.sd_published,
        }
        ours = {
            "row": None if self.row is None else self.row._asdict(),
            "row_ood": list(self.oods),
            "ours": self.ours,
            "ours_lo": self.lo,
            "ours_hi": self.hi,
            "ours_seeds": self.seeds,
            "difference": self.difference,
            "verdict": self.verdict,
            "because": [str(reason) for reason in self.reasons],
            "unchecked": list(self.unchecked),
        }
        return theirs | ours


def compared(values: Iterable[Value], ours: Ours) -> list[Comparison]:
    """Return every published value beside what of ours is most like it, in the order of the values."""
    matching = _Matching(ours)
    return [matching.comparison(value) for value in values]


class _Matching:
    """Our rows by the four things that settings agree or differ in, so that each is looked at once."""

    def __init__(self, ours: Ours) -> None:
        self.ours = ours
        self.known: dict[Any, tuple[Reason, ...]] = {}
        keys = [
            [row.backbone for row in ours.rows],
            [(row.backbone, row.id_dataset) for row in ours.rows],
            [(row.method, row.base_method, row.shots, ours.is_leaky(row)) for row in self._first_of_methods()],
            [(row.score, row.base_score) for row in ours.rows],
        ]
        self.axes = [list(dict.fromkeys(axis)) for axis in keys]
        places = [{key: place for place, key in enumerate(axis)} for axis in self.axes]
        self.codes = [np.array([of[key] for key in axis], dtype=int) for of, axis in zip(places, keys, strict=True)]

    def _first_of_methods(self) -> Iterator[Row]:
        """Yield for every row the first of its method and shots, of which a selection on the test set is looked up."""
        first: dict[tuple[Any, ...], Row] = {}
        for row in self.ours.rows:
            yield first.setdefault(row[:5], row)

    def comparison(self, value: Value) -> Comparison:
        """Return a value beside that row of ours whose setting has the fewest differences from its own."""
        if not self.ours.rows:
            return Comparison(value, reasons=(Reason("results", "ours has no row"),))
        checks = (self._backbone, self._sets, self._method, self._score)
        reasons = [[check(value, key) for key in axis] for check, axis in zip(checks, self.axes, strict=True)]
        costs = [np.array([sum(reason.cost for reason in each) for each in axis]) for axis in reasons]
        place = int(np.argmin(sum(cost[code] for cost, code in zip(costs, self.codes, strict=True))))
        row, chosen = self.ours.rows[place], [axis[code[place]] for axis, code in zip(reasons, self.codes, strict=True)]
        of_row = tuple(reason for each in chosen for reason in each)
        unchecked = tuple(_unstated(value))
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
        if _agree(mean, theirs, tolerance):
            return
        for factor, said in ((100, "a fraction"), (0.01, "a percentage")):
            if theirs and theirs * factor <= 1 and _agree(mean, theirs * factor, tolerance * min(factor, 1)):
                yield Reason("unit", f"theirs agrees with ours when read as {said}: mend unit: in its source")
                return
        for metrics in SWAPS:
            for other in (each for each in metrics if value.metric in metrics and each != value.metric):
                number = self.ours.number(row, oods, other) if other in self.ours.frame.columns else None
                if number is not None and _agree(number.mean, theirs, tolerance):
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
        setting, oods = value.setting, [(name, its.count) for name, its in value.oods.items()]
        key = ("sets", setting.id, value.n_id, str(setting.prompt), str(oods), pair)
        return self._once(
            key, lambda: [*self._of_id(value, *pair), *self._of_prompt(value, pair[1]), *self._of_oods(value, *pair)]
        )

    def _method(self, value: Value, key: tuple[str, str, int, bool]) -> tuple[Reason, ...]:
        setting = value.setting
        name = ("method", str(setting.method), setting.shots, setting.leaky_selection_on_test, key)
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
            yield Reason("limit", f"our ID set is cut to {limit} images")
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
                yield Reason("limit", f"our {ours} is cut to {limit} images")
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
    weights = "weights of a file" if ours.weights_file is not None else ours.pretrained
    if (architecture(ours.model), weights) != (architecture(theirs.model), theirs.pretrained):
        model = ours.model.removesuffix("-quickgelu")
        yield Reason("backbone", f"ours {model} {weights}, theirs {theirs.model} {theirs.pretrained}", 2)
        return
    interpolation = ours.interpolation or "bicubic"  # as the weights of CLIP in open_clip have it
    resize = ours.resize or ours.size or (LARGE if str(LARGE) in ours.model else 224)
    differing = [
        f"{what} ours {own}, theirs {stated}"
        for what, own, stated in (("", interpolation, theirs.interpolation), ("resized to, ", resize, theirs.resize))
        if stated is not None and own != stated
    ]
    if differing:
        yield Reason("preprocessing", "; ".join(each.strip() for each in differing))


def _of_method(value: Value, method: str, base: str, shots: int, is_leaky: bool) -> Iterator[Reason]:
    setting = value.setting
    yield from _of_choice("method", setting.method, method, base)
    if shots != setting.shots:
        yield Reason("shots", f"ours {shots}, theirs {setting.shots}")
    if shots and is_leaky != setting.leaky_selection_on_test:
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


def _agree(one: float, other: float, tolerance: float) -> bool:
    return abs(one - other) <= tolerance + 1e-9


def _is_named(dataset: DatasetNames, name: str, ours: str) -> bool:
    return plain(ours) in {plain(each) for each in (name, *dataset.names)}


def _number(count: int | None) -> str:
    return "none" if count is None else f"{count:,}"


def _prompts(templates: Sequence[str]) -> str:
    return f"'{templates[0]}'{f' and {len(templates) - 1} more' * (len(templates) > 1)}"
