"""Drafts as a PDF on A4, the ECG to scale, texts that can be searched; drawn by matplotlib, the same bytes each time.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from emgecg_cli.core.drafting.draft import NOT_A_DIAGNOSIS, DraftTables, paragraphs
from emgecg_cli.core.drafting.run import Drafted
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.pages import DISCLAIMER
from emgecg_cli.core.pages.printable import one_line
from emgecg_cli.core.signals.paper import lay_out
from emgecg_cli.core.signals.paper.geometry import RIGHT, SMALL_MM, STROKE, TEXT_MM, WIDTH, Page, Text, wrap
from emgecg_cli.core.signals.paper.svg import INK, NOTE, PAPER, THICK, THIN

A4 = (297.0, 210.0)
MARGIN, LINE = 5.0, 1.45
POINTS = 72 / 25.4
# faces with the letters of Chinese, where one is installed
CHINESE = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
           "Droid Sans Fallback", "SimSun", "Microsoft YaHei", "PingFang SC", "Heiti SC", "Arial Unicode MS")


def drafts_pdf(drafted: Drafted) -> bytes:
    """The pages of all drafts, one after the other; raises MedReportError where matplotlib is not installed, or no
    typeface here has the letters of a draft."""
    try:
        import matplotlib
        from matplotlib.backends.backend_pdf import PdfPages
    except ImportError:
        raise MedReportError("matplotlib is not installed, which writes PDF", "pip install 'medreport[pdf]', or give "
                             "--out report.html") from None
    stream = io.BytesIO()
    about = {"Title": NOT_A_DIAGNOSIS, "Creator": "medreport", "Producer": "medreport", "CreationDate": None}
    style: Any = {"pdf.fonttype": 42, "font.family": _faces(), "pdf.compression": 6, "path.simplify": False}
    with matplotlib.rc_context(style), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with PdfPages(stream, metadata=about) as pdf:
            for page in _pages(drafted):
                _draw(pdf, page)
    missing = next((one for one in caught if "missing from" in str(one.message)), None)
    if missing:
        raise MedReportError("no typeface here has the letters of these drafts", "install one, such as Noto Sans CJK, "
                             "or give --out report.html")
    return stream.getvalue()


def _faces() -> list[str]:
    from matplotlib import font_manager

    there = {one.name for one in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in CHINESE if name in there)]


def _pages(drafted: Drafted) -> Iterator[Page]:
    """Each draft on as many pages as it takes, within A4; what could not be read on the last."""
    for draft in drafted.drafts:
        words = [*paragraphs(draft), f"Written by the run {drafted.run}. {DISCLAIMER}"]
        head = (f"{NOT_A_DIAGNOSIS}: {draft.file}", draft.about)
        samples = draft.samples()
        if samples is not None:
            # brackets of intervals where there is room for them beside the words
            whole = next((page for lanes in (draft.lanes, None) if (page := lay_out(
                samples, draft.fs, header=head, notes=words, lanes=lanes)).height <= A4[1] - 2 * MARGIN), None)
            yield whole or lay_out(samples, draft.fs, header=head, lanes=draft.lanes)
            if whole:
                continue
        lines = _table_lines(draft.tables) if draft.tables else []
        yield from _text_pages(head, [*_wrapped(words), *lines])
    if drafted.refused:
        yield from _text_pages(("Not read",), _wrapped([f"{one.file}: {one.why}" for one in drafted.refused]))


Line = list[tuple[float, str]]  # texts of a line, each with its place in mm


def _wrapped(words: Sequence[str]) -> list[Line]:
    lines: list[Line] = []
    for one in words:
        for line in wrap(one_line(one), WIDTH - 2 * RIGHT, TEXT_MM):
            lines.append([(float(RIGHT), line)])
        lines.append([])
    return lines


def _table_lines(shown: DraftTables) -> list[Line]:
    """Tables as columns of text; those that are empty are left out."""
    lines: list[Line] = [[(RIGHT, f"{shown.n_outside} of {shown.n_judged} values that have a reference range lie "
                                  "outside it: H above, L below")], []]
    for title, head, rows in shown.tables:
        used = [column for column in range(len(head)) if any(row[column] for row in rows)]
        width = (WIDTH - 2 * RIGHT) / max(1, len(used))
        cells = [[head[column] for column in used], *([row[column] for column in used] for row in rows)]
        lines.append([(RIGHT, title)])
        for row in cells:
            parts = [wrap(one_line(cell), width - 2, SMALL_MM) or [""] for cell in row]
            for n in range(max(map(len, parts))):
                lines.append([(RIGHT + i * width, part[n]) for i, part in enumerate(parts) if n < len(part)])
        lines.append([])
    return lines


def _text_pages(head: Sequence[str], lines: Sequence[Line]) -> Iterator[Page]:
    room = int((A4[1] - 2 * MARGIN - 20) / (TEXT_MM * LINE))
    for at in range(0, max(1, len(lines)), room):
        page = Page(WIDTH, A4[1] - 2 * MARGIN, 0.0, 0.0)
        page.texts.append(Text(RIGHT, 6.0, head[0], TEXT_MM * 1.2, bold=True))
        page.texts += [Text(RIGHT, 12.0, one) for one in head[1:2]]
        page.texts += [Text(x, 20 + n * TEXT_MM * LINE, text, SMALL_MM if len(line) > 1 else TEXT_MM)
                       for n, line in enumerate(lines[at:at + room]) for x, text in line]
        yield page


def _draw(pdf: Any, page: Page) -> None:
    """One page in the middle of A4, to scale; smaller where it is too tall for the paper."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    scale = min(1.0, (A4[1] - 2 * MARGIN) / page.height)
    figure = Figure(figsize=(A4[0] / 25.4, A4[1] / 25.4))
    axes = figure.add_axes((0, 0, 1, 1))
    left, top = (A4[0] - page.width * scale) / 2, MARGIN
    axes.set_xlim(-left / scale, (A4[0] - left) / scale)
    axes.set_ylim((A4[1] - top) / scale, -top / scale)
    axes.axis("off")
    if page.bottom > page.top:
        axes.add_patch(Rectangle((0, page.top), page.width, page.bottom - page.top, color=PAPER, lw=0))
        for step, colour, stroke in ((1, THIN, 0.1), (5, THICK, 0.2)):
            across = [((x, page.top), (x, page.bottom)) for x in np.arange(0, page.width + 1e-6, step)]
            down = [((0, y), (page.width, y)) for y in np.arange(page.top, page.bottom + 1e-6, step)]
            axes.add_collection(LineCollection([*across, *down], colors=colour, linewidths=stroke * scale * POINTS))
    for x, y in (*page.marks, *page.traces):
        axes.plot(x, y, color=INK, lw=STROKE * scale * POINTS, solid_joinstyle="round")
    for text in page.texts:
        axes.text(text.x, text.y, text.text, fontsize=text.size * scale * POINTS, color=NOTE if text.note else INK,
                  fontweight="bold" if text.bold else "normal", va="baseline", parse_math=False)
    if scale < 1:  # what is printed below the traces holds for the squares alone
        axes.text(page.width - RIGHT, 6.0, f"drawn at {scale:.0%} of its size", ha="right", va="baseline",
                  fontsize=SMALL_MM * scale * POINTS, color=NOTE)
    pdf.savefig(figure)
