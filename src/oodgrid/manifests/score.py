"""What `score` leaves: tables of scores, and their kept parts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from oodgrid.manifests.base import Count, Fields, Fit, Manifest


class Geometry(Fields):
    """Mean angles between samples and the centres of classes, in degrees; None where there is nothing to average.

    Attributes:
        key: What decides them, as a digest.
        classes: Centres.
        dispersion: Between two centres.
        compactness: Of an ID sample to the centre of its class, by class first.
        id_angle: Of an ID sample to the nearest centre.
        ood_angles: Of a sample of each OOD set to the nearest centre.
        ood_mmd: Squared distance of the mean of the unit features of each OOD set to that of the ID samples.
    """

    key: str
    classes: Count
    dispersion: float | None = None
    compactness: float | None = None
    id_angle: float | None = None
    ood_angles: dict[str, float] = Field(default_factory=dict)
    ood_mmd: dict[str, float] = Field(default_factory=dict)


class ScoredFit(Fit):
    """One fit in a table of scores.

    Attributes:
        geometry: Of the fits of the largest shots, by the centres: "means" of the features that the method changed, and
            its "prototypes". Those of features as cached are the table's.
        no_geometry: By the same names, why there are none.
        parts: By the name of each set, or of the OOD set of each stream, what decides its scores, as a digest.
        rows: Likewise, what decides its samples under the fit, whatever the score; of tables of before 2026-11-27
            nothing, whose scores are computed again.
        skipped: The reasons of scores that were skipped on some set, by score.
        skipped_in: The same by set and score.
        devices: By set or stream, the GPU on which products were computed, and the release of torch, or several of
            them; nothing where all were computed on CPUs.
        devices_in: The same by set and score.
    """

    parts: dict[str, str] = Field(default_factory=dict)
    rows: dict[str, str] = Field(default_factory=dict)
    skipped: dict[str, str] = Field(default_factory=dict)
    skipped_in: dict[str, dict[str, str]] = Field(default_factory=dict)
    devices: dict[str, str] = Field(default_factory=dict)
    devices_in: dict[str, dict[str, str]] = Field(default_factory=dict)
    geometry: dict[str, Geometry] = Field(default_factory=dict)
    no_geometry: dict[str, str] = Field(default_factory=dict)


class ScorePart(Manifest):
    """A kept part of a table of scores: some scores of one fit on one set or one stream.

    Attributes:
        rows: What decides the samples, as in `ScoredFit`.
        scores: What decides each column, as in `ScoreTable`.
        skipped: Why scores were skipped.
        devices: By score, the GPU on which products were computed, and the release of torch; nothing of CPUs.
    """

    what = "part of a table of scores"
    rows: str
    scores: dict[str, str]
    skipped: dict[str, str] = Field(default_factory=dict)
    devices: dict[str, str] = Field(default_factory=dict)


class ScoreTable(Manifest):
    """A table of scores: one method of one (backbone, ID set), with all its fits.

    Attributes:
        params: The parameters of every score, defaults too, by its variant.
        scores: By its variant, what decides each score beside the rows (its code, parameters, precision, texts), as a
            digest; likewise of the predicted classes, under the name of their column.
        broken_images: How many a set lacks.
        precision: Of the large matrix products behind the scores.
        cached: The angles of features as cached to their class means; None in tables of streams and of sweeps.
    """

    what = "table of scores"
    fits: list[ScoredFit]
    params: dict[str, dict[str, Any]]
    scores: dict[str, str] = Field(default_factory=dict)
    broken_images: dict[str, Count] = Field(default_factory=dict)
    precision: Literal["float64", "float32"] = "float64"
    cached: Geometry | None = None

    @property
    def parts(self) -> set[str]:
        """The parts of all fits."""
        return {part for fit in self.fits for part in fit.parts.values()}

    @property
    def columns(self) -> set[tuple[str, str]]:
        """What decides the columns of all fits: that of the rows and that of the score, for each."""
        return {(rows, key) for fit in self.fits for rows in fit.rows.values() for key in self.scores.values()}
