"""An interpretation held against its recording: what it claims, what it leaves out, and the evidence score of it.

A statement is one claim: contradicted where one of its criteria is, supported where one is met and none contradicted.
Numbers, rhythm and what is said of leads are a claim each. What nobody measured well judges nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from emgecg_cli.core.evidence.claims import Verdict
from emgecg_cli.core.evidence.waveform import Waveform, holds, surely
from emgecg_cli.core.reports.ecg.criteria import Claim
from emgecg_cli.core.reports.ecg.diagnoses import Criterion, Diagnosis, WaveClaim, diagnoses, of_code
from emgecg_cli.core.reports.ecg.interpretation import Interpretation, read_interpretation

LEAD = "lead"   # the kind of a claim about a lead that does not exist
_Own = Claim | WaveClaim


@dataclass(frozen=True)
class Held:
    """One claim and its verdict. `item` is the name of the diagnosis for a statement, `kind` of what is measured for
    the others; of a statement, its criteria by verdict, and how many of those that hold the text itself cites."""

    item: str
    verdict: Verdict
    claim: _Own | str
    criteria: tuple[Verdict, ...] = ()
    cited: int = 0


@dataclass(frozen=True)
class Grounding:
    """The claims of a text, and of what its recording surely shows whether the text says it."""

    held: tuple[Held, ...]
    there: tuple[tuple[str, bool], ...]

    @property
    def precision(self) -> float:
        """Of the claims that the recording can judge, the share it supports; 0 where there is none."""
        yes = sum(one.verdict == Verdict.SUPPORTED for one in self.held)
        judged = yes + sum(one.verdict == Verdict.CONTRADICTED for one in self.held)
        return yes / judged if judged else 0.0

    @property
    def recall(self) -> float:
        """The share of what is there that is said; 1 where nothing is."""
        return sum(said for _, said in self.there) / len(self.there) if self.there else 1.0

    @property
    def score(self) -> float:
        """The evidence score of the text: the harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    @property
    def contradicted(self) -> tuple[Held, ...]:
        """The claims that the recording contradicts."""
        return tuple(one for one in self.held if one.verdict == Verdict.CONTRADICTED)


def ground(text: str, language: str | None, of: Waveform) -> Grounding:
    """Hold a text against a recording."""
    said = read_interpretation(text, language)
    verdicts: dict[_Own, Verdict] = {}   # each claim is judged once, whoever makes it

    def verdict(claim: _Own) -> Verdict:
        if claim not in verdicts:
            verdicts[claim] = holds(claim, of)
        return verdicts[claim]

    own = tuple((claim, verdict(claim)) for claim in said.claims)
    surely_there = [one for one in diagnoses() if one.expected and _surely_meets(one, of)]
    stated = list(dict.fromkeys(of_code()[code] for code in sorted(said.statements) if code in of_code()))
    needed = [claim for one in stated for criterion in one.criteria for claim in criterion]
    implied = {_key(claim) for claim in needed}
    held = [_of_statement(one, own, surely_there, verdict) for one in stated]
    held += [Held(_item(claim), judged, claim) for claim, judged in own if _key(claim) not in implied]
    held += [Held(LEAD, Verdict.CONTRADICTED, lead) for lead in said.unknown_leads]
    implicit = [(claim, verdict(claim)) for claim in needed]
    return Grounding(tuple(held), tuple((one.name, _mentioned(one, said, [*own, *implicit])) for one in surely_there))


def _of_criterion(criterion: Criterion, verdict: Callable[[_Own], Verdict]) -> Verdict:
    """The best verdict of the alternatives of a criterion."""
    verdicts = [verdict(claim) for claim in criterion]
    for one in (Verdict.SUPPORTED, Verdict.NOT_MEASURABLE):
        if one in verdicts:
            return one
    return Verdict.CONTRADICTED


def _of_statement(one: Diagnosis, own: Sequence[tuple[_Own, Verdict]], there: Sequence[Diagnosis],
                  verdict: Callable[[_Own], Verdict]) -> Held:
    verdicts = tuple(_of_criterion(criterion, verdict) for criterion in one.criteria)
    others = one.alone and not all(other.usual for other in there)
    whole = Verdict.CONTRADICTED if others or Verdict.CONTRADICTED in verdicts else \
        Verdict.SUPPORTED if Verdict.SUPPORTED in verdicts else Verdict.NOT_MEASURABLE
    cited = sum(met == Verdict.SUPPORTED and _covered(criterion, own)
                for criterion, met in zip(one.criteria, verdicts, strict=True))
    return Held(one.name, whole, one.name, verdicts, cited)


def _surely_meets(one: Diagnosis, of: Waveform) -> bool:
    return all(any(surely(claim, of) for claim in criterion) for criterion in one.criteria)


def _mentioned(one: Diagnosis, said: Interpretation, own: Sequence[tuple[_Own, Verdict]]) -> bool:
    """Whether a statement says it, or its criteria are all said, in the text's own words and numbers or by other
    statements that need them."""
    return bool(one.said_by & said.statements) or all(_covered(criterion, own) for criterion in one.criteria)


def _covered(criterion: Criterion, own: Sequence[tuple[_Own, Verdict]]) -> bool:
    """Whether the text itself says, and rightly, that one of the alternatives holds."""
    return any(verdict == Verdict.SUPPORTED and _covers(claim, needed) for needed in criterion
               for claim, verdict in own)


def _covers(claim: _Own, needed: _Own) -> bool:
    if isinstance(claim, Claim) and isinstance(needed, Claim):
        return claim.kind == needed.kind and (claim.is_number or _same_side(claim, needed))
    if isinstance(claim, WaveClaim) and isinstance(needed, WaveClaim):
        near = not needed.leads or bool(set(claim.leads) & set(needed.leads))
        return claim.wave == needed.wave and near and (claim.stated or _same_side(claim, needed))
    return False


def _same_side(claim: _Own, needed: _Own) -> bool:
    """Whether both have their limits on the same sides."""
    if needed.low == needed.high:
        return claim.low == needed.low and claim.high == needed.high
    return (claim.low > -inf) == (needed.low > -inf) or (claim.high < inf) == (needed.high < inf)


def _item(claim: _Own) -> str:
    return claim.kind if isinstance(claim, Claim) else f"{claim.wave} wave"


def _key(claim: _Own) -> tuple[object, ...]:
    """What makes two claims the same, whatever they are called."""
    return _item(claim), claim.low, claim.high, tuple(claim.leads)
