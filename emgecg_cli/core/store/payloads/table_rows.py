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

from emgecg_cli.core.emg.case import Case, case_from_dict, case_to_dict
from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.emg.terms import EMG_COLUMNS

TABLES = "tables.parquet"
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


def tables_frame(cases: Iterable[tuple[str, Examination]]) -> polars.DataFrame:
    """The rows of (record_id, case) pairs as a frame."""
    rows = [{"record_id": record_id, "row": number} | row for record_id, stored in cases
            for number, row in enumerate(_rows(stored))]
    return polars.DataFrame(rows, schema=SCHEMA, orient="row")


def _rows(stored: Examination) -> Iterator[dict[str, Any]]:
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


def case_of(rows: Sequence[Mapping[str, Any]], person: Mapping[str, Any]) -> Examination:
    """The case of one record's rows; `person` holds age, sex, height, findings and impression."""
    texts = person["findings"] or "", person["impression"] or ""
    if len(rows) == 1 and rows[0]["table"] == PROMPT:
        matrices = tuple((item["item"], np.array(item["matrix"], np.float32)) for item in rows[0]["items"])
        return Examination(*texts, None, rows[0]["instruction"], matrices)
    ncv = [{**row, "cells": {f"{cell['measure']}_{cell['side']}": [cell["state"], cell["value"], cell["text"],
                                                                 cell["reason"]] for cell in row["cells"]}}
           for row in rows if row["table"] == NCV]
    case: Case = case_from_dict({"age": person["age"], "sex": person["sex"], "height": person["height"],
                                 "emg": [row for row in rows if row["table"] == EMG], "ncv": ncv})
    return Examination(*texts, case)


def iterate_cases(folder: Path, records: polars.LazyFrame) -> Iterator[Examination]:
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
