"""Every default, once, in torch-free dataclasses. Commands borrow them; core functions take the values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from emgecg_cli.core.errors import MedReportError

LARGEST_SEED = 2**32 - 1  # what numpy and torch both take
SCHEDULES = ("linear", "cosine")
TOKEN_NORMS = ("unit", "rms", "none")
TOKEN_SOURCES = ("pooled", "temporal")
PARALLEL = ("auto", "ddp", "fsdp", "zero2", "zero3")
SELECTIONS = ("best", "last")
VALUES = ("encoder", "text", "rules")
EMG_RESHAPES = ("compat", "clean")
HEALTHY = ("cases", "nerves")
STAGE1_TASKS = ("class", "phrase", "table")
PRETRAIN_OBJECTIVES = ("supervised", "masked")
FS_RANGE = (50, 2000)
LONGEST_WINDOW = 3600
WINDOWS = ("first", "center", "all")
# What `prepare` does to the texts of each modality, unless told: MEIT's rules were made for ECG reports. Findings of
# EMG come in paragraphs and numbered lists, where "1." and "-" mean something.
CLEANING = {"signals": "nan,numeric,ekg,stars,lower", "tables": "none"}
DATA = "data"
STORES, INSTRUCTIONS, ENCODERS, RUNS = "stores", "instructions", "encoders", "runs"
PREDICTIONS, SCORES = "predictions", "scores"


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

    `max_new_tokens` None takes the longest report the run was trained on, and some room.
    `repetition_penalty` and `no_repeat_ngram_size` look at what has been written of the report, not at the prompt.
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
    examples: int = 6
    seed: int = 0


@dataclass(frozen=True)
class DemoDefaults:
    """Defaults of `demo`: sizes that end within five minutes on two cores."""

    records: int = 3600
    split: str = "80/10/10"
    steps: int = 1200
    snr_db: float = 0.0
    examples: int = 4


@dataclass(frozen=True)
class TrainConfig:
    """Settings of `train`. The defaults are MEIT's paper (spec A5): LoRA 128/64/0.1 on all linear layers, one
    unit-norm signal token, linear schedule with 3 % warm-up. Two are ours: gradients are clipped, and the signal enters
    in millivolts rather than scaled to each record's own range, which would erase voltage.

    `batch_size` counts records in a batch of one process. `tokens_from` "pooled" makes all signal tokens of one feature
    vector, "temporal" one of each of as many stretches of time. `fusion_layers` are "all", "auto" (the fusion's own
    choice) or indices as in "0,2". `lora_targets` are "all-linear", "meit-code" (what the released scripts tuned in
    each family) or names of layers; `new_tokens` are "none", "roles" (the paper's role tags) or tokens, as in
    "<a>,<b>". `encoder_loss` supervises the encoder directly besides the report loss: "codes" (the record's codes),
    "words" (a bag of the report's tokens), "auto" (codes where the store has them, else words) or "none". `augment`
    names what is done to a training signal: any of "roll", "gain", "noise". `eos_loss_weight` below 1 makes a model
    less eager to end a report, which omits findings. `steps`, when set, overrides `epochs`. `select` says which weights
    a run keeps: the "best" on the validation split, which is looked at every `evaluate_every` steps (None: once an
    epoch), or the "last". `track` names where metrics go besides `metrics.jsonl`: "none", or any of "tensorboard",
    "wandb". `val_limit` looks at so many records of the validation split, drawn by the seed. A checkpoint is written
    every `checkpoint_every` steps and every `checkpoint_minutes` (0: not by time). `chat_template` is "own", the
    backbone's, or the name of one that replaces it; `template_options` are variables it reads, `system` what it says
    first: a text, "none", or None for what it says of its own accord.

    Of tables: `values` says how a number enters the prompt: its two embeddings by the "encoder", as plain "text", or as
    the words of "rules". `references` is another hospital's file, None the store's own; `random_references` gives each
    value the limits of an item drawn at random. `stage1_steps` steps come first, in which the encoder alone learns to
    say where values lie; with `freeze_encoder` it learns nothing after them. `stage1_tasks` are any of STAGE1_TASKS:
    the "class" of a single value, the "phrase" a report has for it, and, where records have tables, phrases for all
    that is abnormal in a "table" with drawn values. `emg_dropout` is that of the encoder of values; `emg_reshape`
    "compat" is the released code's order in memory, "clean" the one its paper's figure means.
    """

    recipe: str = "meit-paper"
    backbone: str = ""
    fusion: str = "prefix-kv"
    fusion_layers: str = "auto"
    encoder: str = "resnet50"
    encoder_weights: str | None = None
    emg_reshape: str = "compat"
    emg_dropout: float = 0.1
    values: str = "encoder"
    references: str | None = None
    random_references: bool = False
    stage1_steps: int = 0
    stage1_tasks: str = "class,phrase"
    freeze_encoder: bool = False
    projector: str = "mlp"
    signal_tokens: int = 1
    tokens_from: str = "pooled"
    token_norm: str = "unit"
    tuning: str = "lora"
    lora_rank: int = 128
    lora_alpha: int = 64
    lora_dropout: float = 0.1
    lora_targets: str = "all-linear"
    new_tokens: str = "none"
    chat_template: str = "own"
    template_options: dict[str, Any] | None = None
    system: str | None = None
    epochs: float = 5.0
    steps: int | None = None
    batch_size: int = 16
    gradient_accumulation: int = 4
    learning_rate: float = 1e-4
    encoder_learning_rate: float | None = None
    weight_decay: float = 0.0
    adam_beta2: float = 0.999
    schedule: str = "linear"
    warmup: float = 0.03
    max_grad_norm: float = 1.0
    max_length: int = 256
    eos_loss_weight: float = 1.0
    encoder_loss: str = "none"
    encoder_loss_weight: float = 3.0
    augment: str = "none"
    precision: str = "auto"
    gradient_checkpointing: bool = False
    compile: bool = False
    parallel: str = "auto"
    checkpoint_every: int = 200
    checkpoint_minutes: float = 15.0
    evaluate_every: int | None = None
    val_limit: int | None = None
    select: str = "best"
    track: str = "none"
    workers: int = 0
    seed: int = 0


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of `pretrain`. `objective` is "supervised" (the store's codes, each weighted against its rarity) or
    "masked" (reconstruct the share `mask_ratio` of the signal that was hidden). The rest is as in `train`.
    """

    encoder: str = "resnet50"
    objective: str = "supervised"
    epochs: float = 20.0
    steps: int | None = None
    batch_size: int = 64
    gradient_accumulation: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    adam_beta2: float = 0.999
    schedule: str = "cosine"
    warmup: float = 0.05
    max_grad_norm: float = 1.0
    mask_ratio: float = 0.75
    augment: str = "roll,gain,noise"
    precision: str = "auto"
    parallel: str = "auto"
    checkpoint_every: int = 200
    checkpoint_minutes: float = 15.0
    workers: int = 0
    seed: int = 0
