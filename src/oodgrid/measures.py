"""The metrics: what each is, which way is better, and who uses it; `oodgrid list metrics` prints it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from oodgrid.errors import OodgridError, brief


@dataclass(frozen=True)
class Measure:
    """One metric of a pair of an ID and an OOD set, or of the ID set alone.

    Attributes:
        name: Its column in metrics.parquet.
        title: As people write it.
        better: "higher", "lower", or "" where neither is.
        definition: In one sentence.
        used_by: Who reports it.
        averaged: Whether its mean over OOD sets says anything.
        certain: Whether summary.parquet has its standard error, and comparisons.parquet its differences.
        of_id: Whether the OOD samples have no say in it.
    """

    name: str
    title: str
    better: str
    definition: str
    used_by: str
    averaged: bool = True
    certain: bool = False
    of_id: bool = False


RATES = ("auroc", "fpr95_id_pos", "fpr95_ood_pos")  # what a detector is told by, under both conventions
_ALL = (
    Measure(
        "auroc", "AUROC", "higher",
        "Share of (ID, OOD) pairs in which the ID score is above the OOD score, ties half.",
        "all: Hendrycks & Gimpel 2017, OpenOOD, MCM", certain=True,
    ),
    Measure(
        "fpr95_id_pos", "FPR95 (ID pos.)", "lower",
        "Share of OOD samples at or above the ID score whose ID recall is nearest .95; ties: the higher recall.",
        "Hendrycks & Gimpel 2017; MCM, NegLabel and LoCoOp mean this one", certain=True,
    ),
    Measure(
        "fpr95_id_pos_mcm", "FPR95 (ID pos., MCM's code)", "lower",
        "The same as fpr_and_fdr_at_recall computes it, which counts OOD down to the next lower ID score.",
        "code of MCM, GL-MCM, LoCoOp, NegLabel: for comparison with their tables",
    ),
    Measure(
        "fpr95_ood_pos", "FPR95 (OOD pos.)", "lower",
        "Share of ID samples at or below the first threshold, from low scores up, that catches .95 of the OOD samples.",
        "OpenOOD v1.5, pytorch-ood", certain=True,
    ),
    Measure(
        "aupr_in", "AUPR-In", "higher",
        "Average precision with ID as the positive class; it depends on the ID:OOD ratio.",
        "Hendrycks & Gimpel 2017, OpenOOD (as a trapezoid)", averaged=False,
    ),
    Measure(
        "aupr_out", "AUPR-Out", "higher",
        "Average precision with OOD as the positive class; it depends on the ID:OOD ratio.",
        "Hendrycks & Gimpel 2017, OpenOOD (as a trapezoid)", averaged=False,
    ),
    Measure(
        "aupr_in_balanced", "AUPR-In (balanced)", "higher",
        "AUPR-In at prevalence one half: precision = TPR / (TPR + FPR). Comparable over sets of any size.",
        "whoever averages AUPR over OOD sets",
    ),
    Measure(
        "aupr_out_balanced", "AUPR-Out (balanced)", "higher", "AUPR-Out at prevalence one half.",
        "whoever averages AUPR over OOD sets",
    ),
    Measure(
        "tied", "Tied pairs", "lower",
        "Share of (ID, OOD) pairs with equal scores, as saturated scores have.", "oodgrid",
    ),
    Measure(
        "oscr", "OSCR", "higher",
        "Area under the rate of ID samples that are kept and classified right over the rate of OOD samples kept.",
        "open-set recognition: Dhamija et al. 2018, Vaze et al. 2022",
    ),
    Measure(
        "aurc", "AURC", "lower",
        "Mean error rate of the ID samples that the score ranks highest, over all coverages; ties share their ranks.",
        "selective classification: Geifman & El-Yaniv 2017, Jaeger et al. 2023", of_id=True,
    ),
    Measure(
        "ece", "ECE", "lower",
        "Mean distance of confidence and accuracy over 15 equal bins; of scores that are probabilities (msp, mcm).",
        "calibration: Guo et al. 2017", of_id=True,
    ),
    Measure(
        "ece_floor", "ECE of a calibrated model", "",
        "The ECE expected of these confidences and so many samples, were each right as often as it says.",
        "oodgrid: an ECE near it is no miscalibration", of_id=True,
    ),
    *(
        Measure(f"{name}_fs", f"{title} (full spectrum)", better,
                f"{title} with the covariate-shifted sets counted as ID.", "OpenOOD v1.5, full-spectrum detection",
                averaged=averaged)
        for name, title, better, averaged in (
            ("auroc", "AUROC", "higher", True), ("fpr95_id_pos", "FPR95 (ID pos.)", "lower", True),
            ("fpr95_ood_pos", "FPR95 (OOD pos.)", "lower", True), ("aupr_in", "AUPR-In", "higher", False),
            ("aupr_out", "AUPR-Out", "higher", False),
        )
    ),
    Measure(
        "id_accuracy", "ID accuracy", "higher", "Share of the ID samples with a class that are classified right.",
        "all", certain=True, of_id=True,
    ),
)  # fmt: skip


def exact_recall(recall: float | Fraction) -> Fraction:
    """Return a recall as people write it: .95 is 19/20, which no float is.

    Raises:
        OodgridError: It is no fraction above 0 and up to 1, or has more than six decimals.
    """
    number = isinstance(recall, int | float | Fraction) and not isinstance(recall, bool)
    exact = Fraction(str(recall)) if number and 0 < recall <= 1 else Fraction(0)
    if not 0 < exact <= 1 or 10**6 % exact.denominator:
        raise OodgridError(f"recall: {brief(recall)} where a fraction such as 0.95 is needed, of at most six decimals")
    return exact


def asked_recall(metric: str) -> Fraction:
    """Return the recall of a metric that a config asks for, as 9/10 of fpr@90.

    Raises:
        OodgridError: It is written otherwise.
    """
    match = re.fullmatch(r"fpr@(\d{1,3}(?:\.\d{1,4})?)", metric)
    percent = Fraction(match[1]) if match else Fraction(0)
    if not 0 < percent <= 100:
        raise OodgridError(
            f"metrics: {brief(metric)} is not of the form fpr@90, with a percentage of at most four decimals; the "
            "metrics of oodgrid list metrics are always there"
        )
    return percent / 100


def asked_first(metric: str) -> int | None:
    """Return of how many first samples of a stream a config asks for metrics, as 100 of first@100; None of others.

    Raises:
        OodgridError: It is no such number.
    """
    if not metric.startswith("first@"):
        return None
    count = metric.removeprefix("first@")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", count) or int(count) < 2:
        raise OodgridError(
            f"metrics: {brief(metric)} is not of the form first@100, with a number of samples of a stream from 2 on"
        )
    return int(count)


def first_names(count: int) -> list[str]:
    """Return the columns of the rates of the first samples of a stream, as auroc_first100."""
    return [f"{name}_first{count}" for name in RATES]


def of_first(name: str) -> int | None:
    """Return of how many first samples of a stream a column holds a rate; None of another column."""
    match = re.fullmatch(r"(\w+)_first(\d+)", name)
    return int(match[2]) if match and match[1] in RATES else None


def in_percent(recall: Fraction) -> str:
    """Return a recall in percent, as 99.5."""
    return f"{float(100 * recall):.10g}"


def fpr_names(recall: Fraction) -> tuple[str, str]:
    """Return the columns of the false-positive rates at a recall, as fpr90_id_pos and fpr90_ood_pos.

    A decimal point is written _, as in fpr99_5_id_pos: tools read a point in a column's name as a path.
    """
    percent = in_percent(recall).replace(".", "_")
    return f"fpr{percent}_id_pos", f"fpr{percent}_ood_pos"


def recall_in(name: str) -> Fraction | None:
    """Return the recall at which a column holds false-positive rates; None of another column."""
    match = re.fullmatch(r"fpr(\d+(?:_\d+)?)_(id|ood)_pos", name)
    return Fraction(match[1].replace("_", ".")) / 100 if match else None


def _fpr(name: str, percent: str) -> Measure:
    """Return the false-positive rate of one name, at a recall of some percent."""
    if name.endswith("_id_pos"):
        definition = f"Share of OOD samples at or above the ID score whose ID recall is nearest {percent} %."
        return Measure(name, f"FPR{percent} (ID pos.)", "lower", definition, "see fpr95_id_pos")
    definition = f"Share of ID samples at or below the first threshold that catches {percent} % of the OOD samples."
    return Measure(name, f"FPR{percent} (OOD pos.)", "lower", definition, "see fpr95_ood_pos")


def _first(name: str, rate: str, count: str) -> Measure:
    """Return a rate of the first samples of a stream, by its name, the rate's and their number."""
    of_all = MEASURES[rate]
    return Measure(
        name, f"{of_all.title}, first {count}", of_all.better,
        f"{of_all.title} of what comes first in a stream, up to place {count}; none where one side is missing.",
        "cold start of transductive scores",
    )  # fmt: skip


class _Measures(dict[str, Measure]):
    """The metrics by name; those that a config asks for, as fpr90_id_pos, are made when they are read."""

    def __missing__(self, name: str) -> Measure:
        if (recall := recall_in(name)) is not None:
            return _fpr(name, in_percent(recall))
        if (count := of_first(name)) is not None:
            return _first(name, name.partition("_first")[0], str(count))
        raise KeyError(name)


MEASURES = _Measures({measure.name: measure for measure in _ALL})
ON_REQUEST = (_fpr("fprN_id_pos", "N"), _fpr("fprN_ood_pos", "N"))  # by `metrics: [fpr@N]` and `--recall`
OF_STREAMS = tuple(_first(f"{name}_firstN", name, "N") for name in RATES)  # by `metrics: [first@N]`
