"""The client for OpenAI-compatible endpoints, against a real server on loopback that behaves and misbehaves."""

from __future__ import annotations

import json
import socket
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from api_server import KEY, ApiServer, Reply, answer, failure

from emgecg_cli.core.endpoints import is_loopback, retry_after
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.llm import LLMClient, check_base_url

PING = [{"role": "user", "content": "ping"}]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, and proxies that lead nowhere: a client that used them would fail."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def waits() -> list[float]:
    """The seconds a client wanted to wait."""
    return []


def client_of(server: ApiServer, waits: list[float], **options: Any) -> LLMClient:
    return LLMClient(**{"model": "loopback", "base_url": server.base_url, "sleep": waits.append, **options})


def test_asks_as_the_api_wants_it(waits: list[float]) -> None:
    with ApiServer() as server, client_of(server, waits) as client:
        assert client.complete(PING, temperature=0.5) == "pong"
    assert server.paths == ["/v1/chat/completions"]
    assert server.keys == [KEY]
    assert server.requests == [{"model": "loopback", "messages": PING, "temperature": 0.5}]
    assert (client.sent, waits) == (1, [])


@pytest.mark.parametrize(("bad", "waited"), [
    (failure(429, retry_after="7"), 7.0),
    (failure(429, retry_after="0"), 0.0),
    (failure(429, retry_after="86400"), 60.0),
    (failure(429, retry_after="soon"), 1.0),
    (failure(429), 1.0),
    (failure(500), 1.0),
    (failure(503, retry_after="2"), 2.0),
    (failure(408), 1.0),
    (Reply(b"<html>bad gateway</html>", 502, {"Content-Type": "text/html"}), 1.0),
    (Reply(answer("pong").body, cut=True), 1.0),
    (Reply(b"so sorry", headers={"Content-Type": "text/plain"}), 1.0),
    (Reply(b"{"), 1.0),
    (Reply(b"[" * 100_000), 1.0),
    (Reply(b"[]"), 1.0),
    (Reply(b'{"choices": []}'), 1.0),
    (Reply(b'{"choices": [{"message": null}]}'), 1.0),
    (Reply(b'{"choices": [{"message": []}]}'), 1.0),
    (answer(None), 1.0),
    (answer(" \n"), 1.0),
    (answer({"text": "pong"}), 1.0),
    (answer(17), 1.0),
])
def test_goes_on_after(bad: Reply, waited: float, waits: list[float], tmp_path: Path) -> None:
    with ApiServer(bad) as server, client_of(server, waits, cache=tmp_path / "answers.jsonl") as client:
        assert client.complete(PING) == "pong"
    assert (len(server.requests), waits) == (2, [waited])
    assert [json.loads(line)["answer"] for line in (tmp_path / "answers.jsonl").open()] == ["pong"]


def test_waits_longer_each_time_and_gives_up(waits: list[float], tmp_path: Path) -> None:
    with ApiServer(answer("kept"), otherwise=lambda _: failure(500, "on fire")) as server, \
            client_of(server, waits, cache=tmp_path / "a.jsonl", max_wait=5.0) as client:
        client.complete([{"role": "user", "content": "first"}])
        with pytest.raises(MedReportError, match=r"no answer in 6 attempts; the last: .*on fire") as caught:
            client.complete(PING)
    assert waits == [1, 2, 4, 5, 5]
    assert len(server.requests) == 7
    assert caught.value.hint is not None and caught.value.hint.startswith("1 answers are kept; run the same command")


def test_a_server_that_keeps_silent(waits: list[float]) -> None:
    with ApiServer(Reply(b"", delay=0.4)) as server, client_of(server, waits, timeout=0.1) as client:
        assert client.complete(PING) == "pong"
    assert waits == [1.0]


@pytest.mark.parametrize(("bad", "says", "hint"), [
    (failure(404, "no such model"), "no such model", "--base-url"),
    (failure(400, "bad\nrequest \x1b[31m"), "bad request", "--model"),
    (failure(403, "not yours"), "not yours", "may not use this model"),
    (failure(429, "You have no money left", "insufficient_quota"), "no money left", "account"),
    (Reply(b"", 307, {"Location": "http://127.0.0.1:9/v1/chat/completions"}), "307", "--base-url"),
])
def test_a_refusal_is_final(bad: Reply, says: str, hint: str, waits: list[float]) -> None:
    with ApiServer(bad) as server, client_of(server, waits) as client, \
            pytest.raises(MedReportError, match=f"refused model 'loopback': .*{says}") as caught:
        client.complete(PING)
    assert (len(server.requests), waits) == (1, [])
    assert hint in str(caught.value.hint) and caught.value.message.isprintable()


def test_a_wrong_key_is_not_shown(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "sk-wrong-secret-0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", wrong)
    with ApiServer() as server, client_of(server, waits) as client, pytest.raises(MedReportError) as caught:
        client.complete(PING)
    assert server.keys == [wrong]
    assert "Incorrect API key provided: ***" in caught.value.message
    assert wrong not in f"{caught.value.message} {caught.value.hint} {client!r}"
    assert "OPENAI_API_KEY" in str(caught.value.hint)


