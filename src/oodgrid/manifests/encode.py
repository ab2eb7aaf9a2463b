"""What `encode` says of its work."""

from __future__ import annotations

from oodgrid.manifests.base import Manifest


class Shard(Manifest):
    """One shard of some datasets is encoded."""

    what = "manifest of a shard"
    shard: str
    datasets: list[str]


class Answer(Manifest):
    """What a language model answered to one conversation."""

    what = "answer of a language model"
    endpoint: str
    model: str
    messages: list[dict[str, str]]
    temperature: int
    answer: str
