"""The one client for language models behind an OpenAI-compatible endpoint: cached, resumable, patient.

Used wherever a step asks a model for text. Nothing is sent before the first `complete` that the cache cannot answer.
The key comes from the environment variable OPENAI_API_KEY and is written nowhere: not to the cache, not to an error.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from emgecg_cli.core.artifacts import to_json
from emgecg_cli.core.bounded_http import Limits, bound, refuse_encodings, within
from emgecg_cli.core.endpoints import is_http_address, is_loopback, retry_after
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import json_hash

KEY_VARIABLE = "OPENAI_API_KEY"
LARGEST_ANSWER = 1 << 24  # bytes
HINTS = {
    401: f"set {KEY_VARIABLE} to a key of this endpoint", 403: f"the key in {KEY_VARIABLE} may not use this model",
    404: "check --base-url (it usually ends in /v1) and --model",
}


@dataclass(frozen=True)
class _Retry:
    """Why a request is to be sent again, and the seconds the server asked to wait, if it did."""

    reason: str
    wait: float | None = None


@dataclass
class LLMClient:
    """Asks one model at one endpoint; every answer is kept in the JSON-lines file `cache`, when there is one.

    A request is sent at most `attempts` times: again after 408, 409, 429, 5xx, a silence of `timeout` seconds, a cut
    connection, an answer that is no chat completion, larger than LARGEST_ANSWER or not whole after `longest` seconds;
    after `backoff` seconds that double each time, or after what the server's Retry-After asks for, in both cases at
    most `max_wait` seconds. `sent` counts the requests. Endpoints on this machine are never reached through a proxy,
    and redirects are not followed. Close it, or use it in `with`.
    """

    model: str
    base_url: str
    cache: Path | None = None
    attempts: int = 6
    backoff: float = 1.0
    max_wait: float = 60.0
    timeout: float = 120.0
    longest: float = 600.0
    sleep: Callable[[float], None] = time.sleep
    sent: int = field(default=0, init=False)
    _answers: dict[str, str] | None = field(default=None, init=False, repr=False)
    _whole: int | None = field(default=None, init=False, repr=False)
    _connection: Any = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        check_base_url(self.base_url)

    def __enter__(self) -> LLMClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a later `complete` opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def cached(self) -> int:
        """How many answers the cache holds."""
        with self._lock:
            return len(self._loaded())

    def complete(self, messages: Sequence[Mapping[str, Any]], **params: Any) -> str:
        """The model's answer to a chat; `params` go into the request (temperature, max_tokens, response_format …).

        The same model, messages and params are answered from the cache. A model's refusal is an answer like any other.
        Raises MedReportError when there is no key, the endpoint refuses, or it does not answer in `attempts` attempts.
        """
        key = json_hash({"model": self.model, "messages": list(messages), "params": params})
        with self._lock:
            answer = self._loaded().get(key)
        if answer is None:
            answer = self._ask(messages, params)
            with self._lock:
                self._keep(key, answer)
        return answer

    def _ask(self, messages: Sequence[Mapping[str, Any]], params: dict[str, Any]) -> str:
        reason = ""
        for attempt in range(self.attempts):
            outcome = self._send(messages, params)
            if isinstance(outcome, str):
                return outcome
            reason = outcome.reason
            if attempt + 1 < self.attempts:
                self.sleep(min(self.max_wait, self.backoff * 2**attempt if outcome.wait is None else outcome.wait))
        kept = f"{self.cached} answers are kept" if self.cache is not None else "no answers are kept"
        raise MedReportError(f"{self.base_url}: no answer in {self.attempts} attempts; the last: {reason}",
                             f"{kept}; run the same command again later, it asks only for what is missing")

    def _send(self, messages: Sequence[Mapping[str, Any]], params: dict[str, Any]) -> str | _Retry:
        key = read_key()
        openai = _import_openai()
        with self._lock:
            self._connection = self._connection or self._connect(openai, key)
            self.sent += 1
        limits = Limits(self.longest, LARGEST_ANSWER)
        try:
            with within(limits):
                raw = self._connection.chat.completions.with_raw_response.create(
                    model=self.model, messages=list(messages), **params)
        except openai.APITimeoutError:
            return _Retry(limits.why_late() if limits.left <= 0 else f"nothing came within {self.timeout:g} s")
        except openai.APIConnectionError as error:
            return _Retry(_quote(f"connection failed ({error.__cause__ or error})", key))
        except openai.APIStatusError as error:
            said = _quote(str(error.message), key)
            temporary = error.status_code in (408, 409, 429) or error.status_code >= 500
            if not temporary or error.code == "insufficient_quota":  # no waiting helps an empty account
                hint = HINTS.get(error.status_code, "check --base-url, --model and the account behind the key")
                raise MedReportError(f"{self.base_url} refused model '{self.model}': {said}", hint) from None
            return _Retry(said, retry_after(error.response.headers.get("retry-after", "")))
        answer = _read_answer(raw.text)
        return _without(answer, key) if isinstance(answer, str) else answer

    def _connect(self, openai: Any, key: str) -> Any:
        http = bound(openai.DefaultHttpxClient(
            follow_redirects=False, trust_env=not is_loopback(self.base_url), headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [refuse_encodings]}))
        return openai.OpenAI(api_key=key, base_url=self.base_url, max_retries=0, timeout=self.timeout, http_client=http)

    def _loaded(self) -> dict[str, str]:
        if self._answers is None:
            self._answers, self._whole = ({}, 0) if self.cache is None else _read_cache(self.cache)
        return self._answers

    def _keep(self, key: str, answer: str) -> None:
        """Append one line; what a killed run left of an unfinished line is cut off first."""
        self._loaded()[key] = answer
        if self.cache is None:
            return
        row = {"key": key, "model": self.model, "answer": answer, "hash": json_hash([key, answer])}
        line = (to_json(row) + "\n").encode("utf-8", "surrogatepass")
        try:
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            with self.cache.open("ab") as stream:
                if self._whole is not None:
                    stream.truncate(self._whole)
                    self._whole = None
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise MedReportError(f"{self.cache}: cannot be written ({error.strerror})", "check the path") from None


def read_key() -> str:
    """The key in the environment; MedReportError, which does not show it, when there is none or it cannot be one."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        raise MedReportError(f"{KEY_VARIABLE} is not set", f"export {KEY_VARIABLE}=… (any word where none is needed)")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise MedReportError(f"{KEY_VARIABLE} holds characters that no key has", "copy the key again")
    return key


