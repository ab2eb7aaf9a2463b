"""A method that meets a fault of a cluster at its second fit: a test names this file under `plugins:` of its config.

What begins and what ends is written into a folder that FAULTS names in the environment: files that a plugin names by
itself count as its code. Only jobs on a node of Slurm meet a fault, not Snakemake, which looks at plugins first.
"""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide, class_means
from oodgrid.registry import method

FOLDER = Path(os.environ.get("FAULTS", ""))
MB = 2**20
TAKEN = 1300  # MB: more than a first attempt may take, less than a second


@method(title="Faulty", look="grey s", leaves="prototypes", needs=("shots",), paper="none")
@dataclass(frozen=True)
class Faulty:
    """Visual prototypes by way of a fault: `memory` takes much of it, any other waits for a hand from outside.

    Once that folder has a file `FAULT-mended`, such a fit goes on.
    """

    fault: str = "none"

    def fit(self, data: FitData) -> Learned:
        """Average the shots of each class."""
        if "SLURM_JOB_ID" in os.environ:
            self._say("begins", data)
            (FOLDER / "tmpdir").write_text(tempfile.gettempdir())
            if data.shots == 2:
                self._meet()
            self._say("ends", data)
        return Learned({"prototypes": class_means(data.train, data.train_labels, data.classes)})

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return cosine similarity with the class means."""
        return Classifier(learned["prototypes"])

    def _meet(self) -> None:
        if self.fault == "memory":
            blocks = [np.ones(100 * MB, np.uint8) for _ in range(TAKEN // 100)]
            time.sleep(5)  # a Slurm that looks from time to time shall see it
            del blocks
        while self.fault != "memory" and not (FOLDER / f"{self.fault}-mended").exists():
            time.sleep(1)

    def _say(self, what: str, data: FitData) -> None:
        with (FOLDER / "fits").open("a") as file:
            file.write(f"{self.fault} {data.shots} {what}\n")
