"""Instructions of a store: built, killed, resumed, and how prompts are drawn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from api_server import KEY, ApiServer, Reply, answer, failure, reworded
from toy_store import make_store

from emgecg_cli.commands.app import run
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions import build_instructions, offline, open_instructions
from emgecg_cli.core.instructions.forms import prompt_id_of
from emgecg_cli.core.instructions.pool import SEED_PROMPTS
from emgecg_cli.core.llm import LLMClient


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store", [f"r{i:03d}" for i in range(50)])


def client_of(server: ApiServer, cache: Path | None = None, attempts: int = 3) -> LLMClient:
    return LLMClient("loopback", server.base_url, cache, attempts=attempts, sleep=lambda _: None)


def good_answer(prompt: str) -> Reply:
    return answer(reworded(prompt))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file()}


def test_a_record_without_a_report_is_refused_by_name(tmp_path: Path) -> None:
    silent = make_store(tmp_path / "silent", ["a", "b", "c"], silent=["b"])
    with pytest.raises(MedReportError, match=f"{silent}, record 'b': no report") as caught:
        build_instructions(silent, tmp_path / "i")
    assert "more records" not in caught.value.message and not (tmp_path / "i").exists()


def test_build_and_open(store: Path, tmp_path: Path) -> None:
    result = build_instructions(store, tmp_path / "i", pool_size=128, seed=3)
    assert not result.already_finished and result.requests == 0
    assert result.manifest.arguments == {"pool_size": 128, "rephraser": "offline", "seed": 3}
    assert sorted(contents(tmp_path / "i")) == ["instructions.jsonl", "manifest.json", "prompts.json"]
    opened = open_instructions(tmp_path / "i")
    assert opened.manifest == result.manifest and opened.prompts == offline.rephrase(SEED_PROMPTS, 128, seed=3)
    assert list(opened.rows) == [f"r{i:03d}" for i in range(50)]
    row = opened.rows["r007"]
    assert row.prompt_id == prompt_id_of("r007", 128, 3)
    assert row.messages == [
        {"role": "user", "content": [{"type": "ecg"}, {"type": "text", "text": opened.prompts[row.prompt_id]}]},
        {"role": "assistant", "content": "report of r007, 72/min"}]
    origins = [entry["origin"] for entry in json.loads((tmp_path / "i/prompts.json").read_text())["prompts"]]
    assert origins == ["hand-written"] * 32 + ["offline"] * 96
    assert str(tmp_path) not in (tmp_path / "i/prompts.json").read_text()


def test_the_draw_is_uniform_and_each_record_its_own(tmp_path: Path) -> None:
    ids = [f"r{i}" for i in range(60)]
    first = build_instructions(make_store(tmp_path / "a", ids), tmp_path / "ia", pool_size=64)
    second = build_instructions(make_store(tmp_path / "b", [*ids[:20:-1], "new"]), tmp_path / "ib", pool_size=64)
    rows, fewer = open_instructions(first.path).rows, open_instructions(second.path).rows
    assert all(fewer[name].messages == rows[name].messages for name in ids[21:])
    assert [prompt_id_of(name, 64, 0) for name in ids] != [prompt_id_of(name, 64, 1) for name in ids]
    observed = Counter(prompt_id_of(f"record {i}", 64, 0) for i in range(64_000))
    chi_squared = sum((observed[number] - 1000) ** 2 / 1000 for number in range(64))
    assert 30 < chi_squared < 110  # 63 degrees of freedom


def test_a_pool_of_one_is_one_fixed_prompt(store: Path, tmp_path: Path) -> None:
    build_instructions(store, tmp_path / "i", pool_size=1)
    opened = open_instructions(tmp_path / "i")
    assert opened.prompts == [SEED_PROMPTS[0]] and {row.prompt_id for row in opened.rows.values()} == {0}


def test_finished_is_finished_and_not_overwritten(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "i"
    first = build_instructions(store, out, pool_size=40)
    before = contents(out)
    again = build_instructions(store, out, pool_size=40)
    assert again.already_finished and again.manifest == first.manifest
    with pytest.raises(MedReportError, match=r"made with pool_size 40 \(now 41\)") as caught:
        build_instructions(store, out, pool_size=41)
    assert "--out" in str(caught.value.hint)
    with pytest.raises(MedReportError, match=r"seed 0 \(now 1\)"):
        build_instructions(store, out, pool_size=40, seed=1)
    with pytest.raises(MedReportError, match="made from another store"):
        build_instructions(make_store(tmp_path / "other", ["x"]), out, pool_size=40)
    assert contents(out) == before


@pytest.mark.parametrize(("options", "says"), [
    ({"pool_size": -1}, "a pool of -1"), ({"pool_size": 2049}, "a pool of 2049"),
    ({"rephraser": "ofline"}, "did you mean"),
    ({"model": "gpt-x"}, "takes no --model"), ({"base_url": "http://127.0.0.1:9/v1"}, "takes no --base-url"),
    ({"rephraser": "openai", "base_url": "nowhere"}, "not an http"),
])
def test_bad_arguments(options: dict[str, object], says: str, store: Path, tmp_path: Path) -> None:
    with pytest.raises(MedReportError, match=says):
        build_instructions(store, tmp_path / "i", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "i").exists()


def test_places_that_hold_something_else(store: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("")
    for place, says in ((tmp_path / "mine", "not empty"), (tmp_path / "file", "did not make"), (store, "kind is store"),
                        (tmp_path / "file/below", "cannot be")):
        before = contents(tmp_path)
        with pytest.raises(MedReportError, match=says):
            build_instructions(store, place)
        assert contents(tmp_path) == before
    with pytest.raises(MedReportError, match="no such store"):
        build_instructions(tmp_path / "none", tmp_path / "i")


# built by a model

def test_build_by_a_model_writes_no_key_and_goes_on_where_it_stopped(store: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "i", tmp_path / "whole"
    dead = [failure(500)] * 2
    with ApiServer(otherwise=good_answer) as server:
        def build(place: Path, attempts: int = 2) -> int:
            client = client_of(server, place / ".cache/answers.jsonl", attempts)
            return build_instructions(store, place, pool_size=96, rephraser="openai", client=client).requests

        assert build(whole) == 32
        server.script = [good_answer(request["messages"][0]["content"]) for request in server.requests[:10]] + dead
        with pytest.raises(MedReportError) as caught:
            build(out)
        assert str(caught.value.hint).startswith("10 answers are kept")
        server.requests.clear()
        assert build(out) == len(server.requests) == 22
        assert contents(out) == contents(whole)
        assert build(out) == 0
    assert KEY.encode() not in b"".join(contents(tmp_path).values())
    assert open_instructions(out).manifest.arguments["base_url"] == server.base_url


def test_build_by_a_model_killed_between_calls(store: Path, tmp_path: Path) -> None:
    """SIGKILL while the server thinks about its twelfth answer; the second run asks for that one and the rest."""
    out = tmp_path / "i"
    code = ("import sys; from pathlib import Path; from emgecg_cli.core.instructions import build_instructions; "
            "build_instructions(Path(sys.argv[1]), Path(sys.argv[2]), pool_size=96, rephraser='openai', "
            "base_url=sys.argv[3], model='loopback', requests_at_once=1)")
    hold = [True]

    def reply(prompt: str) -> Reply:
        while hold[0] and len(server.requests) >= 12:
            time.sleep(0.01)
        return good_answer(prompt)

    with ApiServer(otherwise=reply) as server:
        command = [sys.executable, "-c", code, str(store), str(out), server.base_url]
        with subprocess.Popen(command, env=os.environ) as process:
            while len(server.requests) < 12 and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        hold[0] = False
        assert sorted(contents(out)) == [".cache/answers.jsonl", ".plan.json.lock", "plan.json"]
        for place, n_requests in ((out, 11 + 1 + 21), (tmp_path / "whole", 33 + 32)):
            build_instructions(store, place, pool_size=96, rephraser="openai", base_url=server.base_url,
                               model="loopback", requests_at_once=1)
            assert len(server.requests) == n_requests
    assert contents(out) == contents(tmp_path / "whole")


def test_what_a_pool_cost_is_said_and_stands_in_the_manifest(store: Path, tmp_path: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    def counted(prompt: str) -> Reply:
        usage = {"usage": {"prompt_tokens": 50, "completion_tokens": 40}}
        return Reply(json.dumps(json.loads(good_answer(prompt).body) | usage).encode())

    out = tmp_path / "i"
    with ApiServer(otherwise=counted) as server:
        line = ["build-instructions", str(store), "--pool-size", "96", "--out", str(out), "--price-in", "2"]
        endpoint = ["--rephraser", "openai", "--base-url", server.base_url, "--requests-at-once", "8"]
        assert run(line) == 2 and "takes no --price-in" in capsys.readouterr().err
        assert run([*line, *endpoint, "--price-out", "10"]) == 0
        n = len(server.requests)
    said = capsys.readouterr().err
    assert f"{n} requests now, {50 * n:,} prompt and {40 * n:,} completion tokens, cost" in said
    told = open_instructions(out).manifest.details["endpoint"]
    assert told["answers"] == n and told["cost"] == pytest.approx(n * (50 * 2 + 40 * 10) / 1e6)
    assert "answers" not in open_instructions(out).manifest.arguments


def test_a_wrong_key_leaves_no_trace_of_it(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-this-one-0123456789")
    with ApiServer(otherwise=good_answer) as server, pytest.raises(MedReportError) as caught:
        build_instructions(store, tmp_path / "i", rephraser="openai", base_url=server.base_url, model="loopback")
    assert "not-this-one" not in f"{caught.value.message}{caught.value.hint}{contents(tmp_path)}"
