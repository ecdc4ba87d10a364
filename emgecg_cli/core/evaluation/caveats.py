"""The caveats above a table of scores: why the numbers may mean less, or something else, than they seem to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics.text.tokens import lacks_blanks, language_name, normalise
from emgecg_cli.core.reports.language import UNDETERMINED, likely_language
from emgecg_cli.core.reports.scripts import JAPANESE, LANGUAGE_OF, LATIN, script_of

_SCRIPTS = {"Han": "Chinese characters", JAPANESE: "Japanese characters"}
# What the model was shown in place of a record's own signal.
_NOT_OWN = {"shuffled": "another record's signal", "zeros": "a flat line", "noise": "noise of its power",
            "none": "no signal"}
_INPUT_NOT_OWN = {"shuffled": "another record's {}", "zeros": "zeros as {}", "noise": "noise as {}",
                  "none": "no {}"}


def caveats_of(rows: Sequence[PredictionRow]) -> list[str]:
    """Sentences, each with its count, on checked rows: doubled ids, mixed signals, truncated reports, languages."""
    return [*_doubled_ids(rows), *_signals(rows), *_truncated(rows), *_scripts(rows), *_languages(rows)]


def banner_of(rows: Sequence[PredictionRow]) -> str | None:
    """What was shown where it was not the record's own signal; None where all reports were written from their own."""
    shown = Counter(kind for row in rows if (kind := not_own(row)) is not None)
    if not shown:
        return None
    whose = " and ".join(f"{count} of {len(rows)} reports were written from {kind}"
                         for kind, count in shown.most_common())
    return f"not the records' own signals: {whose}"


def not_own(row: PredictionRow) -> str | None:
    """What a report was written from, if not from the record's own signal."""
    if row.signal in _NOT_OWN:
        return _NOT_OWN[row.signal]
    said = [word.partition("=") for word in (row.signal or "").split(",")]  # "ecg=zeros,values=real"
    named = [_INPUT_NOT_OWN[how].format(name) for name, _, how in said if how in _INPUT_NOT_OWN]
    if named:
        return ", ".join(named)
    return _NOT_OWN["shuffled"] if (row.signal_from or row.record_id) != row.record_id else None


def plain(text: str) -> str:
    """An id or a report as it is compared: one blank where there are several, and one code for each letter."""
    return " ".join(normalise(text).split())


def _doubled_ids(rows: Sequence[PredictionRow]) -> list[str]:
    """Ids that differ in blanks, or in the code of a letter, and so look like one."""
    known: dict[tuple[str | None, str], str] = {}
    doubled = [row.record_id for row in rows
               if known.setdefault((row.dataset, plain(row.record_id)), row.record_id) != row.record_id]
    return [f"{len(doubled)} of {len(rows)} record ids are there twice but for blanks or the codes of their letters, "
            f"first {doubled[0]!r}: one record may count twice"] if doubled else []


def _signals(rows: Sequence[PredictionRow]) -> list[str]:
    counts = Counter(row.signal or "not said" for row in rows)
    if len(counts) < 2:
        return []
    mixture = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return [f"signals are mixed ({mixture}): the scores are of no single kind of input"]


def _truncated(rows: Sequence[PredictionRow]) -> list[str]:
    cut = sum(row.truncated is True for row in rows)
    if not cut:
        return []
    which = "all" if cut == len(rows) else "some"
    return [f"{cut} of {len(rows)} predictions are truncated: {which} were as long as they might be and had not ended "
            "(generate --max-new-tokens)"]


def _scripts(rows: Sequence[PredictionRow]) -> list[str]:
    """Predictions in another script than their reference, references in another than their language."""
    wrong: Counter[tuple[str, str]] = Counter()
    unlike: Counter[tuple[str, str]] = Counter()
    for row in rows:
        written, true = script_of(row.prediction), script_of(row.reference or "")
        if written and true and written != true and not (row.language == "ja" and {written, true} == {"Han", JAPANESE}):
            wrong[written, true] += 1
        language = str(row.language)
        own = true is None or LANGUAGE_OF.get(true) == language or (language, true) == ("ja", "Han")
        if lacks_blanks(language, "") and true and not own:
            unlike[true, language] += 1
    found = [f"{count} of {len(rows)} predictions are in {_script_name(written)}, their references in "
             f"{_script_name(true)}" for (written, true), count in wrong.most_common()]
    return found + [f"{count} of {len(rows)} references are in {_script_name(true)}, their language is given as "
                    f"{language_name(language)}" for (true, language), count in unlike.most_common()]


def _languages(rows: Sequence[PredictionRow]) -> list[str]:
    """Predictions whose words are of another language than their reference's, both in Latin script."""
    wrong: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if script_of(row.prediction) == LATIN == script_of(row.reference or ""):
            written, true = likely_language(row.prediction), likely_language(row.reference or "")
            if UNDETERMINED not in (written, true) and written != true:
                wrong[written, true] += 1
    return [f"{count} of {len(rows)} predictions look {language_name(written)}, their references {language_name(true)}"
            for (written, true), count in wrong.most_common()]


def _script_name(script: str) -> str:
    return _SCRIPTS.get(script, f"{script} script")
