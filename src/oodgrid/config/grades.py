"""Graded shifts: which axes part the OOD samples into cells."""

from __future__ import annotations

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
