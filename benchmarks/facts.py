"""How far claims of ECG reports are held right against the waveform, where the truth is known.

    python benchmarks/facts.py [--records 600] [--fs 500] [--ludb FOLDER] [--ptb-xl FOLDER] [--smallest]

Simulated cohort: a report written from the truth of a record should be supported, one of another patient contradicted
in what it calls abnormal; by kind, with what is not supported. LUDB: the measured heart rate against the one between
the cardiologists' QRS annotations. PTB-XL: the share of the physicians' claims that the waveform supports, by kind.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import wfdb

from emgecg_cli.core.artifacts import Measurements, QuarantineRow
from emgecg_cli.core.datasets import Recording, Source, open_dataset
from emgecg_cli.core.evidence.claims import Verdict, abnormal_kinds, judge, mentions
from emgecg_cli.core.reports.ecg.criteria import KINDS, Claim
from emgecg_cli.core.reports.ecg.facts import read_claims
from emgecg_cli.core.signals.delineation import measure

Known = tuple[str, Measurements, str | None, str]   # report, what is measured, sex, language


def known(source: Source, limit: int | None = None) -> Iterator[tuple[Recording, Known]]:
    """Recordings with their measurements."""
    refs = [ref for ref in source.listing() if not isinstance(ref, QuarantineRow)][:limit]
    for recording in source.read(refs):
        if isinstance(recording, Recording):
            yield recording, (recording.report or "", measure(np.asarray(recording.signal), int(recording.fs)),
                              recording.sex, recording.language or "en")


def show(title: str, judged: Iterable[tuple[Claim, Verdict, str]]) -> None:
    """Verdicts by kind, and the commonest reports of what is contradicted."""
    counts: dict[str, Counter[Verdict]] = defaultdict(Counter)
    wrong: Counter[str] = Counter()
    for claim, verdict, why in judged:
        counts[claim.kind][verdict] += 1
        if verdict == Verdict.CONTRADICTED:
            wrong[f"{claim.kind} {claim.low:g}..{claim.high:g} {','.join(claim.leads)} {why}"] += 1
    total = sum(counts.values(), Counter())
    print(f"\n{title}")
    for kind, found in (*((kind, counts[kind]) for kind in KINDS if counts[kind]), ("all", total)):
        decided = found[Verdict.SUPPORTED] + found[Verdict.CONTRADICTED]
        print(f"  {kind:8} claims {sum(found.values()):5}, not measurable {found[Verdict.NOT_MEASURABLE]:5}, supported "
              f"{found[Verdict.SUPPORTED] / max(decided, 1):.4f} of those judged, "
              f"{found[Verdict.SUPPORTED] / max(sum(found.values()), 1):.4f} of all")
    for what, count in wrong.most_common(8):
        print(f"    contradicted {count:4}  {what}")


def judged(pairs: Iterable[tuple[Known, Known]], abnormal: bool = False) -> Iterator[tuple[Claim, Verdict, str]]:
    """The claims of the first's report, by the second's waveform."""
    for (report, _, _, language), (_, found, sex, _) in pairs:
        for claim in read_claims(report, language):
            if claim.abnormal or not abnormal:
                yield claim, judge(claim, found, sex), ""


def recall(records: Iterable[Known]) -> str:
    """The share of the abnormal measurements that the report of the record mentions, by kind."""
    there, said = Counter[str](), Counter[str]()
    for report, found, sex, language in records:
        claims = read_claims(report, language)
        for kind in abnormal_kinds(found, sex):
            there[kind] += 1
            said[kind] += mentions(claims, kind, found, sex)
    return ", ".join(f"{kind} {said[kind]} of {there[kind]}" for kind in KINDS if there[kind])


def simulated(records: int, fs: int) -> None:
    cohort = [one for _, one in known(open_dataset("synthetic", 0, records=records, fs=fs))]
    show(f"simulated cohort, {records} records at {fs} Hz: reports from the truth", judged(zip(cohort, cohort,
                                                                                             strict=True)))
    print(f"  abnormal measurements that the report mentions: {recall(cohort)}")
    others = [*cohort[7:], *cohort[:7]]
    show("another patient's report: its abnormal claims", judged(zip(others, cohort, strict=True), abnormal=True))


def ludb(root: Path) -> None:
    """The rate over the annotated beats of lead II, and over the same beats as they are measured."""
    errors = []
    for recording, (_, found, _, _) in known(open_dataset("ludb", 0, root=root)):
        marks = wfdb.rdann(str(root / recording.ref.source), "ii")
        peaks = np.array([sample for sample, symbol in zip(marks.sample, marks.symbol, strict=True) if symbol == "N"])
        if len(peaks) > 1 and found.heart_rate_bpm is not None:
            errors.append(abs(found.heart_rate_bpm - 60 * recording.fs * (len(peaks) - 1) / (peaks[-1] - peaks[0])))
        else:
            errors.append(np.inf)
    print(f"\nLUDB: heart rate within 2/min of the annotated one in {np.mean(np.array(errors) <= 2):.3f} of "
          f"{len(errors)} records, median error {np.median(errors):.3f}/min, largest {max(errors):.1f}")


def ptb_xl(root: Path, limit: int | None) -> None:
    records = [one for _, one in known(open_dataset("ptb-xl", 0, root=root), limit)]
    show(f"PTB-XL, {len(records)} records: the physicians' claims", judged(zip(records, records, strict=True)))
    others = [*records[7:], *records[:7]]
    show("another patient's report", judged(zip(others, records, strict=True)))
    print(f"  abnormal measurements that the report mentions: {recall(records)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=600)
    parser.add_argument("--fs", type=int, default=500)
    parser.add_argument("--ludb", type=Path)
    parser.add_argument("--ptb-xl", type=Path)
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    options = parser.parse_args()
    simulated(10 if options.smallest else options.records, options.fs)
    if options.ludb:
        ludb(options.ludb)
    if options.ptb_xl:
        ptb_xl(options.ptb_xl, 10 if options.smallest else None)


if __name__ == "__main__":
    main()
