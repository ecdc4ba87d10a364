"""Findings and impression of a report: joined under headings into one text, and split again."""

from __future__ import annotations

import re

HEADINGS = {"zh": ("检查所见：", "印象："), "en": ("Findings:", "Impression:")}
_OWN_LINE = {part: re.compile(rf"^(?:{'|'.join(re.escape(pair[part]) for pair in HEADINGS.values())})[ \t]*$", re.M)
             for part in (0, 1)}
# Further headings that reports have: with marks around them, and with a text in the same line.
_BLANKS = r"[ \t\u3000]{0,8}"


def _heading(names: str, alone: str, start: str) -> re.Pattern[str]:
    """A heading with a colon (any of `names`), in square brackets, or alone in its line (any of `alone`)."""
    opening = rf"{_BLANKS}(?:#{{1,6}}{_BLANKS})?(?:\*\*)?"
    return re.compile(rf"{start}(?:{opening}(?:{names})(?:\*\*)?{_BLANKS}[:：](?:\*\*)?"
                      rf"|{opening}[【\[](?:{names})[】\]](?:\*\*)?{_BLANKS}[:：]?"
                      rf"|{opening}(?:{alone})(?:\*\*)?{_BLANKS}$)", re.I | re.M)


_FINDINGS = _heading("findings?|(?:检查)?所见|检查结果", "findings?|(?:检查)?所见|检查结果", "")
_IMPRESSION = _heading("impressions?|conclusions?|diagnosis|印象|诊断意见|诊断|结论", "impressions?|印象|诊断意见",
                       r"(?:^|(?<=[。；;.!]))")


def join_sections(findings: str, impression: str, language: str = "en") -> str:
    """One report under the headings of a language, "zh" or "en" (any other: English); an empty part is left out with
    its heading. `split_sections` gives both parts back."""
    parts = zip(HEADINGS.get(language, HEADINGS["en"]), (findings.strip(), impression.strip()), strict=True)
    return "\n".join(f"{heading}\n{part}" for heading, part in parts if part)


def split_sections(text: str) -> tuple[str, str]:
    """Findings and impression of a report, without their headings; a text without headings is findings alone.

    Headings as `join_sections` writes them go first; else those of other reports, Chinese or English, with a colon or
    on a line of their own ("Conclusion: …", "**Impression:**", "## 印象"). Where one comes twice, the first counts.
    """
    found = _OWN_LINE[1].search(text) or _IMPRESSION.search(text)
    head, tail = (text[:found.start()], text[found.end():]) if found else (text, "")
    head = head.strip()
    heading = _OWN_LINE[0].match(head) or _FINDINGS.match(head)
    return (head[heading.end():] if heading else head).strip(), tail.strip()
