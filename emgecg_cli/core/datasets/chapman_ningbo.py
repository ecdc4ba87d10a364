"""Chapman-Shaoxing and Ningbo: ecg-arrhythmia 1.0.0 (Zheng et al. 2020) or its Challenge copy; 45,152 records, 10 s.

PhysioNet's `WFDBRecords/01/010/JS00001.hea` and the Challenge's `g1/JS00001.hea` are the same records with the same
numbers. Known trouble: the headers of JS01052 and JS23074 in ecg-arrhythmia lack a line and are set aside as
unreadable; the Challenge has the header of JS23074 as `S23074.hea`.
"""

from __future__ import annotations

from pathlib import Path

from emgecg_cli.core.datasets import Source
from emgecg_cli.core.datasets.challenge import open_challenge

FLUTTER = ("the Ningbo part (JS10647 and later) states atrial flutter (164890007) in 7,615 records and atrial "
           "fibrillation in none: its flutter may stand for both")


def open_source(root: Path, codes: Path | None = None, no_reports: bool = False) -> Source:
    """Open the folder of the records: ecg-arrhythmia's root or its `WFDBRecords/`, or the Challenge's folders.

    Reports are written from the codes (`report_kind` "template"); `codes` is a CSV `code,statement` of further or
    other statements. A record without labels, unless `no_reports` keeps it, or with a code that has no statement, is
    set aside. No official split, and no patients are published. Raises MedReportError as `open_challenge` does.
    """
    return open_challenge("chapman-ningbo", root, codes, no_reports, labels=FLUTTER)
