"""Training by reward of other models: fusions, adapters, a frozen backbone, an encoder-decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline import short_config
from safetensors.torch import load_file

from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.training.grpo.objective import GrpoObjective
from emgecg_cli.core.training.grpo.rewards import Reward
from emgecg_cli.core.training.run import train

MODELS: dict[str, dict[str, Any]] = {
    "splice and LoRA": {"fusion": "splice", "tuning": "lora", "lora_rank": 4, "encoder": "resnet18-tiny"},
    "cross-attention, frozen": {"fusion": "cross-attention", "tuning": "frozen", "encoder": "vit1d-tiny"},
}


@pytest.mark.parametrize("name", MODELS)
def test_what_trains_is_what_trained_before(name: str, inputs: tuple[Path, Path], backbone_folder: Path,
                                            tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # so little trained, none of them ends a report or claims anything: all would be rewarded alike
    monkeypatch.setattr(Reward, "parts", lambda self, number, text, tokens, ended: {
        "evidence": len(set(text)) / 30, "length": 1.0, "format": 1.0})
    start, out = tmp_path / "start", tmp_path / "out"
    train(inputs[1], start, short_config(backbone=str(backbone_folder), steps=2, select="last", **MODELS[name]))
    train(inputs[1], out, resolve_train_config(
        objective="grpo", from_run=str(start), steps=3, batch_size=2, grpo_samples=4, grpo_max_new_tokens=10,
        learning_rate=1e-2))
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["kl"] < 1e-6 and rows[-1]["kl"] > 0
    before, after = (load_file(run / "signal.safetensors") for run in (start, out))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    statistics = {key for key in before if "running_" in key or "num_batches" in key}
    assert changed and not changed & statistics and before.keys() == after.keys()
    adapters = [(run / "adapter/adapter_model.safetensors") for run in (start, out)]
    if "lora" in MODELS[name]["tuning"]:
        one, two = map(load_file, adapters)
        assert one.keys() == two.keys() and any(not torch.equal(one[key], two[key]) for key in one)
    else:
        assert not any(path.exists() for path in adapters)
    load_run(out, torch.device("cpu"))
    # at next to no temperature what is drawn is the likeliest, and asked for its likelihood it is certain: prompts,
    # placeholders and padding are the same both times
    seen: list[torch.Tensor] = []
    likelihoods = GrpoObjective._likelihoods

    def noted(self: GrpoObjective, *given: Any) -> Any:
        logs, there = likelihoods(self, *given)
        seen.append(logs[there].detach())
        return logs, there

    monkeypatch.setattr(GrpoObjective, "_likelihoods", noted)
    train(inputs[1], tmp_path / "cold", resolve_train_config(
        objective="grpo", from_run=str(out), steps=1, batch_size=3, grpo_samples=2, grpo_max_new_tokens=10,
        grpo_temperature=1e-4))
    assert len(seen[0]) > 20 and (seen[0] > -0.1).float().mean() > 0.95
