"""A loopback server that speaks the Hugging Face hub's protocol for a few tiny models, and a client process of its own.

The client is a process because huggingface_hub reads its endpoint and its cache from the environment when imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_loopback"
CLIENT = """
import json, os, sys, time
import torch
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.backbones import load_backbone
for line in sys.stdin:
    asked, start = json.loads(line), time.monotonic()
    os.environ.update(asked["environment"])
    try:
        model, tokenizer = load_backbone(asked["name"], torch.float32, revision=asked["revision"])
        said = {"logits": model(input_ids=torch.tensor([[5, 6, 7]])).logits[0, -1, :8].tolist(),
                "commit": model.config._commit_hash, "name": model.name_or_path, "vocabulary": len(tokenizer)}
    except MedReportError as error:
        said = {"error": error.message, "hint": error.hint}
    print(json.dumps(said | {"seconds": time.monotonic() - start}), flush=True)
"""


@dataclass
class Model:
    """One model: files by revision; `gated` for whom has no token; `cuts`: how often a download of weights breaks,
    after a `share` of what was asked for."""

    revisions: dict[str, dict[str, bytes]]
    gated: bool = False
    cuts: int = 0
    share: float = 0.5
    served: list[tuple[str, str]] = field(default_factory=list)

    def commit(self, revision: str) -> str | None:
        """The commit a revision stands for, which may be the commit itself."""
        commits = {name: hashlib.sha1(name.encode()).hexdigest() for name in self.revisions}
        return commits.get(revision) or (revision if revision in commits.values() else None)

    def files(self, commit: str) -> dict[str, bytes]:
        """The files of a commit."""
        return next(files for name, files in self.revisions.items() if self.commit(name) == commit)


class Hub(AbstractContextManager["Hub"]):
    """Serves `models`; `strange` keeps every request that is none of the hub's for one of them."""

    def __init__(self, models: dict[str, Model]) -> None:
        self.models = models
        self.strange: list[str] = []
        self.port = 0
        self._start()

    def _start(self) -> None:
        self._httpd = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._httpd.daemon_threads = True
        self.port = self._httpd.server_port
        self._thread = threading.Thread(target=self._httpd.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def _stop(self) -> None:
        self._httpd.shutdown()
        self._thread.join()
        self._httpd.server_close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nothing listens for a while."""
        self._stop()
        try:
            yield
        finally:
            self._start()

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _handler(hub) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):  # HTTP/1.0: one connection a request, so that `down` is down
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
                file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([0-9a-f]{40}|refs/pr/\d+|[^/]+)/(.+)", path)
                match = api or file
                if match is None:
                    hub.strange.append(f"{self.command} {path}")
                    return self.refuse(404, "EntryNotFound")
                model = hub.models.get(match[1])
                if model is None:
                    return self.refuse(401, "RepoNotFound")
                commit = model.commit(match[2] or "main")
                if commit is None:
                    return self.refuse(404, "RevisionNotFound")
                model.served.append((self.command, match[3] if file else "api"))
                if api:
                    return self.describe(match[1], model, commit)
                if model.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    has = "Authorization" in self.headers
                    return self.refuse(403 if has else 401, "GatedRepo")
                if match[3] not in model.files(commit):
                    return self.refuse(404, "EntryNotFound", commit)
                self.send_file(model, commit, match[3])

            def describe(self, repo: str, model: Model, commit: str) -> None:
                files = [{"rfilename": name, "size": len(data)} for name, data in model.files(commit).items()]
                self.answer(200, json.dumps({"id": repo, "modelId": repo, "sha": commit, "siblings": files,
                                             "gated": "manual" if model.gated else False}).encode())

            def send_file(self, model: Model, commit: str, name: str) -> None:
                data = model.files(commit)[name]
                headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit,
                           "Accept-Ranges": "bytes"}
                start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                first = int(start[1]) if start else 0
                if start:
                    headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
                cut = self.command == "GET" and name.endswith(".safetensors") and model.cuts > 0
                model.cuts -= cut
                kept = int((len(data) - first) * model.share) if cut else None
                self.answer(206 if start else 200, data[first:], headers, kept)

            def refuse(self, status: int, code: str, commit: str = "") -> None:
                self.answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": f"{code} says the hub",
                                            **({"X-Repo-Commit": commit} if commit else {})})

            def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None,
                       kept: int | None = None) -> None:
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command != "HEAD":
                    with suppress(ConnectionError):
                        self.wfile.write(body[:kept])

            def log_message(self, format: str, *args: object) -> None:
                """Keep the test output clean."""

        return Handler


class Client(AbstractContextManager["Client"]):
    """A process with a cache of its own that loads backbones from the hub."""

    def __init__(self, hub: Hub, home: Path) -> None:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        settings = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.port}", "HF_HOME": str(home), "OMP_NUM_THREADS": "1",
                    "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        self.process = subprocess.Popen([sys.executable, "-c", CLIENT], env=clean | settings, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def load(self, name: str, revision: str | None = None, **environment: str) -> dict[str, Any]:
        """What came of loading a backbone; `environment` holds from now on."""
        assert self.process.stdin and self.process.stdout
        asked = {"name": name, "revision": revision, "environment": environment}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()
