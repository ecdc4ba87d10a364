"""`medreport report`: recordings in, drafts of their reports out."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.options import (
    DownloadOpt,
    FileFsOpt,
    FileLeadsOpt,
    FileUnitsOpt,
    JsonOpt,
    MovedOpt,
    find_one,
)
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.pages.printable import one_line

if TYPE_CHECKING:
    from emgecg_cli.core.drafting import Draft, Drafted

PAGES = (".html", ".pdf")

NamedArg = Annotated[list[Path], typer.Argument(
    metavar="[RUN] FILE…", show_default=False,
    help="A run of train, the only one under runs/ if not given; then recordings, or folders of them, in any format of "
         "docs/files.md, or EMG tables for a run on tables.")]
OutOpt = Annotated[Path | None, typer.Option(
    "--out", "-o", metavar="FILE.html|FILE.pdf", show_default=False,
    help="Write a page of all drafts. They are kept beside it: run again, only new recordings are written.")]
ReferencesOpt = Annotated[Path | None, typer.Option(
    "--references", metavar="FILE", show_default=False,
    help="Tables: the reference ranges to show values beside; those the run was trained with if not given.")]
MappingOpt = Annotated[Path | None, typer.Option("--mapping", metavar="JSON", show_default=False,
                                                 help="Tables: what their columns are called.")]
NewOpt = Annotated[int | None, typer.Option(
    "--max-new-tokens", metavar="N", min=1, show_default=False,
    help="The longest draft; the longest report of training and an eighth more if not given.")]


def report(named: NamedArg, out: OutOpt = None, references: ReferencesOpt = None,
           mapping: MappingOpt = None, max_new_tokens: NewOpt = None, file_fs: FileFsOpt = None,
           file_units: FileUnitsOpt = None, file_leads: FileLeadsOpt = None, backbone: MovedOpt = None,
           allow_download: DownloadOpt = False, as_json: JsonOpt = False) -> None:
    """Draft the report of a recording: the text, the measured intervals, what of the text the recording contradicts,
    and the drawn ECG. A draft, not a diagnosis. Exits with 1 where a recording could not be read."""
    if out is not None and out.suffix.lower() not in PAGES:
        raise MedReportError(f"{out}: drafts are written as .html or .pdf", f"give --out {out.stem or 'report'}.html")

    from emgecg_cli.core.datasets.formats.recording_files import stated_by
    from emgecg_cli.core.drafting import Asked, draft_reports
    from emgecg_cli.core.files import write_atomically

    run, files = _run_and_files(named)
    asked = Asked(files, stated_by(file_fs, file_units, file_leads), mapping, references, backbone, allow_download,
                  max_new_tokens)
    kept = out.with_name(f".{out.name}.drafts.jsonl") if out else None
    with console.progress("report", "recordings") as progress:
        drafted = draft_reports(run, asked, kept, progress)
    if out:
        write_atomically(out, _page(drafted, out.suffix.lower()))
        again = len(drafted.drafts) - drafted.written
        console.note(f"wrote {out.as_posix()}: {len(drafted.drafts)} draft{'' if len(drafted.drafts) == 1 else 's'}"
                     + (f", {again} of them kept from before" if again else ""))
    if as_json:
        console.print_json({"run": drafted.run, "reports": [one.told() for one in drafted.drafts],
                            "refused": [{"file": one.file, "why": one.why} for one in drafted.refused]})
    elif not out:
        for one in drafted.drafts:
            _show(one, draw=len(drafted.drafts) == 1)
    for refused in drafted.refused:
        console.warn(f"not read: {refused.file}: {refused.why}")
    if drafted.refused:
        raise typer.Exit(1)


def _run_and_files(named: Sequence[Path]) -> tuple[Path, Sequence[Path]]:
    """The run, which is the first that is named, unless that is a file or all there is and no run."""
    from emgecg_cli.core.manifest import is_finished

    first = named[0]
    if first.is_file() or (len(named) == 1 and not is_finished(first)):
        return find_one("run"), named
    return first, named[1:]


def _page(drafted: Drafted, suffix: str) -> bytes:
    if suffix == ".pdf":
        from emgecg_cli.core.drafting.pdf import drafts_pdf

        return drafts_pdf(drafted)
    from emgecg_cli.core.drafting.page import drafts_page

    return drafts_page(drafted)


def _show(draft: Draft, draw: bool) -> None:
    """A draft in the terminal; drawn where it is the only one."""
    from emgecg_cli.core.drafting.draft import paragraphs

    width = console.width_of(sys.stdout) if console.is_terminal(sys.stdout) else 100
    name = draft.file if draft.record_id in draft.file else f"{draft.file}: {draft.record_id}"
    lines = _wrapped(f"{name}: {draft.about}", width)
    samples = draft.samples()
    if draw and samples is not None:
        from emgecg_cli.core.signals.paper.terminal import draw_text

        lines += ["", *draw_text(samples, draft.fs, layout="3x4", start=0.0, width=width)]
    print("\n".join(lines))
    for title, head, rows in draft.tables.tables if draft.tables else ():
        print(f"\n{title}")
        console.table(head, rows)
    print("", *(line for one in paragraphs(draft) for line in _wrapped(one, width)), "", sep="\n")


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(one_line(text), max(20, width), break_on_hyphens=False, break_long_words=False)
