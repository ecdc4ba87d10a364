"""The settings of `train`, each described once, and the recipes that set several of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emgecg_cli.core import names
from emgecg_cli.core.config.defaults import LARGEST_SEED
from emgecg_cli.core.config.settings import DEFAULT, NOTHING, Idle, Wrong, not_empty, setting

MODEL, TUNING, OPTIMISATION = "Model", "Tuning", "Optimisation"
TABLES, LOSS = "Tables (EMG, nerve conduction)", "Loss and signals"
MACHINE, LOGS = "Machine", "Checkpoints and logs"
DISTORTIONS = tuple(names.choices("distortion"))
IMAGE_LAYOUTS = ("3x4", "6x2", "12x1")
REWARD = "Reward (--objective grpo)"
REPORT, GRPO = "report", "grpo"
LEAD_ORDERS = ("canonical", "mimic", "as-file")
STAGE1_TASKS = ("class", "phrase", "table")

# "meit-paper" is what the paper says, "meit-code" what its released scripts do. With either a pretrained backbone
# writes fluent reports of no recording; "pretrained" is what made it read (docs/training.md). A backbone trained from
# scratch needs more than MEIT's single token and LoRA: eight tokens, every weight tuned, the encoder supervised
# directly, augmented signals; its last weights are kept, since the report loss on the validation split turns before the
# findings do. "gem" is GEM's one stage. "emgllm" is what is known of EMGLLM's training (a pretrained backbone, tables);
# "emgllm-tiny" takes its place where the backbone is built from sizes, which then trains in both stages.
RECIPES: dict[str, dict[str, Any]] = {
    "meit-paper": {},
    "meit-code": {
        "lora_rank": 64, "lora_alpha": 128, "lora_targets": "meit-code", "learning_rate": 2e-5, "max_length": 128,
        "max_grad_norm": 0.0, "select": "last",
    },
    "pretrained": {
        "fusion": "splice", "projector": "mlp-gelu", "signal_tokens": 8, "token_norm": "matched", "lora_rank": 16,
        "lora_alpha": 32, "lora_dropout": 0.0, "batch_size": 8, "gradient_accumulation": 1, "epochs": 3.0,
        "learning_rate": 1e-3, "schedule": "cosine", "adam_beta2": 0.98, "eos_loss_weight": 0.3, "word_steps": 1000,
        "word_loss": 0.5, "augment": "roll,gain,noise", "select": "last",
    },
    "tiny-from-scratch": {
        "encoder": "resnet18-tiny", "projector": "linear", "signal_tokens": 8, "token_norm": "rms", "tuning": "full",
        "batch_size": 32, "gradient_accumulation": 1,
        "epochs": 12.0, "learning_rate": 2e-3, "schedule": "cosine", "weight_decay": 0.01, "adam_beta2": 0.98,
        "eos_loss_weight": 0.3, "encoder_loss": "auto", "augment": "roll,gain,noise", "select": "last",
    },
    "gem": {
        "encoder": "ecg-coca,clip", "image_tower": "openai/clip-vit-large-patch14-336", "freeze_encoder": True,
        "projector": "shared-gelu", "token_norm": "none", "fusion": "splice", "chat_template": "llava-v1",
        "tuning": "full", "epochs": 1.0, "batch_size": 16, "gradient_accumulation": 2, "learning_rate": 2e-5,
        "schedule": "cosine", "max_length": 4096, "gradient_checkpointing": True, "select": "last",
    },
    "emgllm": {
        "encoder": "emg-alignment", "fusion": "splice", "stage1_steps": 2000, "lora_rank": 8, "lora_alpha": 16,
        "learning_rate": 5e-5, "batch_size": 1, "gradient_accumulation": 16, "max_length": 4096,
    },
    "emgllm-tiny": {
        "encoder": "emg-alignment", "emg_dropout": 0.0, "fusion": "splice", "stage1_steps": 4000,
        "stage1_tasks": "class,phrase,table", "tuning": "full", "batch_size": 16, "gradient_accumulation": 1,
        "epochs": 10.0, "learning_rate": 1e-3, "schedule": "cosine", "weight_decay": 0.01, "adam_beta2": 0.98,
        "max_length": 2048, "select": "last",
    },
}


def reads_values(config: Any) -> bool:
    """Whether an encoder reads the numbers of tables."""
    return "values" in names.encoders_of(config.encoder)


def reads_values_alone(config: Any) -> bool:
    """Whether the numbers of tables are all that is encoded."""
    return set(names.encoders_of(config.encoder)) == {"values"}


def looks_at_val(config: Any) -> bool:
    """Whether anything asks for the losses on the val split: the choice of weights, a tracker, or --evaluate-every."""
    return config.select == "best" or config.track != "none" or config.evaluate_every is not None


def _wrong_tasks(text: str) -> Wrong | None:
    tasks = text.split(",")
    good = len(set(tasks)) == len(tasks) and set(tasks) <= set(STAGE1_TASKS)
    return None if good else (f"is '{text}'", f"give any of {','.join(STAGE1_TASKS)}, each once, without blanks")


OF_LORA = Idle("tuning", lambda config: config.tuning not in ("lora", "qlora"))
OF_EPOCHS = Idle("steps", lambda config: config.steps is not None, "--steps")
OF_LAYERS = Idle("fusion", lambda config: config.fusion == "splice")
OF_ENCODER_LOSS = Idle("encoder_loss", lambda config: config.encoder_loss == "none")
OF_VAL = Idle("track", lambda config: not looks_at_val(config), "--select last without --track or --evaluate-every, "
              "where nothing looks at the val split")
OF_TABLES = Idle("encoder", lambda config: not reads_values(config))
OF_SIGNALS = Idle("encoder", reads_values_alone, spares=DEFAULT)
OF_RECORDINGS = Idle("encoder", lambda config: "ecg" not in names.encoders_of(config.encoder), spares=DEFAULT)
OF_IMAGES = Idle("encoder", lambda config: "image" not in names.encoders_of(config.encoder), spares=DEFAULT)
OF_CLIP = Idle("encoder", lambda config: "clip" not in names.encoders_of(config.encoder).values(), spares=DEFAULT)
OF_SEVERAL = Idle("encoder", lambda config: len(names.encoders_of(config.encoder)) < 2, spares=NOTHING)
OF_COUNTED = Idle("encoder", lambda config: all(names.ENCODERS[name].tokens
                                                for name in names.encoders_of(config.encoder).values()), spares=DEFAULT)
OF_VALUES = Idle("values", lambda config: reads_values(config) and config.values != "encoder", spares=NOTHING)
OF_NO_ENCODER = Idle("values", lambda config: reads_values_alone(config) and config.values != "encoder",
                     spares=NOTHING)
OF_LIMITS = Idle("values", lambda config: reads_values(config) and config.values == "text", spares=NOTHING)
OF_STAGE1 = Idle("values", lambda config: OF_VALUES.when(config) and config.backbone != "tiny", spares=NOTHING)
OF_GRPO = Idle("objective", lambda config: config.objective != GRPO)
OF_CLIP = Idle("grpo_inner_steps", lambda config: config.objective == GRPO and config.grpo_inner_steps == 1)
OF_TASKS = Idle("stage1_steps", lambda config: reads_values(config) and not config.stage1_steps)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of `train`: the one place where each of them stands. The defaults are MEIT's paper: LoRA
    128/64/0.1 on all linear layers, one unit-norm signal token, linear schedule with 3 % warm-up. Two are ours:
    gradients are clipped, and the signal enters in millivolts rather than scaled to each record's own range, which
    would erase voltage.

    None means that something else decides: the chat template (`system`), the store (`references`), `epochs` (`steps`),
    once an epoch (`evaluate_every`), `learning_rate` (`encoder_learning_rate`). `eos_loss_weight` below 1 makes a model
    less eager to end a report, which omits findings. With `freeze_encoder` the encoder of recordings learns nothing,
    that of tables nothing after the `stage1_steps`, whose tasks are the "class" of a single value, the "phrase" a
    report has for it, and, where records have tables, phrases for all that is abnormal in a "table" with drawn values.
    """

    backbone: str = setting("", "", "A name (TAB lists them: tiny, llama-3-8b …), a folder, or a hub id; NAME@REVISION "
                            "picks a commit or tag.", hints=tuple(names.BACKBONES), metavar="NAME|PATH",
                            check=not_empty("give a name, a folder or a hub id"))
    recipe: str = setting("meit-paper", "", f"{', '.join(RECIPES)}; if not given pretrained, for the backbone "
                          "tiny tiny-from-scratch, and for tables alone emgllm.",
                          known=tuple(RECIPES), noun="recipe")
    objective: str = setting(REPORT, "", "What is trained for: report (the reports of the data), or grpo (a run, "
                             "--from, goes on, rewarded by the recordings its reports are held against).",
                             unsaid=True, known=(REPORT, GRPO))
    from_run: str | None = setting(None, "", "The run that --objective grpo starts from; model and tuning are its own.",
                                   OF_GRPO, unsaid=True, option="--from", metavar="RUN",
                                   check=not_empty("give the folder of a run"))
    encoder: str = setting("resnet50", MODEL, f"{', '.join(names.choices('encoder'))}; one for each input of a record, "
                           "separated by commas.", kind="encoder", parse=names.encoders_of)
    encoder_weights: str | None = setting(None, MODEL, "Start from the encoder of a `pretrain`, folder or file, or "
                                          "from ECG-CoCa's published .pt.", OF_RECORDINGS)
    lead_order: str = setting("canonical", MODEL, "Order in which the encoder takes leads: canonical (… aVL, aVF …), "
                              "mimic (… aVF, aVL …, as most of ECG-CoCa's training had them), or as-file (mimic for "
                              "records of MIMIC-IV-ECG).", OF_RECORDINGS, unsaid=True, known=LEAD_ORDERS)
    freeze_encoder: bool = setting(False, MODEL, "Leave the encoder as it is: that of recordings as --encoder-weights "
                                   "has it, that of tables as the --stage1-steps leave it.", OF_NO_ENCODER)
    image_tower: str = setting("tiny", MODEL, "CLIP for --encoder clip: tiny (new, small), a folder, or a hub id.",
                               OF_CLIP, unsaid=True, hints=("tiny", "openai/clip-vit-large-patch14-336"),
                               metavar="NAME|PATH", check=not_empty("give tiny, a folder or a hub id"))
    image_layout: str = setting("3x4", MODEL, "Leads on a page: 3x4 with a strip, 6x2 or 12x1.", OF_IMAGES, unsaid=True,
                                known=IMAGE_LAYOUTS)
    image_mode: str = setting("ori", MODEL, "What an image encoder gets of a page: ori (its middle, GEM), pad (all of "
                              "it, as a square) or anyres (all of it, and tiles).", OF_IMAGES, unsaid=True,
                              known=("ori", "pad", "anyres"))
    image_dpi: int = setting(200, MODEL, "Pixels an inch at which a page is drawn, before it is made ready.", OF_IMAGES,
                             unsaid=True, least=20, most=1200)
    projector: str = setting("mlp", MODEL, f"{', '.join(names.choices('projector'))}; with shared-gelu a linear layer "
                             "for each tower, and one GELU MLP for all (GEM).", OF_SIGNALS, kind="projector")
    fusion: str = setting("prefix-kv", MODEL, f"{', '.join(names.choices('fusion'))}.", kind="fusion")
    fusion_layers: str = setting("auto", MODEL, "Layers that see the signal: auto, all, or as in 0,2,5.", OF_LAYERS,
                                 hints=("auto", "all"))
    signal_tokens: int = setting(1, MODEL, "Signal tokens N.", OF_SIGNALS, OF_COUNTED, least=1, most=1024)
    tokens_from: str = setting("pooled", MODEL, "pooled (all of one vector, MEIT) or temporal (one a stretch of time).",
                               OF_SIGNALS, OF_COUNTED, known=("pooled", "temporal"))
    token_norm: str = setting("unit", MODEL, "Length of a signal token: unit (MEIT), rms (sqrt of its width), matched "
                              "(measured on the backbone's own text) or none.", OF_SIGNALS,
                              known=("unit", "rms", "matched", "none"))

    tuning: str = setting("lora", TUNING, "The backbone's: lora, qlora, full or frozen.",
                          known=("lora", "qlora", "full", "frozen"), noun="tuning")
    lora_rank: int = setting(128, TUNING, "LoRA rank r.", OF_LORA, least=1, most=4096)
    lora_alpha: int = setting(64, TUNING, "LoRA alpha.", OF_LORA, positive=True)
    lora_dropout: float = setting(0.1, TUNING, "LoRA dropout.", OF_LORA, share=True)
    lora_targets: str = setting("all-linear", TUNING, "all-linear, meit-code, or names of layers as in q_proj,v_proj.",
                                OF_LORA, hints=("all-linear", "meit-code"))
    new_tokens: str = setting("none", TUNING, "none, roles (the paper's role tags), or tokens as in '<a>,<b>'; all "
                              "embeddings and the output head then train.", hints=("none", "roles"))
    chat_template: str = setting("own", TUNING, "own (the backbone's), llava-v1 (GEM), vicuna-v1, chinese-alpaca-2, or "
                                 "one of several a backbone brings.",
                                 hints=("own", "llava-v1", "vicuna-v1", "chinese-alpaca-2"))
    template_options: dict[str, Any] | None = setting(
        None, TUNING, "A variable the chat template reads, may be repeated: enable_thinking=false.", unsaid=True,
        option="--template-option", metavar="NAME=VALUE")
    system: str | None = setting(
        None, TUNING, "The system message of every prompt, or none; if not given, what the chat template says of its "
        "own accord.", unsaid=True, metavar="TEXT|none", check=not_empty("give a text, or none to have no system "
                                                                         "message"))

    epochs: float = setting(5.0, OPTIMISATION, "Passes over the training records.", OF_EPOCHS, positive=True,
                            most=1e6)
    steps: int | None = setting(None, OPTIMISATION, "Optimiser steps, instead of --epochs.", least=1, most=10**9)
    batch_size: int = setting(16, OPTIMISATION, "Records in a batch of one process.", least=1, most=1_000_000)
    gradient_accumulation: int = setting(4, OPTIMISATION, "Batches in a step.", least=1, most=1_000_000)
    learning_rate: float = setting(1e-4, OPTIMISATION, "Peak learning rate.", positive=True)
    encoder_learning_rate: float | None = setting(
        None, OPTIMISATION, "Another one for encoder, projector and fusion.", positive=True)
    weight_decay: float = setting(0.0, OPTIMISATION, "AdamW's weight decay.", least=0)
    adam_beta2: float = setting(0.999, OPTIMISATION, "AdamW's second beta.", share=True)
    schedule: str = setting("linear", OPTIMISATION, "linear or cosine.", known=("linear", "cosine"))
    warmup: float = setting(0.03, OPTIMISATION, "Share of the steps that warm up.", share=True)
    max_grad_norm: float = setting(1.0, OPTIMISATION, "Clip gradients at this norm; 0 does not.", least=0)
    seed: int = setting(0, OPTIMISATION, "Seed of every random choice.", least=0, most=LARGEST_SEED)

    values: str = setting("encoder", TABLES, "How a number enters the prompt: by the encoder, as text, or as the words "
                          "of rules.", OF_TABLES, known=("encoder", "text", "rules"))
    value_identity: str = setting("none", TABLES, "Whose value it is, beside how abnormal: none (the paper's encoder), "
                                  "or item (the words of its side, nerve and measure).", OF_TABLES, OF_VALUES,
                                  unsaid=True, known=("none", "item"))
    references: str | None = setting(None, TABLES, "Another hospital's references.json, instead of the store's.",
                                     OF_TABLES)
    random_references: bool = setting(False, TABLES, "Give each value the limits of a random item.", OF_TABLES,
                                      OF_LIMITS)
    stage1_steps: int = setting(0, TABLES, "Steps in which the encoder alone learns to place values, before any "
                                "report.", OF_TABLES, OF_STAGE1, least=0, most=10**9)
    stage1_tasks: str = setting("class,phrase", TABLES, "What it is asked there: any of class,phrase,table.", OF_TABLES,
                                OF_TASKS, OF_STAGE1, hints=("class,phrase", "class,phrase,table"), check=_wrong_tasks)
    emg_reshape: str = setting("compat", TABLES, "compat (the released code's order in memory) or clean.", OF_TABLES,
                               OF_VALUES, known=("compat", "clean"))
    emg_dropout: float = setting(0.1, TABLES, "Dropout in the encoder of values.", OF_TABLES, OF_VALUES,
                                 share=True)

    max_length: int = setting(256, LOSS, "Longest prompt and report, in tokens.", least=8, most=1_000_000)
    eos_loss_weight: float = setting(1.0, LOSS, "Weight of the token that ends a report.", positive=True)
    encoder_loss: str = setting("none", LOSS, "Supervise the encoder directly: none, codes, words, or auto (codes "
                                "where there are any, else words).", OF_SIGNALS, noun="encoder loss",
                                known=("none", "codes", "words", "auto"))
    encoder_loss_weight: float = setting(3.0, LOSS, "Weight of that loss.", OF_ENCODER_LOSS, positive=True)
    word_steps: int = setting(0, LOSS, "Steps in which signal tokens learn to name the words of reports, through the "
                              "backbone's own word embeddings, before any report (--fusion splice).", OF_SIGNALS,
                              unsaid=True, least=0, most=10**9)
    word_loss: float = setting(0.0, LOSS, "Weight of that loss beside the report's, after those steps "
                               "(--fusion splice).", OF_SIGNALS, unsaid=True, least=0)
    augment: str = setting("none", LOSS, "none, or any of roll,gain,noise.", OF_RECORDINGS, noun="augmentation",
                           known=("roll", "gain", "noise"), several=True, hints=("none", "roll,gain,noise"))
    image_distortion: str = setting("none", LOSS, f"none, or any of {','.join(DISTORTIONS)}: of a page, anew at each "
                                    "visit.", OF_IMAGES, unsaid=True, noun="distortion", known=DISTORTIONS,
                                    several=True, hints=("none", ",".join(DISTORTIONS)))
    modality_dropout: float = setting(0.0, LOSS, "Chance that a record with several inputs is shown one less, anew at "
                                      "each visit.", OF_SEVERAL, unsaid=True, share=True)

    grpo_samples: int = setting(8, REWARD, "Reports drawn for each record, which are compared with each other.",
                                OF_GRPO, unsaid=True, least=2, most=1024)
    grpo_temperature: float = setting(1.0, REWARD, "Temperature they are drawn at.", OF_GRPO, unsaid=True,
                                      positive=True)
    grpo_kl: float = setting(0.1, REWARD, "Weight of the divergence from the run it starts from.", OF_GRPO,
                             unsaid=True, least=0)
    grpo_length_weight: float = setting(0.1, REWARD, "Weight of the reward of the length, beside the evidence's 1.",
                                        OF_GRPO, unsaid=True, least=0)
    grpo_format_weight: float = setting(0.2, REWARD, "Weight of the reward of the form: ended, nothing said twice.",
                                        OF_GRPO, unsaid=True, least=0)
    grpo_max_new_tokens: int | None = setting(None, REWARD, "Longest report in tokens; if not given, somewhat more "
                                              "than the longest of the train split.", OF_GRPO, unsaid=True, least=1,
                                              most=1_000_000)
    grpo_inner_steps: int = setting(1, REWARD, "Steps on the same drawn reports.", OF_GRPO, unsaid=True, least=1,
                                    most=64)
    grpo_clip: float = setting(0.2, REWARD, "How far such steps may change a token's probability, as a share.",
                               OF_GRPO, OF_CLIP, unsaid=True, share=True)

    precision: str = setting("auto", MACHINE, "auto, fp32 or bf16 (slow on a processor without bf16 units).",
                             known=("auto", "fp32", "bf16"))
    gradient_checkpointing: bool = setting(False, MACHINE, "Trade time for memory.")
    compile: bool = setting(False, MACHINE, "Compile the backbone's layers; pays on a GPU over thousands of steps.")
    parallel: str = setting("auto", MACHINE, "How several processes share the work: auto (ddp), ddp, fsdp, zero2 or "
                            "zero3.", known=("auto", "ddp", "fsdp", "zero2", "zero3"))
    workers: int = setting(0, MACHINE, "Loader processes.", free=True, least=0)

    checkpoint_every: int = setting(200, LOGS, "Steps between checkpoints.", least=1)
    checkpoint_minutes: float = setting(15.0, LOGS, "Minutes between checkpoints, whatever the steps; 0: only by "
                                        "steps.", free=True, least=0, shows_default=True)
    evaluate_every: int | None = setting(
        None, LOGS, "Steps between evaluations on the val split; if not given once an epoch, and never with --select "
        "last and no --track.", least=1)
    val_limit: int | None = setting(None, LOGS, "Evaluate on N records of the val split only, drawn by the seed.",
                                    OF_VAL, unsaid=True, least=1)
    paired_loss: bool = setting(False, LOGS, "At each evaluation also the loss with another patient's recording, and "
                                "the paired difference: whether the model reads its input.", OF_VAL, unsaid=True)
    select: str = setting("best", LOGS, "Keep the best weights on the val split, or the last.", known=("best", "last"))
    track: str = setting("none", LOGS, "Send losses also to tensorboard (files in the run) or wandb (the network).",
                         free=True, noun="tracker", known=("tensorboard", "wandb"), several=True,
                         hints=("none", "tensorboard", "wandb", "tensorboard,wandb"))


def usual_run_name(config: TrainConfig, instructions: Path) -> str:
    """The name of the folder that a run is written to if none is given."""
    if config.from_run:
        return f"{Path(config.from_run).resolve().name}-{config.objective}"
    return f"{Path(names.split_revision(config.backbone)[0]).name}-{instructions.resolve().name}"
