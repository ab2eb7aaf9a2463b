"""Which corruptions of images there are, and their words in a configuration: no pixel is touched here.

They are those of ImageNet-C (Hendrycks & Dietterich 2019) at its five severities, but for frost, which lays photographs
of frost over an image that are not ours to ship.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from oodgrid.errors import SENTENCE, OodgridError, unknown

NAMES = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    *("gaussian_blur", "glass_blur", "defocus_blur", "motion_blur", "zoom_blur"),
    *("fog", "snow", "spatter"),
    *("contrast", "brightness", "saturate", "jpeg_compression", "pixelate", "elastic_transform"),
)
SEVERITIES = range(1, 6)
# Hand-raised when a corruption changes its pixels: files of another version are refused.
VERSION = 1
QUALITY = 85  # of the JPEG files in which ImageNet-C, and CoVer's code after it, keep corrupted images
# What CoVer's code recommends, "from validation set", which its authors draw from SVHN (eval_ood_detection.py).
RECOMMENDED = tuple(
    f"{name}-{severity}"
    for name in ("brightness", "fog", "saturate", "motion_blur", "defocus_blur", "gaussian_blur")
    for severity in (1, 2)
)


@dataclass(frozen=True, order=True)
class Corruption:
    """One corruption of images.

    Attributes:
        name: One of `NAMES`.
        severity: 1 to 5.
        seed: Of its noise.
    """

    name: str
    severity: int
    seed: int = 0

    @classmethod
    def parse(cls, word: str, seed: int = 0) -> Corruption:
        """Return what a word as `fog-3` means.

        Raises:
            OodgridError: It means nothing; the message has a did-you-mean.
        """
        name, _, severity = word.rpartition("-")
        if not re.fullmatch(f"[{SEVERITIES[0]}-{SEVERITIES[-1]}]", severity):
            raise OodgridError(f"a corruption is written with its severity, as fog-1 to fog-5, not {word}")
        if name == "frost":
            raise OodgridError("frost lays photographs over images that are not shipped here: take fog or snow")
        if name not in NAMES:
            raise unknown("corruption", name, NAMES)
        return cls(name, int(severity), seed)

    def __str__(self) -> str:
        return f"{self.name}-{self.severity}"

    @property
    def split(self) -> str:
        """What the feature file of corrupted test images is called: a split beside `test`."""
        return f"test.{self}-seed{self.seed}"

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the pixels beside those of the image."""
        return {
            "name": self.name, "severity": self.severity, "seed": self.seed,
            "jpeg_quality": QUALITY, "version": VERSION,
        }  # fmt: skip


def of_words(words: Iterable[str], seed: int) -> tuple[Corruption, ...]:
    """Return the corruptions that words of a configuration mean."""
    return tuple(Corruption.parse(word, seed) for word in words)


def _checked(words: tuple[str, ...]) -> tuple[str, ...]:
    try:
        of_words(words, 0)
    except OodgridError as error:
        raise PydanticCustomError(SENTENCE, "{why}", {"why": str(error)}) from None
    if not words or len(set(words)) < len(words):
        raise PydanticCustomError("corruptions", "one or more, each once,")
    return words


Corruptions = Annotated[tuple[str, ...], AfterValidator(_checked)]  # the type of a score's parameter
