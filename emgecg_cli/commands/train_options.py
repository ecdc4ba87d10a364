"""The options of `train`, in groups. None of them has a default of its own: that is the recipe's."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from emgecg_cli.commands.options import complete, words
from emgecg_cli.core import names
from emgecg_cli.core.config import EMG_RESHAPES, PARALLEL, SCHEDULES, SELECTIONS, TOKEN_NORMS, TOKEN_SOURCES, VALUES
from emgecg_cli.core.recipes import RECIPES

MODEL, TUNING, OPTIMISATION = "Model", "Tuning", "Optimisation"
LOSS, MACHINE, LOGS = "Loss and signals", "Machine", "Checkpoints and logs"
TABLES = "Tables (EMG, nerve conduction)"


def recipe_option(group: str, name: str, type_: Any, text: str, known: tuple[str, ...] = (), **more: Any) -> Any:
    """An option whose default is the recipe's; `known` words complete."""
    metavar = {int: "N", float: "X", str: "NAME"}.get(type_)
    if known:
        more["autocompletion"] = words(*known)
    return Annotated[type_ | None, typer.Option(name, help=text, show_default=False, metavar=metavar,
                                                rich_help_panel=group, **more)]


_option = recipe_option
RecipeOpt = Annotated[str | None, typer.Option("--recipe", metavar="NAME", show_default=False,
                                               autocompletion=words(*RECIPES),
                                               help=f"{', '.join(RECIPES)}; by the backbone if not given.")]

EncoderOpt = _option(MODEL, "--encoder", str, f"{', '.join(names.choices('encoder'))}.",
                     autocompletion=complete("encoder"))
EncoderWeightsOpt = _option(MODEL, "--encoder-weights", str, "Start from the encoder of a `pretrain`, folder or file.")
ProjectorOpt = _option(MODEL, "--projector", str, f"{' or '.join(names.choices('projector'))}.",
                       autocompletion=complete("projector"))
FusionOpt = _option(MODEL, "--fusion", str, f"{', '.join(names.choices('fusion'))}.", autocompletion=complete("fusion"))
FusionLayersOpt = _option(MODEL, "--fusion-layers", str, "Layers that see the signal: auto, all, or as in 0,2,5.",
                          ("auto", "all"))
TokensOpt = _option(MODEL, "--signal-tokens", int, "Signal tokens N (MEIT: 1).")
TokensFromOpt = _option(MODEL, "--tokens-from", str,
                        "pooled (all of one vector, MEIT) or temporal (one a stretch of time).", TOKEN_SOURCES)
NormOpt = _option(MODEL, "--token-norm", str, "Length of a signal token: unit (MEIT), rms (sqrt of its width) or none.",
                  TOKEN_NORMS)

TuningOpt = _option(TUNING, "--tuning", str, "The backbone's: lora, qlora, full or frozen.",
                    ("lora", "qlora", "full", "frozen"))
RankOpt = _option(TUNING, "--lora-rank", int, "LoRA rank r (paper: 128).")
AlphaOpt = _option(TUNING, "--lora-alpha", int, "LoRA alpha (paper: 64).")
DropoutOpt = _option(TUNING, "--lora-dropout", float, "LoRA dropout (paper: 0.1).")
TargetsOpt = _option(TUNING, "--lora-targets", str, "all-linear, meit-code, or names of layers as in q_proj,v_proj.",
                     ("all-linear", "meit-code"))
NewTokensOpt = _option(TUNING, "--new-tokens", str, "none, roles (the paper's role tags), or tokens as in '<a>,<b>'; "
                       "all embeddings and the output head then train.", ("none", "roles"))
TemplateOpt = _option(TUNING, "--chat-template", str, "own (the backbone's), chinese-alpaca-2, or one of several a "
                      "backbone brings.", ("own", "chinese-alpaca-2"))
TemplateOptionOpt = Annotated[list[str] | None, typer.Option(
    "--template-option", metavar="NAME=VALUE", show_default=False, rich_help_panel=TUNING,
    help="A variable the chat template reads, may be repeated: enable_thinking=false.")]
SystemOpt = Annotated[str | None, typer.Option(
    "--system", metavar="TEXT|none", show_default=False, rich_help_panel=TUNING,
    help="The system message of every prompt, or none; if not given, what the chat template says of its own accord.")]

EpochsOpt = _option(OPTIMISATION, "--epochs", float, "Passes over the training records (paper: 5).")
StepsOpt = _option(OPTIMISATION, "--steps", int, "Optimiser steps, instead of --epochs.")
BatchOpt = _option(OPTIMISATION, "--batch-size", int, "Records in a batch of one process.")
AccumulationOpt = _option(OPTIMISATION, "--gradient-accumulation", int, "Batches in a step.")
RateOpt = _option(OPTIMISATION, "--learning-rate", float, "Peak learning rate.")
EncoderRateOpt = _option(OPTIMISATION, "--encoder-learning-rate", float,
                         "Another one for encoder, projector and fusion.")
