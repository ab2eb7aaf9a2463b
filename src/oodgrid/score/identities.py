"""What decides a column of a table of scores, as two digests: that of its rows, and that of the score.

A column is computed again where one of the two has changed, and copied elsewhere (`oodgrid.score.kept_tables`). Which
other scores are listed, in which order and under which names, decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oodgrid import grid, registry, streams
from oodgrid.config import Choice, Experiment
from oodgrid.fewshot import FewShot
from oodgrid.identity import computing_fingerprint, digest
from oodgrid.manifests import AppliedFit
from oodgrid.registry.banks import TRAIN, bank_of
from oodgrid.score.compute import needed
from oodgrid.score.inputs import Samples
from oodgrid.score.texts import Texts


@dataclass
class Identities:
    """The digests of one method of one (backbone, ID set).

    Attributes:
        experiment: Says the precision, and which lists of texts a score is given.
        sets: The ID set and its OOD sets.
        few_shot: The labelled splits.
        texts: The texts.
    """

    experiment: Experiment
    sets: Mapping[str, Samples]
    few_shot: FewShot
    texts: Texts
    _labelled: dict[tuple[int, int], dict[str, str | None]] = field(default_factory=dict)

    @property
    def prediction(self) -> str:
        """What decides the predicted classes of given rows: the code that all scores share, and the precision."""
        code = computing_fingerprint("oodgrid.score.values")
        return digest({"prediction": code, "precision": self.experiment.score_precision})

    def of_score(self, choice: Choice) -> str:
        """Return what decides the values of a score of given rows."""
        needs, lists = needed([choice]), self.experiment.lists_of(choice).values()
        texts: list[str | tuple[str, str]] = [*sorted(needs), *(("list", name) for name in lists)]
        identity: dict[str, Any] = {
            "score": [choice.name, registry.find("score", choice.name).params | choice.params],
            "texts": [self.texts.digests.get(each) for each in texts],
            "train": self._splits(0, 0)["train"] if TRAIN in needs else None,
            "precision": self.experiment.score_precision,
            "code": registry.score_code(choice.name),
            **self._sequence(choice),
            **({"encoder": encoder.identity} if "text_tower" in needs and (encoder := self.texts.encoder) else {}),
            **self._corrupted(choice),
            **self._drawn(needs),
        }
        return digest(identity)

    def _drawn(self, needs: set[str]) -> dict[str, dict[str, str | None]]:
        """Return what the draw is taken from that a score names for itself; nothing of other scores."""
        drawn = next(filter(None, map(bank_of, needs)), None)
        return {"drawn": self._splits(*drawn)} if drawn else {}

    def _sequence(self, choice: Choice) -> dict[str, list[list[str]]]:
        """Return the OOD sets that the stream of a score comes to one after the other; nothing of other scores."""
        stream = choice.params.get("stream", streams.MIXED)
        if not streams.carries_over(stream):
            return {}
        _, *ood_sets = self.sets
        return {"sequence": [[name, self.sets[name].features.digest] for name in streams.sequence(stream, ood_sets)]}

    def _corrupted(self, choice: Choice) -> dict[str, dict[str, list[str | None]]]:
        """Return what the corrupted versions of each set are that a score looks at; nothing of other scores."""
        splits = [corruption.split for corruption in grid.corruptions([choice])]
        of_sets = {name: [each.corrupted_digests.get(split) for split in splits] for name, each in self.sets.items()}
        return {"corrupted": of_sets} if splits else {}

    def of_rows(self, fit: AppliedFit, sets: Sequence[str]) -> str:
        """Return what decides the rows of a set, or of the stream of several, under a fit, whatever the score."""
        left = [fit.classifier, fit.bank, fit.val, *(fit.sets.get(name) for name in sets)]
        identity = {
            "fit": [fit.shots, fit.seed, *left],
            "features": [self.sets[name].features.digest for name in sets],
            "labelled": self._splits(fit.shots, fit.seed) if fit.shots else None,
            "one_class": self.few_shot.classes == 1,
        }
        return digest(identity)

    def _splits(self, shots: int, seed: int) -> dict[str, str | None]:
        if (shots, seed) not in self._labelled:
            self._labelled[shots, seed] = self.few_shot.digests(shots, seed)
        return self._labelled[shots, seed]
