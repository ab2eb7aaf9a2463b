"""What the configuration says will be skipped is what score tables say, of every score under what every method leaves.

Features and what methods leave are made up, so that only what there is decides. What fits are skipped for is asked of
the stage adapt, which stops there before it trains anything.
"""

from __future__ import annotations

import numpy as np
import pytest

from oodgrid import config, foreseen, grid, manifests, paths, plan, registry, store
from oodgrid.config import ANY
from oodgrid.score import compute
from oodgrid.score.run import score

K, D, PATCHES, LAYERS = 3, 32, 2, 2
WORDS = ["ant", "bee", "cat", "dog", "elk", "fox"]
OF_LISTS = {"labels": "words", "agents": "words", "texts": "words", "pool": "words", "noise": "words", "pairs": "pairs"}
WORLD = {"group": "id", "train": 4, "val": 2, "test": 2}
CAPTIONS = {"group": "unseen_both", "captions": True, "train": 2, "val": 1}


def local(**more):
    return {"name": "b", "model": "none", "pretrained": "none", **more}


def images(name="named", **more):
    return {"name": name, "concept_world": WORLD, **more}


VIEWS = {"family": "rrc08", "count": 2}
SHAPES = {"name": "shapes", "concept_world": {"group": "unseen_shapes"}}
BROUGHT = {"name": "brought", "imported": {}}
CASES = {
    "images": (local(local_features=True), images(ood={"near": [SHAPES], "far": [BROUGHT]})),
    "no patches": (local(), images(ood={"near": [SHAPES]})),
    "visual": (local(local_features=True), images(text="visual_prototypes", views=[VIEWS], ood={"near": [SHAPES]})),
    "headed": (
        local(local_features=True, head={"classes": "by_order", "weights": "head.npz"}),
        images(text="own_head", ood={"near": [SHAPES]}),
    ),
    "imported": (local(), {"name": "named", "imported": {}, "ood": {"near": [BROUGHT], "far": [SHAPES]}}),
    "no train": (local(), {"name": "named", "concept_world": {"group": "id"}, "ood": {"near": [SHAPES]}}),
    "pairs": (
        local(),
        {
            "name": "named", "concept_world": WORLD | {"captions": True},
            "ood": {"near": [{"name": "shapes", "concept_world": CAPTIONS}]},
        },
    ),
}  # fmt: skip


def every_score():
    """Every registered score, with the shots and with the whole training split as the bank."""
    for name, entry in sorted(registry.entries("score").items()):
        params = {each: OF_LISTS[each] for each in entry.label_lists if each in OF_LISTS}
        params |= {"corruptions": ["fog-1"]} if "corruptions" in entry.params else {}
        params |= {"labels": "no-texts"} if name.startswith("clipn") else {}
        yield {"name": name, **params}
        if entry.uses_bank:
            yield {"name": name, **params, "bank": "train"}


