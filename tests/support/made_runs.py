"""Runs without a training: tiny backbones' folders, and runs on them whose every trained weight has moved."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tiny_backbones import make
from tiny_seq2seq import make_seq2seq
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.manifest import Manifest, file_hashes, input_of, path_from, write_manifest
from emgecg_cli.core.models.backbones import add_tokens, fingerprint, load_backbone
from emgecg_cli.core.models.builders import SETTINGS, build_report_model
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.models.run_files import save_run_files
from emgecg_cli.core.models.tiny_backbone import train_tokenizer
from emgecg_cli.core.models.tuning import table_of_what_trains, tune_backbone

TOKENS = ["<signal>", "</signal>"]


@dataclass
class Made:
    """A run that was made without training: its folder, the model as it was saved, and its tokenizer."""

    path: Path
    model: ReportModel
    tokenizer: Any


def make_folder(path: Path, family: str = "llama") -> Path:
    """A backbone's folder with a tokenizer."""
    tokenizer = train_tokenizer(["sinus rhythm. normal ecg.", "atrial fibrillation, <|user|>"] * 5)
    torch.manual_seed(0)
    if family == "llama":
        model: Any = LlamaForCausalLM(LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2))
    else:
        model = make_seq2seq(family) if family in ("t5", "bart") else make(family)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def make_run(path: Path, folder: Path, tuning: str, *, tokens: bool = False, fusion: str = "prefix-kv",
             inputs: dict[str, Path] | None = None, **details: Any) -> Made:
    """Save a run whose every trained weight has moved; `inputs` are store and instructions."""
    config = TrainConfig(backbone=str(folder), tuning=tuning, encoder="resnet18-tiny", fusion=fusion, lora_rank=4,
                         new_tokens="<signal>,</signal>" if tokens else "none", seed=3)
    backbone, tokenizer = load_backbone(str(folder), torch.float32, four_bit=tuning == "qlora")
    if tokens:
        add_tokens(backbone, tokenizer, TOKENS)
    tuned = tune_backbone(backbone, tuning, rank=4, alpha=8, dropout=0.1, train_embeddings=tokens)
    settings = {key: getattr(config, key) for key in SETTINGS}
    model = build_report_model(tuned, **settings, seed=3)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(torch.randn_like(parameter) * 0.05)
    path.mkdir(parents=True)
    (path / "metrics.jsonl").write_text('{"step": 1, "report": 5.5}\n{"step": 2, "report": 4.25}\n')
    files = save_run_files(path, model, tokenizer, tuning, ["0123456789abcdef"])
    named = {role: input_of(where, path) for role, where in (inputs or {}).items()}
    named["backbone"] = {"path": path_from(folder, path), "hash": fingerprint(folder)}
    parts = {"encoder": (model.towers["ecg"].encoder, "full"), "backbone": (model.backbone, tuning)}
    write_manifest(path, Manifest(
        "run", "train", asdict(config), 3, {"train_records": 4321, "steps": 2, "truncated": 1}, named,
        {"dataset": "synthetic", "fs": 100, "sig_len": 1000, "machine": {"device": "cpu", "precision": "fp32"},
         "trains": [asdict(row) for row in table_of_what_trains(parts)],
         "model": settings | {"backbone": str(folder), "tuning": tuning, "revision": None},
         "files": file_hashes(path, [*files, "metrics.jsonl"]), **details}))
    return Made(path, model.eval(), tokenizer)


def logits(model: ReportModel) -> Tensor:
    """What a model says of two recordings, its encoder-decoder form included."""
    ids = torch.tensor([[5, 9, 20, 7], [7, 8, 9, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    more = dict(prompt_ids=ids, prompt_mask=mask) if model.encoder_decoder else {}
    with torch.no_grad():
        signal = torch.randn(2, 12, 400, generator=torch.Generator().manual_seed(5))
        return model({"ecg": signal}, ids, mask, **more)[0]
