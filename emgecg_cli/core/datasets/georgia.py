"""Georgia 12-lead ECG Challenge database (G12EC): 10,344 records `E00001…`, 500 Hz, 5-10 s, SNOMED CT codes."""

from __future__ import annotations

from pathlib import Path

from emgecg_cli.core.datasets import Source
from emgecg_cli.core.datasets.challenge import open_challenge


def open_source(root: Path, codes: Path | None = None, no_reports: bool = False) -> Source:
    """Open the folder of the Georgia records (`g1/`, `g2/` … or all in one).

    Reports are written from the codes (`report_kind` "template"); `codes` is a CSV `code,statement` of further or
    other statements. A record without labels, unless `no_reports` keeps it, or with a code that has no statement, is
    set aside. No official split, and no patients are published. Raises MedReportError as `open_challenge` does.
    """
    return open_challenge("georgia", root, codes, no_reports)
