"""The mistakes that pydantic finds, in our words: one line each, with its place and value."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from oodgrid.config.base import MISTAKE
from oodgrid.config.values import LARGEST, Wrong
from oodgrid.errors import brief, near, printable

EXPECTED = {
    "missing": "is required and not there",
    "string_type": "a string is wanted: write it in quotes",
    "int_type": "a whole number is wanted",
    "int_parsing": "a whole number is wanted",
    "float_parsing": "a number is wanted",
    "bool_parsing": "true or false is wanted",
    "int_from_float": "a whole number is wanted",
    "int_parsing_size": f"a whole number up to {LARGEST} is wanted",
    "float_type": "a number is wanted, without quotes",
    "finite_number": "a finite number is wanted",
    "bool_type": "true or false is wanted",
    "list_type": "a list is wanted, as [a, b]",
    "tuple_type": "a list is wanted, as [a, b]",
    "dict_type": "a mapping is wanted, as {{key: value}}",
    "model_type": "a mapping is wanted, as {{key: value}}",
    "model_attributes_type": "a mapping is wanted, as {{key: value}}",
    "greater_than": "greater than {gt} is wanted",
    "greater_than_equal": "greater than or equal to {ge} is wanted",
    "less_than": "less than {lt} is wanted",
    "less_than_equal": "less than or equal to {le} is wanted",
    "too_short": "at least {min_length} is wanted",
    "too_long": "{max_length} at most are wanted, and there are {actual_length}",
    "string_too_long": "{max_length} characters at most are wanted",
    "string_pattern_mismatch": "a name has letters, digits, dots, dashes and underscores, first a letter or digit",
    "literal_error": "one of {expected} is wanted",
}
COUNTS = ("too_short", "too_long", "missing")  # where what was given says nothing


def lines_of(error: ValidationError, what: str) -> list[str]:
    """Return the mistakes that a validation found, one line each.

    Args:
        error: What pydantic raised.
        what: What was validated, as "config experiments/mine.yaml".
    """
    branches: dict[tuple[Any, ...], list[Any]] = {}
    for each in error.errors(include_url=False):
        branches.setdefault(_place(each["loc"]), []).append(each)
    chosen = _deepest(branches)
    return [line for place, errors in chosen.items() for line in _lines(what, place, errors)]


def expectation(error: Any) -> str:
    """Return what is expected in place of one value, with a did-you-mean for one of several names."""
    known = EXPECTED.get(error["type"])
    expected = known.format(**error.get("ctx", {})) if known else f"{error['msg'][:1].lower()}{error['msg'][1:]}"
    if error["type"] == "literal_error" and isinstance(error["input"], str):
        names = [name.strip("'") for name in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        similar = near(error["input"], names)
        return f"{expected}: did you mean '{similar}'?" if similar else expected
    if isinstance(error["input"], bool) and error["type"] != "bool_type":
        return f"{expected} (YAML reads on, off, yes, no as true or false)"
    return expected


def _place(loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the place of an error without the names that pydantic gives to the branches of a choice of types."""
    return tuple(part for part in loc if not (isinstance(part, str) and part.endswith(("]", "()"))))


def _deepest(branches: dict[tuple[Any, ...], list[Any]]) -> dict[tuple[Any, ...], list[Any]]:
    """Leave out a place where a list or a mapping was wanted, if something within what was given there is said."""
    types = {"list_type", "dict_type", "string_type", "model_type"}
    outer = {place[:depth] for place in branches for depth in range(len(place))}
    return {
        place: errors
        for place, errors in branches.items()
        if not (place in outer and {each["type"] for each in errors} <= types)
    }


def _lines(what: str, place: tuple[Any, ...], errors: list[Any]) -> list[str]:
    ours = [line for each in errors if each["type"] == MISTAKE for line in each["ctx"]["text"].split("\n")]
    if ours:
        return ours
    value = errors[0]["input"]
    if isinstance(value, Wrong):
        return [value.mistake]
    expected = " or ".join(dict.fromkeys(map(expectation, errors)))
    shown = "" if errors[0]["type"] in COUNTS else f" (given: {brief(value)})"
    return [f"{what}: {'.'.join(printable(str(part), 40) for part in place)}: {expected}{shown}"]
