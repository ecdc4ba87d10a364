"""What a killed `generate` or a language model left, with a bit flipped: asked for again or refused, never used."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from api_server import KEY, ApiServer
from fuse import Fuse
from pipeline import contents

from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation import generate_reports
from emgecg_cli.core.llm import LLMClient
from emgecg_cli.core.references import read_references

CONFIG = GenerateConfig(max_new_tokens=4, batch_size=2)


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("writer", [None, (1, 2)])
def test_unfinished_predictions(short_run: Path, tmp_path: Path, fuse: Fuse, writer: tuple[int, int] | None) -> None:
    """Half-way through, in the file or in a writer's part: reports, notes of their hashes, the plan."""
    def work(folder: Path, by: tuple[int, int] | None = None) -> object:
        return generate_reports(short_run, folder / "p.jsonl", CONFIG, writer=by)

    work(tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    operations = fuse.burn(lambda: work(tmp_path / "counted", writer), tmp_path / "counted", -1)
    half = tmp_path / "half"
    fuse.burn(lambda: work(half, writer), half, operations if writer else 2 * operations // 3)
    found = [path for path in sorted(half.iterdir()) if path.stat().st_size]
    assert any(path.suffix == ".sums" for path in found) and len(found) == 3
    rng, refused = random.Random(0), 0
    for path in found:
        for _ in range(6):
            copy = shutil.copytree(half, tmp_path / "copy")
            flip(copy / path.name, rng)
            try:
                work(copy)
            except MedReportError as error:
                assert "plan" in path.name and error.hint
                refused += 1
            else:
                assert contents(copy) == expected, path
            shutil.rmtree(copy)
    assert refused
    work(half)
    assert contents(half) == expected


def test_an_older_unfinished_file_without_notes_is_gone_on_with(short_run: Path, tmp_path: Path, fuse: Fuse) -> None:
    def work(folder: Path) -> object:
        return generate_reports(short_run, folder / "p.jsonl", CONFIG)

    operations = fuse.burn(lambda: work(tmp_path / "whole"), tmp_path / "whole", -1)
    half = tmp_path / "half"
    fuse.burn(lambda: work(half), half, 2 * operations // 3)
    (half / ".p.jsonl.sums").unlink()
    before = (half / "p.jsonl").read_bytes()
    assert before
    work(half)
    assert contents(half) == contents(tmp_path / "whole")


def test_an_answer_that_was_changed_in_the_cache_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    cache = tmp_path / "answers.jsonl"

    def ask(url: str) -> str:
        with LLMClient("m", url, cache, sleep=lambda _: None) as client:
            return client.complete([{"role": "user", "content": "hello"}])

    with ApiServer() as server:
        assert ask(server.base_url) == "pong" and len(server.requests) == 1
        before, rng = cache.read_bytes(), random.Random(1)
        for _ in range(60):
            flip(cache, rng)
            try:
                assert ask(server.base_url) == "pong"
            except MedReportError as error:
                assert "line 1" in error.message or "answers.jsonl" in error.message
            cache.write_bytes(before)
        older = before.replace(b', "hash": "', b', "other": "')
        cache.write_bytes(older)
        asked = len(server.requests)
        assert ask(server.base_url) == "pong" and len(server.requests) == asked


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_references_are_read_from_a_plain_file_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "references.json"
    os.mkfifo(path) if kind == "fifo" else path.symlink_to("/dev/zero")
    with pytest.raises(MedReportError, match="neither a plain file"):
        read_references(path)