class Made:
    """An experiment of every method and score on made-up features, written as encoding or an import leaves them."""

    def __init__(self, results, case, methods=None):
        backbone, id_set = CASES[case]
        self.results = results
        if methods is None:
            methods = sorted(registry.entries("method").keys() - {"poore"})  # which must be given texts to learn from
            methods += [{"name": "zs_lp", "views": "rrc08"}] if "views" in id_set else []
            methods += [{"name": "wood", "modules": "contrastive"}] if case == "pairs" else []
        self.experiment = config.parse(
            {
                "experiment": "every", "backbones": [backbone], "id_datasets": [id_set],
                "methods": methods,
                "shots": [2], "seeds": [1], "scores": list(every_score()),
                "label_lists": [
                    {"name": "words", "labels": WORDS}, {"name": "no-texts", "labels": WORDS[:K]},
                    {"name": "pairs", "labels": WORDS, "joined_to": "named"},
                ],
            }
        )  # fmt: skip
        self.backbone, self.dataset = self.experiment.backbones[0], self.experiment.id_datasets[0]
        self.rng = np.random.default_rng(0)
        for dataset in self.experiment.datasets():
            splits = ("train", "val", "test") if dataset.imported else dataset.split_names
            for split in splits:
                self.features(dataset, split)
        for file, (dataset, _) in plan.corrupted_files(results, self.experiment, "b").items():
            self.features(dataset, "test", file)
        texts = {"words": WORDS, "no-texts": WORDS[:K], "pairs": WORDS * K}
        for name, words in texts.items():
            self.texts(paths.label_texts(results, "b", name), words, templates=4)
        stands = self.dataset.text_under("b")
        if stands == "classnames":
            self.texts(paths.texts(results, "b", "named"), WORDS[:K])
        if stands == "classnames" and not self.dataset.imported:
            self.texts(paths.texts(results, "b", "named", ".shuffled"), WORDS[:K], templates=10)
        if stands == "own_head":
            self.texts(paths.texts(results, "b", "named", ".head"), WORDS[:K], bias=np.zeros(K, np.float32))

    def values(self, *shape):
        return self.rng.normal(size=shape).astype(np.float32)

    def features(self, dataset, split, file=None):
        n = 12
        has = foreseen._has(self.backbone, dataset)
        pairs = foreseen.PAIRS in has
        written = store.NewFeatures(
            self.values(n, D), np.arange(n, dtype=np.int32) % K, [f"{row}.png" for row in range(n)],
            np.zeros((n, 32), np.uint8), {"classnames": WORDS[:K] if dataset is self.dataset else []},
            local_features=self.values(n, PATCHES, D) if foreseen.LOCAL in has else None,
            layer_features=self.values(n, 1 + LAYERS, D) if foreseen.LAYERS in has else None,
            texts=[f"text {row}" for row in range(n)] if pairs else None,
            text_features=self.values(n, D) if pairs else None,
        )  # fmt: skip
        store.write_features(file or paths.features(self.results, "b", dataset.name, split), written)

    def texts(self, file, words, templates=1, bias=None):
        named = [f"{number} {{}}" for number in range(templates)]
        written = store.NewTexts(self.values(templates, len(words), D), words, named, {}, bias=bias)
        store.write_texts(file, written)

    def place(self, ood):
        return foreseen._place(self.backbone, self.dataset, ood)

    def kept(self, name, **arrays):
        store.write_arrays(self.results / "kept" / "apply" / f"{name}.safetensors", arrays)
        return f"kept/apply/{name}.safetensors"

    def apply(self, method):
        """Write what a method leaves, as it is registered: without its fits."""
        entry = registry.find("method", self.experiment.method(method).name)
        fit = grid.fits(self.experiment, method)[0]
        classifier = {"prototypes": self.values(K, D)} if entry.leaves != "logits" else {}
        classifier |= {"negatives": self.values(K, 2, D)} if entry.negatives else {}
        width = D if entry.leaves == "features" else K
        pairs = {"pair_texts": self.values(12, D)} if "pairs" in entry.needs else {}
        if method == "wood":
            pairs |= {"pair_logits": self.values(12)}
        of_sets, bank, val = {}, None, None
        if entry.leaves != "prototypes":
            names = [self.dataset.name, *(ood.name for _, ood in self.dataset.pairs())]
            of_sets = {
                name: self.kept(f"{method}-{name}", **{entry.leaves: self.values(12, width)}, **pairs) for name in names
            }
        if entry.leaves != "prototypes" and fit.shots:
            few_shot = plan.checks.FewShot(self.results, "b", self.dataset)
            drawn = few_shot.draw(fit.shots, fit.seed)
            bank, val = (
                self.kept(f"{method}-{part}", labels=rows.labels, **{entry.leaves: self.values(len(rows), width)})
                for part, rows in (("bank", drawn.bank), ("val", drawn.val))
            )
            bank = bank if entry.leaves == "features" else None
        applied = manifests.AppliedFit(
            shots=fit.shots, seed=fit.seed, status="ok", reason=None, sets=of_sets, bank=bank, val=val,
            classifier=self.kept(method, **classifier) if classifier else None,
            text_cosines=entry.text_cosines and self.dataset.text_under("b") == "classnames",
        )  # fmt: skip
        path = paths.applied(self.results, "every", "b", "named", method)
        leaves = manifests.Applied(method=method, leaves=entry.leaves, normalises=entry.normalises, fits=[applied])
        manifests.write(path, leaves)

    def skipped(self, method):
        """Return (OOD set, score) of the rows that the tables of a method say are skipped, and of all rows."""
        score(self.results, self.experiment, "b", "named", method)
        rows, every = set(), set()
        for path in (paths.scores, paths.streams):
            about = manifests.read(path(self.results, "every", "b", "named", method), manifests.ScoreTable)
            for _, ood in self.dataset.pairs():
                names = set(about.params)
                every |= {(ood.name, name) for name in names}
                for fit in about.fits:
                    whole = names if fit.status != "ok" else set()
                    parts = [set(fit.skipped_in.get(each, {})) for each in ("named", ood.name)]
                    rows |= {(ood.name, name) for name in names & whole.union(*parts)}
        return rows, every


