"""What is refused before instructions are built: options without effect, and records with an empty report."""

from __future__ import annotations

from collections.abc import Sequence

import polars

from emgecg_cli.core.artifacts import NO_REPORT
from emgecg_cli.core.config import InstructionDefaults
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.llm import Prices
from emgecg_cli.core.store import Store


def refuse_endpoint(rephraser: str, base_url: str | None, model: str | None, requests_at_once: int | None,
                    prices: Prices | None) -> None:
    """An endpoint that would not be used is a misunderstanding; one equal to the default may be a filled-in default."""
    for option, value, default in (("--base-url", base_url, InstructionDefaults.base_url),
                                   ("--requests-at-once", requests_at_once, None), ("--price-in", prices, None),
                                   ("--model", model, InstructionDefaults.model)):
        if value not in (None, default):
            raise MedReportError(f"rephraser '{rephraser}' asks no model and takes no {option}",
                                 f"leave {option} out, or add --rephraser openai")


def refuse_options(store: Store, idle: Sequence[str]) -> None:
    """An option of another kind of store is a misunderstanding, unless it is the default; `idle` are those given."""
    for option in idle:
        raise MedReportError(f"{store.path}: a store of {store.kind.name} takes no {option}", f"leave {option} out")


def refuse_empty(store: Store) -> None:
    """A model would learn to answer such a record with nothing; `prepare` sets them aside, other writers may not. Those
    that say that they have no report are for reporting on, outside of train."""
    parts = store.kind.parts
    blank = polars.all_horizontal(polars.col(part).fill_null("").str.strip_chars() == "" for part in parts)
    unsaid = (polars.col("report_kind") != NO_REPORT) | (polars.col("split") == "train")
    found = store.scan().filter(blank & unsaid).select("record_id").collect()["record_id"].to_list()
    if found:
        more = f", and {len(found) - 1} more records" if len(found) > 1 else ""
        raise MedReportError(f"{store.path}, record '{found[0]}': no {' and no '.join(parts)}{more}",
                             "prepare the store again; it sets records without a report aside")
