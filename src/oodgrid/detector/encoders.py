"""Whether features come from the backbone that encoded the experiment of a detector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodgrid import store
from oodgrid.errors import OodgridError
from oodgrid.identity import differences
from oodgrid.manifests import DetectorRecord

if TYPE_CHECKING:
    from oodgrid.backbones import LoadedBackbone


def check_loaded(record: DetectorRecord, loaded: LoadedBackbone) -> None:
    """Refuse a backbone that is not the one which encoded the experiment.

    Raises:
        OodgridError: It is another, naming the fields and both values.
    """
    _check(record, f"backbone {loaded.name}", json.loads(json.dumps(loaded.identity)))


def check_file(record: DetectorRecord, file: Path) -> None:
    """Refuse a feature file that another backbone encoded; which one an import comes from is not known.

    Raises:
        OodgridError: Another did, naming the fields and both values.
    """
    about = store.read_provenance(file)
    if "backbone" in about and "imported" not in about:
        _check(record, f"what encoded {file}", about["backbone"])


def _check(record: DetectorRecord, what: str, encoder: dict[str, Any]) -> None:
    if record.encoder is None:
        return
    # what the weights are counts, not the file or the tag that they came by
    was = {name: value for name, value in record.encoder.items() if not name.startswith("pretrained")}
    if lines := differences(encoder, was):
        line = "; ".join(lines).replace("in the file", "here").replace("in the config", "in the experiment")
        raise OodgridError(f"{what} is not what encoded the experiment: {line}")