def check_base_url(base_url: str) -> None:
    """Refuse what is no http(s) address, and one that carries a key or a password, since addresses are written down."""
    if not is_http_address(base_url):
        raise MedReportError("the base URL is not an http(s) address", "it looks like https://api.openai.com/v1")
    parts = urlsplit(base_url)
    if parts.username is not None or parts.query or parts.fragment:
        raise MedReportError("the base URL carries a user name or a query", f"the key belongs in {KEY_VARIABLE}")


def _import_openai() -> Any:
    try:
        import openai
    except ImportError:
        raise MedReportError("the openai package is not installed", "pip install 'medreport[llm]'") from None
    return openai


def _read_answer(body: str) -> str | _Retry:
    """The text in the body of a chat completion."""
    try:
        message = json.loads(body)["choices"][0]["message"]
        text = message.get("content") or message.get("refusal")
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        return _Retry("the answer is no chat completion")
    return text if isinstance(text, str) and text.strip() else _Retry("the answer is empty")


def _read_cache(path: Path) -> tuple[dict[str, str], int]:
    """Answers by key, and the length in bytes of the whole lines: what follows the last newline was cut off."""
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise MedReportError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    whole = data.rfind(b"\n") + 1
    answers: dict[str, str] = {}
    for number, line in enumerate(data[:whole].splitlines(), 1):
        try:
            row = json.loads(line)
            key, answer = row["key"], row["answer"]
            changed = "hash" in row and row["hash"] != json_hash([key, answer])  # older lines have none
        except (ValueError, RecursionError, KeyError, TypeError):
            key, answer, changed = None, None, False
        if changed:
            raise MedReportError(f"{path}, line {number}: was changed after it was written",
                                 "remove that line: it is asked for again")
        if not isinstance(key, str) or not isinstance(answer, str):
            raise MedReportError(f"{path}, line {number}: not an answer of this cache", "remove that line or the file")
        answers[key] = answer
    return answers, whole


def _quote(text: str, key: str) -> str:
    """What a server said, as a part of one line, without the key."""
    return " ".join("".join(c if c.isprintable() else " " for c in _without(text, key)).split())[:300]


def _without(text: str, key: str) -> str:
    """Some servers echo the key. A stand-in for one ("none", "x") is short, and may be a word of the text."""
    return text.replace(key, "***") if len(key) >= 8 else text
