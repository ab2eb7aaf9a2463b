"""What the parameter `bank` of a score may say: with which labelled training samples it compares.

* `shots`, the default: the shots of the fit, so of no use under methods that have none.
* `train`: the whole train split.
* `16`, or `16-seed2`: the shots that a few-shot method with 16 shots has at that seed (1 where none is said), under
  every method, and its validation samples where the score looks at these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

SHOTS, TRAIN = "shots", "train"
OF_DRAW = ("bank", "val")  # needs that a draw meets
FIRST_SEED = 1
MOST = 1_000_000  # shots


class DrawnBank(NamedTuple):
    """The draw that a score names for itself."""

    shots: int
    seed: int

    def need(self, need: str) -> str:
        """Return how a need is called that this draw is to meet in place of that of the fit, as `bank@16-seed1`."""
        return f"{need}@{self.shots}-seed{self.seed}"


def drawn_bank(bank: object) -> DrawnBank | None:
    """Return the draw that a value of `bank` means; None where it means the shots of the fit, or the whole split."""
    found = re.fullmatch(r"([1-9][0-9]{0,6})(?:-seed([0-9]{1,9}))?", str(bank))
    if not found or int(found[1]) > MOST:
        return None
    return DrawnBank(int(found[1]), FIRST_SEED if found[2] is None else int(found[2]))


def bank_of(need: str) -> DrawnBank | None:
    """Return the draw that is to meet a need, where a score names one for itself, as in `bank@16-seed1`."""
    return drawn_bank(need.partition("@")[2])


def with_bank(need: str, params: Mapping[str, Any]) -> str:
    """Return a need of a score, as "bank" or "val|bank", where its parameters say of which samples the bank is."""
    names = need.split("|")
    if "bank" in names and params.get("bank") == TRAIN:
        return TRAIN
    drawn = drawn_bank(params.get("bank"))
    return need if drawn is None else "|".join(drawn.need(name) if name in OF_DRAW else name for name in names)


def _known(bank: object) -> str:
    if bank in (SHOTS, TRAIN):
        return str(bank)
    drawn = None if isinstance(bank, bool) else drawn_bank(bank)
    if drawn is None:
        raise PydanticCustomError(
            "bank", "shots, train, or a number of shots from 1 on, as 16 or 16-seed2 for those of another seed than 1,"
        )
    return f"{drawn.shots}" if drawn.seed == FIRST_SEED else f"{drawn.shots}-seed{drawn.seed}"


Bank = Annotated[str, BeforeValidator(_known)]
