"""Tables behind the prompts of recordings: one record read by two inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from emgecg_cli.core.artifacts import InstructionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions import table_prompts
from emgecg_cli.core.references import References
from emgecg_cli.core.store import Store


def with_tables(rows: Iterable[InstructionRow], store: Store, tables: Store, references: References | None,
                language: str, layout: str) -> Iterator[InstructionRow]:
    """Each row of `store` with the tables of its record, in `language` ("record": its own); raises MedReportError for a
    record that is another person's there."""
    index_of = {name: number for number, name in enumerate(tables.column("record_id"))}
    for number, row in enumerate(rows):
        index = index_of.get(row.record_id)
        if index is not None:
            one, other = store.row(number), tables.row(index)
            if one.subject_id != other.subject_id:
                raise MedReportError(f"{tables.path}, record '{row.record_id}': of patient {other.subject_id}, in "
                                     f"{store.path} of {one.subject_id}", "prepare both with the same ids of patients")
            words = one.language if language == "record" else language
            row = replace(row, messages=_behind(row, _tables_of(tables, index, references, words, layout)))
        yield row


def _tables_of(tables: Store, index: int, references: References | None, words: str, layout: str
               ) -> list[dict[str, Any]]:
    stored = tables.case(index)
    if stored.case is None:
        raise MedReportError(f"{tables.path}, record '{tables.row(index).record_id}': in the form for language models, "
                             "whose prompt cannot stand behind another", "give a store of tables as they were measured")
    return table_prompts.tables_of(stored.case, references, words if words in ("en", "zh") else "en", layout)


def _behind(row: InstructionRow, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    first, *rest = row.messages
    return [{**first, "content": [*first["content"], *parts]}, *rest]
