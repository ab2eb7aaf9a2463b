"""Whether the weights of backbones are at hand: in files, in the package, or in the caches of who downloads them."""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from oodgrid.config import Backbone
from oodgrid.config.backbone import INSTALLED
from oodgrid.health.findings import NOTE, OK, UNFIT, Finding

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
NAMES = "_oodgrid_open_clip_names"


def of_weights(backbones: Iterable[Backbone]) -> Iterator[Finding]:
    """Yield for every backbone that is to encode something whether its weights are here; nothing is downloaded."""
    for backbone in backbones:
        yield from map(_of_one, backbone.encoders)


def _of_one(backbone: Backbone) -> Finding:
    what = f"weights of {backbone.name}"
    if backbone.pretrained == "random":
        return Finding(what, NOTE, f"random weights, seed {backbone.seed}: for trials alone")
    if (file := backbone.weights_file) is not None:
        if file.is_file():
            return Finding(what, OK, str(file))
        is_of_package = backbone.pretrained.startswith(INSTALLED)
        mend = "install its package" if is_of_package else "mend pretrained: in the configuration"
        return Finding(what, UNFIT, f"{file} does not exist", mend)
    if (folder := backbone.text_folder) is not None:
        if any(folder.glob("*.safetensors")):
            return Finding(what, OK, str(folder))
        mend = "pip install 'oodgrid[text]'" if backbone.pretrained.startswith(INSTALLED) else "mend pretrained:"
        return Finding(what, UNFIT, f"{folder} holds no .safetensors", mend)
    try:
        places = _places(backbone)
    except ImportError:
        return Finding(what, UNFIT, "open_clip is not installed", "pip install 'oodgrid[encode]'")
    if places is None:
        return Finding(what, UNFIT, f"'{backbone.pretrained}' is no tag of {backbone.model}", "oodgrid list backbones")
    if there := next((place for place in places if _holds_weights(place)), None):
        return Finding(what, OK, str(there))
    text = f"not in {' or '.join(map(str, places))}"
    fetch = f"on a machine with a network, into the same cache: {_fetching(backbone)}"
    if _is_offline():
        return Finding(what, UNFIT, f"{text}, and HF_HUB_OFFLINE forbids to download them", fetch)
    return Finding(what, NOTE, f"{text}: the first job downloads them", fetch)


def _holds_weights(place: Path) -> bool:
    """Return whether a file is there, or a folder of the Hugging Face cache holds weights in some snapshot."""
    if place.is_file():
        return True
    return any(file.suffix in WEIGHTS and file.exists() for file in place.glob("snapshots/*/*"))


def _places(backbone: Backbone) -> list[Path] | None:
    """Return where weights of a tag may lie; None where the model has no such tag."""
    tag = backbone.pretrained
    if tag.startswith("hf-hub:"):
        return [_hub(tag.removeprefix("hf-hub:"))]
    if not backbone.takes_images:
        return [_hub(tag)]
    if backbone.model.startswith("timm/"):
        return [_hub(f"timm/{backbone.model.removeprefix('timm/')}.{tag}")]
    entry = _tags().get(backbone.model, {}).get(tag)
    if entry is None:
        return None
    places = [_hub(entry["hf_hub"].rstrip("/"))] if entry.get("hf_hub") else []
    if entry.get("url"):
        places.append(Path("~/.cache/clip").expanduser() / entry["url"].rsplit("/", 1)[-1])
    return places


def _hub(repository: str) -> Path:
    """Return the folder of a repository in the Hugging Face cache."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    owner, name = repository.split("/")[:2]
    return cache / f"models--{owner}--{name}"


@cache
def _tags() -> dict[str, dict[str, Any]]:
    """Return open_clip's table of tags by model.

    Its module is imported under another name and told that there is no `safetensors.torch`: importing the package, or
    that, imports torch, which takes longer than all else that is looked at here.
    """
    spec = find_spec("open_clip")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("open_clip")
    package = types.ModuleType(NAMES)
    package.__path__ = list(spec.submodule_search_locations)
    torch = "safetensors.torch"
    before = sys.modules.get(torch)
    sys.modules[NAMES] = package
    sys.modules[torch] = None  # type: ignore[assignment]
    try:
        return importlib.import_module(f"{NAMES}.pretrained")._PRETRAINED
    finally:
        if before is None:
            del sys.modules[torch]
        else:
            sys.modules[torch] = before


def _fetching(backbone: Backbone) -> str:
    if not backbone.takes_images:
        return f"python -c \"import transformers; transformers.AutoModel.from_pretrained('{backbone.pretrained}')\""
    library = "timm" if backbone.model.startswith("timm/") else "open_clip"
    model, tag = backbone.model.removeprefix("timm/"), backbone.pretrained
    call = f"'{model}.{tag}', pretrained=True" if library == "timm" else f"'{model}', pretrained='{tag}'"
    return f'python -c "import {library}; {library}.create_model({call})"'


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
