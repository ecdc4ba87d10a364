"""`prepare`: from an opened source to a finished store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core.artifacts import SPLITS, QuarantineRow, RecordRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source
from emgecg_cli.core.datasets.text import clean_report, parse_rules
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest, json_hash
from emgecg_cli.core.signals.leads import LEADS, MISSING
from emgecg_cli.core.signals.quality import SUSPECT, check_limb_leads
from emgecg_cli.core.store.shards import Shard, make_shard
from emgecg_cli.core.store.splits import assign_splits, resolve_split, split_hash
from emgecg_cli.core.store.writer import Progress, write_store

CLEANED = "cleaned:"


@dataclass(frozen=True)
class PrepareResult:
    """A prepared store: where it is, its manifest, and what of it had been there before this call."""

    path: Path
    manifest: Manifest
    already_finished: bool
    n_reused_shards: int


def prepare_store(source: Source, out: Path, *, clean: str, min_words: int, split: str | None, seed: int,
                  shard_size: int = 512, progress: Progress | None = None) -> PrepareResult:
    """Write a store from an opened source, or go on with a killed run; the result is the same bytes.

    `clean` names the text rules (`datasets.text`); reports with fewer than `min_words` words after cleaning are set
    aside (0: none). `split` is shares by patient such as "70/10/20"; None takes the official split where there is one.
    The draw is over all listed records, so that it does not move with what is set aside later. `progress(done, total)`
    counts records. Raises MedReportError when an option is wrong, `out` holds something else, or no record can be read.
    """
    rules = parse_rules(clean)
    if min_words < 0 or shard_size < 1:
        raise MedReportError(f"min words {min_words}, shard size {shard_size}: too small",
                             "--min-words is at least 0, a shard holds at least 1 record")
    split = resolve_split(source.refs, split)
    splits = assign_splits(source.refs, split, seed) if source.refs else {}
    arguments = source.arguments | {"clean": ",".join(rules) or "none", "min_words": min_words, "split": split,
                                    "shard_size": shard_size, "seed": seed}
    starts = range(0, len(source.refs), shard_size)

    def build_shard(number: int) -> Shard:
        start = starts[number]
        refs = source.refs[start:start + shard_size]
        tick = None if progress is None else _ticker(progress, start, len(source.refs))
        return _build_shard(source, number, refs, splits, rules, min_words, tick)

    def make_manifest(rows: Sequence[RecordRow], quarantine: Sequence[QuarantineRow],
                      counts: Mapping[str, int]) -> Manifest:
        return _manifest(source, arguments, seed, rows, quarantine, {rule: counts.get(CLEANED + rule, 0)
                                                                     for rule in rules})

    identity = {"command": f"prepare {source.dataset}", "arguments": arguments,
                "details": source.details, "refs": json_hash([_key(ref) for ref in source.refs])}
    sizes = [min(shard_size, len(source.refs) - start) for start in starts]
    written = write_store(out, identity=identity, sizes=sizes, build_shard=build_shard, make_manifest=make_manifest,
                          set_aside=source.set_aside, progress=progress)
    return PrepareResult(out, written.manifest, written.already_finished, written.n_reused)


def _key(ref: RecordRef) -> list[str | None]:
    return [ref.record_id, ref.subject_id, ref.source, ref.split]


def _ticker(progress: Progress, start: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(start + done, total)


def _build_shard(source: Source, number: int, refs: Sequence[RecordRef], splits: Mapping[str, str],
                 rules: tuple[str, ...], min_words: int, tick: Callable[[int], None] | None) -> Shard:
    kept: list[tuple[RecordRow, np.ndarray]] = []
    quarantine: list[QuarantineRow] = []
    counts: Counter[str] = Counter()
    for done, recording in enumerate(source.read(refs), 1):
        if isinstance(recording, Recording):
            report, changed = clean_report(recording.report, rules)
            refused = _refuse_text(recording.ref, report, recording.report, min_words)
            if refused is None:
                kept.append((_row(recording, report, splits[recording.ref.record_id], source), recording.signal))
                counts.update(CLEANED + rule for rule in changed)
            else:
                quarantine.append(refused)
        else:
            quarantine.append(recording)
        if tick is not None:
            tick(done)
    return make_shard(number, kept, quarantine, dict(counts))


def _refuse_text(ref: RecordRef, report: str, raw: str, min_words: int) -> QuarantineRow | None:
    if not report:
        detail = "nothing left after cleaning" if raw.strip() else "no text"
        return QuarantineRow(ref.record_id, "empty report", detail, ref.source)
    n_words = len(report.split())
    if n_words < min_words:
        return QuarantineRow(ref.record_id, "short report", f"{n_words} words, fewer than {min_words}", ref.source)
    return None


def _row(recording: Recording, report: str, split: str, source: Source) -> RecordRow:
    signal = recording.signal
    if signal.shape != (len(LEADS), source.sig_len) or signal.dtype != np.int16 or recording.fs != source.fs:
        raise ValueError(f"record {recording.ref.record_id}: {signal.dtype} {signal.shape} at {recording.fs} Hz, "
                         f"the source promised int16 ({len(LEADS)}, {source.sig_len}) at {source.fs} Hz")
    limb = check_limb_leads(signal)
    n_missing = int(np.count_nonzero(signal == MISSING)) - len(recording.absent_leads) * source.sig_len
    return RecordRow(
        record_id=recording.ref.record_id, subject_id=recording.ref.subject_id, split=split, fs=source.fs,
        sig_len=source.sig_len, report=report, report_raw=recording.report, language=recording.language,
        codes=recording.codes, source=recording.ref.source, shard=0, row=0, n_missing=n_missing,
        n_clipped=recording.n_clipped, n_cropped=recording.n_cropped, n_padded=recording.n_padded,
        absent_leads=recording.absent_leads, resampled_from=recording.resampled_from,
        einthoven_p50_uv=limb.einthoven_p50_uv, einthoven_p99_uv=limb.einthoven_p99_uv,
        goldberger_p50_uv=limb.goldberger_p50_uv, goldberger_p99_uv=limb.goldberger_p99_uv, lead_check=limb.verdict)


def _manifest(source: Source, arguments: dict[str, Any], seed: int, rows: Sequence[RecordRow],
              quarantine: Sequence[QuarantineRow], cleaning: dict[str, int]) -> Manifest:
    splits = Counter(row.split for row in rows)
    counts: dict[str, Any] = {
        "records": len(rows), "subjects": len({row.subject_id for row in rows}),
        **{name: splits.get(name, 0) for name in SPLITS},
        "quarantined": _sorted_counts(row.reason for row in quarantine), "cleaning": cleaning,
        "lead_suspect": sum(row.lead_check.startswith(SUSPECT) for row in rows),
        "with_missing_samples": sum(row.n_missing > 0 for row in rows),
        "with_absent_leads": sum(bool(row.absent_leads) for row in rows),
        "with_clipped_samples": sum(row.n_clipped > 0 for row in rows),
        "resampled": sum(row.resampled_from is not None for row in rows),
    }
    details = source.details | {
        "dataset": source.dataset, "fs": source.fs, "sig_len": source.sig_len,
        "languages": _sorted_counts(row.language for row in rows),
        "split_hash": split_hash((row.record_id, row.split) for row in rows),
    }
    return Manifest("store", f"prepare {source.dataset}", arguments, seed, counts, details=details)


def _sorted_counts(values: Any) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
