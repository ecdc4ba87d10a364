"""Which metrics `score` computes by what names, and what it prints."""

from __future__ import annotations

from collections.abc import Iterable

from emgecg_cli.core.names import METRICS, unknown_name

# what `score` prints
SCORE_FORMATS = ("table", "json", "csv", "markdown", "latex")

# other systems' arithmetic -> the metrics that have it, which are computed only where they are asked for
COMPAT = {
    "meit": ("meit", "meit-exact"),
    "ecgbench": ("ecgbench",),
    "heartllm": ("heartllm",),
    "gem": ("gem-tasks",),
}
# name of a suite of a benchmark -> the metrics that have it, which are computed only where it is asked for
SUITES = {
    "ecg-grounding": ("ecg-grounding", "evidence"),
    "ecgbench": ("ecgbench-tasks", "ecgbench-report", "ecgbench-arena"),
}
_WITH_ALL = ("evidence",)   # of a suite's, what is computed without it too
# name of a set of metrics -> which; "standard" has all but those of COMPAT
PROFILES = {
    "text": ("bleu", "meteor", "rouge", "cider", "bertscore"),
    "clinical": ("findings", "labels", "facts", "evidence", "statements"),
}


def metrics_of(profile: str) -> list[str]:
    """The metrics of a profile: "standard", or one of PROFILES or COMPAT; raises MedReportError for another."""
    special = {name for own in (*COMPAT.values(), *SUITES.values()) for name in own} - {*_WITH_ALL}
    known = {"standard": tuple(name for name in METRICS if name not in special), **PROFILES, **COMPAT}
    if profile not in known:
        raise unknown_name("profile", profile, known)
    return list(known[profile])


def suite_of(name: str) -> list[str]:
    """The metrics of a benchmark's suite; raises MedReportError for another name."""
    if name not in SUITES:
        raise unknown_name("suite", name, SUITES)
    return list(SUITES[name])


def compat_of(compat: Iterable[str]) -> list[str]:
    """The metrics of other systems' arithmetic, by the names of the systems; raises MedReportError for another."""
    found: list[str] = []
    for name in compat:
        if name not in COMPAT:
            raise unknown_name("compat", name, COMPAT)
        found += COMPAT[name]
    return found
