"""Servers that never end are given up: in bytes and in time, by the language models' client and by downloads."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from api_server import KEY
from download_server import DownloadServer, sums_of
from slow_server import (
    Answer,
    SlowServer,
    endless_body,
    endless_error,
    packed_bomb,
    slow_body,
    slow_chunks,
    slow_headers,
)

from emgecg_cli.core.downloads.run import download
from emgecg_cli.core.downloads.transfer import Patience, connect, receive
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.llm import LLMClient
from emgecg_cli.core.llm import client as llm

NEVER_ENDING = [slow_body, slow_headers, slow_chunks, endless_body, endless_error, packed_bomb]
SHORT = Patience(attempts=2, backoff=0.01, max_wait=0.02, timeout=5.0, grace=0.6, slowest=10_000.0)


@pytest.mark.parametrize("answer", NEVER_ENDING)
def test_an_endpoint_that_never_ends_is_given_up(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(llm, "LARGEST_ANSWER", 1 << 20)
    began = time.monotonic()
    with SlowServer(answer) as server, \
            LLMClient("m", f"{server.url}/v1", attempts=2, sleep=lambda _: None, timeout=5.0, longest=0.8) as client, \
            pytest.raises(MedReportError, match="no answer in 2 attempts") as error:
        client.complete([{"role": "user", "content": "hello"}])
    said = error.value.message
    expected = {slow_body: "not whole within 0.8 s", slow_headers: "not whole within 0.8 s",
                slow_chunks: "not whole within 0.8 s", packed_bomb: "compressed"}
    assert expected.get(answer, "more than 1048576 bytes") in said
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("answer", NEVER_ENDING)
def test_a_mirror_that_never_ends_is_given_up(answer: Answer, tmp_path: Path) -> None:
    began = time.monotonic()
    with SlowServer(answer) as server, connect(server.url, 1, SHORT) as site:
        try:
            outcome = receive(site, "file", tmp_path / "f.part", "sha256", 200_000)
            said = outcome.message  # type: ignore[union-attr]
        except MedReportError as error:
            said = error.message
    expected = {endless_body: "more than 200000 bytes", endless_error: "HTTP 500", packed_bomb: "compressed"}
    assert expected.get(answer, "slower than 10000 bytes a second") in said
    assert time.monotonic() - began < 15
    assert not (tmp_path / "f.part").exists() or (tmp_path / "f.part").stat().st_size <= 200_000


def test_a_whole_download_from_such_a_mirror_ends_with_a_line(tmp_path: Path) -> None:
    listed = f"{hashlib.sha256(b'x').hexdigest()} ludb.csv\n".encode()
    refused = pytest.raises(MedReportError, match="slower than")
    with SlowServer(slow_body, {"SHA256SUMS.txt": listed}) as server, refused as error:
        download("ludb", tmp_path, base_url=server.url, patience=SHORT)
    assert "same command again" in str(error.value.hint)


def test_a_file_larger_than_its_record_says_is_no_file_of_it(tmp_path: Path) -> None:
    data = b"a" * 50
    record = {"files": [{"key": "exams.csv", "size": 20, "checksum": f"md5:{hashlib.md5(data).hexdigest()}"}]}
    served = {"record": json.dumps(record).encode(), "record/files/exams.csv/content": data}
    with DownloadServer(served) as server, pytest.raises(MedReportError, match="more than 20 bytes"):
        download("code15", tmp_path, base_url=f"{server.url}/record", patience=SHORT)


def test_a_slow_but_steady_answer_is_waited_for(tmp_path: Path) -> None:
    """Twice the grace, at more than the slowest rate."""
    def steady():
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"
        for _ in range(12):
            time.sleep(0.1)
            yield b"x" * 5000

    with SlowServer(steady) as server, connect(server.url, 1, SHORT) as site:
        outcome = receive(site, "file", tmp_path / "f.part", "sha256", 60_000)
    assert outcome.digest == hashlib.sha256(b"x" * 60_000).hexdigest()  # type: ignore[union-attr]


# Links inside the root

@pytest.mark.parametrize("kind", ["folder", "file", "part", "ledger", "list", "fifo", "dangling"])
def test_links_inside_the_root_are_not_followed(tmp_path: Path, kind: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "victim").write_text("mine")
    links = {"folder": ("data", outside), "file": ("ludb.csv", outside / "victim"),
             "part": ("ludb.csv.part", outside / "victim"), "ledger": (".medreport-verified.jsonl", outside / "victim"),
             "list": ("SHA256SUMS.txt.part", outside / "victim"), "dangling": ("ludb.csv", outside / "new")}
    if kind == "fifo":
        os.mkfifo(root / "ludb.csv.part")
    else:
        (root / links[kind][0]).symlink_to(links[kind][1])
    files = {"ludb.csv": b"id\n", "data/1.dat": b"123"}
    refused = pytest.raises(MedReportError, match=r"a link, which a download does not follow|in the way")
    with DownloadServer(files | {"SHA256SUMS.txt": sums_of(files)}) as server, refused as error:
        download("ludb", root, base_url=server.url, patience=SHORT)
    assert error.value.hint
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"victim": "mine"}


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "disk")
    files = {"ludb.csv": b"id\n", "data/1.dat": b"123"}
    with DownloadServer(files | {"SHA256SUMS.txt": sums_of(files)}) as server:
        assert download("ludb", tmp_path / "root", base_url=server.url, patience=SHORT).files >= 1
    assert (tmp_path / "disk/ludb.csv").read_bytes() == b"id\n"


# The hub, through its own client

@pytest.mark.parametrize("answer", [slow_body, slow_headers, endless_body])
def test_a_hub_that_never_ends_is_given_up(answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    from emgecg_cli.core.downloads import hub as sets
    from emgecg_cli.core.models import hub as models

    monkeypatch.setattr(sets, "LIST_SECONDS", 0.8)
    monkeypatch.setattr(models, "ASKING", 0.8)
    monkeypatch.setattr(sets, "LARGEST_LIST", 1 << 20)
    monkeypatch.setattr(models, "LARGEST_ANSWER", 1 << 20)
    began = time.monotonic()
    with SlowServer(answer) as server:
        monkeypatch.setattr(models, "HfApi", lambda: HfApi(endpoint=server.url))
        with pytest.raises(MedReportError, match=r"not whole within 0.8 s|more than 1048576 bytes"):
            download("etm", tmp_path, base_url=server.url)
        _, missing = models._ask(models.Place("a/b", repo="a/b"))
        assert "not whole within" in missing[0].what or "more than 1048576 bytes" in missing[0].what
    assert time.monotonic() - began < 20
