"""What `evaluate` leaves: tables of metrics, of curves, of means and of comparisons, and what it keeps for the next."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from oodgrid.manifests.base import Count, Fields, Manifest


class PairMetrics(Manifest):
    """The kept metrics of one fit on one pair of sets.

    Attributes:
        parts: Of what scores; names as in `ScoredFit`.
        code: The fingerprint of the code that computed them.
        metrics: Numbers by score and column.
    """

    what = "record of metrics"
    parts: list[str]
    code: str
    metrics: dict[str, dict[str, float | None]]


class Spreads(Manifest):
    """The kept sampling variances of all rows of one (backbone, ID set).

    Attributes:
        parts: Of what scores; names as in `ScoredFit`.
        code: The fingerprint of the code that computed them.
    """

    what = "table of variances"
    parts: list[str]
    code: str


class Metrics(Manifest):
    """The metadata of metrics.parquet.

    Attributes:
        overlaps: Pairs of an ID and an OOD set with classes in common.
        broken_images: Backbone, set, and how many images it lacks.
        generated: The ID sets whose images are drawn by a program.
        transductive: The variants of scores whose values depend on other samples.
    """

    what = "table of metrics"
    overlaps: list[Annotated[tuple[str, str], Strict(False)]]
    broken_images: list[Annotated[tuple[str, str, Count], Strict(False)]] = Field(default_factory=list)
    transductive: list[str] = Field(default_factory=list)
    generated: list[str] = Field(default_factory=list)


class Summary(Metrics):
    """What summary.parquet says beside its rows: the same."""

    what = "table of means"


class Ranks(Fields):
    """How rows rank over the ID sets, and which of them a rank test tells apart.

    Attributes:
        backbone, scope, metric: The column.
        score: Only rows of this score; None for all.
        id_datasets: How many there are.
        names: Method and score, from the best rank to the worst.
        mean_ranks: Their ranks, 1 the best, ties in the middle.
        friedman_p: Of the test that all rank alike.
        critical_difference: Of two mean ranks, by Nemenyi at 5 %.
        groups: First and last of those that lie within it of one another, as positions.
    """

    backbone: str
    scope: str
    metric: str
    score: str | None
    id_datasets: Count
    names: list[Annotated[tuple[str, str], Strict(False)]]
    mean_ranks: list[float]
    friedman_p: float
    critical_difference: float
    groups: list[Annotated[tuple[Count, Count], Strict(False)]]


class Comparisons(Manifest):
    """What comparisons.parquet says beside its rows.

    Attributes:
        ranks: Rank tests; none below ten ID sets.
    """

    what = "table of comparisons"
    ranks: list[Ranks] = Field(default_factory=list)


class GeometryTable(Manifest):
    """What geometry.parquet says beside its rows: nothing but the version."""

    what = "table of angles"


class GradesTable(Manifest):
    """What grades.parquet says beside its rows: nothing but the version."""

    what = "table of graded shifts"


class Temperatures(Manifest):
    """What temperatures.parquet says beside its rows: nothing but the version."""

    what = "table of temperatures"


class Curves(Manifest):
    """The metadata of curves.parquet: none but the version."""

    what = "table of curves"
