"""The judges of a scoring: which models at which endpoints, asked together, each answer paid once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.llm import LLMClient, Prices, RequestRefused
from emgecg_cli.core.manifest import json_hash
from emgecg_cli.core.metrics.judged.criteria import Asks

Pair = tuple[str, str]  # the reference, the report
Scores = Mapping[str, float] | None


@dataclass
class Judge:
    """One model. `form` is the form of answers it is asked for, None where its endpoint knows no such thing."""

    label: str
    client: LLMClient
    form: Mapping[str, Any] | None = None

    def begin(self, criteria: Asks, pair: Pair) -> None:
        """Ask for a first verdict, to see which requests the endpoint takes; raises MedReportError when none."""
        self.client.complete_in_form(criteria.messages(*pair), criteria.schema(), temperature=0)
        self.form = criteria.schema() if self.client.takes_forms else None

    def verdict(self, criteria: Asks, pair: Pair) -> Scores:
        """The scores of one report; None where the endpoint refuses to answer, or no answer can be read, also when it
        is asked for once more."""
        messages = criteria.messages(*pair)
        try:
            answer = self._said(messages)
            return criteria.read(answer) or criteria.read(self._said([*messages, *criteria.again(answer)]))
        except RequestRefused:
            return None

    def _said(self, messages: Sequence[Mapping[str, str]]) -> str:
        more = {} if self.form is None else {"response_format": self.form}
        return self.client.complete(messages, temperature=0, **more)


@dataclass
class Panel:
    """The judges, and whom to tell how far they are: `progress(done, total, judge=)`."""

    judges: Sequence[Judge]
    progress: Callable[..., None] | None = field(default=None, repr=False)

    def __enter__(self) -> Panel:
        return self

    def __exit__(self, *_: object) -> None:
        for judge in self.judges:
            judge.client.close()

    def verdicts(self, judge: Judge, criteria: Asks, pairs: Sequence[Pair]) -> dict[Pair, Scores]:
        """What a judge says of some reports, each asked for once."""
        different = list(dict.fromkeys(pairs))
        found: dict[Pair, Scores] = {}
        asked = judge.client.each(lambda pair: judge.verdict(criteria, pair), different)
        for number, (pair, scores) in enumerate(zip(different, asked, strict=True), 1):
            found[pair] = scores
            if self.progress:
                self.progress(number, len(different), judge=judge.label)
        return found

    def asked(self) -> list[dict[str, str]]:
        """Models and endpoints, for a manifest."""
        return [{"model": one.client.model, "base_url": one.client.base_url} for one in self.judges]

    def took(self) -> dict[str, Any]:
        """What the answers that were used took, by judge, for a manifest."""
        told = {one.label: one.client.used.told(one.client.prices) for one in self.judges}
        return {label: usage for label, usage in told.items() if usage}


def panel_of(named: Sequence[str], base_url: str | None, cache: Path | None, *, requests_at_once: int = 1,
             price_in: Sequence[float] = (), price_out: Sequence[float] = ()) -> Panel:
    """The judges of `MODEL`, at `base_url`, or `MODEL@URL`. Prices are of all of them, or one for each in their order.

    All keep their answers in `cache`, by model and address: what one address serves may not be what another serves by
    the same name.

    Raises MedReportError for one without an endpoint, and for one that is named twice.
    """
    parted = [_parted(one, base_url) for one in named]
    if twice := next((model for model, url in parted if parted.count((model, url)) > 1), None):
        raise MedReportError(f"the judge {twice} is given twice", "two judges are two models")
    if base_url and all(url != base_url.rstrip("/") for _, url in parted):
        raise MedReportError("--base-url has no effect: every judge has an address of its own", "leave it out")
    prices = [_prices(price_in, price_out, number, len(parted)) for number in range(len(parted))]
    models = [model for model, _ in parted]
    return Panel([_judge(model, url, cache, models.count(model) > 1, number, requests_at_once, prices[number])
                  for number, (model, url) in enumerate(parted)])


def _judge(model: str, url: str, cache: Path | None, shared: bool, number: int, at_once: int, prices: Prices | None
           ) -> Judge:
    """One judge; `shared` where another has its name. Answers that an earlier version kept without their address count
    for a judge alone, and of two by one name for the one whose file they are in."""
    own = cache and cache.with_name(f"{cache.stem}-{json_hash(url)[:8]}{cache.suffix}")
    separate = shared and own is not None and own.exists()
    client = LLMClient(model, url, own if separate else cache, at_once=at_once, prices=prices, by_address=True,
                       unaddressed=separate or not shared)
    return Judge(f"{model}#{number + 1}" if shared else model, client)


def _parted(named: str, base_url: str | None) -> tuple[str, str]:
    at = max(named.rfind("@http://"), named.rfind("@https://"))
    model, url = (named[:at], named[at + 1:]) if at >= 0 else (named, base_url)
    if not model.strip():
        raise MedReportError("--judge names no model", "--judge MODEL --base-url URL, or --judge MODEL@URL")
    if not url:
        raise MedReportError(f"the judge {model} has no endpoint", "add --base-url URL, or say --judge MODEL@URL: "
                             "reports are sent to no endpoint that was not named")
    return model, url.rstrip("/")


def _prices(price_in: Sequence[float], price_out: Sequence[float], number: int, judges: int) -> Prices | None:
    for option, given in (("--price-in", price_in), ("--price-out", price_out)):
        if len(given) not in (0, 1, judges):
            raise MedReportError(f"{option} is given {len(given)} times for {judges} judges", "give it once, or once "
                                 "for each judge in their order")
    prompt, answer = ((given[number if len(given) > 1 else 0] if given else None) for given in (price_in, price_out))
    return None if prompt is None and answer is None else Prices(prompt or 0.0, answer or 0.0)
