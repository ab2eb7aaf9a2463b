"""Fine-tuning an encoder of texts: a tiny BERT of random weights, made here, on a few texts."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from oodgrid import backbones, cli
from oodgrid.config import Backbone, Dataset
from oodgrid.encode.embedding import embed
from tests.encode.test_text_samples import WORDS, entry, save_encoder
from tests.failing import failure

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from oodgrid.encode.text_finetuning import RECORD, Recipe, finetune, supcon  # noqa: E402

QUICK = Recipe(epochs=2, lr=5e-3, batch=4)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """A file of 30 texts of two classes, which differ in their words, and one without a class."""
    file, rng = tmp_path_factory.mktemp("talk") / "talk.json", np.random.default_rng(0)
    pools = {"music": WORDS[7:11], "weather": WORDS[-4:]}
    rows = [[" ".join(rng.choice(words, 3)) + f" {k}", name] for name, words in pools.items() for k in range(15)]
    others = [[f"{text} again", name] for text, name in rows]
    content = {"train": [*rows, ["send cash", ""]], "val": others[::5], "test": others[1::4]}
    file.write_text(json.dumps(content))
    return file


def dataset(talk, **changes):
    return Dataset(name="talk", texts={"file": str(talk)}, **changes)


def tuned(encoder, talk, folder, recipe=QUICK, **options):
    backbone = Backbone(**entry(encoder, **options.pop("changes", {})))
    made = finetune(backbone, dataset(talk), recipe, folder, **options)
    return backbones.load(Backbone(name="tuned", **made))


def test_no_epoch_leaves_the_encoder_to_the_bit(encoder, talk, tmp_path):
    changes = {"pooling": "cls", "layer": 1, "max_length": 20, "lowercase": True}
    texts = ["play music", "SEND money to mum", "rain " * 30]
    for name, given in {"plain": {"changes": {}}, "all": {"changes": changes}}.items():
        loaded = tuned(encoder, talk, tmp_path / name, Recipe(epochs=0), changes=dict(given["changes"]))
        before = backbones.load(Backbone(**entry(encoder, **given["changes"])))
        assert np.array_equal(embed(loaded, texts), embed(before, texts))
        keys = ("weights_sha256", "tokenizer_sha256", "pooling", "layer", "max_length", "lowercase")
        assert {key: loaded.identity[key] for key in keys} == {key: before.identity[key] for key in keys}


def test_a_seed_decides_every_bit_and_classes_are_learned(encoder, talk, tmp_path):
    backbones.load(Backbone(**entry(encoder)))  # libraries that are imported for it draw numbers
    state = torch.random.get_rng_state()
    one, same, other = (
        tuned(encoder, talk, tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.identity == same.identity
    assert one.identity["weights_sha256"] != other.identity["weights_sha256"]
    record = json.loads((tmp_path / "a" / RECORD).read_text())
    assert record["losses"][1] < record["losses"][0]
    assert record["source"]["weights_sha256"] == backbones.load(Backbone(**entry(encoder))).identity["weights_sha256"]
    assert (record["texts"]["rows"], record["recipe"]["seed"], record["recipe"]["tau"]) == (30, 1, 0.3)
    assert {file.name for file in tmp_path.iterdir()} == {"a", "b", "c"}  # and nothing of a part


def test_shots_are_those_that_methods_draw(encoder, talk, tmp_path):
    tuned(encoder, talk, tmp_path / "shots", Recipe(epochs=0), shots=4)
    assert json.loads((tmp_path / "shots" / RECORD).read_text())["texts"]["rows"] == 8


def test_texts_of_other_splits_are_left_out_and_few_shots_are_said(encoder, talk, tmp_path, capsys):
    content = json.loads(talk.read_text())
    train = [["play music", "a"], ["rain today", "b"], ["play music", "a"], ["rain", "b"], ["mum", "a"], ["snow", "b"]]
    for name, test, left_out in (("some", [["rain", "a"]], 1), ("most", [["rain today", "b"], *train[3::2]], 3)):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps({**content, "train": train, "test": test}))
        call = (finetune, Backbone(**entry(encoder)), dataset(file), Recipe(epochs=0), tmp_path / name, 16)
        if name == "most":
            assert "have 1 class (3 training texts stand in val or test too): two or more" in failure(*call)
        else:
            call[0](*call[1:])
        said = capsys.readouterr().err
        assert f"{left_out} training text" in said and "left out" in said
        assert "2 of 2 classes have fewer than 16 training samples (the fewest: 3)" in said
        assert "train text too, as" in said or "train texts too, as" in said
    about = json.loads((tmp_path / "some" / RECORD).read_text())["texts"]
    assert (about["rows"], about["fewest_of_a_class"], about["left_out"], about["shots"]) == (5, 2, 1, 16)


def test_a_causal_network_and_padding_are_taken(talk, tmp_path):
    for kind, changes in {"gpt2": {"pooling": "last"}, "roberta": {"pooling": "mean_with_padding"}}.items():
        encoder = save_encoder(tmp_path / kind, kind)
        loaded = tuned(encoder, talk, tmp_path / f"{kind}-tuned", changes={"max_length": 12, **changes})
        assert loaded.identity["pooling"] == changes["pooling"]
        assert loaded.identity["max_length"] == 12
        before = backbones.load(Backbone(**entry(encoder, max_length=12, **changes)))
        assert not np.array_equal(embed(loaded, ["play music"]), embed(before, ["play music"]))


@pytest.mark.parametrize("seed", range(3))
def test_the_contrastive_loss_is_the_formula(seed):
    rng = np.random.default_rng(seed)
    z, labels = rng.normal(size=(6, 4)), rng.integers(0, 3, 6)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    similar, total = np.exp(unit @ unit.T / 0.3), 0.0
    for i in range(6):
        others = [k for k in range(6) if k != i]
        partners = [k for k in others if labels[k] == labels[i]]
        whole = sum(similar[i, k] for k in others)
        total += sum(-np.log(similar[i, j] / whole + 1e-5) for j in partners) / (len(partners) + 1e-3)
    assert float(supcon(torch.from_numpy(z), torch.from_numpy(labels), 0.3)) == pytest.approx(total / 6, rel=1e-12)
    assert float(supcon(torch.from_numpy(z[:1]), torch.from_numpy(labels[:1]), 0.3)) == 0


def test_what_cannot_be_learned_is_refused_in_one_line(encoder, talk, tmp_path, untrained):
    backbone, whole = Backbone(**entry(encoder)), dataset(talk)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.txt").touch()
    assert "is there already" in failure(finetune, backbone, whole, QUICK, tmp_path / "there")
    for given in ({"epochs": 10**12}, {"epochs": 1.5}, {"batch": True}, {"tau": "1"}, {"lr": 10**400}):
        assert f"--{next(iter(given))} " in failure(finetune, backbone, whole, Recipe(**given), tmp_path / "x")
    assert "--lr nan" in failure(finetune, backbone, whole, Recipe(lr=float("nan")), tmp_path / "x")
    assert "nothing to learn" in failure(finetune, backbone, whole, Recipe(cross_entropy=0, contrast=0), tmp_path / "x")
    assert "in fp32" in failure(finetune, Backbone(**untrained), whole, QUICK, tmp_path / "x")
    assert "smaller --lr" in failure(finetune, backbone, whole, Recipe(epochs=9, lr=1e30), tmp_path / "x")
    one = dataset(talk, classes=["music"])
    assert "two or more" in failure(finetune, backbone, one, QUICK, tmp_path / "x")
    lines = talk.with_name("lines.txt")
    lines.write_text("play music\n")
    alone = Dataset(name="lines", texts={"file": str(lines)})
    assert "no training split" in failure(finetune, backbone, alone, QUICK, tmp_path / "x")
    images = Dataset(name="noise", generated={"kind": "noise"})
    assert "no texts" in failure(finetune, backbone, images, QUICK, tmp_path / "x")
    assert {file.name for file in tmp_path.iterdir()} == {"there"}


def test_the_command_says_how_to_name_the_new_backbone(encoder, talk, tmp_path, capsys):
    config, other = tmp_path / "talk.yaml", {"name": "other", "texts": {"file": "other.txt"}}
    config.write_text(
        json.dumps(
            {
                "experiment": "talk",
                "backbones": [entry(encoder, lowercase=True)],
                "id_datasets": [{"name": "talk", "texts": {"file": str(talk)}, "ood": {"far": [other]}}],
                "methods": ["prototype"],
                "shots": [1],
                "seeds": [1],
                "scores": ["knn"],
            }
        )
    )
    run = ["finetune", "text", str(tmp_path / "mine"), "--config", str(config), "--epochs", "0", "--shots", "2"]
    assert cli.main(run) == 0
    assert (
        f"{{name: mine, model: transformers, pretrained: {tmp_path / 'mine'}, lowercase: true}}"
        in capsys.readouterr().out
    )
    odd = str(tmp_path / "é ü, {x}: 😀")
    assert cli.main([*run[:2], odd, *run[3:]]) == 0
    said = yaml.safe_load(capsys.readouterr().out.partition("as a backbone: ")[2])
    assert said == {"name": "x", "model": "transformers", "pretrained": odd, "lowercase": True}
    assert cli.main([*run, "--dataset", "tolk"]) != 0
    assert cli.main([*run, "--shots", "0"]) != 0
