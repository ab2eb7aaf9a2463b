"""The verb `labels`: writes a list of labels for scores."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from oodgrid import paths
from oodgrid.cli.common import say
from oodgrid.counts import counted
from oodgrid.errors import OodgridError

WORDNET_EXAMPLE = """\
oodgrid labels wordnet nouns.csv --folder /usr/share/wordnet --without noun.animal noun.food adj.all adj.pert adj.ppl"""

ASK_EXAMPLE = """\
oodgrid labels ask far.json --endpoint https://api.openai.com/v1 --model gpt-4o-mini --key-env OPENAI_API_KEY
      --classes config.yaml --kind far"""

RENEG_EXAMPLE = "oodgrid labels reneg near.csv --pool ReNeg/src/reneg/resources/kg_pool.json --blind"


def add_labels(
    verbs: argparse._SubParsersAction, shared: argparse.ArgumentParser, add: Callable[..., argparse.ArgumentParser]
) -> None:
    """Add the verb and what it takes; `add` adds a verb."""
    labels = verbs.add_parser("labels", help="write a list of labels for scores", description="Write a list of labels.")
    parts = labels.add_subparsers(required=True, metavar="FROM")
    wordnet = add(parts, "wordnet", run_labels_wordnet, "nouns and adjectives of WordNet", shared, WORDNET_EXAMPLE)
    wordnet.add_argument("--folder", required=True, type=Path, help="with data.noun and data.adj, or with word lists")
    wordnet.add_argument("--lexnames", nargs="+", metavar="NAME", help="as noun.act; default: all, by alphabet")
    wordnet.add_argument("--without", nargs="+", default=[], metavar="NAME", help="to leave out")
    wordnet.add_argument("--pool", choices=("csp",), help="csp: adjectives with a superclass each")
    wordnet.add_argument("--seed", type=int, default=0, help="of the draw of superclasses")
    ask = add(parts, "ask", run_labels_ask, "outliers asked from a language model, once (uses the network)", shared,
                ASK_EXAMPLE)  # fmt: skip
    ask.add_argument("--endpoint", required=True, metavar="URL", help="OpenAI-compatible, as https://api.openai.com/v1")
    ask.add_argument("--model", required=True)
    ask.add_argument("--classes", required=True, type=Path, metavar="FILE", help="experiment, or file with the names")
    ask.add_argument("--dataset", help="of an experiment with several ID datasets: this one")
    ask.add_argument("--kind", required=True, choices=("far", "near", "fine_grained"))
    ask.add_argument("--count", type=int, help="labels; near: of every class. Default: 500; near: 3")
    ask.add_argument("--key-env", metavar="VAR", help="environment variable with the key, which is written nowhere")
    ask.add_argument("--timeout", type=float, default=120.0, metavar="S", help="seconds for an answer; default: 120")
    reneg = add(parts, "reneg", run_labels_reneg, "the names near ImageNet's classes of ReNeg", shared, RENEG_EXAMPLE)
    reneg.add_argument("--pool", required=True, type=Path, metavar="FILE", help="kg_pool.json of NabilRafi/ReNeg")
    reneg.add_argument("--blind", action="store_true", help="without the classes of SSB-hard and NINCO, as published")
    for verb in (wordnet, reneg, ask):
        verb.add_argument("out", type=Path, help=".json" if verb is ask else ".csv")
        verb.add_argument("--force", action="store_true", help="write over what is there")


def run_labels_wordnet(options: argparse.Namespace) -> None:
    """Write WordNet's words as a label list."""
    from oodgrid.config import Lexicographer, build
    from oodgrid.encode.text_lists.tables import write_table
    from oodgrid.encode.text_lists.wordnet import read_lexicographer

    source = build(
        Lexicographer,
        folder=str(options.folder),
        lexnames=options.lexnames or None,
        without=options.without,
        pool=options.pool,
        seed=options.seed,
    )
    say(write_table(options.out, read_lexicographer(source), options.force))


def run_labels_reneg(options: argparse.Namespace) -> None:
    """Write the names of ReNeg's pool, their clusters as kinds."""
    from oodgrid.encode.text_lists.tables import read_pool, write_table

    table = read_pool(options.pool, blind=options.blind)
    say(write_table(options.out, table, options.force))
    print(f"{counted(len(table.names), 'name')} in {counted(len(set(table.kinds)), 'cluster')}")


def run_labels_ask(options: argparse.Namespace) -> None:
    """Write the labels that a language model envisions."""
    from oodgrid.encode.text_lists.asking import Endpoint, ask
    from oodgrid.encode.text_lists.tables import refuse_to_overwrite, write_answers

    refuse_to_overwrite(options.out, options.force, ".json")
    key = os.environ.get(options.key_env or "")
    if options.key_env and not key:
        raise OodgridError(f"the environment variable {options.key_env} is not set: export {options.key_env}=…")
    endpoint = Endpoint(options.endpoint, options.model, options.results, key, options.timeout)
    labels = ask(endpoint, options.kind, _classes(options), options.count)
    say(write_answers(options.out, labels))
    print(
        f"{counted(sum(map(len, labels.values())), 'label')}; the answers are kept in "
        f"{paths.kept(options.results, 'labels')}"
    )


def _classes(options: argparse.Namespace) -> list[str]:
    """Return the classes of which outliers are asked for: of an ID dataset of an experiment, or from a file."""
    from oodgrid.config import load
    from oodgrid.encode.text_lists.tables import read_classes
    from oodgrid.encode.texts import classes_of

    if options.classes.suffix not in (".yaml", ".yml"):
        return read_classes(options.classes)
    experiment = load(options.classes)
    names = [options.dataset] if options.dataset else [dataset.name for dataset in experiment.id_datasets]
    if len(names) > 1:
        raise OodgridError(f"{options.classes} has several ID datasets: choose one by --dataset, of {', '.join(names)}")
    return classes_of(options.results, experiment, experiment.backbones[0].name, names[0])
