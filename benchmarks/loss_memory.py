"""Memory and time of the report loss, forward and backward: logits of all tokens at once, and of a few at a time.

    python benchmarks/loss_memory.py [--rows 8] [--tokens 128] [--vocabulary 128256] [--smallest]

A LLaMA of one narrow layer with a large vocabulary, random weights, fp32 on a CPU; on a GPU the width of Llama-3-8B in
bf16 and 64 rows of 1,024 tokens. Each way runs in a process of its own. Also says how far the two losses, and the
gradients of what trains, are apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from emgecg_cli.core.inputs.batch import Batch, Totals
from emgecg_cli.core.models.builders import build_report_model
from emgecg_cli.core.models.tuning import tune_backbone
from emgecg_cli.core.training.objective import Objective


def make_objective(vocabulary: int, device: torch.device) -> Objective:
    """LoRA on a backbone with one signal token."""
    large = device.type == "cuda"
    sizes = dict(hidden_size=4096, intermediate_size=14336, num_attention_heads=32, num_key_value_heads=8) if large \
        else dict(hidden_size=128, intermediate_size=256, num_attention_heads=4)
    torch.manual_seed(0)
    with device:
        backbone: Any = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, num_hidden_layers=1, **sizes))
    tuned = tune_backbone(backbone.to(torch.bfloat16) if large else backbone, "lora", rank=8, alpha=16, dropout=0.0)
    model = build_report_model(tuned, encoder="resnet18-tiny", projector="linear", fusion="prefix-kv", signal_tokens=1,
                               token_norm="unit", seed=0)
    return Objective(model.to(device), torch.zeros(0), weight=1.0, end=(2,), eos_weight=1.0)


def step(objective: Objective, rows: int, tokens: int, vocabulary: int, device: torch.device) -> float:
    """Forward and backward on a batch that is answers but for its first token; returns the loss."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(3, vocabulary, (rows, tokens + 1), generator=draw)
    labels = ids.clone()
    labels[:, 0] = -100
    batch = Batch({}, ids, torch.ones_like(ids), labels, torch.zeros(rows, 0), {}, 1, list(range(rows))).to(device)
    signal = torch.randn(rows, 12, 500, generator=draw).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        loss = objective({"ecg": signal}, batch, Totals(rows * tokens, rows)).total
    loss.backward()
    return float(loss.detach())


def one(way: str, rows: int, tokens: int, vocabulary: int, out: Path) -> dict[str, float]:
    """Measure one way; its gradients are written to `out`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    objective = make_objective(vocabulary, device)
    if way == "all at once":
        objective.output = None
    step(objective, 2, 4, vocabulary, device)
    objective.zero_grad()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before, begun = used(device), time.process_time()
    loss = step(objective, rows, tokens, vocabulary, device)
    seconds = time.process_time() - begun
    save_file({name: p.grad.float().cpu().contiguous() for name, p in objective.named_parameters()
               if p.grad is not None}, out)
    return {"loss": loss, "seconds": seconds, "before": before, "peak": used(device, most=True)}


def used(device: torch.device, most: bool = False) -> float:
    """Memory of this process or of the GPU now, or the most there has been, in MB."""
    if device.type == "cuda":
        return (torch.cuda.max_memory_allocated() if most else torch.cuda.memory_allocated()) / 1e6
    wanted = "VmHWM" if most else "VmRSS"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(wanted)) * 1024 / 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    large = torch.cuda.is_available()
    parser.add_argument("--rows", type=int, default=64 if large else 8)
    parser.add_argument("--tokens", type=int, default=1024 if large else 128)
    parser.add_argument("--vocabulary", type=int, default=128_256)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    given = parser.parse_args()
    if given.smallest:
        given.rows, given.tokens, given.vocabulary = 2, 300, 64_000
    if given.one:
        print(json.dumps(one(given.one[0], given.rows, given.tokens, given.vocabulary, Path(given.one[1]))))
        return
    sizes = ["--rows", str(given.rows), "--tokens", str(given.tokens), "--vocabulary", str(given.vocabulary)]
    whole = given.rows * given.tokens * given.vocabulary * 4 / 1e6
    print(f"{given.rows} answers of {given.tokens} tokens, vocabulary {given.vocabulary}: logits of {whole:,.0f} MB")
    with tempfile.TemporaryDirectory() as folder:
        losses, gradients = [], []
        for way in ("all at once", "a few at a time"):
            out = Path(folder) / way
            done = subprocess.run([sys.executable, __file__, "--one", way, str(out), *sizes], text=True,
                                  capture_output=True)
            if done.returncode < 0 or "out of memory" in done.stderr:
                print(f"{way:>15}: out of memory")
                continue
            if done.returncode:
                sys.exit(done.stderr)
            found = json.loads(done.stdout)
            losses.append(found["loss"])
            gradients.append(load_file(out))
            print(f"{way:>15}: {found['peak'] - found['before']:8,.0f} MB more than before the step, "
                  f"{found['seconds']:6.1f} s; loss {found['loss']:.6f}")
        if len(losses) == 2:
            apart = max(float((gradients[0][name] - gradients[1][name]).abs().max()) for name in gradients[0])
            print(f"losses {abs(losses[0] - losses[1]):.1e} apart, gradients at most {apart:.1e}")


if __name__ == "__main__":
    main()
