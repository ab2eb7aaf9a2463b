"""Negative texts asked from a language model, once, before any run: what `oodgrid labels ask` does.

The plan is EOE's (Cao et al., ICML 2024; github.com/tmlr-group/EOE): far outliers look unlike all classes and are asked
for fifty at a time, near ones look like one class each, fine-grained ones are further kinds of what the classes are
kinds of; answers become lower case, come once, and lose what is a class (near ones also what shares a word with one).
The questions are in words of our own, so answers differ from those that EOE published. Every answer is kept in
results/kept/labels by the question, the model and the endpoint, so the same question is never sent twice. Of a response
only its status and the names in it are shown: it may repeat the key.
"""

from __future__ import annotations

import http.client
import json
import math
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from oodgrid import manifests
from oodgrid.counts import counted
from oodgrid.encode.text_lists import free_of, secrets
from oodgrid.encode.text_lists.tables import TextTable
from oodgrid.errors import OodgridError
from oodgrid.kept import Kept
from oodgrid.manifests import Answer
from oodgrid.progress import progress

PER_QUESTION = 50
COUNTS = {"far": 500, "near": 3, "fine_grained": 500}  # EOE's: of all, of every class, of all
MOST = 1 << 26  # bytes of an answer
LONGEST, SHORT = 8, 4  # words of a name: more than 8 are a sentence, and so are 4 or more that end in a full stop
FORM = "Answer with the names alone, one on each line, without numbers, remarks or repetitions."
MORE = f"Name {{count}} more that you have not named yet. {FORM}"
QUESTIONS = {
    "far": (
        "An image classifier knows these classes: {classes}.\nThink of the broad categories to which they belong. Then "
        "name {count} other kinds of things, scenes or textures that photographs show, which belong to none of these "
        f"categories and which nobody could take for one of the classes by their looks. {FORM}"
    ),
    "near": (
        "Name {count} kinds of things that look much like '{classes}' in a photograph, so that one could be taken for "
        f"the other, but that are something else. {FORM}"
    ),
    "fine_grained": (
        "An image classifier knows these classes: {classes}.\nAll of them are kinds of one thing. Name {count} other "
        f"kinds of the same thing that are not among them. {FORM}"
    ),
}

