"""The app, in this process, with tiny models: every task's answers, every refusal, the pages."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_model, tiny_run

pytest.importorskip("fastapi", reason='needs pip install "jaxbert[serve]"')

import itertools

import httpx

from jaxbert import FillMask, QuestionAnswerer, Tagger, TextClassifier, TextRegressor
from jaxbert.errors import InputError
from jaxbert.runs.saved import digests_of_model
from jaxbert.serve.app import make_app
from jaxbert.serve.batcher import Batcher, answering
from jaxbert.serve.counters import Counters
from jaxbert.serve.guards import Guard, Limits, is_loopback
from jaxbert.serve.served_models import SERVED, ServedModel, open_models
from jaxbert.tasks.registry import TASKS

pytestmark = pytest.mark.integration

TEXT = "Ada was at the STATION in 北京 \U0001f682 with Zoe."
LIMITS = Limits(body_bytes=5000, seconds=20, token=None, host="127.0.0.1")
Replies = Sequence[httpx.Response]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    base = tmp_path_factory.mktemp("runs")
    made = {}
    for task in SERVED:
        (base / task).mkdir()
        made[task] = str(tiny_run(base / task, task))
    return made


@pytest.fixture(scope="module")
def models(folders: Mapping[str, str]) -> dict[str, ServedModel]:
    return open_models(list(folders.values()), 2)


@pytest.fixture(scope="module")
def batcher(models: Mapping[str, ServedModel]) -> Iterator[Batcher]:
    with answering(Batcher(models, max_queue=3, max_batch=2)) as made:
        assert made.failure is None
        assert made.status == "ready"
        yield made


@pytest.fixture
def app(models: Mapping[str, ServedModel], batcher: Batcher) -> Guard:
    return make_app(models, batcher, LIMITS, Counters())


def ask_all(app: Guard, *requests: Mapping[str, Any], base: str = "http://localhost") -> Replies:
    """The replies to requests that are sent at once."""

    async def send() -> Replies:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            return await asyncio.gather(*(client.request(**request) for request in requests))

    return asyncio.run(send())


def get(app: Guard, url: str, **more: Any) -> httpx.Response:
    return ask_all(app, {"method": "GET", "url": url, **more})[0]


def post(app: Guard, body: Any, **more: Any) -> httpx.Response:
    return ask_all(app, {"method": "POST", "url": "/predict", "json": body, **more})[0]


def refusal(reply: httpx.Response, status: int) -> str:
    assert reply.status_code == status, reply.text
    assert set(reply.json()) == {"error"}
    error = reply.json()["error"]
    assert "\n" not in error
    return str(error)


# --- answers ------------------------------------------------------------------------------------


def near(score: float) -> Any:
    return pytest.approx(score, abs=1e-5)


def test_questions(app: Guard, folders: Mapping[str, str]) -> None:
    found = post(app, {"model": "qa", "question": "who?", "context": TEXT, "top_k": 3}).json()
    own = QuestionAnswerer.from_pretrained(folders["qa"])
    expected = own(question="who?", context=TEXT, top_k=3, calibrated=True)
    assert found["task"] == "qa"
    assert found["no_answer"] is None
    for row, other in zip(found["answers"], expected, strict=True):
        assert row == {**other, "score": near(other["score"])}
        assert row["answer"] == TEXT[row["start"] : row["end"]]
    best = max(found["windows"], key=lambda window: window["score"])
    assert best["answer"] == found["answers"][0]["answer"]
    assert 0 <= best["start"] < best["end"] <= len(TEXT)


def test_a_long_text_is_read_in_windows_that_share_characters(app: Guard) -> None:
    text = " ".join([TEXT] * 4)
    windows = post(app, {"model": "qa", "question": "who?", "context": text}).json()["windows"]
    assert len(windows) > 3
    assert windows[0]["start"] == 0
    assert windows[-1]["end"] == len(text)
    for one, other in itertools.pairwise(windows):
        assert one["start"] < other["start"] < one["end"] < other["end"]
    assert all(window["answer"] in text for window in windows)


def test_no_answer_has_its_odds_and_the_threshold_of_the_calibration(
    folders: Mapping[str, str], tmp_path: Path
) -> None:
    for path in Path(folders["qa"]).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    record = json.loads((tmp_path / "options.json").read_text())
    record["options"]["version_2_with_negative"] = True
    (tmp_path / "options.json").write_text(json.dumps(record))
    both = []
    for threshold in (-50.0, 50.0):
        fitted = {
            "null_score_diff_threshold": threshold,
            "score_temperature": 2.0,
            "version_2_with_negative": True,
            "fitted_to": [],
            "model": digests_of_model(tmp_path),
        }
        (tmp_path / "calibration.json").write_text(json.dumps(fitted))
        models = open_models([str(tmp_path)], 1)
        with answering(Batcher(models, max_queue=1, max_batch=1)) as batcher:
            app = make_app(models, batcher, LIMITS, Counters())
            found = post(app, {"question": "who?", "context": TEXT}).json()
        assert found["no_answer"]["threshold"] == threshold
        both.append(found)
    assert both[0]["no_answer"]["odds"] == near(both[1]["no_answer"]["odds"])
    assert both[0]["answers"][0] == {
        **{"answer": "", "start": 0, "end": 0},
        "score": both[0]["no_answer"]["score"],
    }
    assert both[1]["answers"][0]["answer"]


def test_classes(app: Guard, folders: Mapping[str, str]) -> None:
    classify = TextClassifier.from_pretrained(folders["classification"])
    for pair in ({"text": TEXT}, {"text": TEXT, "text_pair": "who?"}):
        found = post(app, {"model": "classification", "top_k": 2, **pair}).json()
        expected = classify(pair, top_k=2)
        assert found["answers"] == [{**row, "score": near(row["score"])} for row in expected]
        assert found["multi_label"] is found["cut"] is False
    assert post(app, {"model": "classification", "text": TEXT * 9}).json()["cut"] is True
    # 60 letters are one token.
    assert post(app, {"model": "classification", "text": "中" + " " * 60}).json()["cut"] is False


def test_numbers(app: Guard, folders: Mapping[str, str]) -> None:
    pair = {"text": TEXT, "text_pair": "who?"}
    found = post(app, {"model": "regression", **pair}).json()
    expected = TextRegressor.from_pretrained(folders["regression"])(pair)
    assert found == {
        **{"model": "regression", "task": "regression", "label": "score", "cut": False},
        "score": near(expected["score"]),
    }


def test_entities(app: Guard, folders: Mapping[str, str]) -> None:
    found = post(app, {"model": "tagging", "text": TEXT}).json()["answers"]
    tag = Tagger.from_pretrained(folders["tagging"], aggregation_strategy="first")
    assert found
    for row, entity in zip(found, tag(TEXT), strict=True):
        assert row["word"] == TEXT[row["start"] : row["end"]]
        assert row["entity_group"] == entity["entity_group"]
        assert row["score"] == near(float(entity["score"]))


def test_masks(app: Guard, folders: Mapping[str, str]) -> None:
    fill = FillMask.from_pretrained(folders["mlm"])
    for text in ("It is [MASK].", "[MASK] is [MASK]."):
        found = post(app, {"model": "mlm", "text": text, "top_k": 3}).json()["masks"]
        expected = fill(text, top_k=3)
        expected = expected if isinstance(expected[0], list) else [expected]
        assert found == [
            [{**row, "score": near(row["score"])} for row in rows] for rows in expected
        ]


def test_every_task_with_a_predictor_is_served() -> None:
    assert SERVED.keys() == TASKS.keys() - {"multiple_choice"}


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"text": "x"}, 400, "model is missing; there are qa, classification, regression,"),
        ({"model": "x", "text": "x"}, 400, "there is no such model; there are qa, "),
        ({"model": "../../etc/passwd", "text": "x"}, 400, "there is no such model; there are qa"),
        ({"model": "qa", "question": "who?"}, 400, "context is missing"),
        ({"model": "qa", "question": " ", "context": "x"}, 400, "question is empty"),
        ({"model": "qa", "text": "x"}, 400, "text: qa was trained for qa; give context, question,"),
        ({"model": "tagging", "text": "x", "top_k": 2}, 400, "top_k: tagging was trained for"),
        ({"model": "mlm", "text": "x"}, 400, "text has no [MASK]; write it where a word is"),
        ({"model": "mlm", "text": "x " * 60 + "[MASK]"}, 400, "shorten the text"),
        ({"model": "qa", "question": 1}, 422, "question: Input should be a valid string"),
        ({"model": "mlm", "text": "[MASK]", "top_k": 21}, 422, "top_k: Input should be less than"),
        ({"model": "mlm", "text": "[MASK]", "top_k": True}, 422, "top_k: "),
        ({"model": "mlm", "txt": "[MASK]"}, 422, "txt: Extra inputs are not permitted"),
        ([], 422, "Input should be a valid"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    app: Guard, body: Any, status: int, said: str
) -> None:
    assert said in refusal(post(app, body), status)


@pytest.mark.parametrize("body", [b"{", b"", b'"\xff"', b"[" * 4000, b'{"text": "\\ud800"}', b"0"])
def test_what_is_no_request_is_refused(app: Guard, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    request = {"method": "POST", "url": "/predict", "content": body, "headers": headers}
    (reply,) = ask_all(app, request)
    assert reply.status_code in (400, 422)
    assert reply.json()["error"]


def test_a_request_that_cannot_be_answered_does_not_disturb_others(app: Guard) -> None:
    lost = {"model": "mlm", "text": "x " * 60 + "[MASK]"}
    kept = {"model": "mlm", "text": "It is [MASK]."}
    requests = [{"method": "POST", "url": "/predict", "json": body} for body in (kept, lost, kept)]
    one, two, three = ask_all(app, *requests)
    assert refusal(two, 400)
    assert one.json() == three.json()
    assert len(one.json()["masks"][0]) == 5


def test_size_and_time_are_limited(models: Mapping[str, ServedModel], batcher: Batcher) -> None:
    app = make_app(models, batcher, LIMITS._replace(seconds=0.2), Counters())
    assert refusal(post(app, {"text": "x" * 5000}), 413).startswith("a request may have 5,000 byte")
    headers = {"content-type": "application/json"}

    def sent(content: Callable[[], AsyncIterator[bytes]]) -> httpx.Response:
        request = {"method": "POST", "url": "/predict", "content": content(), "headers": headers}
        return ask_all(app, request)[0]

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(20)

    assert refusal(sent(endless), 413).endswith("send a shorter text")
    reply = sent(slow)
    assert refusal(reply, 408) == "the request did not come within 0.2 seconds"
    assert reply.headers["connection"] == "close"
    plain = ask_all(app, {"method": "POST", "url": "/predict", "content": b"{}"})[0]
    assert "send JSON" in refusal(plain, 415)


def test_a_queue_that_is_full_and_an_answer_that_is_late(
    models: Mapping[str, ServedModel],
) -> None:
    """The models are never computed here, as if one batch took forever."""
    batcher = Batcher(models, max_queue=3, max_batch=2)
    counters = Counters()
    app = make_app(models, batcher, LIMITS._replace(seconds=0.3), counters)
    body = {"model": "tagging", "text": "x"}
    assert refusal(post(app, body), 503).startswith("the models are being compiled")
    assert get(app, "/health").status_code == 503
    assert get(app, "/health").json()["status"] == "loading"
    batcher.status = "ready"
    request = {"method": "POST", "url": "/predict", "json": body}
    replies = ask_all(app, *[request] * 5)
    assert [reply.status_code for reply in replies] == [408, 408, 408, 503, 503]
    assert refusal(replies[0], 408).startswith("there was no answer within 0.3 seconds")
    assert refusal(replies[4], 503) == "too many requests are waiting; try again in a moment"
    assert replies[4].headers["retry-after"] == "1"
    text = get(app, "/metrics").text
    assert 'jaxbert_requests_total{path="/predict",status="408"} 3.0' in text
    assert 'jaxbert_requests_total{path="/predict",status="503"} 3.0' in text


def test_a_fault_of_the_model_is_told_without_its_text(
    app: Guard, models: Mapping[str, ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(asks: Sequence[Any]) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(models["tagging"], "answer", fail)
    reply = post(app, {"model": "tagging", "text": "x"})
    assert refusal(reply, 500) == "the model failed; the server's log says why"


# --- who may ask --------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "[::2]:80"])
def test_another_name_of_this_machine_is_refused(app: Guard, host: str) -> None:
    assert "by the name localhost" in refusal(get(app, "/", headers={"host": host}), 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:80", "[::1]:8000"])
def test_its_own_names_are_taken(app: Guard, host: str) -> None:
    assert get(app, "/health", headers={"host": host}).status_code == 200


def test_with_a_token_nothing_but_health_is_answered_without_it(
    models: Mapping[str, ServedModel], batcher: Batcher
) -> None:
    token = "aZ09-_" * 4
    limits = LIMITS._replace(token=token, host="0.0.0.0")
    app = make_app(models, batcher, limits, Counters())
    paths = ["/", "/docs", "/openapi.json", "/models", "/metrics", "/page.js", "/nothing"]
    wrong: list[dict[str, Any]] = [{}, {"headers": {"authorization": f"Bearer {token}x"}}]
    wrong += [{"headers": {"authorization": f"Basic {token}"}}, {"params": {"token": token[:-1]}}]
    wrong += [{"headers": [(b"cookie", b"jaxbert_token=" + end)]} for end in (b"", b"\xe9")]
    for path in paths:
        for more in wrong:
            reply = get(app, path, **more)
            assert "Authorization: Bearer" in refusal(reply, 401)
            assert token not in reply.text
    body = {"model": "tagging", "text": "x"}
    assert post(app, body).status_code == 401
    assert post(app, body, params={"token": token}).status_code == 401  # not in addresses
    assert get(app, "/health").status_code == 200
    bearer = {"headers": {"authorization": f"bearer {token}", "host": "any.example"}}
    assert get(app, "/models", **bearer).status_code == 200
    assert post(app, body, **bearer).status_code == 200
    moved = get(app, "/", params={"token": token, "task": "qa"})
    assert (moved.status_code, moved.headers["location"]) == (303, "/")
    cookie = moved.headers["set-cookie"]
    assert re.search(r"HttpOnly.*SameSite=strict", cookie)
    assert get(app, "/", headers={"cookie": cookie.partition(";")[0]}).status_code == 200


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.com", False),
    ],
)
def test_which_addresses_are_of_this_machine_alone(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone


# --- pages --------------------------------------------------------------------------------------


def test_the_page_has_the_form_of_each_task(app: Guard) -> None:
    assert get(app, "/").text == get(app, "/", params={"task": "qa"}).text
    for task, kind in SERVED.items():
        reply = get(app, "/", params={"task": task})
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        for field in kind.fields:
            assert f'id="{field.name}"' in reply.text
        for name, texts in kind.examples.items():
            assert name in reply.text
            assert len(texts) == len(kind.fields)
    assert "there are qa, " in refusal(get(app, "/", params={"task": "<script>"}), 404)


def test_names_of_models_are_text_on_the_page(
    models: Mapping[str, ServedModel], batcher: Batcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models["qa"], "name", '"><script>x')
    page = get(make_app(models, batcher, LIMITS, Counters()), "/").text
    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page


@pytest.mark.parametrize("path", ["/", "/docs", "/page.js", "/page.css", "/icon.svg", "/nothing"])
def test_nothing_runs_or_comes_from_elsewhere(app: Guard, path: str) -> None:
    reply = get(app, path)
    assert "script-src 'self';" in reply.headers["content-security-policy"]
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert reply.headers["x-content-type-options"] == "nosniff"
    named = re.findall(r'(?:src|href)="([^"]*)"', reply.text)
    assert all(re.match(r"[#?.a-z]", name) and "//" not in name for name in named)
    assert not re.search(r"<script(?! src)|<style|\bstyle=|\bon[a-z]+=\"", reply.text)


@pytest.mark.parametrize(
    "path", ["/../pyproject.toml", "/page/..%2f..%2fapp.py", "/ask.html", "//etc/passwd", "/static"]
)
def test_no_other_file_is_read(app: Guard, path: str) -> None:
    assert (
        refusal(get(app, path), 404)
        == "there is no such page; / is one, and /docs tells of the others"
    )


def test_the_document_of_the_api_and_its_page(app: Guard) -> None:
    schema = get(app, "/openapi.json").json()
    assert set(schema["paths"]) == {"/predict", "/models", "/health", "/metrics"}
    replies = schema["paths"]["/predict"]["post"]["responses"]
    assert set(replies) == {"200", "400", "408", "413", "415", "422", "500", "503"}
    page = get(app, "/docs").text
    for path in schema["paths"]:
        assert f"<code>{path}</code>" in page
    for name in ("Ask", "QuestionAnswers", "Classes", "Number", "Entities", "Fillings", "Fault"):
        assert f'id="{name}"' in page
        assert name in schema["components"]["schemas"]
    assert "http://localhost/predict" in page


def test_models_and_figures(app: Guard) -> None:
    found = get(app, "/models").json()
    assert [row["task"] for row in found] == list(SERVED)
    assert found[0] == {"name": "qa", "task": "qa", "fields": ["context", "question"]}
    assert post(app, {"model": "tagging", "text": "x"}).status_code == 200
    text = get(app, "/metrics").text
    assert 'jaxbert_predict_seconds_count{model="tagging"} 1.0' in text
    assert "jaxbert_batch_requests_count 1.0" in text
    assert "jaxbert_ready 1.0" in text
    assert get(app, "/predict").status_code == 405


# --- folders ------------------------------------------------------------------------------------


def test_models_of_one_name_are_called_by_their_places(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "run").mkdir(parents=True)
        tiny_run(tmp_path / name / "run", "tagging")
    places = [f"{tmp_path}/a/run", f"{tmp_path}/b/run"]
    assert list(open_models(places, 1)) == places
    assert list(open_models([places[0] + "/"], 1)) == ["run"]
    with pytest.raises(InputError, match="is given twice"):
        open_models([places[0]] * 2, 1)


def test_folders_that_cannot_be_asked_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        open_models([str(tmp_path / "nothing")], 1)
    with pytest.raises(InputError, match=r"config\.json"):
        open_models([str(tmp_path)], 1)
    (tmp_path / "choice").mkdir()
    tiny_run(tmp_path / "choice", "multiple_choice")
    with pytest.raises(InputError, match="trained for multiple_choice, which cannot be asked; gi"):
        open_models([str(tmp_path / "choice")], 1)
    (tmp_path / "encoder").mkdir()
    with pytest.raises(InputError, match="qa"):
        open_models([str(tiny_model(tmp_path / "encoder", "mlm"))], 1)
