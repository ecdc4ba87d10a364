"""When a text may serve as a prompt: it asks for a report of the ECG, and says nothing about what the ECG shows."""

from __future__ import annotations

import re
import unicodedata

MIN_WORDS, MAX_WORDS = 4, 60


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_REQUEST = _any_of(
    r"\b(write|draft|prepare|compose|produce|generate|provide|give|create|make|compile|draw up|put|set down|set out)\b",
    r"\b(summari[sz]e|describe|interpret|report|explain|analy[sz]e|assess|evaluate|read|review|examine|study)\b",
    r"\b(state|tell|dictate|document|formulate|record|note|list|outline|detail|turn|translate|convert|express|phrase)\b",
    r"\b(please|need|require|want|(?:would|'d) like|appreciate|looking for|ask(?:s|ed)?)\b",
    r"\b(request(?:s|ed)?|share|supply|deliver|send|let me)\b",
    r"\b(what|how|could you|can you|would you|will you|may i|is it possible)\b",
)
_REPORT = _any_of(
    r"\b(reports?|reporting|descri\w+|interpret\w*|findings?|summar\w+|assess\w*|analy[sz]\w+|evaluat\w+)\b",
    r"\b(impressions?|readings?|conclusions?|accounts?|write[- ]?up|statements?|diagnostic|overview|commentary)\b",
)
_SIGNAL = _any_of(r"\b(ecgs?|ekgs?|electrocardiogra\w+|recordings?|signals?|tracings?|traces?|waveforms?)\b")
_TAGS = re.compile(r"[<>{}\[\]|\\`]|https?:|\b(?:user|assistant|system|human)\s*:", re.IGNORECASE)
_TWELVE_LEAD = re.compile(r"\b12[- ]lead\b", re.IGNORECASE)
_UNITS = _any_of(r"\bbpm\b", r"\bbeats per minute\b", r"\b(milli)?(volts?|seconds?)\b", r"\bhertz\b", r"\b(ms|mv|hz)\b")
_REFUSAL = _any_of(
    r"\bas an? (ai|artificial|language|large)\b", r"\blanguage model\b", r"\bi(?:'m| am) (?:sorry|unable|not able)\b",
    r"\bi (?:can ?not|can't|won't|will not|do not|don't)\b", r"\bsorry\b", r"\bapologi[sz]e\b",
)
_LEAKS = _any_of(
    r"\b\w*(fibrillat|flutter|tachycard|bradycard|infarct|isch(?:a)?emi|hypertroph|extrasystol|arrhythm|asystol)\w*",
    r"\b\w*(pericardit|myocardit|cardiomyopath|hyperkal|hypokal|embol|syndrome|failure|digox|digital(?:is|oid))\w*",
    r"\b(bundle|blocks?|hemi-?block|fascicular|ectop\w+|premature|bigemin\w+|pre-?excitation|re-?polari[sz]ation)\b",
    r"\b(abnormal|normal|unremarkable|borderline|pathologic\w*|acute|prolonged|elevat\w+|depress\w+|invers\w+|inverted)\b",
    r"\b(sinus|atrial|ventricular|junctional|paced|pacemaker|ectopy|deviation|low[- ]voltage|high[- ]voltage)\b",
    r"\b(afib|af|avb|lbbb|rbbb|lvh|rvh|lafb|lpfb|i?mi|n?stemi|pvcs?|pacs?|svt|vt|vf|wpw|q-?waves?|st-?t|qtc?)\b",
)


def check_prompt(text: object) -> str | None:
    """Why a text may not serve as a prompt, in a few words; None when it may.

    A prompt is one line of 4 to 60 words in Latin script that requests a report of the ECG. It leaks nothing (no
    diagnosis, number or unit; "12-lead" is allowed), has no chat tag or placeholder, and is no model's refusal.
    """
    if not isinstance(text, str):
        return "not text"
    if not text.isprintable() or text != text.strip():
        return "more than one line, a control character, or blanks around it"
    if any(unicodedata.category(c)[0] == "L" and not unicodedata.name(c, "").startswith("LATIN") for c in text):
        return "not in Latin script"
    if not MIN_WORDS <= len(text.split()) <= MAX_WORDS:
        return f"not of {MIN_WORDS} to {MAX_WORDS} words"
    if _TAGS.search(text):
        return "holds a chat tag, a placeholder or an address"
    plain = _plain(text)
    if _REFUSAL.search(plain):
        return "a refusal"
    leak = _LEAKS.search(plain) or re.search(r"\d", _TWELVE_LEAD.sub("", plain)) or _UNITS.search(plain)
    if leak:
        return f"speaks of '{leak.group()}', which a request cannot know"
    if not _SIGNAL.search(plain):
        return "does not mention the ECG"
    if not _REQUEST.search(plain) or not _REPORT.search(plain):
        return "does not ask for a report"
    return None


def normalise(text: str) -> str:
    """What two prompts share when they are the same but for case, punctuation and blanks."""
    return " ".join(re.findall(r"\w+", _plain(text).casefold()))


def _plain(text: str) -> str:
    """Compatibility forms and typographic apostrophes replaced, so that no spelling slips past the rules."""
    return unicodedata.normalize("NFKC", text).replace("\u2019", "'")
