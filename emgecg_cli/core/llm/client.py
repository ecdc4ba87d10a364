"""One model at one endpoint, asked by many threads: patient, bounded, and paid once for each answer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from emgecg_cli.core.bounded_http import Limits, bound, refuse_encodings, within
from emgecg_cli.core.endpoints import is_loopback, retry_after
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.llm.cache import Answer, AnswerCache
from emgecg_cli.core.llm.completions import Retry, read_answer
from emgecg_cli.core.llm.keys import KEY_VARIABLE, check_base_url, quote, read_key, without
from emgecg_cli.core.llm.throttle import Throttle
from emgecg_cli.core.llm.usage import Prices, Tokens, Usage
from emgecg_cli.core.manifest import json_hash

LARGEST_ANSWER = 1 << 24  # bytes
AHEAD = 4  # items for each request under way that are begun before their turn to be given out
HINTS = {
    401: f"set {KEY_VARIABLE} to a key of this endpoint", 403: f"the key in {KEY_VARIABLE} may not use this model",
    404: "check --base-url (it usually ends in /v1) and --model",
}
REFUSED = (400, 413, 422)  # what is wrong with the request itself, and not with the account or the address
Item = TypeVar("Item")
Result = TypeVar("Result")


class RequestRefused(MedReportError):
    """The endpoint refuses this one request (a filter, a text that is too long, a parameter); others may be answered.
    """


@dataclass
class LLMClient:
    """Asks one model at one endpoint; every answer is kept in the JSON-lines file `cache`, when there is one.

    A request is sent at most `attempts` times: again after 408, 409, 429, 5xx, a silence of `timeout` seconds, a cut
    connection, an answer that is no chat completion, larger than LARGEST_ANSWER or not whole after `longest` seconds;
    after `backoff` seconds that double each time, or after what the server's Retry-After asks for, in both cases at
    most `max_wait` seconds. With `by_address` an answer counts for this address alone, as another one may serve another
    model by the same name; answers kept without an address count for any while `unaddressed`. While others of `at_once`
    requests are answered, a 429 does not count. `sent` counts the requests, `used` what the answers took that were
    given out, whenever they were paid, `paid` what those took that came over the network. Endpoints on this machine are
    never reached through a proxy, and redirects are not followed. Close it, or use it in `with`.
    """

    model: str
    base_url: str
    cache: Path | None = None
    attempts: int = 6
    backoff: float = 1.0
    max_wait: float = 60.0
    timeout: float = 120.0
    longest: float = 600.0
    sleep: Callable[[float], object] | None = None
    at_once: int = 1
    prices: Prices | None = None
    by_address: bool = False
    unaddressed: bool = True
    sent: int = field(default=0, init=False)
    _answers: AnswerCache = field(init=False, repr=False)
    _throttle: Throttle = field(init=False, repr=False)
    _given: dict[str, Tokens | None] = field(default_factory=dict, init=False, repr=False)
    _paid: list[Tokens | None] = field(default_factory=list, init=False, repr=False)
    _asking: dict[str, threading.Event] = field(default_factory=dict, init=False, repr=False)
    _ended: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _failure: BaseException | None = field(default=None, init=False, repr=False)
    _forms: bool | None = field(default=None, init=False, repr=False)
    _trying: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _connection: Any = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        check_base_url(self.base_url)
        if self.at_once < 1:
            raise MedReportError(f"{self.at_once} requests at once", "--requests-at-once is 1 or more")
        self._answers = AnswerCache(self.cache)
        self._throttle = Throttle(self.at_once, self.sleep or self._ended.wait)

    def __enter__(self) -> LLMClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a later `complete` opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def cached(self) -> int:
        """How many answers the cache holds."""
        return len(self._answers)

    @property
    def used(self) -> Usage:
        """What the different answers took that were given out; the same for a run that was killed and one that was
        not."""
        return Usage.of(self._given.values())

    @property
    def fresh(self) -> int:
        """How many of them were asked for now."""
        return self._throttle.answers

    @property
    def paid(self) -> Usage:
        """What came over the network now, answers without use among it."""
        return Usage.of(self._paid)

    def complete(self, messages: Sequence[Mapping[str, Any]], **params: Any) -> str:
        """The model's answer to a chat; `params` go into the request (temperature, max_tokens, response_format …).

        The same model, messages and params (and address) are answered from the cache, and asked only once where several
        threads want them. A model's refusal is an answer like any other. Raises MedReportError when there is no key,
        the endpoint refuses (RequestRefused where it refuses this request alone), or it does not answer in `attempts`
        attempts.
        """
        asked = {"model": self.model, "messages": list(messages), "params": params}
        key = json_hash(asked | {"address": self.base_url.rstrip("/")}) if self.by_address else json_hash(asked)
        older = json_hash(asked) if self.by_address and self.unaddressed else None
        while (answer := self._answers.get(key) or (self._answers.get(older) if older else None)) is None:
            with self._lock:
                other = self._asking.get(key)
                if other is None:
                    self._asking[key] = threading.Event()
            if other is not None:
                other.wait()
                continue
            try:
                answer = self._answers.get(key) or self._ask(messages, params)
                self._answers.put(key, self.model, answer)
                break
            finally:
                with self._lock:
                    self._asking.pop(key).set()
        self._given[key] = answer.tokens
        return answer.text

    def complete_in_form(self, messages: Sequence[Mapping[str, Any]], form: Mapping[str, Any], **params: Any) -> str:
        """The answer in a `form`, a `response_format`, where the endpoint knows such things, else as the model gives
        it: a refused form is asked for no more by this client. Raises as `complete` does."""
        if self._forms is None:
            with self._trying:  # the first one finds out for all
                if self._forms is None:
                    return self._first_in_form(messages, form, params)
        return self.complete(messages, **params, **({"response_format": form} if self._forms else {}))

    @property
    def takes_forms(self) -> bool | None:
        """Whether the endpoint answered a request with a `response_format`; None before one was answered at all."""
        return self._forms

    def _first_in_form(self, messages: Sequence[Mapping[str, Any]], form: Mapping[str, Any],
                       params: Mapping[str, Any]) -> str:
        try:
            answer, takes = self.complete(messages, **params, response_format=form), True
        except RequestRefused:
            answer, takes = self.complete(messages, **params), False
        self._forms = takes
        return answer

    def each(self, ask: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """What `ask`, which calls `complete`, gives for each item, in their order, `at_once` at a time.

        Where one fails, what is under way is still waited for and kept, and nothing else is sent; it is the error that
        came first that is raised.
        """
        if self.at_once == 1:
            yield from map(ask, items)
            return
        pool, begun = ThreadPoolExecutor(self.at_once), deque[Future[Result]]()
        try:
            for item in items:
                begun.append(pool.submit(self._noting, ask, item))
                if len(begun) >= AHEAD * self.at_once:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        except Exception as error:
            raise self._failure or error from None
        finally:
            self._ended.set()  # nobody sends another request, or waits for another attempt
            pool.shutdown(wait=True, cancel_futures=True)
            self._ended.clear()
            self._failure = None

    def _noting(self, ask: Callable[[Item], Result], item: Item) -> Result:
        """One item of many; where it fails, the others see it before they send anything."""
        try:
            return ask(item)
        except BaseException as error:
            with self._lock:
                self._failure = self._failure or error
            self._ended.set()
            raise

    def _ask(self, messages: Sequence[Mapping[str, Any]], params: dict[str, Any]) -> Answer:
        reason, tried, seen = "", 0, self._throttle.answers
        while tried < self.attempts and not self._ended.is_set():
            with self._throttle.turn():
                if self._ended.is_set():
                    break
                outcome = self._send(messages, params)
            if isinstance(outcome, Answer):
                self._throttle.answered()
                self._paid.append(outcome.tokens)
                return outcome
            reason = outcome.reason
            if outcome.tokens is not None:
                self._paid.append(outcome.tokens)
            others = outcome.too_many and self._throttle.answers > seen
            tried, seen = tried + (not others), self._throttle.answers
            wait = self.backoff * 2**max(0, tried - 1) if outcome.wait is None else outcome.wait
            if tried < self.attempts:
                if outcome.too_many:
                    self._throttle.limited(min(self.max_wait, wait))
                self._throttle.pause(min(self.max_wait, wait))
        if not tried:
            raise MedReportError(f"{self.base_url}: not asked, as another request failed", "run the same command again")
        kept = f"{self.cached} answers are kept" if self.cache is not None else "no answers are kept"
        raise MedReportError(f"{self.base_url}: no answer in {tried} attempts; the last: {reason}",
                             f"{kept}; run the same command again later, it asks only for what is missing")

    def _send(self, messages: Sequence[Mapping[str, Any]], params: dict[str, Any]) -> Answer | Retry:
        key = read_key(self.base_url)
        with self._lock:
            openai = _import_openai()
            self._connection = self._connection or self._connect(openai, key)
            connection = self._connection
            self.sent += 1
        limits = Limits(self.longest, LARGEST_ANSWER)
        try:
            with within(limits):
                raw = connection.chat.completions.with_raw_response.create(
                    model=self.model, messages=list(messages), **params)
        except openai.APITimeoutError:
            return Retry(limits.why_late() if limits.left <= 0 else f"nothing came within {self.timeout:g} s")
        except openai.APIConnectionError as error:
            return Retry(quote(f"connection failed ({error.__cause__ or error})", key))
        except openai.APIStatusError as error:
            return self._refused(error, quote(str(error.message), key))
        answer = read_answer(raw.text)
        return Answer(without(answer.text, key), answer.tokens) if isinstance(answer, Answer) else answer

    def _refused(self, error: Any, said: str) -> Retry:
        """What an answer with an error status means; raises MedReportError where asking again is of no use."""
        temporary = error.status_code in (408, 409, 429) or error.status_code >= 500
        if not temporary or error.code == "insufficient_quota":  # no waiting helps an empty account
            hint = HINTS.get(error.status_code, "check --base-url, --model and the account behind the key")
            kind = RequestRefused if error.status_code in REFUSED else MedReportError
            raise kind(f"{self.base_url} refused model '{self.model}': {said}", hint) from None
        return Retry(said, retry_after(error.response.headers.get("retry-after", "")),
                      too_many=error.status_code == 429)

    def _connect(self, openai: Any, key: str) -> Any:
        http = bound(openai.DefaultHttpxClient(
            follow_redirects=False, trust_env=not is_loopback(self.base_url), headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [refuse_encodings]}))
        return openai.OpenAI(api_key=key, base_url=self.base_url, max_retries=0, timeout=self.timeout, http_client=http)


def _import_openai() -> Any:
    try:
        import openai
    except ImportError:
        raise MedReportError("the openai package is not installed", "pip install 'medreport[llm]'") from None
    return openai
