"""`medreport view`: one record of a store, on ECG paper or in the terminal."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.options import FileFsOpt, FileLeadsOpt, FileUnitsOpt, JsonOpt, find_one, words
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.pages.printable import one_line, shown_lines

if TYPE_CHECKING:
    from emgecg_cli.core.view import ViewedTables

StoreArg = Annotated[str | None, typer.Argument(
    metavar="[STORE|FILE]", show_default=False,
    help="A store, the only one under stores/ if just a record is named; or the file of a recording.")]
RecordArg = Annotated[str | None, typer.Argument(metavar="RECORD", show_default=False, help="The id of a record.")]
IndexOpt = Annotated[int | None, typer.Option("--index", metavar="N", min=0, show_default=False,
                                              help="Take the record in this row of the store, from 0, instead.")]
LayoutOpt = Annotated[str, typer.Option("--layout", metavar="3x4|6x2|12x1", help="Rows and columns; 3x4 has a rhythm "
                                        "strip of lead II.", autocompletion=words("3x4", "6x2", "12x1"))]
StartOpt = Annotated[float, typer.Option("--start", metavar="SECONDS", min=0, help="Where the ten seconds begin.")]
OutOpt = Annotated[str | None, typer.Option("--out", "-o", metavar="FILE.png|FILE.svg|-", show_default=False,
                                            help="Write a page of ECG paper to a file; - writes SVG to stdout.")]
DpiOpt = Annotated[int, typer.Option("--dpi", min=50, max=1200, help="Pixels per inch of a PNG, which is to scale.")]

GainOpt = Annotated[float | None, typer.Option("--gain", metavar="MM/MV", min=0.5, max=40, show_default=False,
                                               help="Millimetres per millivolt on the page; 10, or 5 or 2.5 where it "
                                               "would grow too tall.")]

MeasuredOpt = Annotated[bool, typer.Option("--measured", help="Mark PR, QRS and QT of each beat below the strips; a "
                                           "name with ? is of poor quality.")]

BeatsOpt = Annotated[str | None, typer.Option("--beats", metavar="json|gem", autocompletion=words("json", "gem"),
                                              show_default=False, help="Print what is measured on every beat in every "
                                              "lead instead: numbers as JSON, or the text of GEM's prompts.")]


def view(store: StoreArg = None, record: RecordArg = None, index: IndexOpt = None, layout: LayoutOpt = "3x4",
         start: StartOpt = 0.0, out: OutOpt = None, dpi: DpiOpt = 200, gain: GainOpt = None,
         measured: MeasuredOpt = False, beats: BeatsOpt = None, file_fs: FileFsOpt = None,
         file_units: FileUnitsOpt = None, file_leads: FileLeadsOpt = None, as_json: JsonOpt = False) -> None:
    """Draw a record of a store, or a recording as its file holds it, on ECG paper, with its report and measured
    intervals; in the terminal if no --out is given."""
    file = _file(store, record, index)
    if file is None and (file_fs, file_units, file_leads) != (None, None, None):
        raise MedReportError("--file-fs, --file-units and --file-leads are of a file", "name one: view FILE")
    if file is None and store is not None and record is None and index is None and not Path(store).is_dir():
        store, record = None, store
    if record is not None and index is not None:
        raise MedReportError(f"record '{record}' and --index {index} both name a record", "leave one of them out")
    suffix = ".svg" if out == "-" else Path(out).suffix.lower() if out else ""
    if out and suffix not in (".png", ".svg"):
        raise MedReportError(f"{out}: a page is a .png or a .svg file", f"give --out {Path(out).stem or 'page'}.png")
    if gain is not None and not out:
        raise MedReportError("--gain is the scale of a page, and the terminal has its own", "add --out page.png")
    if measured and not out:
        raise MedReportError("--measured marks a page, and the terminal has no room for it", "add --out page.png")
    if beats not in (None, "json", "gem"):
        raise MedReportError(f"--beats {beats}: no such form", "give json or gem")
    if beats and (out or measured or as_json):
        raise MedReportError("--beats prints a table of its own", "leave --out, --measured and --json out")
    if out == "-" and as_json:
        raise MedReportError("--out - and --json both write to stdout", "leave one of them out")

    from emgecg_cli.core import view as viewing
    from emgecg_cli.core.files import write_atomically
    from emgecg_cli.core.store import open_store

    if file is not None:
        from emgecg_cli.core.datasets.formats.recording_files import stated_by
        from emgecg_cli.core.view_file import view_file

        viewed: viewing.Viewed | ViewedTables = view_file(file, start, stated_by(file_fs, file_units, file_leads))
        start = 0.0  # it begins there
    else:
        opened = open_store(Path(store) if store else find_one("store"))
        viewed = viewing.open_record(opened, record, index)
    if isinstance(viewed, viewing.ViewedTables):
        if out or measured or (layout, start, dpi) != ("3x4", 0.0, 200):
            raise MedReportError(f"{store}: a store of tables, which are not drawn on ECG paper",
                                 "leave --out, --layout, --start, --dpi, --gain and --measured out")
        if beats:
            raise MedReportError(f"{store}: a store of tables, in which there are no beats", "leave --beats out")
        _show_tables(viewed, as_json)
        return
    if beats:
        print(viewing.beats_text(viewed, beats))
        return
    if out == "-":
        sys.stdout.write(viewing.draw_file(viewed, layout, start, suffix, dpi, gain, measured).decode())
    elif out:
        write_atomically(Path(out), viewing.draw_file(viewed, layout, start, suffix, dpi, gain, measured))
        console.note(f"wrote {out}")
    if as_json:
        console.print_json(viewing.as_json(viewed))
    elif not out:
        width = console.width_of(sys.stdout) if console.is_terminal(sys.stdout) else 100
        lines = [*_wrapped(f"Record {viewed.row.record_id}: {viewing.facts_line(viewed)}", width), "",
                 *map(_colour, viewing.draw_lines(viewed, layout, start, width)), "",
                 *(line for note in viewing.notes(viewed) for line in _wrapped(note, width))]
        print("\n".join(lines))


def _file(store: str | None, record: str | None, index: int | None) -> Path | None:
    """The file that is named in place of a store; a WFDB record may be named without its ending."""
    if store is None or record is not None or index is not None:
        return None
    return next((path for path in (Path(store), Path(f"{store}.hea")) if path.is_file()), None)


def _show_tables(viewed: ViewedTables, as_json: bool) -> None:
    """The tables of an examination with marked numbers, and its report."""
    from emgecg_cli.core import view as viewing

    if as_json:
        console.print_json(viewing.as_json(viewed))
        return
    print(one_line(f"Record {viewed.row.record_id}: {viewing.facts_line(viewed)}"))
    for title, head, rows in viewed.tables:
        print(f"\n{title}")
        console.table(head, rows)
    print(f"\n{viewed.n_outside} of {viewed.n_judged} numbers with a reference lie outside it (H above, L below)\n")
    print("\n".join(shown_lines(viewing.report_text(viewed.row))))


def _wrapped(text: str, width: int) -> list[str]:
    """A text in lines, broken between words alone."""
    return textwrap.wrap(one_line(text), max(20, width), break_on_hyphens=False, break_long_words=False)


def _colour(line: str) -> str:
    """The dots of a drawing in colour, where somebody watches."""
    if not console.is_terminal(sys.stdout) or "NO_COLOR" in os.environ:
        return line
    return re.sub("([\u2801-\u28ff][\u2800-\u28ff]*)", "\033[36m\\1\033[0m", line)
