"""What all manifests share: their version, the rules of their fields, and the fit that many of them list."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from oodgrid import paths

VERSION: Final = 2  # of all manifests: raise it when a field changes, and let `files` mend what older ones say

KeptName = Annotated[str, Field(pattern=rf"^{paths.KEPT}(/[^/.][^/]*)+$")]  # below the results folder, which may move
Count = Annotated[int, Field(ge=0)]


class Fields(BaseModel):
    """Fields of known names and types; nothing else is taken, and nothing changed later."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Fit(Fields):
    """One method at one number of shots and seed, and how it went.

    Attributes:
        shots, seed: Both 0 for methods without shots.
        status, reason: As in metrics.parquet.
    """

    shots: Count
    seed: int
    status: Literal["ok", "skipped", "failed"]
    reason: str | None


class Manifest(Fields):
    """What all manifests share.

    Attributes:
        version: Of their fields.
    """

    what: ClassVar[str] = "manifest"
    version: Literal[2] = VERSION
