"""`oodgrid labels`: outliers asked from a language model, which here is a small server on this machine, and WordNet."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
import yaml

from oodgrid.cli import main
from oodgrid.config import LabelList
from oodgrid.encode.text_lists import asking, read_text_list
from oodgrid.encode.text_lists.asking import Endpoint, ask, names_in, useful
from tests.failing import failure


class Model:
    """A language model that gives the answers it is told, and remembers what it was asked."""

    def __init__(self):
        self.answers, self.asked, self.headers, self.status, self.wait = [], [], [], 200, 0.0
        self.location, self.reason, self.more_headers = None, None, {}

    def reply(self, body):
        self.asked.append(body)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


@pytest.fixture
def model():
    model = Model()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            model.headers.append((self.path, self.headers.get("Authorization")))
            answer = model.reply(body)
            time.sleep(model.wait)
            if isinstance(answer, str):
                answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": answer}}]}).encode()
            self.send_response(model.status, model.reason)
            for name, value in model.more_headers.items():
                self.send_header(name, value)
            if model.location:
                self.send_header("Location", model.location)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *given):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    model.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    yield model
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def endpoint(model, tmp_path):
    return Endpoint(model.url, "parrot-1", tmp_path / "results", timeout=5)


def many(start, count):
    return "\n".join(f"{k}. Thing {k}" for k in range(start, start + count))


# ------------------------------------------------------------------------------------------------------- asking


def test_far_outliers_are_asked_for_fifty_at_a_time(model, endpoint):
    model.answers = [many(0, 50), many(40, 50), many(90, 50)]
    found = ask(endpoint, "far", ["cat", "dog"], 110)
    assert found == {"far": [f"thing {k}" for k in range(110)]}
    assert [len(body["messages"]) for body in model.asked] == [1, 3, 5]
    first, *_, last = model.asked[-1]["messages"]
    assert "cat, dog" in first["content"]
    assert "Name 20 more" in last["content"]  # 40 to 49 were named before
    assert [body["temperature"] for body in model.asked] == [0, 0, 0]
    assert model.asked[0]["model"] == "parrot-1"
    assert model.asked[1]["messages"][1] == {"role": "assistant", "content": many(0, 50)}


def test_it_stops_where_nothing_new_comes(model, endpoint):
    model.answers = ["a\nb\nc"]
    assert ask(endpoint, "far", ["cat"], 100) == {"far": ["a", "b", "c"]}
    assert len(model.asked) == 2


def test_near_outliers_are_asked_for_class_by_class(model, endpoint):
    model.answers = ["Lynx\nwild cat\nPuma\nDog", "wolf\nfox\njackal\ndingo"]
    found = ask(endpoint, "near", ["cat", "dog"])
    assert found == {"cat": ["lynx", "puma"], "dog": ["wolf", "fox", "jackal"]}
    assert ["cat" in body["messages"][0]["content"] for body in model.asked] == [True, False]
    assert all("Name 3" in body["messages"][0]["content"] for body in model.asked)


def test_a_class_of_which_nothing_is_near_stays_empty(model, endpoint):
    model.answers = ["", "wolf"]
    assert ask(endpoint, "near", ["cat", "dog"]) == {"cat": [], "dog": ["wolf"]}


def test_fine_grained_outliers_are_further_kinds(model, endpoint):
    model.answers = ["beagle\npug\nBoxer"]
    assert ask(endpoint, "fine_grained", ["boxer", "akita"], 2) == {"fine_grained": ["beagle", "pug"]}


def test_who_asks_again_asks_nobody(model, endpoint):
    model.answers = ["a\nb"]
    first = ask(endpoint, "far", ["cat"], 2)
    assert ask(endpoint, "far", ["cat"], 2) == first
    assert len(model.asked) == 1
    ask(endpoint, "far", ["cat", "dog"], 2)
    ask(Endpoint(model.url, "parrot-2", endpoint.results), "far", ["cat"], 2)
    assert len(model.asked) == 3
    kept = [json.loads(path.read_text()) for path in (endpoint.results / "kept" / "labels").rglob("*.json")]
    assert {record["model"] for record in kept} == {"parrot-1", "parrot-2"}
    assert all(record["answer"] == "a\nb" for record in kept)


def test_what_was_answered_before_a_failure_is_kept(model, endpoint):
    model.answers = [many(0, 50), b"broken"]
    assert "does not answer" in failure(ask, endpoint, "far", ["cat"], 100)
    model.answers = ["unasked", "unasked", many(50, 50)]
    assert len(ask(endpoint, "far", ["cat"], 100)["far"]) == 100
    assert len(model.asked) == 3


def test_the_key_is_sent_and_written_nowhere(model, tmp_path):
    model.answers = ["a"]
    ask(Endpoint(model.url, "m", tmp_path, key="s3cret"), "far", ["cat"], 1)
    assert model.headers == [("/v1/chat/completions", "Bearer s3cret")]
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and "s3cret" in p.read_text()]


KEY = "sk-proj-Ab3dEf6hIj9kLm2n"
ECHOES = {
    "whole": KEY,
    "header": f"Authorization: Bearer {KEY}",
    "part": f"Incorrect key {KEY[:9]}*****{KEY[-4:]}",
    "end": f"…{KEY[-10:]}",
    "upper": KEY.upper(),
    "spaced": " ".join(KEY),
    "quoted": quote(KEY, safe="").replace("A", "%41"),
    "escaped": "".join(f"&#{ord(letter)};" for letter in KEY),
    "json": "".join(f"\\u{ord(letter):04x}" for letter in KEY),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 of more": base64.b64encode(f"user:{KEY}".encode()).decode(),
    "hex": KEY.encode().hex(),
    "backwards": KEY[::-1],
}


def leaks(text):
    """Whether any eight characters in a row of the key stand there, or what an endpoint made of it."""
    return any(KEY[k : k + 8] in text for k in range(len(KEY) - 7)) or any(said in text for said in ECHOES.values())


@pytest.fixture
def everywhere(model, tmp_path, monkeypatch, capfd):
    """What `oodgrid labels ask` shows and leaves anywhere: screen, log, files, with --debug too."""

    def call(url=None):
        monkeypatch.setenv("A_KEY", KEY)
        (tmp_path / "names.txt").write_text("cat\ndog\n")
        results, found = tmp_path / "results", []
        for more in ([], ["--debug"]):
            command = ["labels", "ask", tmp_path / "far.json", "--endpoint", url or model.url, "--model", "m", "--kind"]
            command += ["far", "--count", 2, "--results", results, "--classes", tmp_path / "names.txt"]
            main([*map(str, command), "--key-env", "A_KEY", "--log", str(tmp_path / "log"), "--timeout", "5", *more])
            captured = capfd.readouterr()
            found += [captured.out, captured.err]
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        return "\n".join([*found, *(str(path) for path in files), *(path.read_text() for path in files)])

    return call


def reply(model, place, echo):
    """Let an endpoint repeat the key somewhere."""
    model.status, model.reason, model.more_headers, model.answers = 200, None, {}, ["oak\nelm"]
    if place in ("reason", "error body"):
        model.status = 401
    if place == "reason":
        model.reason = echo.encode("latin-1", "replace").decode("latin-1")
    elif "body" in place:
        model.answers = [json.dumps({"error": {"message": echo}}).encode()]
    elif place == "header":
        model.more_headers, model.answers = {"X-Echo": echo.encode("ascii", "replace").decode()}, [b"no"]
    else:
        model.answers = [place.format(echo)]


@pytest.mark.parametrize(
    "place", ["reason", "body", "error body", "header", "{}", "oak\n{}\nelm", "I am a parrot, I say {} all day long."]
)
def test_a_key_that_comes_back_is_shown_and_kept_nowhere(model, everywhere, place):
    for name, echo in ECHOES.items():
        reply(model, place, echo)
        said = everywhere()
        assert "oodgrid: " in said
        assert not leaks(said), name


@pytest.mark.parametrize("url", [f"?key={KEY}", f"/{KEY}", f"#{KEY}"])
def test_a_key_in_the_url_is_refused_and_not_shown(model, everywhere, url):
    for given in (model.url + url, model.url.replace("//", f"//user:{KEY}@")):
        said = everywhere(given)
        assert "holds a password, a key or a query" in said
        assert not leaks(said)
    assert not model.asked


@pytest.mark.parametrize("key", ["s3cret\n", "s3 cret12345", "schlüssel-123", "\x00abcdefgh"])
def test_what_is_no_key_is_refused_and_not_shown(model, tmp_path, key):
    line = failure(lambda: Endpoint(model.url, "m", tmp_path, key=key))
    assert "the key holds white space" in line
    assert key not in line


def test_a_key_stands_in_no_representation(model, tmp_path):
    assert KEY not in repr(Endpoint(model.url, "m", tmp_path, key=KEY))


def test_who_speaks_no_http_is_one_line(tmp_path):
    server = socket.create_server(("127.0.0.1", 0))

    def answer():
        connection, _ = server.accept()
        connection.recv(1 << 16)
        connection.sendall(f"{KEY} is no status line\r\n\r\n".encode())
        connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    endpoint = Endpoint(f"http://127.0.0.1:{server.getsockname()[1]}/v1", "m", tmp_path, key=KEY, timeout=5)
    assert "does not answer in HTTP (BadStatusLine)" in failure(ask, endpoint, "far", ["cat"], 1)
    thread.join()
    server.close()


@pytest.mark.parametrize("key", ["none", "EMPTY", "k"])
def test_keys_of_local_servers_are_no_secrets(model, tmp_path, key):
    model.answers = ["oak\nempty road\nnonesuch"]
    assert len(ask(Endpoint(model.url, "m", tmp_path, key=key), "far", ["cat"], 3)["far"]) == 3


def test_no_redirection_takes_the_key_along(model, tmp_path):
    model.answers, model.status, model.location = ["a"], 302, "http://127.0.0.1:9/elsewhere"
    assert "refuses, 302" in failure(ask, Endpoint(model.url, "m", tmp_path, key="k"), "far", ["cat"], 1)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "refuses, 401 Unauthorized: name the variable that holds the key by --key-env"),
        (404, "refuses, 404 Not Found: look at the URL and at the model, parrot-1"),
        (429, "refuses, 429 Too Many Requests: wait, and ask again: what was answered is kept"),
        (500, "refuses, 500 Internal Server Error: ask again"),
    ],
)
def test_a_refusal_is_one_line_with_its_mend(model, endpoint, status, says):
    model.answers, model.status = ["no"], status
    assert failure(ask, endpoint, "far", ["cat"], 1) == f"{model.url} {says}" + (
        ": what was answered is kept" if status == 500 else ""
    )


def test_silence_is_one_line(model, tmp_path):
    model.answers, model.wait = ["a"], 1.0
    line = failure(ask, Endpoint(model.url, "m", tmp_path, timeout=0.2), "far", ["cat"], 1)
    assert line == f"{model.url} gave no answer within 0.2 s: try again, or give --timeout more"


def test_nobody_there_is_one_line(model, tmp_path):
    assert "http://127.0.0.1:1/v1 cannot be reached" in failure(
        ask, Endpoint("http://127.0.0.1:1/v1", "m", tmp_path), "far", ["cat"], 1
    )
    assert "file:///etc is no endpoint" in failure(lambda: Endpoint("file:///etc", "m", tmp_path))


@pytest.mark.parametrize(
    "answer", [b"<html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": 1}}]}']
)
def test_another_kind_of_server_is_one_line(model, endpoint, answer):
    model.answers = [answer]
    assert "does not answer as an OpenAI-compatible endpoint" in failure(ask, endpoint, "far", ["cat"], 1)


def test_nonsense_is_one_line(model, endpoint):
    model.answers = ["I am sorry, but as a parrot I can not name any things at all today."]
    assert "parrot-1 at" in failure(ask, endpoint, "far", ["cat"], 3)
    model.answers = ["Cat\nCAT"]
    assert "named nothing but the classes" in failure(ask, endpoint, "near", ["cat"], 3)
    assert "0 labels cannot be asked for" in failure(ask, endpoint, "far", ["cat"], 0)


# ------------------------------------------------------------------------------------------------------ answers


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("a\n\nb\n", ["a", "b"]),
        ("1. oak tree\n2) elm\n(3) ash", ["oak tree", "elm", "ash"]),
        ("- oak\n* elm\n• ash.", ["oak", "elm", "ash"]),
        ('"oak"\n**elm**\n`ash`', ["oak", "elm", "ash"]),
        ("Here are some:\noak\nelm", ["oak", "elm"]),
        ("oak, elm, ash.", ["oak", "elm", "ash"]),
        ('["oak", "elm"]', ["oak", "elm"]),
        ('```json\n["oak", "elm"]\n```', ["oak", "elm"]),
        ("7-segment display\n3D printer\nt-shirt", ["7-segment display", "3D printer", "t-shirt"]),
        ("one two three four five six seven eight nine", []),
        ("Sorry, I can not help you, I am a parrot, and busy.", []),
        ("I can not help with that.", []),
        ("oak.\nsea of clouds.", ["oak", "sea of clouds"]),
        ("", []),
    ],
)
def test_names_are_found_in_an_answer(answer, names):
    assert names_in(answer) == names


def test_answers_are_treated_as_eoe_treats_them():
    assert useful(["Oak", "oak", "cat", "cat tree"], ["Cat"], "far") == ["oak", "cat tree"]
    assert useful(["Oak", "oak", "cat", "cat tree"], ["Cat"], "near") == ["oak"]


def test_the_questions_say_what_is_wanted():
    for question in asking.QUESTIONS.values():
        asked = question.format(classes="CLASSES", count=7)
        assert "CLASSES" in asked
        assert "7" in asked
        assert "{" not in asked


# ------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def oodgrid(capsys):
    def call(*arguments):
        status = main([*map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def asked(oodgrid, model, tmp_path):
    def call(*more, classes="cat\ndog\n", name="names.txt"):
        (tmp_path / name).write_text(classes)
        where = ("--endpoint", model.url, "--model", "m", "--results", tmp_path / "results")
        return oodgrid("labels", "ask", tmp_path / "far.json", *where, "--classes", tmp_path / name, *more)

    return call


def test_ask_writes_a_list_that_an_experiment_can_name(asked, model, tmp_path):
    model.answers = ["Oak\nElm\nCat"]
    status, out, _ = asked("--kind", "far", "--count", 3)
    assert status == 0
    assert out.splitlines()[0] == f"wrote {tmp_path / 'far.json'}"
    assert read_text_list(LabelList(name="x", file=str(tmp_path / "far.json"))).names == ["oak", "elm"]
    assert "is there already: choose another name, or add --force" in asked("--kind", "far")[2]
    assert asked("--kind", "far", "--count", 3, "--force")[0] == 0
    assert len(model.asked) == 2  # and not four: three names were not enough, so it asked for more


def test_ask_takes_the_classes_of_an_experiment(asked, model, experiment_of):
    model.answers = ["Oak"]
    assert asked("--kind", "far", "--count", 1, classes=yaml.safe_dump(experiment_of()), name="c.yaml")[0] == 0
    assert "red square" in model.asked[0]["messages"][0]["content"]


def test_ask_wants_one_id_dataset(asked, experiment_of):
    sets = [{"name": name, "concept_world": {"group": "id"}, "ood": {"far": ["noise"]}} for name in ("one", "two")]
    config = yaml.safe_dump(experiment_of(id_datasets=sets))
    assert (
        "several ID datasets: choose one by --dataset, of one, two"
        in asked("--kind", "far", classes=config, name="c.yaml")[2]
    )


def test_ask_takes_the_key_from_the_environment(asked, model, monkeypatch):
    model.answers = ["oak"]
    monkeypatch.delenv("SOME_KEY", raising=False)
    assert "environment variable SOME_KEY is not set" in asked("--kind", "far", "--key-env", "SOME_KEY")[2]
    assert model.asked == []
    monkeypatch.setenv("SOME_KEY", "k")
    assert asked("--kind", "far", "--count", 1, "--key-env", "SOME_KEY")[0] == 0
    assert model.headers[0][1] == "Bearer k"


def test_wordnet_writes_words_with_their_kinds(oodgrid, tmp_path):
    (tmp_path / "noun.act.txt").write_text("race\nred\n")
    (tmp_path / "adj.all.txt").write_text("red\n")
    out = tmp_path / "words.csv"
    assert oodgrid("labels", "wordnet", out, "--folder", tmp_path)[0] == 0
    assert out.read_text() == "label,kind\nred,adjective\nrace,noun\n"
    assert "is there already" in oodgrid("labels", "wordnet", out, "--folder", tmp_path)[2]
    assert oodgrid("labels", "wordnet", out, "--folder", tmp_path, "--force", "--without", "adj.all")[0] == 0
    assert out.read_text() == "label,kind\nrace,noun\nred,noun\n"
    assert oodgrid("labels", "wordnet", out, "--folder", tmp_path, "--force", "--pool", "csp")[0] == 0
    assert out.read_text().splitlines()[1].startswith("red ")
    assert "is no .csv" in oodgrid("labels", "wordnet", tmp_path / "words.txt", "--folder", tmp_path)[2]
    line = oodgrid("labels", "wordnet", tmp_path / "w.csv", "--folder", tmp_path, "--lexnames", "noun.acts")[2]
    assert "did you mean 'noun.act'?" in line
