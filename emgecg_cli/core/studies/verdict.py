"""Whether a run uses its signal: the rule, from paired differences alone."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.config import CertifyDefaults
from emgecg_cli.core.evaluation.bootstrap import cluster_sums, percentile_interval, resample_all
from emgecg_cli.core.evaluation.compute import Computed

USES = "uses the signal"
SEES = "sees the signal, does not write it"
NOTHING = "no evidence of signal use"
OTHER = "shuffled"  # the condition that decides: recordings as they come, but another patient's
MARGIN, LOSS_MARGIN = CertifyDefaults.margin, CertifyDefaults.loss_margin  # less is of no use, however sure it is
FEWEST = 20  # patients; of fewer a percentile bootstrap promises more than it holds
# A percentile bootstrap over few patients errs more often than it says: at 97.5 % and 99 %, simulated models that do
# not see the signal are called otherwise in below 5 % (benchmarks/certify_rule.py).
ALPHA, LOSS_ALPHA = 0.025, 0.01
LOSS = "loss of the reference"
_DIGITS = 10


@dataclass(frozen=True)
class Difference:
    """A score of the real recording against the same under another `condition`, paired by record, and so turned that
    more is better for the real one: its 95 % interval by the paired bootstrap over patients.

    `rule_low` is the lower bound that the rule looks at: of a score that is `decisive`, at the level that all of them
    share, and of the loss. None is what cannot be computed.
    """

    score: str
    kind: str
    condition: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    decisive: bool = False
    rule_low: float | None = None


@dataclass(frozen=True)
class Verdict:
    """One of USES, SEES and NOTHING, and the scores by which it is."""

    verdict: str
    because: list[str]


def verdict_of(differences: Sequence[Difference], margin: float = MARGIN, loss_margin: float = LOSS_MARGIN) -> Verdict:
    """The rule. Only what is compared with another patient's recording decides.

    1. A decisive score is better with the real recording by more than the margin, and its interval, at a level of
       97.5 % for all decisive scores together, lies above 0: the run uses the signal.
    2. Else, the reference is likelier with the real recording by more than `loss_margin`, and the 99 % interval of that
       lies above 0: it sees the signal and does not write it.
    3. Else there is no evidence.
    """
    own = [one for one in differences if one.condition == OTHER]
    better = [one.score for one in own if one.decisive and _above(one.value, margin) and _above(one.rule_low, 0)]
    if better:
        return Verdict(USES, better)
    seen = [one.score for one in own if one.kind == "loss" and _above(one.value, loss_margin)
            and _above(one.rule_low, 0)]
    return Verdict(SEES, seen) if seen else Verdict(NOTHING, [])


def rule_text(margin: float, loss_margin: float, decisive: int) -> str:
    """The rule in a sentence, for whoever reads a certificate."""
    return (f"'{USES}': a decisive score is better with the real recording than with another patient's by more than "
            f"{margin:g}, and the interval of the difference lies above 0 at a level of {level_of(decisive):.4%} "
            f"({1 - ALPHA:.1%} over the {decisive} decisive scores, Bonferroni); else '{SEES}': the reference is "
            f"likelier by more than {loss_margin:g} nats a token, and the {1 - LOSS_ALPHA:.0%} interval lies above 0; "
            f"else '{NOTHING}'. Intervals are by paired percentile bootstrap over patients.")


def level_of(decisive: int) -> float:
    """The level of each interval at which all decisive scores together have one of 1 - ALPHA."""
    return 1 - ALPHA / max(1, decisive)


def differences_of(computed: Computed, real: str) -> list[Difference]:
    """The differences of the system `real` to each of the others, in every value; one that is not resampled has no
    interval."""
    of = {block.slice.named(name): (block.metric.declared.kind, not block.slice.label
                                    and name in block.metric.declared.decisive)
          for block in computed.blocks if block.system == real
          for name in block.metric.aggregate(block.statistics.sum(axis=0))}
    level = level_of(sum(decides for _, decides in of.values()))
    values = {(system, value.name): value for system, own in computed.values.items() for value in own}
    found = []
    for system in (system for system in computed.values if system != real):
        for name, (kind, decides) in of.items():
            own, other = values[real, name], values[system, name]
            sign = -1.0 if own.lower_is_better else 1.0
            draws = sign * (computed.draws[real, name] - computed.draws[system, name]) \
                if (real, name) in computed.draws else np.empty(0)
            value = None if own.value is None or other.value is None else sign * (own.value - other.value)
            low, high = percentile_interval(draws) or (None, None)
            rule = percentile_interval(draws, level) if decides else None
            found.append(Difference(name, kind, system, _rounded(value), _rounded(low), _rounded(high), decides,
                                    _rounded(rule[0]) if rule else None))
    return found


def loss_difference(condition: str, real: np.ndarray, other: np.ndarray, clusters: Sequence[Hashable], resamples: int,
                    seed: int) -> Difference:
    """How much larger the loss of each reference (n), nats a token, is under another condition, at the mean."""
    sums = cluster_sums(np.stack([other - real, np.ones(len(real))], axis=1), clusters)
    drawn, = resample_all([sums], resamples, seed)
    draws = drawn[:, 0] / drawn[:, 1]
    (low, high), (rule, _) = (percentile_interval(draws, level) or (np.nan, np.nan) for level in (0.95, 1 - LOSS_ALPHA))
    return Difference(LOSS, "loss", condition, _rounded(float((other - real).mean())), _rounded(low), _rounded(high),
                      rule_low=_rounded(rule))


def _above(value: float | None, limit: float) -> bool:
    return value is not None and value > limit


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(value, _DIGITS) + 0.0  # no -0.0
