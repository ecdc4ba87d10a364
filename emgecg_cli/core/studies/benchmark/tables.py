"""The tables of a benchmark: rows of labels and values, ours and those that others published, in several formats.

The same rows give the same bytes. What is published is marked in each row, and no value of it was computed here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from emgecg_cli.core.evaluation.compute import Interval
from emgecg_cli.core.evaluation.tables import cell_of, markdown_table, tabular, tex_of
from emgecg_cli.core.pages import document

OURS, MARK = "this benchmark", "†"
AXIS = "proportion"  # along which the rows of a model are read
LABELS = ("backbone", "encoder", "instruction tuning", "prompts", "trained on", "written on", AXIS)


@dataclass(frozen=True)
class Row:
    """A row: what it is of, where its values are from, and the values by name. `published` by others: it is marked."""

    labels: Mapping[str, str]
    source: str
    values: Mapping[str, Interval]
    published: bool = False


@dataclass(frozen=True)
class Table:
    """A table of a benchmark; `unfinished` counts the cells that have no row yet."""

    title: str
    values: Sequence[str]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    unfinished: int = 0

    def labels(self) -> list[str]:
        """The label columns that say anything."""
        return [name for name in LABELS if any(row.labels.get(name) for row in self.rows)]

    def head(self) -> list[str]:
        """The names of all columns."""
        return [*self.labels(), "from", *self.values]

    def cells(self) -> list[list[str]]:
        """The rows as text."""
        return [[*(row.labels.get(name, "") for name in self.labels()), _from(row),
                 *(cell_of(row.values.get(name)) for name in self.values)] for row in self.rows]

    def said(self) -> list[str]:
        """What must be said below the table."""
        published = sorted({row.source.removeprefix("published: ") for row in self.rows if row.published})
        left = [f"{self.unfinished} cells are not finished and have no row"] if self.unfinished else []
        marked = [f"{MARK} published by others, not computed here: {one}" for one in published]
        return [*left, *self.notes, *marked]


def as_markdown(table: Table) -> str:
    """GitHub's Markdown, the notes as a list."""
    lines = markdown_table(table.head(), table.cells(), len(table.labels()) + 1)
    return "\n".join([f"# {table.title}", "", *lines, "", *(f"- {note}" for note in table.said())]) + "\n"


def as_latex(table: Table) -> str:
    """A tabular for booktabs, the notes as comments above it."""
    rows = [[tex_of(cell).replace(MARK, r"\textdagger{}") for cell in row] for row in table.cells()]
    notes = [f"% {note}" for note in (table.title, *table.said())]
    return "\n".join([*notes, *tabular(table.head(), rows, len(table.labels()) + 1)]) + "\n"


def as_csv(table: Table) -> str:
    """A line for each row: labels, where it is from, and of each value the number and the bounds of its interval."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [f"{name}{part}" for name in table.values for part in ("", " low", " high")]
    writer.writerow([*table.labels(), "from", "published", *names])
    for row in table.rows:
        found = [row.values.get(name) or Interval(None, None, None) for name in table.values]
        writer.writerow([*(row.labels.get(name, "") for name in table.labels()), row.source,
                         str(row.published).lower(),
                         *(part for one in found for part in (one.value, one.ci_low, one.ci_high))])
    return stream.getvalue()


def as_page(table: Table) -> str:
    """An HTML page; what a row is of stands in its first column, so that the scores are near on a narrow screen too."""
    axis = [name for name in table.labels() if name == AXIS]
    head = "".join(f"<th scope=col{'' if name in LABELS else ' class=number'}>{escape(name)}</th>"
                   for name in (LABELS[0], *axis, *table.values))
    rows = "".join(f"<tr>{_first(row)}" + "".join(f"<td>{escape(row.labels.get(name, ''))}</td>" for name in axis)
                   + "".join(_value(cell_of(row.values.get(name))) for name in table.values) + "</tr>"
                   for row in table.rows)
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.said())
    return document(f"medreport benchmark: {table.title}",
                    f"<div class=scroll tabindex=0><table class='facts cells'><thead><tr>{head}</tr></thead>"
                    f"<tbody>{rows}</tbody></table></div><ul class=notes>{notes}</ul>")


def _first(row: Row) -> str:
    """What a row is of: its backbone, and below the rest, with where its values are from."""
    rest = [f"{value} {name}" if name in ("instruction tuning", "prompts") else
            value if name == "encoder" else f"{name} {value}"
            for name in LABELS[1:] if name != AXIS and (value := row.labels.get(name))]
    return (f"<th scope=row>{escape(row.labels.get(LABELS[0], ''))}"
            f"<small>{escape(' · '.join([*rest, _from(row)]))}</small></th>")


def _value(cell: str) -> str:
    text = escape(cell).replace(" [", "<small>[").replace("]", "]</small>")
    return f"<td class=number>{text}</td>"


def _from(row: Row) -> str:
    return f"published {MARK}" if row.published else row.source