@pytest.mark.parametrize("key", ["", "  ", "sk-zwei\nZeilen-0123", "sk-schlüssel-0123"])
def test_no_key_or_no_possible_key(key: str, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with ApiServer() as server, client_of(server, waits) as client, \
            pytest.raises(MedReportError, match="OPENAI_API_KEY") as caught:
        client.complete(PING)
    assert server.requests == []
    assert not key.strip() or key not in caught.value.message


def test_the_key_reaches_no_file(waits: list[float], tmp_path: Path) -> None:
    with ApiServer(answer(f"your key is {KEY}")) as server, \
            client_of(server, waits, cache=tmp_path / "a.jsonl") as client:
        assert client.complete(PING) == "your key is ***"
    assert KEY not in (tmp_path / "a.jsonl").read_text() and KEY not in repr(client)


def test_a_dead_port(waits: list[float]) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        client = LLMClient("loopback", f"http://127.0.0.1:{held.getsockname()[1]}/v1", attempts=3, sleep=waits.append)
        with client, pytest.raises(MedReportError, match="no answer in 3 attempts; the last: connection failed"):
            client.complete(PING)
    assert waits == [1, 2]


def test_without_the_openai_package(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with ApiServer() as server, client_of(server, waits) as client, pytest.raises(MedReportError) as caught:
        client.complete(PING)
    assert caught.value.hint == "pip install 'medreport[llm]'"


def test_the_cache_tells_model_messages_and_params_apart(waits: list[float], tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "a.jsonl"
    other = [{"role": "user", "content": "pïng \u2028"}]
    with ApiServer(*map(answer, ["one", "two\u2028\nlines", "three", "four"])) as server:
        for _ in range(2):
            with client_of(server, waits, cache=cache) as client, \
                    client_of(server, waits, cache=cache, model="second") as second:
                assert client.complete(PING) == "one"
                assert client.complete(other) == "two\u2028\nlines"
                assert client.complete(PING, temperature=0) == "three"
                assert second.complete(PING) == "four"
        assert len(server.requests) == 4
    assert client.sent == 0 and client.cached == 4


def test_a_full_cache_needs_no_key_and_no_package(waits: list[float], tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    with ApiServer() as server, client_of(server, waits, cache=tmp_path / "a.jsonl") as client:
        client.complete(PING)
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setitem(sys.modules, "openai", None)
    assert client_of(server, waits, cache=tmp_path / "a.jsonl").complete(PING) == "pong"


def test_a_cache_torn_anywhere_in_its_last_line_heals(waits: list[float], tmp_path: Path) -> None:
    cache = tmp_path / "a.jsonl"
    second = [{"role": "user", "content": "second"}]
    with ApiServer() as server:
        with client_of(server, waits, cache=cache) as client:
            client.complete(PING)
            first_line = len(cache.read_bytes())
            client.complete(second)
        whole = cache.read_bytes()
        for length in [first_line, first_line + 1, (first_line + len(whole)) // 2, len(whole) - 2, len(whole) - 1]:
            cache.write_bytes(whole[:length])
            asked = len(server.requests)
            with client_of(server, waits, cache=cache) as client:
                assert (client.complete(PING), client.complete(second)) == ("pong", "pong")
            assert len(server.requests) == asked + 1
            assert cache.read_bytes() == whole


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}", '{"key": "a", "answer": 1}', "[" * 100_000, '"key"'])
def test_a_cache_that_is_something_else(line: str, waits: list[float], tmp_path: Path) -> None:
    cache = tmp_path / "a.jsonl"
    cache.write_text('{"key": "k", "answer": "a"}\n' + line + "\n")
    with pytest.raises(MedReportError, match=r"a\.jsonl, line 2: not an answer"):
        LLMClient("loopback", "http://127.0.0.1:9/v1", cache=cache).complete(PING)


def test_a_cache_that_cannot_be_read_or_written(waits: list[float], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with ApiServer() as server:
        for cache in (tmp_path, tmp_path / "file" / "a.jsonl"):
            with client_of(server, waits, cache=cache) as client, pytest.raises(MedReportError, match="cannot be"):
                client.complete(PING)


@pytest.mark.parametrize("base_url", ["", "localhost:8000/v1", "ftp://host/v1", "http://", "http://host:99999/v1",
                                      "http://host/v1\n", "http://[::1/v1", "file:///etc/passwd",
                                      f"https://user:{KEY}@host/v1", f"https://host/v1?api-key={KEY}"])
def test_base_urls_that_are_refused(base_url: str) -> None:
    with pytest.raises(MedReportError, match="the base URL") as caught:
        LLMClient("loopback", base_url)
    assert KEY not in f"{caught.value.message} {caught.value.hint}"


def test_what_is_on_this_machine() -> None:
    check_base_url("https://api.openai.com/v1")
    here = ("http://127.0.0.1:80/v1", "http://LOCALHOST/v1", "http://[::1]:8000/v1")
    there = ("https://api.openai.com/v1", "http://127.example.org/v1", "http://10.0.0.1/v1", "http://localhost.org/v1")
    assert [*map(is_loopback, here + there)] == [True] * 3 + [False] * 4


def test_retry_after_as_number_and_as_date() -> None:
    assert retry_after("1.5") == 1.5
    assert retry_after("-3") == 0.0
    assert retry_after("nan") is None
    assert retry_after("") is None
    assert retry_after(formatdate(time.time() + 100, usegmt=True)) == pytest.approx(100, abs=3)
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
