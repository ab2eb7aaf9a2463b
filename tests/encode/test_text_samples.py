"""Texts as samples, from raw files to metrics, through a tiny encoder of random weights that is made here."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import polars as pl
import pytest

from oodgrid import backbones, paths, plan, store
from oodgrid.adapt.apply import apply
from oodgrid.adapt.fit import fit
from oodgrid.backbones.tokens import cut_rows
from oodgrid.config import Backbone, Dataset, parse
from oodgrid.encode.drawn import encode_drawn
from oodgrid.encode.embedding import embed
from oodgrid.encode.images import encode_images
from oodgrid.encode.sources import open_splits
from oodgrid.encode.sources.copies import check_copies
from oodgrid.encode.texts import encode_texts
from oodgrid.encode.verifying import check_sources
from oodgrid.evaluate.run import evaluate
from oodgrid.identity import differences
from oodgrid.inspection import describe, verify
from oodgrid.score.run import score
from tests.failing import failure

torch = pytest.importorskip("torch")
text_models = pytest.importorskip("oodgrid.backbones.text_models")
transformers = pytest.importorskip("transformers")

WORDS = [
    *"abcdefg",
    "play",
    "music",
    "song",
    "mum",
    "send",
    "money",
    "cash",
    "bank",
    "rain",
    "sun",
    "weather",
    "report",
]
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
LONG = " ".join(WORDS * 8)


def save_encoder(folder, kind="bert"):
    """Leave a network of random weights with its tokenizer, as save_pretrained does."""
    import tokenizers
    from tokenizers import models, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate([*MARKS, *WORDS, ".", "q"])}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if kind == "bert":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    marks = {} if kind == "gpt2" else {"pad_token": "[PAD]"}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", **marks)
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    size = {"vocab_size": len(vocabulary), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "bert":
        model = transformers.BertModel(
            transformers.BertConfig(**size, intermediate_size=32, max_position_embeddings=40), add_pooling_layer=False
        )
    elif kind == "roberta":
        model = transformers.RobertaModel(
            transformers.RobertaConfig(**size, intermediate_size=32, max_position_embeddings=40, pad_token_id=1)
        )
    else:
        model = transformers.GPT2Model(
            transformers.GPT2Config(vocab_size=len(vocabulary), n_embd=16, n_layer=2, n_head=2, n_positions=40)
        )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"))


def entry(folder, **changes):
    return {"name": "mini-bert", "model": "transformers", "pretrained": str(folder), "pooling": "mean", **changes}


def load(folder, **changes):
    return backbones.load(Backbone(**entry(folder, **changes)))


def expected(loaded, text, pooling="mean", layer=-1):
    """The embedding of one text alone, without any padding, by the library itself."""
    tokens = loaded.tokenize([text])
    ids = tokens[tokens >= 0][None]
    with torch.inference_mode():
        left = loaded.model.network(input_ids=ids, output_hidden_states=True)
    hidden = left.hidden_states[layer][0]
    pooled = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling]
    return pooled.numpy()


@pytest.mark.parametrize("kind", ["bert", "gpt2", "roberta"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_embeddings_are_those_of_the_library(tmp_path, kind, pooling):
    loaded = load(save_encoder(tmp_path, kind), pooling=pooling, max_length=30)
    texts = ["play music", "send money to mum", "rain", LONG]
    for text, row in zip(texts, embed(loaded, texts), strict=True):
        np.testing.assert_allclose(row, expected(loaded, text, pooling), rtol=1e-4, atol=2e-6)


def test_a_layer_and_padding_can_be_pooled(encoder):
    first = embed(load(encoder, layer=0), ["play music"])[0]
    np.testing.assert_allclose(first, expected(load(encoder), "play music", layer=0), rtol=1e-4, atol=2e-6)
    padded = load(encoder, pooling="mean_with_padding", max_length=12)
    tokens = torch.nn.functional.pad(padded.tokenize(["play music"]), (0, 8), value=-1)
    with torch.inference_mode():
        hidden = padded.model.network(
            input_ids=tokens.clamp(min=0), attention_mask=(tokens >= 0).long()
        ).last_hidden_state
    np.testing.assert_allclose(embed(padded, ["play music"])[0], hidden[0].mean(0).numpy(), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_text_has_the_same_numbers_whatever_stands_beside_it(encoder, seed):
    """Not one bit differs: the padding of a text and the size of its batch depend on nothing but itself."""
    loaded, rng = load(encoder), np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, 30))) for _ in range(40)]
    whole = embed(loaded, texts)
    order = rng.permutation(len(texts))
    assert np.array_equal(embed(loaded, [texts[row] for row in order]), whole[order])
    assert np.array_equal(embed(loaded, texts[:3]), whole[:3])


def test_long_texts_are_cut_and_counted(encoder):
    loaded = load(encoder, max_length=8)
    assert cut_rows(loaded, ["a b c", LONG, "a b c d e f", "a b c d e f g"]) == [1, 3]
    cut = embed(loaded, [LONG])
    assert np.array_equal(cut, embed(loaded, [" ".join(LONG.split()[:6])]))


def test_lower_case_is_a_part_of_the_identity(encoder):
    plain, lower = load(encoder), load(encoder, lowercase=True)
    assert plain.identity != lower.identity
    assert np.array_equal(embed(lower, ["PLAY Music"]), embed(plain, ["play music"]))


def test_the_identity_is_of_the_content(encoder, tmp_path):
    other = save_encoder(tmp_path / "copy")
    assert Backbone(**entry(encoder)).identity == Backbone(**entry(other)).identity
    file = other / "tokenizer.json"
    file.write_text(file.read_text().replace("weather", "climate"))
    assert Backbone(**entry(encoder)).identity != Backbone(**entry(other)).identity
    assert load(encoder).identity["tokenizer_sha256"] != load(other).identity["tokenizer_sha256"]


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        *((file, True) for file in ("added_tokens.json", "special_tokens_map.json", "spm.model", "new-kind.vocab")),
        *((file, True) for file in ("1_Pooling/config.json", "0_Any/config.json", "adapter_model.safetensors")),
        *((file, False) for file in ("README.md", "pytorch_model.bin", "model.onnx", ".gitattributes")),
    ],
)
def test_whatever_a_loader_may_read_decides_the_identity(encoder, tmp_path, file, counts):
    other = tmp_path / "copy"
    shutil.copytree(encoder, other)
    before = Backbone(**entry(other)).identity
    (other / file).parent.mkdir(exist_ok=True)
    for content in ("{}", '{"[NEW]": 30}'):
        (other / file).write_text(content)
        after = Backbone(**entry(other)).identity
        assert (after != before) == counts
        before = after


def test_a_name_on_the_hub_says_its_pooling_and_length_as_a_folder_does(tmp_path, monkeypatch):
    from huggingface_hub import constants

    snapshot = tmp_path / "models--me--mini" / "snapshots" / ("0" * 40)
    (snapshot / "1_Pooling").mkdir(parents=True)
    (tmp_path / "models--me--mini" / "refs").mkdir()
    (tmp_path / "models--me--mini" / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    backbone = Backbone(**entry("me/mini", pooling=None))
    assert text_models._defaults(backbone, "me/mini") == {"pooling": None, "max_length": None}
    (snapshot / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (snapshot / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 21}))
    assert text_models._defaults(backbone, "me/mini") == {"pooling": "cls", "max_length": 21}
    (snapshot / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense"}]))
    assert "module Dense" in failure(text_models._defaults, backbone, "me/mini")


def test_a_text_without_a_token_is_named(tmp_path):
    file = save_encoder(tmp_path / "gpt2", "gpt2") / "tokenizer.json"
    normalizer = {"type": "Replace", "pattern": {"String": "~"}, "content": ""}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"normalizer": normalizer}))
    loaded = load(tmp_path / "gpt2")
    (tmp_path / "texts.txt").write_text("play music\n~~\nsend money\n")
    dataset = Dataset.model_validate({"name": "talk", "texts": {"file": str(tmp_path / "texts.txt")}})
    backbone = Backbone(**entry(tmp_path / "gpt2"))
    message = failure(encode_images, tmp_path, backbone, dataset)
    assert message.startswith("dataset talk, test, texts.txt:2 ~~: ")
    assert "has no token for the tokenizer of mini-bert: take it out" in message
    assert "has no token" in failure(embed, loaded, ["play", ""])


def test_less_precision_of_texts_is_measured_against_fp32(encoder, tmp_path):
    (tmp_path / "texts.txt").write_text("".join(f"{word} music\n" for word in WORDS))
    dataset = Dataset.model_validate({"name": "talk", "texts": {"file": str(tmp_path / "texts.txt")}})
    for precision in ("bf16", "amp_bf16", "fp32"):
        (file,) = encode_images(tmp_path / precision, Backbone(**entry(encoder, precision=precision)), dataset)
        parity = store.read_provenance(file).get("parity")
        assert (parity is None) == (precision == "fp32")
        if parity:
            texts = [f"{word} music" for word in WORDS]
            less, exact = embed(load(encoder, precision=precision), texts), embed(load(encoder), texts)
            cosines = (less * exact).sum(axis=1) / np.linalg.norm(less, axis=1) / np.linalg.norm(exact, axis=1)
            assert parity["texts"] == len(WORDS)
            assert parity["cosine_min"] == pytest.approx(cosines.min(), abs=1e-6)
            assert 0.9 < parity["cosine_min"] < 1


def test_tokens_take_no_more_room_than_the_longest_text(encoder):
    tokenizer = load(encoder).text_tokenizer
    assert tokenizer(["play", "send money"]).shape == (2, 4)
    assert tokenizer([LONG]).shape == (1, 40)


def test_a_folder_of_sentence_transformers_says_its_pooling_and_length(tmp_path):
    folder = save_encoder(tmp_path)
    modules = [{"type": f"sentence_transformers.models.{kind}"} for kind in ("Transformer", "Pooling", "Normalize")]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 21}))
    identity = load(folder, pooling=None).identity
    assert (identity["pooling"], identity["max_length"]) == ("cls", 21)
    (folder / "modules.json").write_text(json.dumps([*modules, {"type": "sentence_transformers.models.Dense"}]))
    assert "module Dense" in failure(load, folder)
    (folder / "modules.json").write_text(json.dumps(modules))
    prompts = {"prompts": {"query": "play: ", "none": ""}, "default_prompt_name": "query"}
    for name in ("query", "none", None, "strange"):  # of these one has a prompt, which is taken or refused, not lost
        said = json.dumps({**prompts, "default_prompt_name": name})
        (folder / "config_sentence_transformers.json").write_text(said)
        if name == "query":
            assert "puts 'play: ' before every text: write prefix: \"play: \"" in failure(load, folder, pooling=None)
        assert load(folder, pooling=None, prefix="none").identity["pooling"] == "cls"
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls", "include_prompt": False}))
    assert "take prefix out" in failure(load, folder, pooling=None, prefix="play ")
    (folder / "adapter_config.json").write_text("{}")
    assert "merge it into them" in failure(load, folder, pooling=None)


@pytest.mark.parametrize("lowercase", [False, True])
def test_a_prefix_stands_before_every_text(encoder, lowercase):
    plain, prefixed = (load(encoder, lowercase=lowercase, **more) for more in ({}, {"prefix": "Play Weather: "}))
    texts = ["song", " a", "😀", LONG, "weather " * 30]
    whole = plain.tokenize([f"Play Weather: {text}" for text in texts])
    assert torch.equal(prefixed.tokenize(texts), whole)
    assert torch.equal(prefixed.encode_text(prefixed.tokenize(texts)), plain.encode_text(whole))
    assert cut_rows(prefixed, texts) == cut_rows(plain, [f"Play Weather: {text}" for text in texts])
    assert plain.identity == load(encoder, lowercase=lowercase, prefix="none").identity != prefixed.identity
    assert "prefix" not in str(plain.identity)  # as in features of before there were prefixes
    assert "no place beside 4 tokens" in failure(load, encoder, prefix="play weather", max_length=4)


def test_what_cannot_be_loaded_is_refused_in_one_line(tmp_path, encoder):
    assert "write pooling: mean, cls or last" in failure(load, encoder, pooling=None)
    assert "more than the 40 places" in failure(load, encoder, max_length=41)
    assert "layer 3 is none of 0 (embeddings) to 2" in failure(load, encoder, layer=3)
    assert "leaves no place" in failure(load, encoder, max_length=2)
    assert "holds no config.json" in failure(load, tmp_path / "nowhere")
    pickled = save_encoder(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    assert "pickled weights are not read" in failure(load, pickled)
    lacking = save_encoder(tmp_path / "lacking")
    from safetensors.torch import load_file, save_file

    state = load_file(lacking / "model.safetensors")
    name = sorted(state)[-1]
    save_file({key: values for key, values in state.items() if key != name}, lacking / "model.safetensors")
    assert f"lack {name}" in failure(load, lacking)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"size": 224}, "takes texts alone"),
        ({"local_features": True}, "takes texts alone"),
        ({"pretrained": "random"}, "needs a folder"),
        ({"model": "ViT-B-32"}, "for transformers"),
    ],
)
def test_keys_of_the_other_kind_are_refused(encoder, changes, line):
    with pytest.raises(Exception, match=line):
        Backbone(**entry(encoder, **changes))


# ----------------------------------------------------------------------------------------------- the whole path

CLASSES = {"play_music": ["play music", "play a song"], "weather": ["weather report", "rain sun weather"]}


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """Files with 12 + 6 + 8 texts of two classes, and 6 out of scope, and one of a strange length."""
    folder, content, rng = tmp_path_factory.mktemp("talk"), {}, np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3), ("test", 4)):
        content[split] = [
            [f"{rng.choice(texts)} {' '.join(rng.choice(WORDS[:7], 3))} {split} {k}", name]
            for name, texts in CLASSES.items() for k in range(count)
        ]  # fmt: skip
    content["test"].append([LONG + " 🙂\ttab", "weather"])
    content["oos"] = [[f"send money cash bank {' '.join(rng.choice(WORDS, 2))} {k}", "oos"] for k in range(6)]
    (folder / "talk.json").write_text(json.dumps(content))
    return folder / "talk.json"


def experiment(talk, encoder, **changes):
    return parse(
        {
            "experiment": "talks",
            "backbones": [entry(encoder, max_length=24)],
            "id_datasets": [
                {
                    "name": "talk",
                    "texts": {"file": str(talk)},
                    "templates": ["{}", "a {} b"],
                    "ood": {
                        "near": [
                            {
                                "name": "oos",
                                "texts": {"file": str(talk), "splits": {"test": "oos"}, "label": None},
                            }
                        ]
                    },
                }
            ],
            "methods": ["zero_shot", "prototype", "linear_probe", "tip_adapter", {"name": "coop", "epochs": 1}],
            "shots": [2],
            "seeds": [1],
            "scores": ["mcm", "energy", {"name": "mahalanobis", "bank": "train"}, "knn"],
            **changes,
        }
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory, talk, encoder):
    folder, config = tmp_path_factory.mktemp("results"), experiment(talk, encoder)
    for dataset in config.datasets():
        encode_images(folder, config.backbones[0], dataset)
    encode_texts(folder, config.backbones[0], config.id_datasets[0])
    return folder


def test_a_file_of_texts_is_as_the_contract_says(results, talk, encoder):
    path = paths.features(results, "mini-bert", "talk", "test")
    content = json.loads(talk.read_text())["test"]
    texts = [text for text, _ in content]
    shapes = store.array_shapes(path)
    assert shapes["text_features"] == ((9, 16), "float32")
    assert shapes["texts"] == ((9,), "text")
    assert "image_features" not in shapes
    features = store.read_features(path)
    assert features.texts == texts
    assert features.labels.tolist() == [0] * 4 + [1] * 5
    assert features.classnames == ["play music", "weather"]
    assert [row.tobytes() for row in features.sha256] == [hashlib.sha256(text.encode()).digest() for text in texts]
    loaded = load(encoder, max_length=24)
    assert np.array_equal(features.image_features, embed(loaded, texts))
    provenance = features.provenance
    assert provenance["backbone"] == loaded.identity
    assert any("1 text is cut" in line for line in provenance["remarks"])
    assert {"texts_sha256", "files_sha256"} <= provenance.keys()
    verify(path)
    assert "text_features" in describe(path)
    assert check_sources(path) == "9 texts have the SHA-256 of before"
    out = store.read_sources(path)
    assert list(out.paths) == list(features.paths)


def test_a_changed_bit_of_a_text_is_found(results, tmp_path):
    raw = bytearray(paths.features(results, "mini-bert", "talk", "test").read_bytes())
    place = raw.find("🙂".encode())
    assert place > 0
    raw[place] ^= 1
    (tmp_path / "test.h5").write_bytes(raw)
    assert "checksum" in failure(store.read_features, tmp_path / "test.h5")


def test_a_changed_text_is_another_source(results, talk, tmp_path, encoder):
    changed = tmp_path / "talk.json"
    changed.write_text(talk.read_text().replace("train 0", "train 9"))
    config = experiment(changed, encoder)
    encode_images(tmp_path, config.backbones[0], config.id_datasets[0])
    path = paths.features(tmp_path, "mini-bert", "talk", "train")
    changed.write_text(changed.read_text().replace("train 9", "train 8"))  # of the same length
    assert "is not what its sources are now" in failure(check_sources, path)
    before = store.read_features(path).sha256
    encode_images(tmp_path, config.backbones[0], config.id_datasets[0])
    assert not np.array_equal(store.read_features(path).sha256, before)


def test_texts_go_through_every_stage(results, talk, encoder):
    config = experiment(talk, encoder)
    plan.check_identities(results, config)
    for method in (each.listed("method") for each in config.methods):
        fit(results, config, "mini-bert", "talk", method)
        apply(results, config, "mini-bert", "talk", method)
        score(results, config, "mini-bert", "talk", method)
    score(results, config, "mini-bert", "talk", "any")
    metrics = pl.read_parquet(evaluate(results, config)[0])
    status = {(method, name): state for method, name, state in metrics.select("method", "score", "status").rows()}
    for method in ("zero_shot", "prototype", "linear_probe", "tip_adapter"):
        assert status[method, "mcm"] == status[method, "energy"] == "ok"
    assert status["coop@epochs=1", "mcm"] == "ok"  # contexts are learned in an encoder of texts alone, too
    assert status["any", "knn"] == status["any", "mahalanobis@bank=train"] == "ok"


def test_an_open_clip_tower_encodes_texts_too(tmp_path, talk, untrained):
    backbone, dataset = Backbone(**untrained), Dataset(name="talk", texts={"file": str(talk)})
    test = next(file for file in encode_images(tmp_path, backbone, dataset) if file.stem == "test")
    features, loaded = store.read_features(test), backbones.load(backbone)
    with torch.inference_mode():
        whole = loaded.encode_text(loaded.tokenize(list(features.texts))).numpy()
    np.testing.assert_allclose(features.image_features, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"backbones": ["tiny", {"name": "net", "model": "timm/resnet18", "pretrained": "random"}]}, "no text tower"),
        ({"methods": [{"name": "coop", "views": "rrc08"}]}, "which have none: list it without views"),
        (
            {"scores": ["mcm", {"name": "tanl", "labels": "concept-words"}]},
            "score tanl, noise: noise-images is of images, and backbone mini-bert takes texts alone: write noise: with",
        ),
    ],
)
def test_samples_and_encoders_that_do_not_fit_are_refused(talk, encoder, changes, line):
    assert line in failure(experiment, talk, encoder, **changes)


@pytest.mark.parametrize("is_encoded", [False, True])
def test_a_text_of_the_id_set_among_its_ood_set_is_refused(tmp_path, talk, encoder, is_encoded):
    content = json.loads(talk.read_text())
    content["oos"].append(content["train"][0])
    (tmp_path / "talk.json").write_text(json.dumps(content))
    config = experiment(tmp_path / "talk.json", encoder)
    opened = {dataset.name: open_splits(dataset) for dataset in config.datasets()}
    if is_encoded:
        for dataset in config.datasets():
            encode_images(tmp_path, config.backbones[0], dataset)
    assert "OOD set oos overlaps ID set talk: 1 of its 7" in failure(check_copies, tmp_path, config, opened)


def test_images_are_none_for_an_encoder_of_texts(encoder, experiment_of):
    assert "takes texts alone" in failure(parse, experiment_of(backbones=[entry(encoder)]))


def test_only_what_the_draws_take_may_be_encoded(results, tmp_path, talk, encoder):
    config = experiment(talk, encoder)
    whole = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    whole["id_datasets"][0]["train"] = "drawn"
    whole["scores"] = ["mcm", "knn"]
    config = parse(whole)
    dataset = config.id_datasets[0]
    drawn = store.read_features(encode_drawn(tmp_path, config.backbones[0], dataset))
    train = store.read_features(paths.features(results, "mini-bert", "talk", "train"))
    assert drawn.rows is not None
    assert len(drawn.rows) < len(train.labels)
    assert drawn.texts == [train.texts[row] for row in drawn.rows.tolist()]
    assert np.array_equal(drawn.image_features, train.image_features[drawn.rows])


def test_a_setting_that_is_taken_out_again_is_another_backbone(encoder):
    said = Backbone(name="m", model="transformers", pretrained=str(encoder), layer=1, max_length=16, pooling="cls")
    unsaid = Backbone(name="m", model="transformers", pretrained=str(encoder))
    assert len(differences(said.identity, unsaid.identity)) == 3
    assert differences(said.identity, said.identity) == []
