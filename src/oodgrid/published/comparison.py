"""One published value beside ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from oodgrid.published.form import Value
from oodgrid.published.ours import Row

WITHIN, DIFFERS, NOT = "within tolerance", "differs", "not comparable"
VERDICTS = (WITHIN, DIFFERS, NOT)


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
        if self.reasons or self.ours is None:
            return NOT
        return WITHIN if agree(self.ours, self.value.number, self.value.tolerance) else DIFFERS

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


def agree(one: float, other: float, tolerance: float) -> bool:
    """Return whether two numbers lie within a tolerance, what rounding adds aside."""
    return abs(one - other) <= tolerance + 1e-9
