"""What a rewarded training is made of: a run, and the records that judge what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed

from emgecg_cli.core import names
from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.instructions.build import Instructions
from emgecg_cli.core.instructions.turns import turn_of
from emgecg_cli.core.models.backbones import check_positions
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.models.tuning import ADAPTED, TUNINGS, embeddings, table_of_what_trains
from emgecg_cli.core.store import Store
from emgecg_cli.core.training.assembly import Assembled, parts_of, shown_inputs
from emgecg_cli.core.training.batches import BatchPlan
from emgecg_cli.core.training.grpo.objective import GrpoObjective
from emgecg_cli.core.training.grpo.rewards import Reward, lengths_of
from emgecg_cli.core.training.grpo.rollouts import Sampler
from emgecg_cli.core.training.made_from import subjects_of
from emgecg_cli.core.training.parallel import Parallel
from emgecg_cli.core.training.records import records_of

ROOM = 8  # one token in so many more than the longest report


def assemble_grpo(parallel: Parallel, machine: dict[str, Any], store: Store, instructions: Instructions,
                  config: TrainConfig) -> Assembled:
    """Put a rewarded training together; raises MedReportError when the run does not fit the records, or a store whose
    records have no recordings."""
    run = Path(str(config.from_run))
    if "ecg" not in names.encoders_of(config.encoder):
        raise MedReportError(f"--from {run}: it reads no recordings, and those are the judge",
                             "give a run that reads ECGs")
    if config.grpo_inner_steps > 1 and parallel.world > 1:
        raise MedReportError(f"--grpo-inner-steps {config.grpo_inner_steps} in {parallel.world} processes, of whose "
                             "reports a checkpoint would hold one process's alone", "leave it at 1, or use one process")
    subjects = subjects_of(store, config)
    set_seed(config.seed + parallel.rank)
    on_bf16 = machine["device"] == "cuda" and machine["precision"] == "bf16"
    dtype = torch.bfloat16 if on_bf16 and config.tuning != "full" else torch.float32
    model, tokenizer, manifest = load_run(run, parallel.device, dtype)
    _check_fits(run, manifest.details, store)
    sizes = manifest.details["model"].get("sizes") or {}
    shown = shown_inputs(store, instructions, config, sizes)
    if config.value_identity == "item":
        shown = shown.naming_items(tokenizer)
    _train_as_before(run, model, config)
    records, targets = records_of(model, tokenizer, store, shown, config, "train")
    long, longest = lengths_of(records.rendered)
    limit = config.grpo_max_new_tokens or longest + longest // ROOM + 1
    backbone: Any = model.backbone
    prompt = records.rendered.longest[1]
    check_positions(backbone, limit if model.encoder_decoder else prompt + limit, "the longest prompt and report",
                    "give a smaller --grpo-max-new-tokens")
    turn = turn_of(manifest.details, tokenizer)
    sampler = Sampler(model, tokenizer, turn, config.grpo_samples, config.grpo_temperature, limit)
    reward = Reward(Evidence(store), records.rendered.indices, long, config.grpo_length_weight,
                    config.grpo_format_weight)
    size = config.batch_size * parallel.world
    objective = GrpoObjective(sampler, reward, kl=config.grpo_kl, clip=config.grpo_clip,
                              inner_steps=config.grpo_inner_steps, accumulation=config.gradient_accumulation,
                              largest_batch=2 * config.batch_size)
    plan = BatchPlan(records.rendered.lengths, size, config.seed, parallel.world, smallest=1,
                     repeats=config.grpo_inner_steps, accumulation=config.gradient_accumulation)
    return Assembled(subjects, shown, None, model, tokenizer, turn, table_of_what_trains(parts_of(model, config)),
                     records, targets, manifest.details["model"].get("token_lengths"), None, None, objective, plan,
                     sizes)


def _train_as_before(run: Path, model: ReportModel, config: TrainConfig) -> None:
    """Let the same weights train as in the run."""
    if config.tuning not in TUNINGS:
        raise MedReportError(f"--from {run}: an exported run, whose adapter is merged into its backbone",
                             "give the run it was exported from")
    backbone: Any = model.backbone
    backbone.requires_grad_(config.tuning == "full")
    if config.tuning in ADAPTED:
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad_("lora_" in name)
    if config.new_tokens != "none":
        for weight in embeddings(backbone).values():
            weight.requires_grad_(True)
    for name in model.towers:
        if config.freeze_encoder:
            model.towers[name].freeze()


def _check_fits(run: Path, trained: dict[str, Any], store: Store) -> None:
    """Refuse records of another rate or length than the run was trained on."""
    if (store.fs, store.sig_len) != (trained["fs"], trained["sig_len"]):
        raise MedReportError(f"{store.path}: recordings of {store.fs} Hz and {store.sig_len} samples; {run} was "
                             f"trained on {trained['fs']} Hz and {trained['sig_len']}",
                             f"prepare it with --fs {trained['fs']}")


