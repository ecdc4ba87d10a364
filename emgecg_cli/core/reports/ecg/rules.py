"""Rules of one language, read from its file `data/ecg_labels_LANGUAGE.txt`: how statements, uncertainty and negation
are phrased.

The file says at its head how it is written. Nothing in it is code: patterns are regular expressions with four short
forms, and every rule brings the sentences that must come out present, possible and absent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.reports.ecg.prefilter import Sieve
from emgecg_cli.core.reports.ecg.statements import statements
from emgecg_cli.core.reports.ecg.text import fold

LANGUAGES = ("en", "de", "sv")
CUES = ("absent before", "absent after", "possible before", "possible after", "past before", "past after", "neutral",
        "stop", "and", "or", "passing")
REACHING = CUES[:7]   # those that are looked for in whole sentences
_FOLDED_LETTERS = (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("å", "a"), ("ß", "ss"), ("é", "e"))
_MACRO = re.compile(r"\{([a-z]\w*)\}")


@dataclass
class Rule:
    """How a report says one statement. Each pattern is a place where it is said; `doubtful` says it with doubt,
    `denied` says that it is not so. A place of this rule hides places of the rules in `over` that it overlaps."""

    code: str
    said: re.Pattern[str] | None = None
    doubtful: re.Pattern[str] | None = None
    denied: re.Pattern[str] | None = None
    over: tuple[str, ...] = ()
    examples: dict[str, list[str]] = field(default_factory=lambda: {"present": [], "possible": [], "absent": []})


@dataclass
class Rules:
    """All rules of a language; `cues` maps each of CUES to the expression that finds it."""

    language: str
    rules: list[Rule]
    cues: dict[str, re.Pattern[str]]
    abbreviations: re.Pattern[str] | None
    written_out: dict[str, str]
    patterns: list[tuple[Rule, re.Pattern[str], str]] = field(init=False)   # with the status that the words give
    sieve: Sieve = field(init=False)
    cue_sieve: Sieve = field(init=False)
    shortened: frozenset[str] = field(init=False)   # words with a full stop that ends no sentence

    def __post_init__(self) -> None:
        self.patterns = [(rule, pattern, status) for rule in self.rules for pattern, status in
                         ((rule.said, "present"), (rule.doubtful, "possible"), (rule.denied, "absent")) if pattern]
        self.sieve = Sieve(pattern for _, pattern, _ in self.patterns)
        self.cue_sieve = Sieve(self.cues[kind] for kind in REACHING)
        self.shortened = frozenset(part.split()[-1] for key in self.written_out for part in key.split(".")[:-1]
                                   if part.strip())


@lru_cache(maxsize=8)
def rules_of(language: str) -> Rules:
    """The rules of a language. Raises MedReportError for a language without rules."""
    if language not in LANGUAGES:
        raise MedReportError(f"no rules for reports in the language {language!r}",
                             f"statements are read from {', '.join(LANGUAGES)}; translate the reports first")
    name = f"ecg_labels_{language}.txt"
    return read_rules((files("emgecg_cli") / "data" / name).read_text(encoding="utf-8"), language, name)


def read_rules(text: str, language: str, name: str) -> Rules:
    """Rules from the text of their file. Raises MedReportError naming the file and the line that is not understood."""
    sections: list[tuple[str, list[str]]] = []
    macros: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            if line.startswith("@"):
                macro, _, pattern = line[1:].partition("=")
                macros[macro.strip()] = f"(?:{_expand(pattern.strip(), macros)})"
            elif line.startswith("["):
                sections.append((line.strip()[1:-1], []))
            else:
                sign, content = line[0], line[1:].strip()
                sections[-1][1].append((sign + content) if sign in "+?-" or line.startswith("over ")
                                       else _expand(line.strip(), macros))
        except (KeyError, IndexError, ValueError) as error:
            raise MedReportError(f"{name}, line {number}: {error}", "see the head of the file") from None
    cues: dict[str, list[str]] = {cue: [] for cue in CUES}
    rules: list[Rule] = []
    short: dict[str, str] = {}
    for title, lines in sections:
        if title in cues:
            cues[title] += lines
        elif title == "abbreviations":
            short |= {_compact(key): fold(value) for key, _, value in (line.partition("=") for line in lines)}
        elif title in statements():
            try:
                rules.append(_rule(title, lines))
            except re.error as error:
                raise MedReportError(f"{name}: a pattern of [{title}]: {error}", "see the head of the file") from None
        else:
            raise MedReportError(f"{name}: [{title}] is neither a statement nor a kind of cue", "see its head")
    alternatives = "|".join(r" ?\. ?".join(map(re.escape, key.split("."))).removesuffix(" ?")
                            for key in sorted(short, key=len, reverse=True))
    return Rules(language, rules, {cue: _any(lines) for cue, lines in cues.items()},
                 re.compile(rf"(?<!\w)(?:{alternatives})(?:(?<=\.)|(?!\w))") if short else None, short)


def _rule(code: str, lines: list[str]) -> Rule:
    rule = Rule(code)
    patterns: dict[str, list[str]] = {"": [], "maybe ": [], "never ": []}
    signs = {"+": "present", "?": "possible", "-": "absent"}
    for line in lines:
        if line[0] in signs:
            rule.examples[signs[line[0]]].append(line[1:])
        elif line.startswith("over "):
            rule.over = tuple(line[5:].split())
        else:
            kind = next((kind for kind in ("maybe ", "never ") if line.startswith(kind)), "")
            patterns[kind].append(line.removeprefix(kind))
    said, doubtful, denied = patterns.values()
    rule.said = _any(said) if said else None
    rule.doubtful = _any(doubtful) if doubtful else None
    rule.denied = _any(denied) if denied else None
    return rule


def _any(patterns: list[str]) -> re.Pattern[str]:
    """Any of the patterns as whole words; one that never matches where there are none."""
    longest = "|".join(patterns)
    return re.compile(rf"(?<!\w)(?:{longest})(?!\w)" if patterns else r"(?!)")


def _expand(pattern: str, macros: dict[str, str]) -> str:
    """A pattern with its short forms written out, in folded letters."""
    for letter, folded in _FOLDED_LETTERS:
        pattern = pattern.replace(letter, folded)
    pattern = _MACRO.sub(lambda macro: macros[macro[1]], pattern)
    return pattern.replace("~", r"\w*").replace("...", r"(?: \S+){0,8}?")


def _compact(abbreviation: str) -> str:
    """An abbreviation as it stands in a folded text without blanks around its full stops."""
    return re.sub(r"\s*\.\s*", ".", fold(abbreviation)).strip()
