"""The client asked by many threads and by several processes: limits obeyed, everything paid once and counted."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from api_server import KEY, ApiServer, Reply, answer, failure, reworded

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.openai import rephrase
from emgecg_cli.core.instructions.pool import SEED_PROMPTS
from emgecg_cli.core.llm import LLMClient, Prices, RequestRefused, Usage, read_key, spent


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def counted(text: str, prompt: Any = 10, completion: Any = 3) -> Reply:
    """An answer whose tokens the endpoint counts."""
    body = json.loads(answer(text).body) | {"usage": {"prompt_tokens": prompt, "completion_tokens": completion}}
    return Reply(json.dumps(body).encode())


def asking(client: LLMClient, texts: list[str]) -> list[str]:
    return list(client.each(lambda text: client.complete([{"role": "user", "content": text}]), texts))


class Busy:
    """Answers each prompt with itself after a while; knows how many it had at once, and refuses more than `most`."""

    def __init__(self, most: int = 1000, wait: float = 0.03, retry_after: str = "0.05") -> None:
        self.most, self.wait, self.headers = most, wait, {"retry_after": retry_after}
        self.now = self.highest = self.refused = 0
        self.lock = threading.Lock()

    def __call__(self, prompt: str) -> Reply:
        with self.lock:
            self.now += 1
            self.highest = max(self.highest, self.now)
            refused = self.now > self.most
            self.refused += refused
        time.sleep(self.wait)
        with self.lock:
            self.now -= 1
        return failure(429, "slow down", **self.headers) if refused else answer(prompt)


def test_many_at_once_in_their_order_and_never_more(tmp_path: Path) -> None:
    busy, texts = Busy(), [str(n % 30) for n in range(60)]
    with ApiServer(otherwise=busy) as server, LLMClient("m", server.base_url, tmp_path / "a", at_once=6) as client:
        assert asking(client, texts) == texts
        assert busy.highest == 6 and len(server.requests) == 30 == client.sent == client.cached
    assert len({json.loads(line)["answer"] for line in (tmp_path / "a").open()}) == 30


def test_what_several_threads_want_is_asked_once() -> None:
    with ApiServer(otherwise=Busy(wait=0.2)) as server, LLMClient("m", server.base_url, at_once=8) as client:
        assert asking(client, ["same"] * 8) == ["same"] * 8 and len(server.requests) == 1


def test_a_rate_limit_slows_all_down_and_loses_nothing() -> None:
    busy, texts = Busy(most=2), [str(n) for n in range(40)]
    with ApiServer(otherwise=busy) as server, LLMClient("m", server.base_url, at_once=16, attempts=3) as client:
        assert asking(client, texts) == texts
    assert busy.refused and len(server.requests) == 40 + busy.refused < 100


def test_all_wait_for_what_one_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[float] = []

    def reply(prompt: str) -> Reply:
        came.append(time.monotonic())
        return failure(429, retry_after="0.5") if len(came) == 1 else answer(prompt)

    with ApiServer(otherwise=reply) as server, LLMClient("m", server.base_url, at_once=1) as client:
        threads = [threading.Thread(target=asking, args=(client, [name])) for name in "ab"]
        for thread in threads:
            thread.start()
            time.sleep(0.1)
        for thread in threads:
            thread.join()
    assert len(came) == 3 and came[1] - came[0] > 0.45


def test_a_failure_ends_the_others_and_what_was_paid_is_kept(tmp_path: Path) -> None:
    def reply(prompt: str) -> Reply:
        time.sleep(0.2 if prompt == "bad" else 0.05)
        return failure(401, "no") if prompt == "bad" else failure(500) if prompt == "ill" else answer(prompt)

    texts = ["a", "bad", "b", "ill", *map(str, range(200))]
    began = time.monotonic()
    with ApiServer(otherwise=reply) as server, \
            LLMClient("m", server.base_url, tmp_path / "c", at_once=4, backoff=30.0) as client, \
            pytest.raises(MedReportError, match="refused model"):
        asking(client, texts)
    assert time.monotonic() - began < 10 and len(server.requests) < 30
    assert LLMClient("m", server.base_url, tmp_path / "c").cached >= len(server.requests) - 2


def test_nothing_is_sent_behind_a_fatal_answer() -> None:
    late = threading.Event()

    def reply(prompt: str) -> Reply:
        if prompt == "slow":  # under way while the others fail and begin
            late.wait(5)
        return failure(401, "no") if prompt == "bad" else answer(prompt)

    with ApiServer(otherwise=reply) as server, LLMClient("m", server.base_url, at_once=3) as client:
        threading.Timer(0.5, late.set).start()
        with pytest.raises(MedReportError, match="refused model"):
            asking(client, ["slow", "bad", "slow", *map(str, range(50))])
        assert len(server.requests) <= 4  # those under way, and one that was sent while the first failed
        assert asking(client, ["a", "b"]) == ["a", "b"]  # another run may ask again


def test_a_form_that_was_refused_is_asked_for_once() -> None:
    def messages(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text}]

    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}
    with ApiServer(failure(400, "no response_format")) as server, \
            LLMClient("m", server.base_url, at_once=4) as client:
        assert list(client.each(lambda text: client.complete_in_form(messages(text), form), "abcdef")) == ["pong"] * 6
        assert client.takes_forms is False
        assert sum("response_format" in request for request in server.requests) == 1 and len(server.requests) == 7
    with ApiServer(failure(400, "filtered"), failure(400, "filtered")) as server, \
            LLMClient("m", server.base_url) as client:
        with pytest.raises(RequestRefused):  # the request itself: it says nothing of forms
            client.complete_in_form(messages("a"), form)
        assert client.takes_forms is None
        assert client.complete_in_form(messages("b"), form) == "pong" and client.takes_forms is True


def test_a_request_of_its_own_that_is_refused() -> None:
    with ApiServer(failure(400, "filtered"), failure(404, "gone")) as server, \
            LLMClient("m", server.base_url) as client:
        with pytest.raises(RequestRefused):
            asking(client, ["a"])
        with pytest.raises(MedReportError) as caught:
            asking(client, ["a"])
    assert not isinstance(caught.value, RequestRefused)


def test_tokens_and_cost_are_counted_once_an_answer_and_survive_a_new_start(tmp_path: Path) -> None:
    prices = Prices(2.0, 10.0)
    script = [counted("one"), counted(" ", 7, 0), counted("two", 20, 5), answer("three")]
    with ApiServer(*script) as server:
        with LLMClient("m", server.base_url, tmp_path / "a", prices=prices, sleep=lambda _: None) as client:
            asking(client, ["a", "b", "a", "c", "b"])
        assert client.used == Usage(3, 30, 8, 1) and client.paid == Usage(4, 37, 8, 1) and client.fresh == 3
        assert client.used.cost(prices) == pytest.approx((30 * 2 + 8 * 10) / 1e6)
        assert client.used.told(prices)["cost"] == 0.00014 and "price_in" not in client.used.told(None)
        again = LLMClient("m", server.base_url, tmp_path / "a")
        asking(again, ["c", "b", "a"])
        assert again.used == client.used and again.paid == Usage() and len(server.requests) == 4
    assert spent(client.used, prices) == ("30 prompt and 8 completion tokens (1 answers without a count), cost 0.0001 "
                                          "at 2 and 10 a million")
    assert Usage(2, 0, 0, 2).told(prices) == {} and "not reported" in spent(Usage(2, 0, 0, 2), prices)
    changed = (tmp_path / "a").read_text().replace('"tokens": [10', '"tokens": [1')
    (tmp_path / "a").write_text(changed)
    with pytest.raises(MedReportError, match="line 1: was changed"):
        asking(LLMClient("m", "http://127.0.0.1:9/v1", tmp_path / "a"), ["a"])


@pytest.mark.parametrize("usage", [[], "x", {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": True},
                                   {"prompt_tokens": 1.5, "completion_tokens": 1}, {"prompt_tokens": 1 << 60}])
def test_counts_that_are_none(usage: object) -> None:
    body = json.loads(answer("pong").body) | {"usage": usage}
    with ApiServer(Reply(json.dumps(body).encode())) as server, LLMClient("m", server.base_url) as client:
        assert asking(client, ["a"]) == ["pong"] and client.used == Usage(1, 0, 0, 1)


def test_prices_that_are_none() -> None:
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(MedReportError, match="a price"):
            Prices(bad)


def test_clients_share_a_cache_and_heal_it(tmp_path: Path) -> None:
    """Three clients, as three processes have them, ask for overlapping texts; a killed fourth left half a line."""
    (tmp_path / "a").write_text('{"key": "torn')
    with ApiServer(otherwise=Busy(wait=0.01)) as server:
        clients = [LLMClient("m", server.base_url, tmp_path / "a", at_once=3) for _ in range(3)]
        said: dict[int, list[str]] = {}

        def ask(number: int) -> None:
            said[number] = asking(clients[number], [str(n) for n in range(10 * number, 10 * number + 30)])

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert said == {number: [str(n) for n in range(10 * number, 10 * number + 30)] for number in range(3)}
        asked = len(server.requests)
        with LLMClient("m", server.base_url, tmp_path / "a") as client:
            assert asking(client, [str(n) for n in range(50)]) == [str(n) for n in range(50)]
        assert len(server.requests) == asked < 90


def test_an_endpoint_may_have_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY_API_EXAMPLE_COM", "sk-example-0123456789")
    assert read_key("https://api.example.com/v1") == "sk-example-0123456789"
    assert read_key("https://example.com/v1") == read_key("https://api-example.com/v1") == KEY == read_key()


def test_prompts_asked_for_several_at_once_are_those_asked_for_one_by_one(tmp_path: Path) -> None:
    def reply(prompt: str) -> Reply:
        time.sleep(0.001 * (len(prompt) % 7))
        return answer(reworded(prompt))

    with ApiServer(otherwise=reply) as server:
        pools = []
        for at_once in (1, 8):
            with LLMClient("m", server.base_url, at_once=at_once) as client:
                pools.append(rephrase(SEED_PROMPTS, 96, seed=3, client=client))
    assert pools[0] == pools[1] and len(pools[0]) == 96
