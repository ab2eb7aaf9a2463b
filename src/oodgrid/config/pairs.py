"""Pairs of an image and a text as samples, as a user writes them: a table of them, or a scenario made of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator

from oodgrid.config.base import Seed, Slug
from oodgrid.config.sources import Derived, Scenario, TextTable
from oodgrid.errors import OodgridError

WITHOUT_CLASS = ("misaligned", "noisy")  # kinds of pairs that are out-of-distribution whatever their class
OF_SCENARIO = {"scenario", "seed", "noise"}


def plain_kind(kind: str) -> str:
    """Return a kind of pairs as it is compared with others: Mis-aligned is misaligned."""
    return kind.casefold().replace("-", "").replace("_", "").replace(" ", "")


def is_without_class(kind: str) -> bool:
    """Return whether pairs of a kind are out-of-distribution whatever their class, however the kind is spelt."""
    return plain_kind(kind) in WITHOUT_CLASS


class PairTable(TextTable):
    """Pairs of an image and a text: a table with a row for each, or a scenario made of the pairs of another dataset."""

    what: ClassVar[str] = "pairs"
    thing: ClassVar[str] = "pair"

    image: str = Field("image", description="Column of images: paths below root.")
    root: str | None = Field(
        None, description="The folder, zip or tar file in which the images lie. Default: the folder of the table."
    )
    kind: str | None = Field(
        "kind",
        description="Column of the kinds of pairs, as aligned, misaligned, new_domain, noisy, if there is one.",
    )
    kinds: list[str] | None = Field(None, min_length=1, description="Take pairs of these kinds alone, as [aligned].")
    of: Slug | None = Field(None, description="In place of a file: the dataset whose pairs these are made of.")
    scenario: Scenario | None = Field(None, description="What is made of them: misaligned, new_domain or noisy.")
    seed: Seed = Field(0, description="Of a scenario.")
    noise: float | None = Field(None, gt=0, le=100, description="Of scenario: noisy; see the scenarios.")
    source: dict[str, Any] | None = Field(None, description="Filled in: the entry of the dataset that `of` names.")

    @model_validator(mode="after")
    def _one_place(self) -> PairTable:
        if (self.file is None) == (self.of is None):
            raise OodgridError("pairs need a file, or a dataset that they are made of: write file: or of:, not both")
        if self.of is not None:
            self._check_derived()
            return self
        if wrong := sorted(self._said & (OF_SCENARIO | {"source"})):
            raise OodgridError(f"pairs: {wrong[0]} is of pairs that are made of others: write of: NAME, or take it out")
        if self.hf is not None or self._said & {"subset", "revision", "download"}:
            raise OodgridError("pairs are read from a table: take hf, subset, revision and download out")
        formats = {self.format_of(file) for file in self.files}
        if "lines" in formats:
            raise OodgridError("pairs: lines have no columns, and a pair needs two: give a csv, tsv, jsonl or parquet")
        if self.kinds and self.kind is None:
            raise OodgridError("pairs: kinds are read from a column: name it by kind:")
        if not self.header:
            raise OodgridError("pairs: columns go by their names: give the table a first line with them")
        self._check_columns(formats)
        self._check_splits(formats)
        if len(set(self._column_names())) < len(self._column_names()):
            raise OodgridError("pairs: two of image, text, label, kind and split are one column: name others")
        return self

    @property
    def sides(self) -> dict[str, Any]:
        """The columns without which a row is no sample."""
        return {"image": self.image, "text": self.text}

    def takes_label(self, row: Mapping[Any, Any]) -> bool:
        """Return whether the label of a row counts: not of kinds that are passed over or have no class anyway."""
        kind = str(row.get(self.kind) or "")
        is_taken = self.kinds is None or plain_kind(kind) in map(plain_kind, self.kinds)
        return is_taken and not is_without_class(kind)

    def _column_names(self) -> list[str]:
        """Return the names of the columns, with those that are only looked for."""
        names = (self.image, self.text, self.label, self.kind, self.split)
        return [str(name) for name in names if name is not None]

    def _check_derived(self) -> None:
        if self.scenario is None:
            raise OodgridError(f"pairs of {self.of}: write scenario: misaligned, new_domain or noisy")
        if wrong := sorted(self._said - OF_SCENARIO - {"of", "source"}):
            raise OodgridError(f"pairs of {self.of}: {wrong[0]} is of a table: take it out")
        if self.noise is not None and self.scenario != "noisy":
            raise OodgridError(f"pairs of {self.of}: noise is of scenario: noisy, not of {self.scenario}: take it out")

    @property
    def derived(self) -> Derived | None:
        """The scenario that the pairs are, and of which dataset; None where they are a table's."""
        if self.of is None or self.scenario is None:
            return None
        return Derived(of=self.of, scenario=self.scenario, seed=self.seed, noise=self.noise)

    def is_apart_from(self, other: PairTable) -> bool:
        """Return whether this and another choice of pairs surely share none: they are of other kinds."""
        own, others = (set(map(plain_kind, each.kinds or ())) for each in (self, other))
        return bool(own and others and not own & others)
