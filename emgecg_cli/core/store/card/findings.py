"""The quality checks of a data card: what in a set needs attention, by record and with the evidence. Nothing here is a
failure of preparation, except a patient in two splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars

from emgecg_cli.core.signals.leads import LEADS
from emgecg_cli.core.store.card.tallies import collect

SHOWN = 20  # records named per kind
NEAR = 12  # bits in which fingerprints differ of a recording that was resampled, rescaled or filtered
MOST_PAIRS = 20_000  # pairs of near fingerprints whose signals are compared
Alike = Callable[[tuple[int, int], tuple[int, int]], bool]
MUCH_MISSING = 0.05
_col = polars.col


@dataclass(frozen=True)
class Finding:
    """A record, and what was seen in it."""

    record_id: str
    evidence: str


@dataclass(frozen=True)
class Findings:
    """One check: how many records it found, the first findings, how many more findings there are, and what finds all
    of them in `records.parquet`, "" where no filter does. A finding of duplicates names several records."""

    kind: str
    title: str
    meaning: str
    n: int
    first: tuple[Finding, ...]
    n_more: int
    filter: str


@dataclass(frozen=True)
class _Check:
    """A check of single rows: which are found, what is said of each, and by what the worst come first."""

    kind: str
    title: str
    meaning: str
    where: polars.Expr
    evidence: polars.Expr
    filter: str
    worst: polars.Expr | None = None
    needs: str | None = None  # a column that not every store has


def missing_share() -> polars.Expr:
    """Share of a row's samples that are missing, absent leads and padding apart; null where nothing is left."""
    leads = len(LEADS) - _col("absent_leads").list.len().cast(polars.Int64)
    samples = leads * (_col("sig_len") - _col("n_padded"))
    return polars.when(samples > 0).then(_col("n_missing") / samples)


def _checks() -> tuple[_Check, ...]:
    residual = polars.max_horizontal("einthoven_p50_uv", "goldberger_p50_uv")
    return (
        _Check("lead_swap", "Likely swapped or inverted leads",
               "The limb leads contradict each other in more than half of the samples; where one swap or inversion "
               "would mend it, it is named. Nothing was changed.",
               _col("lead_check").str.starts_with("suspect"), _col("lead_check").str.strip_prefix("suspect: "),
               'lead_check.str.starts_with("suspect")', residual),
        _Check("lead_glitch", "Glitches in single leads",
               "A short stretch in which limb leads contradict each other, while they agree elsewhere, or a jump of "
               "one precordial lead, several times as far as in its beats, while the others stand still: a fault of "
               "the recorder, an electrode or the file, not a swap.",
               _col("lead_glitch").is_not_null(), _col("lead_glitch"), "lead_glitch.is_not_null()"),
        _Check("unit_slip", "Unit slips",
               "Amplitudes that only a wrong gain explains, by a thousand or the like.",
               _col("scale_check").str.starts_with("suspect"), _col("scale_check").str.strip_prefix("suspect: "),
               'scale_check.str.starts_with("suspect")'),
        _listed("flat_leads", "Flat leads", "Leads that were recorded and hold one value nearly throughout."),
        _listed("flat_stretches", "Flat stretches", "Leads that hold one value for two seconds or more."),
        _listed("absent_leads", "Absent leads", "Leads that the file does not have; their samples are missing."),
        _listed("unused_signals", "Signals that were not used", "Signals of the file whose names are those of none of "
                "the twelve leads. Where one is a lead under another name, rename it in the header."),
        _listed("file_flags", "Faults of files", "Files that are not what their headers say, and were read all the "
                "same."),
        _listed("saturated_leads", "Saturated leads", "Leads that stay, again and again or long, at their own largest "
                "or smallest value: the recorder was at the end of its scale."),
        _Check("clipped", "Clipped samples", "Samples beyond the int16 scale of ±32.767 mV, cut off there.",
               _col("n_clipped") > 0, polars.format("samples cut off: {}", "n_clipped"), "n_clipped > 0",
               _col("n_clipped")),
        _Check("much_missing", "Many missing samples",
               f"More than {MUCH_MISSING * 100:g} % of the samples of the recorded leads are missing.",
               missing_share() > MUCH_MISSING,
               polars.format("{} % of the samples", (missing_share() * 100).round(1)),
               f"n_missing / ((12 - absent_leads.list.len()) * (sig_len - n_padded)) > {MUCH_MISSING}",
               missing_share()),
    )


def _listed(column: str, title: str, meaning: str) -> _Check:
    """A check whose column lists what was found in a record."""
    n = _col(column).list.len()
    return _Check(column, title, meaning, n > 0, _col(column).list.join(", "), f"{column}.list.len() > 0", n, column)


def _with_unused(check: _Check) -> _Check:
    """Absent leads, with what the file holds instead, since a lead under an unknown name looks absent."""
    unused = polars.when(_col("unused_signals").list.len() > 0).then(
        polars.format("; not used: {}", _col("unused_signals").list.join(", "))).otherwise(polars.lit(""))
    return replace(check, evidence=polars.concat_str(check.evidence, unused))


