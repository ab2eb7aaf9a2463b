"""What `evaluate` leaves: tables of metrics, of curves, of means and of comparisons, and what it keeps for the next."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from oodgrid.manifests.base import Count, Fields, Manifest

Finite = Annotated[float, Field(allow_inf_nan=False)]
Bar = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Three = Annotated[list[Count], Field(min_length=3, max_length=3)]


class PairMetrics(Manifest):
    """The kept metrics of one fit on one pair of sets: of all scores that experiments have had of it.

    Attributes:
        parts: Of what rows, as in `ScoredFit`; of records of before 2026-11-27, of what parts.
        code: The fingerprint of the code that computed them.
        metrics: Numbers by score and column.
        scores: By score, what decided it, as in `ScoreTable`.
    """

    what = "record of metrics"
    parts: list[str]
    code: str
    metrics: dict[str, dict[str, float | None]]
    scores: dict[str, str] = Field(default_factory=dict)


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


class EstimateError(Fields):
    """How far one estimator of a rate is off on some sets of a bench.

    Attributes:
        rate: "auroc", "fpr95_id_pos" or "fpr95_ood_pos".
        estimator: Which, as docs/estimate.md lists them.
        by: What the sets were chosen by: "all", their "share" of OOD samples, or the "estimated" share.
        low, high: The bounds of that share, the upper one not in it but for the last.
        rows: Scores on sets.
        sets: Of the bench.
        bias: Mean of estimate less truth.
        mae, rmse: Of that difference.
        within95: What 95 % of the differences stay within.
        rank_scores: Spearman's correlation over the scores of one set, mean over sets; None of fewer than three.
        rank_sets: Over the sets of one score, mean over scores.
    """

    rate: str
    estimator: str
    by: Literal["all", "share", "estimated"]
    low: float
    high: float
    rows: Count
    sets: Count
    bias: float
    mae: float
    rmse: float
    within95: Bar
    rank_scores: float | None = None
    rank_sets: float | None = None


class EstimateLine(Fields):
    """A line from indicators to a rate.

    Attributes:
        estimator, rate: As of `EstimateError`.
        weights: By indicator, and the "intercept".
    """

    estimator: str
    rate: str
    weights: dict[str, Finite]


class Estimates(Manifest):
    """What estimates.parquet says beside its rows, and what `oodgrid estimate` knows of a bench.

    Attributes:
        sets: Of the bench.
        left_out: How many fewer there are than were to be made, for too few samples.
        detectors: Scores of methods of (backbone, ID set).
        sizes: Of "validation" and "pool": the least, the median and the most samples.
        errors: How far estimates are off, on sets that their lines never saw.
        lines: Through all sets.
    """

    what = "table of estimates"
    sets: Count
    left_out: Count = 0
    detectors: Count = 0
    sizes: dict[str, Three] = Field(default_factory=dict)
    errors: list[EstimateError] = Field(default_factory=list)
    lines: list[EstimateLine] = Field(default_factory=list)


class EstimateRows(Spreads):
    """The kept rows of estimates.parquet of one (backbone, ID set): fields as of `Spreads`."""

    what = "table of estimates of one ID set"
