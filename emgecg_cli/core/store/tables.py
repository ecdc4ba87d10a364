"""The tables of a store of EMG and nerve-conduction tables: `tables.parquet`, one row for each row of a table.

Columns that a table does not have are null. `cells` holds the numbers of a nerve-conduction row, each with its state;
a record in the form for language models has one row, with its `instruction` and `items`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars

from emgecg_cli.core.config import HEALTHY
from emgecg_cli.core.emg.case import Case, Item, case_from_dict, case_to_dict
from emgecg_cli.core.emg.stored import TableCase
from emgecg_cli.core.emg.terms import EMG_COLUMNS
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.references import References, fit
from emgecg_cli.core.references.fit import check_percentiles
from emgecg_cli.core.reports.emg.healthy import why_not_healthy
from emgecg_cli.core.reports.emg.nerves import normal_nerves, normal_values

TABLES = "tables.parquet"
REFERENCES = "references.json"
# who is healthy, by the name of the choice, as references.json says it
RULES = dict(zip(HEALTHY, ("whole case normal", "whole case normal, or nerve and side called normal"), strict=True))
PERSON = ("age", "sex", "height", "findings", "impression")
EMG, NCV, PROMPT = "emg", "ncv", "prompt"

_CELL_FIELDS = ("measure", "side", "state", "value", "text", "reason")
_CELL = polars.Struct({"measure": polars.String, "side": polars.String, "state": polars.String,
                       "value": polars.Float64, "text": polars.String, "reason": polars.String})
_ITEM = polars.Struct({"item": polars.String, "matrix": polars.List(polars.List(polars.Float32))})
SCHEMA: dict[str, Any] = {
    "record_id": polars.String, "table": polars.String, "row": polars.Int64, "side": polars.String,
    "muscle": polars.String, **dict.fromkeys(EMG_COLUMNS, polars.String), "nerve": polars.String,
    "type": polars.String, "stim": polars.String, "rec": polars.String, "cells": polars.List(_CELL),
    "instruction": polars.String, "items": polars.List(_ITEM),
}


def tables_frame(cases: Iterable[tuple[str, TableCase]]) -> polars.DataFrame:
    """The rows of (record_id, case) pairs as a frame."""
    rows = [{"record_id": record_id, "row": number} | row for record_id, stored in cases
            for number, row in enumerate(_rows(stored))]
    return polars.DataFrame(rows, schema=SCHEMA, orient="row")


def _rows(stored: TableCase) -> Iterator[dict[str, Any]]:
    if stored.case is None:
        yield {"table": PROMPT, "instruction": stored.instruction,
               "items": [{"item": name, "matrix": matrix.tolist()} for name, matrix in stored.matrices]}
        return
    values = case_to_dict(stored.case)
    for row in values["emg"]:
        yield {"table": EMG} | row
    for row in values["ncv"]:
        cells = [dict(zip(_CELL_FIELDS, (*key.split("_"), *cell), strict=True)) for key, cell in row["cells"].items()]
        yield {"table": NCV} | row | {"cells": cells}


def case_of(rows: Sequence[Mapping[str, Any]], person: Mapping[str, Any]) -> TableCase:
    """The case of one record's rows; `person` holds age, sex, height, findings and impression."""
    texts = person["findings"] or "", person["impression"] or ""
    if len(rows) == 1 and rows[0]["table"] == PROMPT:
        matrices = tuple((item["item"], np.array(item["matrix"], np.float32)) for item in rows[0]["items"])
        return TableCase(*texts, None, rows[0]["instruction"], matrices)
    ncv = [{**row, "cells": {f"{cell['measure']}_{cell['side']}": [cell["state"], cell["value"], cell["text"],
                                                                 cell["reason"]] for cell in row["cells"]}}
           for row in rows if row["table"] == NCV]
    case: Case = case_from_dict({"age": person["age"], "sex": person["sex"], "height": person["height"],
                                 "emg": [row for row in rows if row["table"] == EMG], "ncv": ncv})
    return TableCase(*texts, case)


def iterate_cases(folder: Path, records: polars.LazyFrame) -> Iterator[TableCase]:
    """The cases of some records of a store, in the order of its tables; a few row groups are held at a time."""
    people = records.select("record_id", *PERSON)
    tables = polars.scan_parquet(folder / TABLES, glob=False).join(people, on="record_id", how="inner",
                                                                  maintain_order="left")
    held: list[dict[str, Any]] = []
    for batch in tables.collect_batches(maintain_order=True):
        for row in batch.iter_rows(named=True):
            if held and row["record_id"] != held[0]["record_id"]:
                yield case_of(held, held[0])
                held = []
            held.append(row)
    if held:
        yield case_of(held, held[0])


def parse_percentiles(text: str) -> tuple[float, ...]:
    """The percentiles of "2,5,8"; raises MedReportError unless they are numbers that can be used."""
    try:
        return check_percentiles([float(part) for part in text.split(",")])
    except ValueError:
        raise MedReportError(f"--percentiles '{text}': not numbers separated by commas",
                             "give --percentiles 2,5,8,11,14,17,20") from None


def check_healthy(healthy: str) -> None:
    """Raise MedReportError unless this is one of RULES."""
    if healthy not in RULES:
        raise MedReportError(f"--healthy is '{healthy}'", f"available: {', '.join(RULES)}")


def fit_references(cases: Iterable[TableCase], percentiles: Sequence[float], covariates: str,
                   healthy: str = "cases") -> tuple[References, dict[str, Any]]:
    """References of the healthy among these cases (of the train split), and whom they are of, as JSON values.

    "pool" counts the healthy examinations and why the others are none. With `healthy` "nerves" the others give the
    values of nerves that their reports call normal (`references.nerves`), and "nerves" counts these examinations and
    values, and why the rest gave none. Raises MedReportError for a choice that is none.
    """
    check_healthy(healthy)
    pool: dict[str, int] = {"healthy": 0}
    nerves: dict[str, Any] = {"examinations": 0, "values": 0, "none": {}}
    triples: list[tuple[Item | str, float, Case]] = []
    for stored in cases:
        case = stored.case
        if case is None:
            continue
        why_not = why_not_healthy(stored.findings, stored.impression, case.emg)
        if why_not is None:
            pool["healthy"] += 1
            triples += [(f"{row.nerve}|{row.type}|{row.stim}|{row.rec}|{measure}", cell.value, case)
                        for row in case.ncv for (measure, _), cell in row.cells.items()
                        if cell.state == "value" and cell.value is not None]
        else:
            reason = why_not.partition(":")[0]
            pool[reason] = pool.get(reason, 0) + 1
            if healthy == "nerves":
                triples += _of_nerves(stored, case, nerves)
    made_of = {"pool": pool} | ({"nerves": nerves} if healthy == "nerves" else {})
    return fit(triples, percentiles, covariates, rule=RULES[healthy]), made_of


def _of_nerves(stored: TableCase, case: Case, counts: dict[str, Any]) -> list[tuple[Item | str, float, Case]]:
    """The values of a patient's nerves that the report calls normal, counted."""
    called = normal_nerves(stored.findings, stored.impression, case)
    found: list[tuple[Item | str, float, Case]] = [(item, value, case) for item, value in normal_values(case, called)]
    if found:
        counts["examinations"] += 1
        counts["values"] += len(found)
    else:
        why = called.why_none or "every nerve called normal was not examined, or is called abnormal too"
        counts["none"][why] = counts["none"].get(why, 0) + 1
    return found
