"""What a detector says beside its arrays."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Strict

from oodgrid.manifests.base import Count, Fields, Manifest


class Threshold(Fields):
    """Where a detector draws the line: below it, a sample is out-of-distribution.

    Attributes:
        value: Scores below it are OOD.
        keep: The share of ID images that was asked for.
        kept: The share of those that chose it which are at or above it.
        expected: The 95 % interval of that share among all ID images.
        images: How many chose it.
        chosen_on: Which they were.
    """

    value: float
    keep: float
    kept: float
    expected: Annotated[tuple[float, float], Strict(False)]
    images: Count
    chosen_on: str


class Texts(Fields):
    """The words of a list of labels, beside their features."""

    names: list[str]
    kinds: list[str]


class DetectorRecord(Manifest):
    """What a detector says beside its arrays.

    Attributes:
        experiment, id_dataset, shots, seed: Where it comes from.
        backbone: Its entry, as a configuration has it.
        encoder: What decided the features of the experiment; None where they were imported.
        exif_rotation: Whether photographs are turned upright.
        classnames: In the order of the labels.
        method, base_method, method_params: Of the method; the first as tables list it.
        leaves: What the method makes of features: prototypes (nothing more), changed features or logits.
        normalises: Whether score and method are given normalised features, or features by their own norm.
        text_cosines: Whether the logits are cosines with texts of the backbone's own tower.
        precision: Of the products of features with weights and with the shots.
        score, base_score, score_params: Of the score, likewise; parameters as given.
        lists: Of labels, by the names in these parameters.
        bank_shots: Images a class of the labelled samples, by need.
        width: Dimensions of the features.
        threshold: Where it draws the line.
        chosen: Who chose method and score, and by what.
        remarks: What a user must know.
        run: When and with what versions it was made.
    """

    what = "detector"
    experiment: str
    id_dataset: str
    shots: Count
    seed: int
    backbone: dict[str, Any]
    encoder: dict[str, Any] | None
    exif_rotation: bool
    classnames: list[str] | None
    method: str
    base_method: str
    method_params: dict[str, Any]
    leaves: Literal["prototypes", "features", "logits"]
    normalises: bool = True
    text_cosines: bool
    precision: Literal["float64", "float32"]
    score: str
    base_score: str
    score_params: dict[str, Any]
    lists: dict[str, Texts]
    bank_shots: dict[str, Count]
    width: Count
    threshold: Threshold
    chosen: str
    remarks: list[str]
    run: dict[str, str]
