"""The options of every command that asks a language model behind an endpoint, and what is said of its cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emgecg_cli.commands import console
from emgecg_cli.core.config import REQUESTS_AT_ONCE
from emgecg_cli.core.errors import MedReportError

if TYPE_CHECKING:
    from emgecg_cli.core.llm import LLMClient, Prices
    from emgecg_cli.core.metrics.judged.panel import Panel

RequestsOpt = Annotated[int | None, typer.Option(
    "--requests-at-once", metavar="N", min=1, max=1024, show_default=False,
    help=f"Requests under way at the endpoint; fewer while it says that they are too many. [{REQUESTS_AT_ONCE}]")]
PriceInOpt = Annotated[float | None, typer.Option(
    "--price-in", metavar="PRICE", min=0, show_default=False,
    help="What a million tokens of prompts cost: the cost is printed, and stands in the manifest.")]
PriceOutOpt = Annotated[float | None, typer.Option("--price-out", metavar="PRICE", min=0, show_default=False,
                                                   help="What a million tokens of answers cost.")]

JudgeOpt = Annotated[list[str] | None, typer.Option(
    "--judge", metavar="MODEL[@URL]", show_default=False,
    help="Send reports and references to this model at --base-url, or at its own URL, and show its scores if it passes "
         "its controls; may be repeated: two judges are held against each other.")]
JudgeUrlOpt = Annotated[str | None, typer.Option("--base-url", metavar="URL", show_default=False,
                                                 help="The OpenAI-compatible endpoint of --judge.")]
PricesInOpt = Annotated[list[float] | None, typer.Option(
    "--price-in", metavar="PRICE", min=0, show_default=False,
    help="What a million tokens of prompts cost, of all judges or once for each: the cost is printed, and stands in "
         "the manifest.")]
PricesOutOpt = Annotated[list[float] | None, typer.Option(
    "--price-out", metavar="PRICE", min=0, show_default=False, help="What a million tokens of answers cost.")]


def panel(judge: list[str] | None, base_url: str | None, cache: Path, requests_at_once: int | None,
          price_in: list[float] | None, price_out: list[float] | None) -> Panel | None:
    """The judges, None where none is asked for."""
    from emgecg_cli.core.metrics.judged.panel import panel_of

    if not judge:
        refuse_without_endpoint("--judge", "add --judge MODEL --base-url URL", base_url=base_url, price_in=price_in,
                                price_out=price_out, requests_at_once=requests_at_once)
        return None
    return panel_of(judge, base_url, cache, requests_at_once=requests_at_once or REQUESTS_AT_ONCE,
                    price_in=price_in or (), price_out=price_out or ())


def prices_of(price_in: float | None, price_out: float | None) -> Prices | None:
    """The prices, None where none is given."""
    from emgecg_cli.core.llm import Prices

    return None if price_in is None and price_out is None else Prices(price_in or 0.0, price_out or 0.0)


def refuse_without_endpoint(endpoint: str, hint: str, **given: Any) -> None:
    """Refuse options that have no effect because nothing is asked of a model; raises MedReportError."""
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if named:
        raise MedReportError(f"{named[0]} has no effect without {endpoint}", hint)


def say_spent(client: LLMClient) -> None:
    """How much was asked now, and what all answers together took."""
    from emgecg_cli.core.llm import spent

    if client.sent:
        console.note(f"{client.model}: {client.sent} requests now, {spent(client.paid, client.prices)}")
    if before := client.used.answers - client.fresh:
        console.note(f"{client.model}: {before} of {client.used.answers} answers were asked for before; all together "
                     f"{spent(client.used, client.prices)}")
