"""What `score` leaves: tables of scores, and their kept parts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from oodgrid.manifests.base import Count, Fit, Manifest


class ScoredFit(Fit):
    """One fit in a table of scores.

    Attributes:
        parts: By the name of each set, or of the OOD set of each stream, what decides its scores, as a digest.
        skipped: The reasons of scores that were skipped on some set, by score.
        skipped_in: The same by set and score.
    """

    parts: dict[str, str] = Field(default_factory=dict)
    skipped: dict[str, str] = Field(default_factory=dict)
    skipped_in: dict[str, dict[str, str]] = Field(default_factory=dict)


class ScorePart(Manifest):
    """A kept part of a table of scores: one fit on one set or one stream."""

    what = "part of a table of scores"
    skipped: dict[str, str]


class ScoreTable(Manifest):
    """A table of scores: one method of one (backbone, ID set), with all its fits.

    Attributes:
        params: The parameters of every score, defaults too, by its variant.
        broken_images: How many a set lacks.
        precision: Of the large matrix products behind the scores.
    """

    what = "table of scores"
    fits: list[ScoredFit]
    params: dict[str, dict[str, Any]]
    broken_images: dict[str, Count] = Field(default_factory=dict)
    precision: Literal["float64", "float32"] = "float64"

    @property
    def parts(self) -> set[str]:
        """The parts of all fits."""
        return {part for fit in self.fits for part in fit.parts.values()}
