"""The report page: scores with their charts, and a browser of reports beside their records. One HTML file that loads
nothing.

It begins with what was scored. Each score is shown with its own value, confidence interval and signature. Every text is
escaped, and the only script is the page's own, named by its hash: without scripts all records stand below each other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from emgecg_cli.core.evaluation.curve import Curves
from emgecg_cli.core.evaluation.page.browser import browser
from emgecg_cli.core.evaluation.page.charts import Difference, difference_charts, item_charts
from emgecg_cli.core.evaluation.page.curves import curve_sections
from emgecg_cli.core.evaluation.page.examples import Examples, PageExample, Shown, page_examples
from emgecg_cli.core.evaluation.page.reading import BY_SENTENCE
from emgecg_cli.core.evaluation.page.values import head_of, scores_of, signatures_of, tables_of
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.pages import document

__all__ = ["Examples", "PageExample", "Shown", "page_examples", "write_page"]


def write_page(path: Path, *, examples: Examples | Sequence[PageExample], scores: Mapping[str, Any],
               differences: Sequence[Difference] = (), robustness: Mapping[str, Curves] | None = None,
               training: Mapping[str, Sequence[str]] | None = None,
               title: str = "medreport: scores and reports") -> None:
    """Write the page, atomically; the same input gives the same bytes.

    `scores` is what `scores.json` holds: `systems`, each a `name` and `values` of `name`, `value` (None: could not be
    computed), `ci_low`, `ci_high`, `signature`, `n`, `lower_is_better`; `tables`; `about`, what was scored; `caveats`
    and `notes`, lists of sentences. `differences` are those of the model from its baselines, `robustness` curves
    by the files they are from, `training` charts by the heading they stand under. A plain list of examples is read by
    sentences.
    """
    if not isinstance(examples, Examples):
        examples = Examples(list(examples), len(examples), BY_SENTENCE)
    tables = [table for table in scores.get("tables") or [] if table["rows"]]
    drawn = [_charts("The model minus its baselines", difference_charts(differences)),
             *(curve_sections(found, source) for source, found in (robustness or {}).items()),
             *(_charts(name, found) for name, found in (training or {}).items())]
    body = "\n".join([head_of(scores), scores_of(scores), *drawn, tables_of(scores, item_charts(tables)),
                      browser(examples), signatures_of(scores)])
    script = kept_text("score_page.js") if examples.shown else ""
    page = document(title, _with_contents(body), script=script, style=kept_text("score_page.css"))
    write_atomically(path, page.encode("utf-8", "backslashreplace"))


def _with_contents(body: str) -> str:
    """The sections of a page with names, below links to them; texts in it are escaped, and hold none."""
    titles: list[str] = []

    def named(found: re.Match[str]) -> str:
        titles.append(found[2])
        return f"<section id=part-{len(titles)}{found[1]}><h2>{found[2]}</h2>"

    body = re.sub(r"<section([^>]*)><h2>(.*?)</h2>", named, body)
    links = "".join(f"<a href=#part-{number}>{title}</a>" for number, title in enumerate(titles, 1))
    return f"<nav aria-label=Contents>{links}</nav>{body}" if len(titles) > 1 else body


def _charts(title: str, found: Sequence[str]) -> str:
    return f"<section><h2>{escape(title)}</h2><div class=charts>{''.join(found)}</div></section>" if found else ""


def kept_text(name: str) -> str:
    """A script or style of the package."""
    return (files("emgecg_cli") / "data" / name).read_text(encoding="utf-8")
