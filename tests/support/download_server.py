"""A loopback HTTP server that hands out a set's files as asked: by ranges, cut off, late, wrong, or somewhere else.

It also answers as Zenodo's API and as the Hugging Face hub do, as far as a download asks them.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


def sums_of(files: dict[str, bytes]) -> bytes:
    """SHA256SUMS.txt of these files."""
    return "".join(f"{hashlib.sha256(data).hexdigest()} {name}\n" for name, data in files.items()).encode()


def git_hash(data: bytes) -> str:
    """What git calls these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Behaviour:
    """How the server treats its files.

    `cuts`: after how many bytes the next answers of a file break off. `wrong`: how many answers have a byte changed.
    `refusals`: statuses that come first, with `retry_after`. `moved`: Location of a file's redirect. `other_ranges`:
    how many answers to a Range begin a byte too early.
    """

    ranges: bool = True
    tags: bool = True
    length: bool = True
    cuts: dict[str, list[int]] = field(default_factory=dict)
    wrong: Counter[str] = field(default_factory=Counter)
    refusals: dict[str, list[int]] = field(default_factory=dict)
    retry_after: str | None = None
    moved: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    other_ranges: int = 0


class DownloadServer(AbstractContextManager["DownloadServer"]):
    """Serves `files` by path; `asked` counts requests by path, `ranges_asked` lists their Range headers, `sent` counts
    the bytes of each file, `secrets` keeps headers that no download should send."""

    def __init__(self, files: dict[str, bytes], behaviour: Behaviour | None = None) -> None:
        self.files, self.behaviour = files, behaviour or Behaviour()
        self.asked, self.sent = Counter[str](), Counter[str]()
        self.ranges_asked: list[tuple[str, str, str]] = []
        self.secrets: list[str] = []
        self.lock = threading.Lock()
        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._httpd.daemon_threads = True
        self._thread = threading.Thread(target=self._httpd.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._httpd.server_port}"

    def __exit__(self, *_: object) -> None:
        self._httpd.shutdown()
        self._thread.join()
        self._httpd.server_close()


def _handler(server: DownloadServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            name = unquote(urlsplit(self.path).path).lstrip("/")
            how = server.behaviour
            with server.lock:
                server.asked[name] += self.command == "GET"
                server.secrets += [self.headers[key] for key in ("Authorization", "Cookie") if key in self.headers]
                refusal = how.refusals.get(name) or [0]
                status = refusal.pop(0)
            if status:
                return self.answer(status, b"", {"Retry-After": how.retry_after} if how.retry_after else {})
            if name in how.moved:
                return self.answer(302, b"", {"Location": how.moved[name]})
            hub = re.fullmatch(r"datasets/([^/]+/[^/]+)/resolve/[0-9a-f]{40}/(.+)", name)
            if hub:
                if how.gated:
                    return self.answer(401, b"{}", {"X-Error-Code": "GatedRepo"})
                name = f"{hub[1]}/{hub[2]}"
            if name not in server.files:
                return self.answer(404, b"no such file")
            self.send_file(name, server.files[name], {"X-Repo-Commit": "a" * 40} if hub else {})

        def send_file(self, name: str, data: bytes, headers: dict[str, str]) -> None:
            how, tag = server.behaviour, f'"{hashlib.sha1(server.files[name]).hexdigest()}"'
            if how.tags:
                headers["ETag"] = tag
            if how.tags and self.headers.get("If-None-Match") == tag:
                return self.answer(304, b"", headers)
            with server.lock:
                wrong = how.wrong[name] > 0
                how.wrong[name] -= wrong
                kept = (how.cuts.get(name) or [None]).pop(0)  # type: ignore[list-item]
                asked = self.headers.get("Range", "")
                server.ranges_asked.append((name, asked, self.headers.get("If-Range", "")))
            if wrong:
                data = data[:-1] + bytes([data[-1] ^ 1])
            start = re.fullmatch(r"bytes=(\d+)-", asked)
            first = int(start[1]) if start and how.ranges and self.headers.get("If-Range", tag) == tag else 0
            if first and how.other_ranges:
                how.other_ranges -= 1
                first -= 1
            if first >= len(data) > 0 and first:
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            if first:
                headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
            with server.lock:
                server.sent[name] += len(data[first:][:kept])
            self.answer(206 if first else 200, data[first:], headers, kept)

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None,
                   kept: int | None = None) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            if status != 304 and server.behaviour.length:
                self.send_header("Content-Length", str(len(body)))
            with suppress(ConnectionError):
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body[:kept])
            self.close_connection = self.close_connection or kept is not None or not server.behaviour.length

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test output clean."""

    return Handler


def zenodo_files(files: dict[str, bytes]) -> dict[str, bytes]:
    """A Zenodo record of these files, as its API serves it at `record`."""
    listed = [{"key": name, "size": len(data), "checksum": f"md5:{hashlib.md5(data).hexdigest()}"}
              for name, data in files.items()]
    return {"record": json.dumps({"files": listed}).encode(),
            **{f"record/files/{name}/content": data for name, data in files.items()}}


def hub_files(repo: str, files: dict[str, bytes], large: tuple[str, ...] = ()) -> dict[str, bytes]:
    """A data set repository as the hub serves it; `large` files are listed with their SHA-256."""
    siblings = [{"rfilename": name, "size": len(data), "blobId": git_hash(data)}
                | ({"lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}}
                   if name in large else {}) for name, data in files.items()]
    described = {"id": repo, "sha": "a" * 40, "siblings": siblings, "private": False, "tags": [], "downloads": 0,
                 "likes": 0}
    return {f"api/datasets/{repo}": json.dumps(described).encode(),
            **{f"{repo}/{name}": data for name, data in files.items()}}


def lies_in(root: Path) -> dict[str, bytes]:
    """The files of a root by name, without ledger and list."""
    ours = (".medreport-verified.jsonl", "SHA256SUMS.txt", "zenodo-record.json")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*"))
            if path.is_file() and path.name not in ours}
