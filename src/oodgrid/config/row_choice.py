"""Which rows of a table are samples, by what stands in a column."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from oodgrid.config.base import Strict
from oodgrid.errors import OodgridError

Word = str | int | float | bool


class RowChoice(Strict):
    """The rows that have one of some words in a column, or all rows but those."""

    column: int | str = Field(description="Its name; without a header its number, from 0.")
    only: Word | list[Word] | None = Field(None, description="The rows with this word, or one of these.")
    without: Word | list[Word] | None = Field(
        None, description="All rows but those, as of the OOD texts in a test file."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> RowChoice:
        if isinstance(self.column, bool):
            raise OodgridError("rows: column is a name or a number, not true or false")
        if (self.only is None) == (self.without is None):
            raise OodgridError(f"rows of column {self.column} are chosen by only: or by without:, one of both")
        if not self.words:
            raise OodgridError(f"rows of column {self.column}: name a word at least")
        return self

    @property
    def words(self) -> list[str]:
        """The words that are named, as `said` has them."""
        asked = self.without if self.only is None else self.only
        return [said(word) for word in (asked if isinstance(asked, list) else [asked])]

    def takes(self, word: str) -> bool:
        """Return whether rows with a word, as `said` has it, are samples."""
        return (word in self.words) == (self.only is not None)


def said(value: Any) -> str:
    """Return what stands in a cell as a word, the same in tables of text and of numbers; "" where nothing does."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
