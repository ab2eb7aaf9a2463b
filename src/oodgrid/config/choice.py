"""A method or a score with its parameters, as a user writes it."""

from __future__ import annotations

from itertools import chain, product
from math import prod
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from oodgrid import registry
from oodgrid.config.base import collected
from oodgrid.config.values import Wrong
from oodgrid.counts import counted
from oodgrid.errors import OodgridError, brief

MOST_ENTRIES = 1_000  # of one list of the grid


class Choice(BaseModel):
    """A method or a score with its parameters; written as a name, or as {name: …, parameter: value}."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that were given."""
        return dict(self.model_extra or {})

    def listed(self, kind: str) -> str:
        """Return the name under which results list it, as `mcm@T=0.5`."""
        if not self.model_extra:
            return self.name
        return registry.variant(self.name, self.params, registry.find(kind, self.name).params)


def of_kind(kind: str) -> BeforeValidator:
    """Return what turns a name or a mapping into the `Choice` of a kind, method or score, with checked parameters."""

    def check(choice: Any) -> Any:
        choice = {"name": choice} if isinstance(choice, str) else choice
        if isinstance(choice, dict):
            values = chain.from_iterable(each if isinstance(each, list) else [each] for each in choice.values())
            if wrong := next((value for value in values if isinstance(value, Wrong)), None):
                raise OodgridError(wrong.mistake)
            if not isinstance(choice.get("name"), str):
                raise OodgridError(f"a {kind} is written as its name or as {{name: …}}, not {brief(choice)}")
            params = {key: value for key, value in choice.items() if key != "name"}
            choice = {"name": choice["name"], **registry.check_params(kind, choice["name"], params)}
        return choice

    return BeforeValidator(collected(check), json_schema_input_type=str | Choice)


def spread_scores(data: dict[str, Any], left_out: set[str]) -> None:
    """Write each score of a parsed experiment once for each value of its parameters.

    Raises:
        OodgridError: One score has too many variants.
    """
    scores = data.get("scores")
    try:
        data |= {"scores": [each for score in scores for each in _spread(score)]} if isinstance(scores, list) else {}
    except OodgridError:
        del data["scores"]
        left_out.add("scores")
        raise


def _spread(score: Any) -> list[Any]:
    """Return a score once for each value, where a parameter is given as a list of them: {name: mcm, T: [0.5, 1]}.

    Of a parameter that is a list itself, as `corruptions`, a list is one value, and a list of lists several.
    """
    lists = (
        {key: values for key, values in score.items() if isinstance(values, list) and _several(score, key)}
        if isinstance(score, dict)
        else {}
    )
    if (count := prod(map(len, lists.values()))) > MOST_ENTRIES:
        raise OodgridError(
            f"scores: {counted(count, 'variant')} of one score, and {MOST_ENTRIES} are the most: give fewer values"
        )
    return [score | dict(zip(lists, values, strict=True)) for values in product(*lists.values())] if lists else [score]


def _several(score: dict[str, Any], key: str) -> bool:
    """Return whether the list under a parameter is of several values of it."""
    try:
        default = registry.find("score", score.get("name", "")).params.get(key)
    except (OodgridError, TypeError):  # whoever checks the score says so
        return True
    return not isinstance(default, tuple) or any(isinstance(each, list) for each in score[key])