def find_all(records: polars.LazyFrame, alike: Alike | None = None) -> tuple[Findings, ...]:
    """Every check over a store's table, those without a finding as well."""
    columns = {None, *records.collect_schema().names()}
    checks = [check for check in _checks() if check.needs in columns]
    if "unused_signals" in columns:
        checks = [_with_unused(check) if check.kind == "absent_leads" else check for check in checks]
    single = [_run(records, check) for check in checks]
    return (*single, _same_signals(records), _near_signals(records, alike), _split_patients(records))


def _run(records: polars.LazyFrame, check: _Check) -> Findings:
    found = records.filter(check.where)
    n = int(collect(found.select(polars.len())).item())
    first: list[Finding] = []
    if n:
        worst = polars.lit(0) if check.worst is None else check.worst
        # the row's number keeps the order of the table among equals
        shown = found.select("record_id", check.evidence.alias("evidence"), worst.alias("worst")).with_row_index("at")
        worst_first = shown.sort(["worst", "at"], descending=[True, False]).head(SHOWN)
        first = [Finding(*row) for row in collect(worst_first.select("record_id", "evidence")).iter_rows()]
    return Findings(check.kind, check.title, check.meaning, n, tuple(first), n - len(first), check.filter)


def _same_signals(records: polars.LazyFrame) -> Findings:
    """Rows with the very same samples, one finding a group, the largest first."""
    hashes = records.filter(_col("signal_hash") != "").group_by("signal_hash").len().filter(_col("len") > 1)
    n_groups, n = collect(hashes.select(polars.len().alias("groups"), _col("len").sum().alias("n"))).row(0)
    largest = collect(hashes.sort(["len", "signal_hash"], descending=[True, False]).head(SHOWN))["signal_hash"]
    rows = collect(records.filter(_col("signal_hash").is_in(largest.implode()))
                   .select("record_id", "subject_id", "split", "signal_hash"))
    groups = [rows.filter(_col("signal_hash") == one) for one in largest]
    first = [Finding(group["record_id"][0], _others(group)) for group in groups]
    return Findings("same_signal", "Duplicated signals",
                    "Records whose samples are all the same; each group is named once.", int(n or 0),
                    tuple(first), n_groups - len(first),
                    'signal_hash.is_duplicated() & (signal_hash != "")')


def _others(group: polars.DataFrame) -> str:
    """The records with which the first of a group shares its signal."""
    others = group["record_id"][1:].to_list()
    named = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
    return f"the same samples as {named}; {_spread(group['subject_id'].to_list(), group['split'].to_list())}"


def _spread(subjects: Sequence[str], splits: Sequence[str]) -> str:
    n = len(set(subjects))
    return f"{n} patient{'s' if n > 1 else ''}, split {' and '.join(sorted(set(splits)))}"


def _near_signals(records: polars.LazyFrame, alike: Alike | None) -> Findings:
    """Pairs of recordings with nearly the same signal, those with the very same samples apart."""
    title, meaning = "Nearly the same signals", ("Pairs of records whose signals differ by little: exported twice, "
                                                 "resampled or rescaled.")
    rows = collect(records.filter(_col("fingerprint").is_not_null())
                   .select("record_id", "recording_id", "subject_id", "split", "signal_hash", "fingerprint", "shard",
                           "row"))
    first: list[Finding] = []
    n_pairs = n_found = 0
    if rows.height > 1 and alike is not None:
        from emgecg_cli.core.signals.duplicates import near_pairs

        pairs = np.asarray(near_pairs(rows["fingerprint"].to_list(), NEAR), np.int64).reshape(-1, 2)
        differ = [(rows[name].gather(pairs[:, 0]) != rows[name].gather(pairs[:, 1])).to_numpy()
                  for name in ("signal_hash", "recording_id")]
        pairs = pairs[differ[0] & differ[1]][:MOST_PAIRS]
        places = rows.select("shard", "row").rows()
        pairs = np.asarray([(a, b) for a, b in pairs.tolist() if alike(places[a], places[b])], np.int64).reshape(-1, 2)
        n_pairs, n_found = len(pairs), len(np.unique(pairs))
        for a, b in pairs[:SHOWN].tolist():
            one, other = rows.row(a, named=True), rows.row(b, named=True)
            spread = _spread([one["subject_id"], other["subject_id"]], [one["split"], other["split"]])
            first.append(Finding(one["record_id"], f"nearly the same as {other['record_id']}; {spread}"))
    return Findings("near_signal", title, meaning, n_found, tuple(first), n_pairs - len(first),
                    "")


def _split_patients(records: polars.LazyFrame) -> Findings:
    """Patients in more than one split, which no store should have."""
    across = collect(records.group_by("subject_id").agg(_col("split").n_unique().alias("splits"),
                                                        _col("split").unique().sort().alias("names"))
                     .filter(_col("splits") > 1).sort("subject_id"))
    first = tuple(Finding(f"patient {subject}", f"in {' and '.join(names)}")
                  for subject, names in across.head(SHOWN).select("subject_id", "names").iter_rows())
    return Findings("patients_across_splits", "Patients across splits",
                    "A patient in two splits leaks what is tested into what is trained on: there must be none.",
                    across.height, first, across.height - len(first),
                    'split.n_unique().over("subject_id") > 1')
