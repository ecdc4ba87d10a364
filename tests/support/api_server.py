"""A real HTTP server on loopback that answers like the chat completions of the OpenAI API, well or badly."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-loopback-secret-0123456789"


@dataclass(frozen=True)
class Reply:
    """One HTTP answer; `cut` promises the whole body and hangs up half-way, `delay` waits before answering."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    delay: float = 0.0


def answer(text: object, **message: Any) -> Reply:
    """A chat completion whose only choice is this text; a list becomes its JSON."""
    text = json.dumps(text) if isinstance(text, list) else text
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
    values = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "loopback", "choices": [choice]}
    return Reply(json.dumps(values).encode())


def reworded(prompt: str) -> list[str]:
    """Eight valid prompts that nothing but the request decides, as a model might reword it."""
    mark = "".join(chr(97 + digit % 26) for digit in hashlib.sha256(prompt.encode()).digest()[:6])
    return [f"Please write report {mark} {number} on this ECG."
            for number in ("one", "two", "three", "four", "five", "six", "seven", "eight")]


def failure(status: int, message: str = "went wrong", code: str | None = None, **headers: str) -> Reply:
    """An error as the API words it; `retry_after="1"` becomes the header Retry-After."""
    body = json.dumps({"error": {"message": message, "type": "error", "param": None, "code": code}}).encode()
    return Reply(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


class ApiServer(AbstractContextManager["ApiServer"]):
    """Serves `script` reply by reply, then `otherwise(prompt)`; `requests` keeps the bodies, `keys` the bearer keys."""

    def __init__(self, *script: Reply, otherwise: Callable[[str], Reply] = lambda prompt: answer("pong")) -> None:
        self.script = list(script)
        self.otherwise = otherwise
        self.requests: list[dict[str, Any]] = []
        self.keys, self.paths = list[str](), list[str]()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two writes; waiting for the ACK costs 40 ms

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append(body)
                server.keys.append(self.headers.get("Authorization", "").removeprefix("Bearer "))
                server.paths.append(self.path)
                if server.keys[-1] != KEY:
                    reply = failure(401, f"Incorrect API key provided: {server.keys[-1]}.", "invalid_api_key")
                else:
                    reply = server.script.pop(0) if server.script else server.otherwise(body["messages"][-1]["content"])
                self.reply(reply)

            def reply(self, reply: Reply) -> None:
                time.sleep(reply.delay)
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                with suppress(ConnectionError):  # a client that has run out of patience is gone
                    self.end_headers()
                    self.wfile.write(reply.body[:len(reply.body) // 2] if reply.cut else reply.body)
                self.close_connection = self.close_connection or reply.cut

            def log_message(self, format: str, *args: object) -> None:
                """Keep the test output clean."""

        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._httpd.daemon_threads = True
        self._thread = threading.Thread(target=self._httpd.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._httpd.server_port}/v1"

    def __exit__(self, *_: object) -> None:
        self._httpd.shutdown()
        self._thread.join()
        self._httpd.server_close()
