"""Checks before predictions are scored, and what a reader of the scores must know about the texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.metrics.text.tokens import (
    is_chinese,
    lacks_blanks,
    language_name,
    normalise,
    primary_language,
)
from emgecg_cli.core.reports.language import UNDETERMINED
from emgecg_cli.core.reports.scripts import (
    JAPANESE,
    LANGUAGE_OF,
    LATIN,
    SPACELESS,
    count_words,
    script_beyond_latin_1,
    script_of,
)

_HAN = "Han"
_CHAT_TAG = re.compile(r"<\|[A-Za-z_]+\|>|</?s>|\[/?INST\]|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>|```")


@dataclass(frozen=True)
class TextSummary:
    """Counts over the n predictions of a system. `chat_tags` maps each leaked tag to the predictions that hold it."""

    n: int
    empty: int
    different: int
    mean_words: float
    mean_words_reference: float
    chat_tags: dict[str, int]


def check_rows(rows: Sequence[PredictionRow], language: str | None) -> list[PredictionRow]:
    """Rows with normalised text and a primary language each; raises MedReportError for a set that cannot be scored.

    A row that names no language has that of its script, where one language is written in it; in Latin script English.
    """
    if not rows:
        raise MedReportError("no predictions to score", "run `medreport generate` first, or check the input")
    seen: dict[tuple[str | None, str], int] = {}
    for number, row in enumerate(rows, 1):
        key = (row.dataset, row.record_id)
        if key in seen:
            raise MedReportError(f"record {row.record_id}: predicted twice (predictions {seen[key]} and {number})",
                                 "score one run at a time, one prediction per record")
        seen[key] = number
    checked = [_with(row, prediction=normalise(row.prediction), reference=normalise(row.reference or ""),
                     more_references=[normalise(text) for text in row.more_references] if row.more_references else None)
               for row in rows]
    empty = next((row for row in checked if not (row.reference or "").strip()), None)
    if empty is not None:
        raise MedReportError(f"record {empty.record_id}: its reference is empty",
                             "leave out records without a report, e.g. by `prepare --min-words 1`")
    japanese = _is_japanese([row.reference or "" for row in checked if _tag(language or row.language) is None])
    checked = [_with(row, language=_language(language or row.language, row.reference or "", japanese))
               for row in checked]
    for row in checked:
        _check_script(row)
    return checked


def _with(row: PredictionRow, **values: Any) -> PredictionRow:
    """A row with other values; itself where it has them already, which is cheaper by far."""
    return row if all(getattr(row, name) == value for name, value in values.items()) else replace(row, **values)


def _check_script(row: PredictionRow) -> None:
    """Refuse a reference in a script in which the tokenizers of its language find no words; raises MedReportError."""
    script, said = script_of(row.reference or ""), str(row.language)
    where = f"record {row.record_id}: its reference is in"
    if script in SPACELESS and not lacks_blanks(said, "") and lacks_blanks(LANGUAGE_OF[script], ""):
        own = LANGUAGE_OF[script]
        raise MedReportError(f"{where} {language_name(own)}, its language is given as '{said}'",
                             f"score it as {language_name(own)} with --language {own} --segmentation char")
    if said == "en" and script not in (LATIN, None, *SPACELESS):
        own = LANGUAGE_OF.get(str(script), "ru" if script == "Cyrillic" else UNDETERMINED)
        raise MedReportError(f"{where} {script} script, its language is given as 'en'",
                             f"give the language it is in, e.g. --language {own}")


def check_tokens(rows: Sequence[PredictionRow], segmentation: str | None) -> None:
    """Refuse reports without blanks between words for which no segmentation was chosen, or one that is not made for
    them; raises MedReportError."""
    dense = [row for row in rows if lacks_blanks(row.language, row.reference or "")]
    if dense and segmentation is None:
        name = language_name(str(dense[0].language))
        jieba = " or --segmentation jieba (words)" if is_chinese(dense[0].language) else ""
        raise MedReportError(f"record {dense[0].record_id}: its report is {name}, written without blanks between "
                             "words, so that the default tokenizers find none",
                             f"add --segmentation char (each character a token){jieba}")
    other = next((row for row in dense if not is_chinese(row.language)), None)
    if other is not None and segmentation == "jieba":
        raise MedReportError(f"record {other.record_id}: its report is {language_name(str(other.language))}, and jieba "
                             "cuts Chinese only", "add --segmentation char in its place")


def _tag(tag: str | None) -> str | None:
    """The primary language a row names, if it names one; "zh" for Chinese however it was tagged."""
    if tag is None or not tag.strip() or primary_language(tag) == UNDETERMINED:
        return None
    return "zh" if is_chinese(tag) else primary_language(tag)


def _language(tag: str | None, reference: str, japanese: bool) -> str:
    """The primary language of a row."""
    if named := _tag(tag):
        return named
    script = script_of(reference)
    if script in (LATIN, None):
        return UNDETERMINED if tag and tag.strip() else "en"
    return "ja" if script == _HAN and japanese else LANGUAGE_OF.get(str(script), UNDETERMINED)


def _is_japanese(references: Sequence[str]) -> bool:
    """Whether reports in Chinese characters are Japanese: single ones may do without kana, all of them never do."""
    joined = "".join(text for text in references if script_of(text) in (JAPANESE, _HAN))
    return joined != "" and script_beyond_latin_1.__wrapped__(joined) == JAPANESE


def summarise(predictions: Sequence[str], mean_words_reference: float) -> TextSummary:
    """Count what is empty, repeated or leaked, beside the `mean_words` of the references."""
    counts = Counter(predictions)
    tags: Counter[str] = Counter()
    for text, n in counts.items():
        for tag in set(_CHAT_TAG.findall(text)):
            tags[tag] += n
    return TextSummary(
        n=len(predictions),
        empty=sum(n for text, n in counts.items() if not text.strip()),
        different=len(counts),
        mean_words=mean_words(predictions),
        mean_words_reference=mean_words_reference,
        chat_tags=dict(sorted(tags.items())),
    )


def mean_words(texts: Sequence[str]) -> float:
    """Words of a text on average. They are cut at blanks; without blanks a character is one."""
    return round(sum(n * count_words(text) for text, n in Counter(texts).items()) / len(texts), 4)


def text_notes(rows: Sequence[PredictionRow], summary: TextSummary) -> list[str]:
    """Sentences on the model's predictions: how many differ, are empty, leak tags or cannot be read by a tokenizer."""
    notes = [f"{summary.different} of {summary.n} predictions are different texts; "
             f"{summary.mean_words:.1f} words on average, the references {summary.mean_words_reference:.1f}"]
    if summary.empty:
        notes.append(f"{summary.empty} of {summary.n} predictions are empty and count as zero")
    if summary.different == 1 and summary.n > 1:
        notes.append("every record got the same prediction: these scores say nothing about the signal")
    notes += [f"{count} predictions hold the chat tag {tag}: it was scored as text; generate should remove it"
              for tag, count in summary.chat_tags.items()]
    leaked = sum(bool(_CHAT_TAG.search(row.reference or "")) for row in rows)
    if leaked:
        notes.append(f"{leaked} references hold a chat tag: what both sides share inflates every score")
    broken = sum("\ufffd" in row.prediction or "\ufffd" in (row.reference or "") for row in rows)
    if broken:
        notes.append(f"{broken} of {summary.n} pairs hold undecodable characters (U+FFFD)")
    return notes


def language_notes(rows: Sequence[PredictionRow], checked: Sequence[PredictionRow], language: str | None) -> list[str]:
    """Sentences on languages that were assumed or mixed."""
    notes = []
    unnamed = [row for row, own in zip(checked, rows, strict=True) if not own.language] if language is None else []
    for name, count in sorted(Counter(map(_taken_as, unnamed)).items()):
        notes.append(f"{count} of {len(rows)} records name no language and are taken as {name} (--language LANG)")
    counts = Counter(row.language or "en" for row in checked)
    if len(counts) > 1:
        mixture = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        apart = sorted({str(row.language) for row in checked if lacks_blanks(row.language, row.reference or "")})
        how = (f"{' and '.join(map(language_name, apart))} {'is' if len(apart) == 1 else 'are'} scored apart" if apart
               else "scored together: compare with the same mixture only")
        notes.append(f"languages are mixed ({mixture}) and {how}")
    return notes


def _taken_as(row: PredictionRow) -> str:
    if row.language != UNDETERMINED:
        return language_name(str(row.language))
    script = script_of(row.reference or "")
    return f"one written in {script or 'no'} script"