def kinds(experiment, made):
    """Return one method for each of what methods leave: the others are as one of them to scores."""
    alike = {}
    for method in grid.methods(experiment):
        entry = None if method == ANY else registry.find("method", experiment.method(method).name)
        if entry is None or not any(foreseen.of_method(experiment, method, place) for place in made):
            of = entry and (
                *(entry.leaves, entry.negatives, entry.normalises, entry.text_cosines),
                *(grid.learns(experiment, method), "pairs" in entry.needs and method),
            )
            alike.setdefault(of, method)
    return alike.values()


@pytest.fixture
def quick(monkeypatch):
    """Scores of lists and of the text tower are not computed: what is in a list, no configuration says."""
    real = compute._call

    def call(entry, arguments, params):
        if entry.label_lists:
            return np.zeros(len(arguments[0]))
        return real(entry, arguments, params)

    monkeypatch.setattr(compute, "_call", call)


@pytest.mark.parametrize("case", CASES)
def test_what_is_foreseen_is_what_tables_say_is_skipped_and_nothing_else(tmp_path, case, quick):
    made = Made(tmp_path, case)
    places = {ood.name: made.place(ood) for _, ood in made.dataset.pairs()}
    methods = list(kinds(made.experiment, places.values()))
    assert methods
    for method in methods:
        if method != ANY:
            made.apply(method)
        rows, every = made.skipped(method)
        said = {
            (ood, choice.listed("score"))
            for ood, place in places.items()
            for choice in grid.scores(made.experiment, method)
            if foreseen.of_score(made.experiment, method, choice, place)
        }
        listed = {choice.listed("score") for choice in grid.scores(made.experiment, method)}
        assert {name for _, name in every} == listed
        assert rows == said, (method, sorted(rows ^ said))


@pytest.mark.parametrize("case", CASES)
def test_methods_that_are_foreseen_to_be_skipped_are_by_the_stage_adapt(tmp_path, case):
    pytest.importorskip("torch")
    from oodgrid.adapt.apply import apply
    from oodgrid.adapt.fit import fit

    made = Made(tmp_path, case)
    listed = [choice.listed("method") for choice in made.experiment.methods]
    skipped = [name for name in listed if foreseen.method_is_skipped(made.experiment, "b", "named", name)]
    assert ("own_head" in skipped) == (case != "headed") and ("wood" in skipped) == (case != "pairs")
    parts = {part for name in skipped for part in grid.parts(made.experiment, name)}
    for method in [*sorted(parts), *skipped]:
        fit(tmp_path, made.experiment, "b", "named", method)
        applied = manifests.read(apply(tmp_path, made.experiment, "b", "named", method), manifests.Applied)
        assert method not in skipped or {each.status for each in applied.fits} == {"skipped"}, method


def test_tins_on_imported_features_is_one_skip_that_says_why(tmp_path):
    made = Made(tmp_path, "imported", methods=["prototype", "clip_adapter"])
    made.apply("clip_adapter")
    score(tmp_path, made.experiment, "b", "named", "clip_adapter")
    file = paths.streams(tmp_path, "every", "b", "named", "clip_adapter")
    about = manifests.read(file, manifests.ScoreTable)
    said = {name: of_set["tins@labels=words"] for name, of_set in about.fits[0].skipped_in.items()}
    why = "it needs text_tower: the text tower that encoded the class texts, and they are imported or there are none"
    assert said == {"brought": why, "shapes": why}
    column = store.read_table(file)[0]["tins@labels=words"]
    assert len(column) and column.null_count() == len(column)
