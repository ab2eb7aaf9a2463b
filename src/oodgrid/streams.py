"""The streams of transductive scores: in which order such a score sees an ID set and its OOD sets.

* `mixed`: the samples of the ID set and of one OOD set, shuffled together.
* `id_first`, `ood_first`: all of one set, shuffled, before all of the other.
* `temporal`: the mixed streams of all OOD sets, one after the other; what the score remembers stays between them, so
  that the OOD samples shift. The sets come in the order of the configuration, or as written: `sun>places` (sets that
  are not named follow in that order).

Every other stream begins with an empty memory. An order is a seed: each protocol has as many streams as orders.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

MIXED, ID_FIRST, OOD_FIRST, TEMPORAL = PROTOCOLS = ("mixed", "id_first", "ood_first", "temporal")
THEN = ">"  # between the names of sets that come one after the other


def _known(stream: object) -> str:
    named = stream.split(THEN) if isinstance(stream, str) else [""]
    if stream not in PROTOCOLS and (len(named) < 2 or "" in map(str.strip, named)):
        raise PydanticCustomError(
            "stream", "mixed, id_first, ood_first, temporal, or OOD sets one after the other, as sun>places,"
        )
    return THEN.join(map(str.strip, named))


Stream = Annotated[str, BeforeValidator(_known)]  # the type of the parameter `stream` of a transductive score


def carries_over(stream: str) -> bool:
    """Return whether a score remembers one OOD set when it comes to the next."""
    return stream == TEMPORAL or THEN in stream


def named_sets(stream: str) -> list[str]:
    """Return the OOD sets that a stream names, in their order; none where it names none."""
    return stream.split(THEN) if THEN in stream else []


def sequence(stream: str, ood_sets: Iterable[str]) -> list[str]:
    """Return all OOD sets in the order in which a stream that carries over comes to them."""
    named = named_sets(stream)
    return [*named, *(name for name in ood_sets if name not in named)]


def place_column(params: dict[str, Any]) -> str:
    """Return the column of a score table that has the places of samples in the stream of a score, by its parameters.

    In a stream that carries over, those in the mixed stream of each set.
    """
    stream = params.get("stream", MIXED)
    apart = f",stream={stream}" if stream in (ID_FIRST, OOD_FIRST) else ""
    return f"place@order={params['order']}{apart}"
