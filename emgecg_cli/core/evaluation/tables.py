"""Scores as tables for papers and spreadsheets: CSV, Markdown, LaTeX. The same scores give the same bytes.

CSV has a line for each system and value, with its interval and its paired test. Markdown and LaTeX have values down and
systems across, bold what the paired tests support, then the tests; what must be said beside the numbers follows as
notes, in LaTeX as comments.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import polars

from emgecg_cli.core.evaluation.comparison import best_of, p_value
from emgecg_cli.core.evaluation.compute import Interval, Value
from emgecg_cli.core.evaluation.score import Scores
from emgecg_cli.core.pages.notebook import html_of, html_table, html_text
from emgecg_cli.core.pages.printable import one_line

_TESTED = ("difference", "ci_low", "ci_high", "p_bootstrap", "p", "p_holm", "better")
_COLUMNS = ("score", "system", "value", "ci_low", "ci_high", "n", "lower_is_better", "difference", "difference_low",
            "difference_high", "p_bootstrap", "p", "p_holm", "better", "signature", "reason")
_TEX = str.maketrans({"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$",
                      "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
                      "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"})
_TEST_HEAD = ("score", "system", "difference", "p (bootstrap)", "p (randomisation)", "p (Holm)")


def as_csv(scores: Scores) -> str:
    """A line for each value of each system; a field without a value is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    tests = {(test.name, test.system): asdict(test) for test in scores.comparison.tests} if scores.comparison else {}
    for system in scores.systems:
        for value in system.values:
            test = tests.get((value.name, system.name), {})
            writer.writerow([_plain(cell) for cell in (
                value.name, system.name, value.value, value.ci_low, value.ci_high, value.n, value.lower_is_better,
                *(test.get(name) for name in _TESTED), value.signature, value.reason)])
    return stream.getvalue()


def as_markdown(scores: Scores) -> str:
    """Tables of GitHub's Markdown, then the notes as a list."""
    lines = markdown_table(["score", *(system.name for system in scores.systems)],
                            [[name, *(f"**{cell}**" if bold else cell for cell, bold in cells)]
                             for name, cells in _rows(scores)])
    if scores.comparison:
        lines += ["", *markdown_table(_TEST_HEAD, list(_test_rows(scores)))]
    return "\n".join([*lines, "", *(f"- {one_line(note)}" for note in _notes(scores))]) + "\n"


def as_latex(scores: Scores) -> str:
    r"""Tabulars for booktabs (`\usepackage{booktabs}`), the notes as comments above them."""
    lines = [f"% {one_line(note)}" for note in _notes(scores)]
    lines += tabular(["score", *(system.name for system in scores.systems)],
                     [[tex_of(name),
                       *(rf"\textbf{{{tex_of(cell)}}}" if bold else tex_of(cell) for cell, bold in cells)]
                      for name, cells in _rows(scores)])
    if scores.comparison:
        lines += ["", *tabular(_TEST_HEAD, [[tex_of(cell) for cell in row] for row in _test_rows(scores)])]
    return "\n".join(lines) + "\n"


def as_html(scores: Scores) -> str:
    """Values down and systems across, as notebooks show them; a star marks what the paired tests support."""
    rows = [[name, *(f"{cell}{' *' * bold}" for cell, bold in cells)] for name, cells in _rows(scores)]
    tested = html_table(_TEST_HEAD, list(_test_rows(scores))) if scores.comparison else ""
    return html_of(f"{scores.n} reports", html_table(["score", *(system.name for system in scores.systems)], rows),
                   tested, html_text("\n".join(map(one_line, _notes(scores)))))


def as_frame(scores: Scores) -> polars.DataFrame:
    """A row for each value of each system: the columns of `as_csv`."""
    return polars.read_csv(as_csv(scores).encode(), infer_schema_length=None)


def cell_of(value: Value | Interval | None) -> str:
    """A value and its interval in a cell; a dash where there is none."""
    if value is None or value.value is None:
        return "-"
    interval = "" if value.ci_low is None or value.ci_high is None else f" [{value.ci_low:.3f}, {value.ci_high:.3f}]"
    return f"{value.value:.3f}{interval}"


def _rows(scores: Scores) -> Iterator[tuple[str, list[tuple[str, bool]]]]:
    """Each value's name, and of every system its cell and whether that is bold."""
    best = best_of(asdict(scores))
    cells = {(system.name, value.name): value for system in scores.systems for value in system.values}
    for name in dict.fromkeys(value.name for system in scores.systems for value in system.values):
        yield name, [(cell_of(cells.get((system.name, name))), system.name in best.get(name, ()))
                     for system in scores.systems]


def _test_rows(scores: Scores) -> Iterator[list[str]]:
    for test in scores.comparison.tests if scores.comparison else ():
        interval = "" if test.ci_low is None or test.ci_high is None else f" [{test.ci_low:+.3f}, {test.ci_high:+.3f}]"
        yield [test.name, test.system, f"{test.difference:+.3f}{interval}",
               *(p_value(p) for p in (test.p_bootstrap, test.p, test.p_holm))]


def _notes(scores: Scores) -> list[str]:
    """What must be said beside the numbers: how many reports, what limits them, how they were made."""
    banner = [f"WARNING: {scores.about.banner}"] if scores.about and scores.about.banner else []
    signatures: dict[str, list[str]] = {}
    for value in scores.systems[0].values:
        if value.signature:
            signatures.setdefault(value.signature, []).append(value.name)
    return [f"{scores.n} reports", *banner, *scores.caveats, *scores.notes,
            *(f"{', '.join(names)}: {signature}" for signature, names in signatures.items())]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> list[str]:
    """A table of GitHub's Markdown, a line each: the first columns are `texts`, the others are right-aligned."""
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|---" * texts + "|---:" * (len(head) - texts) + "|", *map(line, rows)]


def tabular(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> list[str]:
    """A tabular for booktabs, a line each; the cells of the rows are TeX already."""
    columns = "l" * texts + "r" * (len(head) - texts)
    return [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(map(tex_of, head)) + r" \\",
            r"\midrule", *(" & ".join(row) + r" \\" for row in rows), r"\bottomrule", r"\end{tabular}"]


def tex_of(text: str) -> str:
    """A text as TeX prints it."""
    return one_line(text).translate(_TEX)


def _plain(cell: object) -> object:
    if isinstance(cell, bool):
        return str(cell).lower()
    return one_line(cell) if isinstance(cell, str) else cell
