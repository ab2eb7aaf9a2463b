"""What `adapt` leaves: what methods learned, and what they make of every set."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from oodgrid.manifests.base import Fit, KeptName, Manifest


class LearnedFit(Fit):
    """What `adapt fit` left of one fit.

    Attributes:
        file: With what was learned; None where nothing was.
        info: For people: chosen hyper-parameters, losses, remarks.
    """

    file: KeptName | None = None
    info: dict[str, Any] = Field(default_factory=dict)


class AppliedFit(Fit):
    """What `adapt apply` left of one fit; without any file, as of `any`, features are as cached.

    Attributes:
        classifier: File with prototypes and bias.
        text_cosines: Whether the logits are cosines with texts of the backbone's own tower.
        sets: Files with changed features or logits, by dataset.
        bank: File with the changed shots.
        val: File with changed features or logits of the validation images.
    """

    classifier: KeptName | None = None
    text_cosines: bool = False
    sets: dict[str, KeptName] = Field(default_factory=dict)
    bank: KeptName | None = None
    val: KeptName | None = None

    @property
    def files(self) -> list[str]:
        """The kept files that it names."""
        return [name for name in (self.classifier, self.bank, self.val, *self.sets.values()) if name is not None]


class Fitted(Manifest):
    """fit.json: what a method learned, fit by fit."""

    what = "manifest of fits"
    method: str
    params: dict[str, Any]
    fits: list[LearnedFit]


class Applied(Manifest):
    """apply.json: what a method makes of every set, fit by fit.

    Attributes:
        leaves: Whether that is prototypes (nothing more), changed features or logits.
        normalises: Whether logits are of normalised features, or of features by their own norm.
    """

    what = "manifest of applied fits"
    method: str
    leaves: Literal["prototypes", "features", "logits"]
    normalises: bool = True
    fits: list[AppliedFit]
