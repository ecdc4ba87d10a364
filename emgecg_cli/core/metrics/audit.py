"""What must hold before predictions are scored, and what a reader of the scores must know about the texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.metrics.tokens import count_words, is_chinese, is_mostly_han, normalise, primary_language

# Japanese is written with the same characters.
_HAN_TOO = frozenset(("ja", "jpn"))
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

    A row that names no language is Chinese if its reference is mostly in Chinese characters, else English.
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
        if not row.reference.strip():
            raise MedReportError(f"record {row.record_id}: its reference is empty",
                                 "leave out records without a report, e.g. by `prepare --min-words 1`")
    checked = [replace(row, prediction=normalise(row.prediction), reference=normalise(row.reference),
                       language=_language(language or row.language, row.reference)) for row in rows]
    wrong = next((row for row in checked if not is_chinese(row.language) and row.language not in _HAN_TOO
                  and is_mostly_han(row.reference)), None)
    if wrong is not None:
        raise MedReportError(f"record {wrong.record_id}: its reference is in Chinese, its language is given as "
                             f"'{wrong.language}'", "score it as Chinese with --language zh --segmentation char")
    return checked


def check_tokens(rows: Sequence[PredictionRow], segmentation: str | None) -> None:
    """Refuse Chinese reports for which no segmentation was chosen; raises MedReportError."""
    chinese = next((row for row in rows if is_chinese(row.language)), None)
    if chinese is not None and segmentation is None:
        raise MedReportError(f"record {chinese.record_id}: its report is Chinese, in which the words of the default "
                             "tokenizers, made for English, cannot be found",
                             "add --segmentation char (each character a token) or --segmentation jieba (words)")


def _language(tag: str | None, reference: str) -> str:
    """The primary language of a row; "zh" for Chinese however it was tagged."""
    if tag is None or not tag.strip():
        return "zh" if is_mostly_han(reference) else "en"
    return "zh" if is_chinese(tag) else primary_language(tag)


def summarise(predictions: Sequence[str], references: Sequence[str]) -> TextSummary:
    """Count what is empty, repeated or leaked. Words are cut at blanks; a Chinese character is one."""
    tags = Counter(tag for text in predictions for tag in set(_CHAT_TAG.findall(text)))
    return TextSummary(
        n=len(predictions),
        empty=sum(not text.strip() for text in predictions),
        different=len(set(predictions)),
        mean_words=round(sum(count_words(text) for text in predictions) / len(predictions), 4),
        mean_words_reference=round(sum(count_words(text) for text in references) / len(references), 4),
        chat_tags=dict(sorted(tags.items())),
    )


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
    leaked = sum(bool(_CHAT_TAG.search(row.reference)) for row in rows)
    if leaked:
        notes.append(f"{leaked} references hold a chat tag: what both sides share inflates every score")
    han = sum(is_mostly_han(row.prediction) and not is_chinese(row.language) for row in rows)
    if han:
        notes.append(f"{han} of {summary.n} predictions are in Chinese, their references are not")
    foreign = sum(is_chinese(row.language) and bool(row.prediction.strip()) and not is_mostly_han(row.prediction)
                  for row in rows)
    if foreign:
        notes.append(f"{foreign} of {summary.n} predictions are not in Chinese, their references are")
    broken = sum("\ufffd" in row.prediction or "\ufffd" in row.reference for row in rows)
    if broken:
        notes.append(f"{broken} of {summary.n} pairs hold undecodable characters (U+FFFD)")
    return notes


def language_notes(rows: Sequence[PredictionRow], checked: Sequence[PredictionRow], language: str | None) -> list[str]:
    """Sentences on languages that were assumed or mixed."""
    notes = []
    unnamed = [row for row, own in zip(checked, rows, strict=True) if not own.language] if language is None else []
    for name, count in sorted(Counter("Chinese" if is_chinese(row.language) else "English" for row in unnamed).items()):
        notes.append(f"{count} of {len(rows)} records name no language and are taken as {name} (--language LANG)")
    counts = Counter(row.language or "en" for row in checked)
    if len(counts) > 1:
        mixture = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        how = ("Chinese is scored apart" if any(map(is_chinese, counts)) else
               "scored together: compare with the same mixture only")
        notes.append(f"languages are mixed ({mixture}) and {how}")
    return notes
