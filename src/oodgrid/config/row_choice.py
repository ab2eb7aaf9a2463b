"""Which rows of a table are samples, by what stands in a column."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from oodgrid.config.base import Strict, collected
from oodgrid.errors import OodgridError, brief


def said(value: Any) -> str:
    """Return what stands in a cell as a word, the same in tables of text and of numbers; "" where nothing does."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _words(value: Any) -> list[str] | None:
    """Return one word, or a list of them, as `said` has them."""
    if value is None:
        return None
    words = value if isinstance(value, list) else [value]
    if not words or not all(isinstance(word, str | int | float) for word in words):
        raise OodgridError(
            f"rows: only and without name a word of the column, or several as [a, b], not {brief(value)}"
        )
    return [said(word) for word in words]


_WRITTEN = str | int | float | list[str | int | float] | None
Words = Annotated[list[str] | None, BeforeValidator(collected(_words), json_schema_input_type=_WRITTEN)]


class RowChoice(Strict):
    """The rows that have one of some words in a column, or all rows but those."""

    column: int | str = Field(description="Its name; without a header its number, from 0.")
    only: Words = Field(None, description="The rows with this word, or one of these.")
    without: Words = Field(None, description="All rows but those, as of the OOD texts in a test file.")

    @model_validator(mode="after")
    def _one_of_both(self) -> RowChoice:
        if (self.only is None) == (self.without is None):
            raise OodgridError(f"rows of column {self.column} are chosen by only: or by without:, one of both")
        return self

    @property
    def words(self) -> list[str]:
        """The words that are named, as `said` has them."""
        return (self.without if self.only is None else self.only) or []

    def takes(self, word: str) -> bool:
        """Return whether rows with a word, as `said` has it, are samples."""
        return (word in self.words) == (self.only is not None)
