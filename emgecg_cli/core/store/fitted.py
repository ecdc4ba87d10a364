"""The references of a store of tables, as they are or fitted anew."""

from __future__ import annotations

from typing import Any

import polars

from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.references import References
from emgecg_cli.core.store.payloads.healthy import fit_references, parse_percentiles
from emgecg_cli.core.store.payloads.table_rows import iterate_cases
from emgecg_cli.core.store.reader import Store


def fitted_references(store: Store, percentiles: str | None = None, covariates: str | None = None,
                      healthy: str | None = None) -> tuple[References, dict[str, Any]]:
    """The references of a store of tables and whom they were fitted on, as `fit_references` says it; fitted anew where
    percentiles, covariates or who is healthy are given. Raises MedReportError for a store of signals."""
    stored = store.references()
    if stored is None:
        raise MedReportError(f"{store.path}: a store of signals has no references", "give a store of EMG tables")
    if percentiles is None and covariates is None and healthy is None:
        known = store.manifest.details["references"]
        return stored, {name: known[name] for name in ("pool", "nerves") if name in known}
    chances = stored.percentiles if percentiles is None else parse_percentiles(percentiles)
    if healthy is None:
        healthy = store.manifest.arguments.get("healthy", PrepareConfig.healthy)
    train = store.scan().filter(polars.col("split") == "train")
    return fit_references(iterate_cases(store.path, train), chances,
                          stored.covariates if covariates is None else covariates, healthy)