DecayOpt = _option(OPTIMISATION, "--weight-decay", float, "AdamW's weight decay.")
BetaOpt = _option(OPTIMISATION, "--adam-beta2", float, "AdamW's second beta.")
ScheduleOpt = _option(OPTIMISATION, "--schedule", str, "linear or cosine.", SCHEDULES)
WarmupOpt = _option(OPTIMISATION, "--warmup", float, "Share of the steps that warm up (paper: 0.03).")
ClipOpt = _option(OPTIMISATION, "--max-grad-norm", float, "Clip gradients at this norm; 0 does not.")
SeedOpt = _option(OPTIMISATION, "--seed", int, "Seed of every random choice.")

ValuesOpt = _option(TABLES, "--values", str, "How a number enters the prompt: by the encoder, as text, or as the "
                    "words of rules.", VALUES)
ReferencesOpt = _option(TABLES, "--references", str, "Another hospital's references.json, instead of the store's.")
RandomReferencesOpt = _option(TABLES, "--random-references", bool, "Give each value the limits of a random item.")
Stage1Opt = _option(TABLES, "--stage1-steps", int,
                    "Steps in which the encoder alone learns to place values, before any report.")
TasksOpt = _option(TABLES, "--stage1-tasks", str, "What it is asked there: any of class,phrase,table.",
                   ("class,phrase", "class,phrase,table"))
FreezeOpt = _option(TABLES, "--freeze-encoder", bool, "Train the encoder in those steps only.")
ReshapeOpt = _option(TABLES, "--emg-reshape", str, "compat (the released code's order in memory) or clean.",
                     EMG_RESHAPES)
EmgDropoutOpt = _option(TABLES, "--emg-dropout", float, "Dropout in the encoder of values (paper: 0.1).")

LengthOpt = _option(LOSS, "--max-length", int, "Longest prompt and report, in tokens (paper: 256).")
EosOpt = _option(LOSS, "--eos-loss-weight", float, "Weight of the token that ends a report.")
EncoderLossOpt = _option(LOSS, "--encoder-loss", str, "Supervise the encoder directly: none, codes, words, or auto "
                         "(codes where there are any, else words).", ("none", "codes", "words", "auto"))
EncoderWeightOpt = _option(LOSS, "--encoder-loss-weight", float, "Weight of that loss.")
AugmentOpt = _option(LOSS, "--augment", str, "none, or any of roll,gain,noise.", ("none", "roll,gain,noise"))

PrecisionOpt = _option(MACHINE, "--precision", str, "auto, fp32 or bf16 (slow on a processor without bf16 units).",
                       ("auto", "fp32", "bf16"))
CheckpointingOpt = _option(MACHINE, "--gradient-checkpointing", bool, "Trade time for memory.")
CompileOpt = _option(MACHINE, "--compile", bool,
                     "Compile the backbone's layers; pays on a GPU over thousands of steps.")
ParallelOpt = _option(MACHINE, "--parallel", str, "How several processes share the work: auto (ddp), ddp, fsdp, zero2 "
                      "or zero3.", PARALLEL)
ProcessesOpt = Annotated[int, typer.Option("--num-processes", min=1, metavar="N", rich_help_panel=MACHINE,
                                           help="Processes to start on this machine, one a GPU. On several machines: "
                                                "`accelerate launch -m emgecg_cli train …`.")]
WorkersOpt = _option(MACHINE, "--workers", int, "Loader processes.")

EveryOpt = _option(LOGS, "--checkpoint-every", int, "Steps between checkpoints.")
MinutesOpt = _option(LOGS, "--checkpoint-minutes", float, "Minutes between checkpoints, whatever the steps; 0: only by "
                     "steps. (default: 15)")
EvaluateOpt = _option(LOGS, "--evaluate-every", int,
                      "Steps between looks at the val split; if not given once an epoch, and never with --select last "
                      "and no --track.")
ValLimitOpt = _option(LOGS, "--val-limit", int, "Look at N records of the val split only, drawn by the seed.")
SelectOpt = _option(LOGS, "--select", str, "Keep the best weights on the val split, or the last.", SELECTIONS)
TrackOpt = _option(LOGS, "--track", str, "Send losses also to tensorboard (files in the run) or wandb (the network).",
                   ("none", "tensorboard", "wandb", "tensorboard,wandb"))
