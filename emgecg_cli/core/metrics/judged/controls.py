"""Reports whose scores are known beforehand: a judge that does not see what they are is not believed in anything.

A reference against itself, against another patient's, and with a finding denied: some of the suite's own texts, some
drawn from the references that are to be judged, in their language and style.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emgecg_cli.core.metrics.judged.criteria import Asks, Sample
from emgecg_cli.core.metrics.judged.panel import Judge, Pair, Panel, Scores

DRAWN = 4  # references of the set
ITSELF, SHUFFLED, NEGATED = "reference against itself", "shuffled reference", "negated finding"
_ALIKE = 0.34  # share of words that two references have in common and still are of different patients
_DENY = {"en": "no evidence of", "de": "kein Hinweis auf", "sv": "inga tecken på", "zh": "未见"}
_DENIED = re.compile(r"(?i)\b(?:no|not|without|neither|kein\w*|nicht|ohne|ingen|inga|inget|ej|utan)\b|[无未不]")


@dataclass(frozen=True)
class Outcome:
    """The mean scores of a judge on the controls, on all criteria and on the telling ones alone, and what is wrong."""

    itself: float
    shuffled: float
    negated: float
    wrong: str | None

    def told(self) -> str:
        """In a few words."""
        return f"itself {self.itself:.2f},shuffled {self.shuffled:.2f},negated {self.negated:.2f}"


def controls_of(criteria: Asks, references: Sequence[tuple[str, str]]) -> dict[str, list[Pair]]:
    """Kind -> pairs, from (reference, language) of the set; which are drawn depends on their texts alone."""
    samples = [*criteria.samples, *_drawn(references)]
    return {ITSELF: [(one.report, one.report) for one in samples],
            SHUFFLED: [(one.report, one.other) for one in samples if one.other],
            NEGATED: [(one.report, one.negated) for one in samples if one.negated]}


def check(judge: Judge, panel: Panel, criteria: Asks, controls: Mapping[str, Sequence[Pair]]) -> Outcome:
    """Send the controls to a judge, and hold what it says against what is true of them.

    Right is: a reference against itself within an eighth of the scale of the best score, on all criteria; the telling
    criteria at most at the middle of the scale for another patient's text, and at least an eighth of the scale below
    the reference's own score for a denied finding; at most one answer in five that cannot be read.
    """
    judge.begin(criteria, controls[ITSELF][0])
    pairs = [pair for kind in controls.values() for pair in kind]
    said = panel.verdicts(judge, criteria, pairs)
    telling = [one.key for one in criteria.criteria if one.telling]
    itself, own, shuffled, negated = (
        _mean(criteria, [said[pair] for pair in controls[kind]], keys)
        for kind, keys in ((ITSELF, criteria.controlled), (ITSELF, telling), (SHUFFLED, telling), (NEGATED, telling)))
    step, middle = (criteria.highest - criteria.lowest) / 8, (criteria.highest + criteria.lowest) / 2
    failed = sum(said[pair] is None for pair in dict.fromkeys(pairs))
    wrong = None
    if failed > len(dict.fromkeys(pairs)) / 5:
        wrong = f"{failed} of {len(dict.fromkeys(pairs))} answers could not be read"
    elif not itself >= criteria.highest - step:
        wrong = f"a {ITSELF} scores {itself:.2f}, and must score {criteria.highest - step:g} or more"
    elif not shuffled <= middle:
        wrong = f"a {SHUFFLED} scores {shuffled:.2f}, and must score {middle:g} or less"
    elif not negated <= own - step:
        wrong = f"a {NEGATED} scores {negated:.2f}, and must score {own - step:.2f} or less"
    return Outcome(itself, shuffled, negated, wrong)


def _mean(criteria: Asks, scores: Sequence[Scores], keys: Sequence[str]) -> float:
    """The mean over the verdicts there are; nan where there is none."""
    found = [criteria.level(one, key) for one in scores if one is not None for key in keys]
    return sum(found) / len(found) if found else float("nan")


def _drawn(references: Sequence[tuple[str, str]]) -> list[Sample]:
    order = sorted({text: language for text, language in references if text.strip()}.items(),
                   key=lambda item: hashlib.sha256(item[0].encode("utf-8", "surrogatepass")).digest())
    pool = order[:200]
    found = []
    for text, language in pool[:DRAWN]:
        other = min((one for one, _ in pool), key=lambda one: _in_common(text, one))
        found.append(Sample(text, other if _in_common(text, other) <= _ALIKE else "", _negated(text, language)))
    return found


def _in_common(one: str, two: str) -> float:
    first, second = (set(re.findall(r"[^\W\d_]{2,}", text.lower())) for text in (one, two))
    return len(first & second) / max(1, min(len(first), len(second)))


def _negated(report: str, language: str) -> str:
    """The report with its first statement that denies nothing denied; "" where it has none or its language is unknown.
    """
    deny = _DENY.get(language)
    for match in re.finditer(r"[^.;。；\n]{4,}", report):
        said = match[0].strip()
        if deny and said and not _DENIED.search(said):
            start = match.start() + len(match[0]) - len(match[0].lstrip())
            return f"{report[:start]}{deny}{' ' * (language != 'zh')}{report[start:]}"
    return ""