Message = dict[str, str]


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint and the model that is asked there.

    Attributes:
        url: As https://api.openai.com/v1.
        model: The name of the model.
        results: The results folder, where answers are kept.
        key: Sent as a bearer token, and written nowhere; None for endpoints without.
        timeout: Seconds to wait for an answer.
    """

    url: str
    model: str
    results: Path
    key: str | None = field(default=None, repr=False)
    timeout: float = 120.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OodgridError(f"{self.url} is no endpoint: give a URL as https://api.openai.com/v1")
        if parts.username is not None or parts.query or parts.fragment or secrets.repeats(self.url, self.key):
            raise OodgridError(
                f"the URL of the endpoint at {parts.hostname} holds a password, a key or a query, which would show: "
                "give its address alone, and the key by --key-env"
            )
        if self.key and not re.fullmatch(r"[!-~]+", self.key):
            raise OodgridError("the key holds white space or what is not ASCII, which no key does: export it anew")

    def answer(self, messages: Sequence[Message]) -> str:
        """Return the answer to a conversation, at temperature 0: the one that is kept, or else a new one.

        Raises:
            OodgridError: The endpoint cannot be reached, refuses, or answers something else.
        """
        question = {"endpoint": self.url, "model": self.model, "messages": list(messages), "temperature": 0}
        kept = Kept(self.results, "labels")
        path = kept.get(
            question,
            ".json",
            lambda path: manifests.write(path, Answer.model_validate({**question, "answer": self._ask(question)})),
        )
        return self._checked(manifests.read(path, Answer).answer)

    def _ask(self, question: dict[str, Any]) -> str:
        body = {name: question[name] for name in ("model", "messages", "temperature")}
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        url = self.url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
        try:
            with urllib.request.build_opener(_StayHere).open(request, timeout=self.timeout) as response:
                raw = response.read(MOST)
        # from None: these errors hold the endpoint's response, and a log shows the causes of an error too
        except urllib.error.HTTPError as error:
            raise self._refused(error.code) from None
        except TimeoutError:
            raise self._late() from None
        except http.client.HTTPException as error:
            raise OodgridError(
                f"{self.url} does not answer in HTTP ({type(error).__name__}): look at the URL"
            ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise self._late() from None
            why = reason.strerror if isinstance(reason, OSError) and reason.strerror else type(reason).__name__
            raise OodgridError(f"{self.url} cannot be reached: {why}") from None
        try:
            answer = json.loads(raw)["choices"][0]["message"]["content"]
            if not isinstance(answer, str):
                raise TypeError
        except (ValueError, LookupError, TypeError, RecursionError):
            raise OodgridError(
                f"{self.url} does not answer as an OpenAI-compatible endpoint: {counted(len(raw), 'byte')} without "
                "choices[0].message.content: look at the URL"
            ) from None
        return self._checked(answer)

    def _checked(self, answer: str) -> str:
        """Return an answer that may be kept and shown."""
        if secrets.repeats(answer, self.key):
            raise OodgridError(f"{self.model} at {self.url} repeats the key, so its answer is not kept: change the key")
        return answer

    def _late(self) -> OodgridError:
        return OodgridError(f"{self.url} gave no answer within {self.timeout:g} s: try again, or give --timeout more")

    def _refused(self, code: int) -> OodgridError:
        mends: dict[int, str] = {
            HTTPStatus.UNAUTHORIZED: "name the variable that holds the key by --key-env",
            HTTPStatus.FORBIDDEN: "name the variable that holds the key by --key-env",
            HTTPStatus.NOT_FOUND: f"look at the URL and at the model, {self.model}",
            HTTPStatus.TOO_MANY_REQUESTS: "wait, and ask again: what was answered is kept",
        }
        mend = mends.get(code, "ask again: what was answered is kept")
        phrase = HTTPStatus(code).phrase if code in set(HTTPStatus) else "which is no status of HTTP"
        return OodgridError(f"{self.url} refuses, {code} {phrase}: {mend}")


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follow no redirection: the key is for the endpoint that was named."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def ask(endpoint: Endpoint, kind: str, classes: Sequence[str], count: int | None = None) -> dict[str, list[str]]:
    """Return negative texts, by topic ("far", "fine_grained") or by class ("near"), in the form of EOE's files.

    Args:
        endpoint: The endpoint to ask.
        kind: A key of `QUESTIONS`.
        classes: The ID classes.
        count: Names in all, of "near" for every class; default: EOE's.

    Raises:
        OodgridError: The endpoint fails, or an answer holds no names.
    """
    count = COUNTS[kind] if count is None else count
    if count < 1:
        raise OodgridError(f"{counted(count, 'label')} cannot be asked for: give --count 1 or more")
    topics = {name: name for name in classes} if kind == "near" else {kind: ", ".join(classes)}
    bar = progress(topics.items(), desc=f"ask {endpoint.model}", unit="topic")
    names = {topic: _ask_for(endpoint, kind, classes, about, count) for topic, about in bar}
    if not any(names.values()):
        raise OodgridError(f"{endpoint.model} at {endpoint.url} named nothing but the classes: ask another model")
    return names


def _ask_for(endpoint: Endpoint, kind: str, classes: Sequence[str], about: str, count: int) -> list[str]:
    """Ask until there are `count` names, or until no new one comes."""
    messages: list[Message] = []
    collected: list[str] = []
    for _ in range(2 * math.ceil(count / PER_QUESTION)):
        number = min(PER_QUESTION, count - len(collected))
        question = MORE if messages else QUESTIONS[kind]
        messages.append({"role": "user", "content": question.format(classes=about, count=number)})
        answer = endpoint.answer(messages)
        messages.append({"role": "assistant", "content": answer})
        names = names_in(answer)
        if not names and not collected and kind != "near":  # one class among many may have no look-alike
            raise OodgridError(f"{endpoint.model} at {endpoint.url} answered no list of names: ask another model")
        before, collected = collected, useful([*collected, *names], classes, kind)
        if len(collected) >= count or collected == before or kind == "near":
            break
    return collected[:count]


def useful(names: Sequence[str], classes: Sequence[str], kind: str) -> list[str]:
    """Return names in lower case, each once, without classes; near ones without what shares a word with a class."""
    table = TextTable(list(names), [""] * len(names)).stripped(lower=True).distinct()
    return free_of(table, classes, "word" if kind == "near" else "exact").names


def names_in(answer: str) -> list[str]:
    """Return the names that an answer lists: one a line, with or without bullets, or a JSON list, or between commas.

    Headings and sentences are no names.
    """
    lines = _json_list(answer) or [line for line in answer.splitlines() if line.strip()]
    parts = lines[0].split(",") if len(lines) == 1 else []
    if len(parts) > 2 and all(len(part.split()) <= SHORT for part in parts):
        lines = parts
    return [name for line in lines if (name := _name(line))]


def _name(line: str) -> str:
    """Return the name on a line; nothing where it holds a heading or a sentence."""
    text = re.sub(r"^\s*(?:[-*•–]|\(?\d+[.):])\s*", "", line).strip(" \t*_`\"'“”")
    words = len(text.split())
    sentence = words > LONGEST or (words >= SHORT and text.endswith((".", "!", "?")))
    return "" if sentence or text.endswith(":") else text.strip(" .,;*_`\"'“”")


def _json_list(answer: str) -> list[str]:
    try:
        names = json.loads(answer.strip().removeprefix("```json").removesuffix("```"))
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
