"""The defaults of all commands but `train` and `pretrain`, whose settings are described one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from emgecg_cli.core.errors import MedReportError

LARGEST_SEED = 2**32 - 1  # what numpy and torch both take
HEALTHY = ("cases", "nerves")
FS_RANGE = (50, 2000)
LONGEST_WINDOW = 3600
WINDOWS = ("first", "center", "all")
# What `prepare` does to the texts of each modality, unless told: MEIT's rules were made for ECG reports. Findings of
# EMG come in paragraphs and numbered lists, where "1." and "-" mean something.
CLEANING = {"signals": "nan,numeric,ekg,stars,lower", "tables": "none"}
REQUESTS_AT_ONCE = 4  # at an endpoint that is asked for texts
DATA = "data"
STORES, INSTRUCTIONS, ENCODERS, RUNS = "stores", "instructions", "encoders", "runs"
PREDICTIONS, SCORES, CERTIFICATES, ROBUSTNESS = "predictions", "scores", "certificates", "robustness"
PAGES = "pages"
ALL_SPLITS = "all"  # of `generate`: every record of a store that a run has seen nobody of


@dataclass(frozen=True)
class PrepareConfig:
    """What decides a store beside its source: rate (Hz) and window (seconds) of the signals, texts, split, measuring.

    `window` says what a longer recording gives: its first seconds, the middle ones, or all, one row after the other.
    `derive_leads` computes limb leads that a file lacks from two that it has.
    `clean` None takes CLEANING's rules, `split` None the official split where there is one. `no_reports` keeps
    recordings without a report, never in train. `healthy` "nerves" takes
    references of tables also from single nerves that reports call normal. Raises MedReportError on bad values.
    """

    fs: int = 100
    seconds: float = 10.0
    window: str = "first"
    clean: str | None = None
    min_words: int = 0
    split: str | None = None
    seed: int = 0
    measure: bool = False
    shard_size: int = 512
    percentiles: str = "2,5,8,11,14,17,20"
    covariates: str = "none"
    healthy: str = "cases"
    derive_leads: bool = False
    no_reports: bool = False

    @property
    def sig_len(self) -> int:
        """Samples of a window."""
        return round(self.seconds * self.fs)

    def __post_init__(self) -> None:
        """Check what was given."""
        lowest, highest = FS_RANGE
        if not lowest <= self.fs <= highest:
            raise MedReportError(f"--fs {self.fs}: outside {lowest} to {highest} Hz", "ECG sets come at 100 to 500 Hz")
        if not 1 <= self.seconds <= LONGEST_WINDOW or abs(self.seconds * self.fs - self.sig_len) > 1e-6:
            raise MedReportError(f"--seconds {self.seconds:g}: not a whole number of samples at {self.fs} Hz, or not "
                                 f"within 1 to {LONGEST_WINDOW}", "give --seconds 10")
        if self.window not in WINDOWS:
            raise MedReportError(f"--window {self.window}", f"give one of {', '.join(WINDOWS)}")
        if self.min_words < 0 or self.shard_size < 1:
            raise MedReportError(f"min words {self.min_words}, shard size {self.shard_size}: too small",
                                 "--min-words is at least 0, a shard holds at least 1 record")


@dataclass(frozen=True)
class InstructionDefaults:
    """Defaults of `build-instructions` (MEIT: 32 hand-written prompts rephrased to a pool of 256)."""

    pool_size: int = 256
    rephraser: str = "offline"
    model: str = "gpt-4o"
    base_url: str = "https://api.openai.com/v1"
    seed: int = 0


@dataclass(frozen=True)
class GenerateConfig:
    """Settings of `generate`: greedy, beams with `num_beams` > 1, sampling with any of `temperature`, `top_p`, `top_k`.

    `split` "all" is every record of a store, for a run that was trained on none of its patients. `max_new_tokens` None
    takes the longest report the run was trained on, and some room.
    `repetition_penalty` and `no_repeat_ngram_size` look at what has been written of the report, not at the prompt.
    `reference_loss` asks for the loss of each record's own report besides.
    Raises MedReportError on bad values, and on those that would change nothing.
    """

    split: str = "test"
    signal: str = "real"
    batch_size: int = 64
    num_beams: int = 1
    max_new_tokens: int | None = None
    limit: int | None = None
    seed: int = 0
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    length_penalty: float | None = None
    reference_loss: bool = False

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn, rather than the likeliest taken."""
        return any(value is not None for value in (self.temperature, self.top_p, self.top_k))

    def __post_init__(self) -> None:
        """Check what was given."""
        for key, good, wanted in (
                ("max_new_tokens", lambda value: value >= 1, "1 or more"),
                ("temperature", lambda value: 0 < value < math.inf, "a number above 0, or leave it out"),
                ("top_p", lambda value: 0 < value < 1, "a share between 0 and 1"),
                ("top_k", lambda value: value >= 1, "1 or more"),
                ("repetition_penalty", lambda value: 0 < value < math.inf, "a number above 0"),
                ("no_repeat_ngram_size", lambda value: value >= 2, "2 or more"),
                ("length_penalty", math.isfinite, "a number")):
            value = getattr(self, key)
            if value is not None and not good(value):
                raise MedReportError(f"--{key.replace('_', '-')} is {value}", f"give {wanted}")
        if self.samples and self.num_beams > 1:
            raise MedReportError(f"--num-beams {self.num_beams} does not sample", "leave --num-beams out, or "
                                 "--temperature, --top-p and --top-k")
        if self.length_penalty is not None and self.num_beams == 1:
            raise MedReportError("--length-penalty has no effect without beams", "give --num-beams, or leave it out")


@dataclass(frozen=True)
class ScoreDefaults:
    """Defaults of `score`."""

    resamples: int = 1000
    randomisations: int = 10_000
    examples: int = 100
    seed: int = 0


@dataclass(frozen=True)
class CertifyDefaults:
    """Defaults of `certify`; the margins are of a score that lies in 0-1, and of a loss in nats a token."""

    resamples: int = 2000
    margin: float = 0.02
    loss_margin: float = 0.002


@dataclass(frozen=True)
class DemoDefaults:
    """Defaults of `demo`: sizes that end within five minutes on two cores."""

    records: int = 3600
    split: str = "80/10/10"
    steps: int = 1200
    snr_db: float = 0.0
    examples: int = 4
