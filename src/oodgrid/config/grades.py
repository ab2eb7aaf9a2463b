"""Graded shifts: which axes part the OOD samples into cells."""

from __future__ import annotations

import re

from pydantic import Field

from oodgrid.config.base import Strict

FEWEST = 11  # images of a cell; IS-OOD leaves out those of ten or fewer


class Grades(Strict):
    """OOD samples in cells, by how far they are shifted in what they mean and in how they look."""

    semantic: str = Field("laid_semantic", description="A listed score whose lower values are a larger semantic shift.")
    covariate: str = Field(
        "laid_covariate", description="A listed score whose lower values are a larger covariate shift."
    )
    levels: int = Field(
        8, strict=True, ge=2, le=20, description="Of each axis, with as many samples each: quantiles of all OOD sets."
    )
    sets: str | None = Field(
        None,
        description="In place of axes: the names of OOD sets that are cells, as cov_{covariate}_sem_{semantic}.",
    )


def named_cell(name: str, pattern: str) -> tuple[int, int] | None:
    """Return the semantic and the covariate level that the name of an OOD set says; None where it is no such name.

    Levels have one digit or two: there is a place for each between the lowest and the highest.
    """
    place = re.escape(pattern)
    for axis in ("semantic", "covariate"):
        place = place.replace(rf"\{{{axis}\}}", f"(?P<{axis}>[0-9]{{1,2}})", 1)
    match = re.fullmatch(place, name)
    return (int(match["semantic"]), int(match["covariate"])) if match else None
