"""Writing an encoder of texts as a folder that `pretrained` takes: network, tokenizer, pooling and maximum length.

The settings lie where sentence-transformers has them, so that its library reads the folder too.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from oodgrid.backbones import LoadedBackbone, load
from oodgrid.backbones.text_models import POOLING, place, silent
from oodgrid.config import Backbone
from oodgrid.errors import OodgridError
from oodgrid.identity import is_there
from oodgrid.services import without
from oodgrid.store import sync


def check_new(folder: Path) -> None:
    """Refuse to write where something is.

    Raises:
        OodgridError: There is a file, or a folder that is not empty.
    """
    if is_there(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise OodgridError(f"{folder} is there already: name another folder, or remove it")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder`; on success sync its files and give it its name, else remove it.

    Raises:
        OodgridError: Nothing may be written there, or something is there.
    """
    check_new(folder)
    beside = folder.parent / f".{folder.name}.{uuid4().hex[:8]}.part"
    try:
        beside.mkdir(parents=True)
        yield beside
        for file in [*beside.rglob("*"), beside]:
            without("permissions", folder.parent, partial(file.chmod, _rights(file)))  # safetensors gives 0600
            without("fsync", folder.parent, partial(sync, file))
        check_new(folder)  # training may have taken hours
        beside.replace(folder)
        without("fsync of folders", folder.parent, lambda: sync(folder.parent))
    except OSError as error:
        raise OodgridError(f"{folder} cannot be written: {error.strerror or error}: mend that") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write(loaded: LoadedBackbone, backbone: Backbone, folder: Path) -> dict[str, Any]:
    """Write the network of a loaded backbone into a folder, and return what an entry says beside `pretrained: FOLDER`.

    Args:
        loaded: Its model, on any device; the weights are those that it has now.
        backbone: The entry from which it was loaded, whose tokenizer it keeps.
        folder: Where to; it is there.

    Raises:
        OodgridError: The library writes this architecture so that the folder gives another network.
    """
    import transformers

    model = loaded.model
    with silent(transformers):
        model.network.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(place(backbone), trust_remote_code=False).save_pretrained(folder)
    parts = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(parts.items())
    ]
    modes = {f"pooling_mode_{theirs}": ours == model.pooling for theirs, ours in POOLING.items()}
    length = {"max_seq_length": model.max_length, "do_lower_case": bool(backbone.lowercase)}
    for name, content in (("modules", modules), ("1_Pooling/config", modes), ("sentence_bert_config", length)):
        file = folder / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")  # theirs: without a seal
    said: dict[str, Any] = {"lowercase": True} if backbone.lowercase else {}
    said |= {"pooling": model.pooling} if model.pooling not in POOLING.values() else {}
    said |= {"prefix": backbone.prefix} if backbone.before_texts else {}
    said |= {"layer": model.layer} if model.layer != -1 else {}
    _check(loaded, Backbone(name=backbone.name, model=backbone.model, pretrained=str(folder), **said))
    return said


def _check(loaded: LoadedBackbone, entry: Backbone) -> None:
    """Read a folder again, and refuse one that is not the network that was to be written."""
    from oodgrid.backbones.weights import state_sha256

    try:
        again = load(entry)
    except OodgridError as error:
        raise OodgridError(f"the network cannot be read from the folder that transformers writes: {error}") from error
    if again.identity["weights_sha256"] != state_sha256(loaded.model) or any(
        again.identity[key] != loaded.identity[key] for key in ("tokenizer_sha256", "max_length", "pooling", "layer")
    ):
        raise OodgridError(
            f"transformers writes {type(loaded.model.network).__name__} so that another network is read: take an "
            "encoder or decoder alone, as BERT, RoBERTa or GPT-2"
        )


def _rights(path: Path) -> int:
    """Return the rights that the umask gives to a new file or folder."""
    mask = os.umask(0)
    os.umask(mask)
    return (0o777 if path.is_dir() else 0o666) & ~mask
