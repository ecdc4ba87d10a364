"""How fast a training step is: against the same model without a signal, against padded batches, and in records/s.

    python benchmarks/train_speed.py [--reports reports.csv] [--smallest]

The CSV has a column `report`: real lengths, else simulated ones.

Weights are random. On a CPU the backbone is a LLaMA of 51 M parameters in fp32 and times are processor seconds: compare
the ratios, of one run, not the seconds between machines. On a GPU it has the shape of Llama-3-8B in bf16, with
ResNet-50 on 5,000 samples, and memory, tokens/s and the share of the peak (MFU) are printed as well.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

from emgecg_cli.core.datasets import Recording, RecordRef, open_dataset
from emgecg_cli.core.inputs.batch import TextRecords
from emgecg_cli.core.inputs.rendered import RenderedSplit
from emgecg_cli.core.instructions.pool import SEED_PROMPTS
from emgecg_cli.core.instructions.render import render
from emgecg_cli.core.models.builders import build_report_model
from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV
from emgecg_cli.core.models.preprocessing import preprocessing_of
from emgecg_cli.core.models.tiny_backbone import train_tokenizer
from emgecg_cli.core.models.tuning import tune_backbone
from emgecg_cli.core.training.augment import network_input
from emgecg_cli.core.training.batches import BatchPlan, BatchSampler
from emgecg_cli.core.training.logs import Clock
from emgecg_cli.core.training.objective import Objective
from emgecg_cli.core.training.parallel import Parallel, open_parallel

SMALL = dict(hidden_size=512, intermediate_size=1376, num_hidden_layers=8, num_attention_heads=8,
             num_key_value_heads=8, vocab_size=25_000)
LARGE = dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
             num_key_value_heads=8, vocab_size=128_256)
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # dense bf16, from the vendor's sheets


def make_backbone(device: torch.device, rank: int) -> Any:
    """A LLaMA with random weights and LoRA on all its linear layers."""
    torch.manual_seed(0)
    large = device.type == "cuda"
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16 if large else torch.float32)
        model = LlamaForCausalLM(LlamaConfig(**(LARGE if large else SMALL), max_position_embeddings=2048))
        torch.set_default_dtype(torch.float32)
    return tune_backbone(model, "lora", rank=rank, alpha=2 * rank, dropout=0.0).train()


class FakeStore:
    """Signals of one recording's size, as a store's memory map gives them."""

    def __init__(self, folder: Path, records: int, samples: int) -> None:
        rng = np.random.default_rng(0)
        np.save(folder / "signals.npy", rng.integers(-500, 500, (records, 12, samples), np.int16))
        self.signals = np.load(folder / "signals.npy", mmap_mode="r")

    def arrays(self, index: int) -> dict[str, np.ndarray]:
        """One recording."""
        return {"ecg": self.signals[index]}

    def lacking(self, index: int) -> tuple[str, ...]:
        """Nothing."""
        return ()


def make_records(reports: Sequence[str], store: Any, vocabulary: int) -> tuple[TextRecords, Any]:
    """These reports under the hand-written prompts, rendered as `train` renders them."""
    tokenizer = train_tokenizer([*SEED_PROMPTS, *reports], vocabulary=2000)
    pieces, prompts = [], []
    for i, report in enumerate(reports):
        messages = [{"role": "user", "content": SEED_PROMPTS[i % len(SEED_PROMPTS)]},
                    {"role": "assistant", "content": report}]
        rendered = render(messages, tokenizer, 256)
        pieces.append(np.array(rendered.input_ids) % vocabulary)
        prompts.append(rendered.labels.count(-100))
    starts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
    split = RenderedSplit(np.arange(len(reports)), np.concatenate(pieces), starts, np.array(prompts), 0)
    return TextRecords(store, split, np.zeros((len(reports), 0), bool), 0,
                       preprocessing={"ecg": preprocessing_of("resnet50")}), tokenizer


def step_of(parallel: Parallel, objective: nn.Module, optimizer: Any, records: TextRecords) -> Callable[[Any], None]:
    """One training step on a batch."""
    def step(batch: Any) -> None:
        inputs, on_device = network_input(batch, parallel.device, 0, 0)
        with parallel.autocast():
            losses = objective(inputs, on_device, records.totals(np.array(batch.indices)))
        parallel.backward(losses.total)
        parallel.step(objective, optimizer)

    return step


def clock_of(device: torch.device) -> Callable[[], float]:
    """Processor seconds on a CPU; wall-clock seconds behind a synchronisation on a GPU."""
    if device.type == "cpu":
        return time.process_time

    def now() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return now


def fusion_overhead(device: torch.device, rounds: int, batch: int, length: int, rank: int) -> tuple[float, float]:
    """A step with one signal token in every layer ÷ the same step of plain peft on text alone, no encoder in either;
    and the latter's records/s."""
    backbone = make_backbone(device, rank)
    ids = torch.randint(100, 20_000, (batch, length), device=device)
    mask = torch.ones_like(ids)
    trained = [p for p in backbone.parameters() if p.requires_grad]
    optimizer, now = torch.optim.AdamW(trained, 1e-4), clock_of(device)

    def one(forward: Callable[[], Any]) -> float:
        before = now()
        logits = forward().logits[:, :-1].flatten(0, 1).float()
        nn.functional.cross_entropy(logits, ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
        return now() - before

    ratios, times = [], []
    for i in range(rounds + 1):
        plain = one(lambda: backbone(input_ids=ids, attention_mask=mask, use_cache=False))
        fusion = PrefixKV(backbone)
        token = torch.nn.functional.normalize(torch.randn(batch, 1, fusion.dim, device=device), dim=-1).requires_grad_()
        fused = one(lambda: fusion.forward(token, input_ids=ids, attention_mask=mask, use_cache=False))  # noqa: B023
        fusion.detach()
        if i:  # the first warms up
            ratios.append(fused / plain)
            times.append(plain)
    return statistics.median(ratios), batch / statistics.median(times)


def records_per_s(parallel: Parallel, step: Callable[[Any], None], records: TextRecords,
                  batches: Iterator[list[int]]) -> tuple[float, int]:
    """Speed over some batches, and how many token places they had, padding included."""
    prepared = [records.collate([records[i] for i in batch]) for batch in batches]
    step(prepared[0])
    now = clock_of(parallel.device)
    before = now()
    for batch in prepared:
        step(batch)
    seen = sum(len(batch.indices) for batch in prepared)
    return seen / (now() - before), sum(batch.input_ids.numel() for batch in prepared)


def read_reports(path: str | None, records: int) -> list[str]:
    """The reports of a CSV, or those of so many simulated records."""
    if path is None:
        source = open_dataset("synthetic", 0, records=records, fs=100)
        refs = [ref for ref in source.listing() if isinstance(ref, RecordRef)]
        return [recording.report for recording in source.read(refs) if isinstance(recording, Recording)]
    with open(path, newline="") as stream:
        return [row["report"] for row in csv.DictReader(stream) if row["report"].strip()]


def bucketing(parallel: Parallel, step: Callable[[Any], None], records: TextRecords, size: int,
              count: int) -> dict[str, float]:
    """Length-bucketed batches, batches in random order, and the latter padded to the longest record of all.

    Of each kind, `count` batches that stand for a whole epoch: evenly spread over its batches by length.
    """
    lengths = records.rendered.lengths
    plan = BatchPlan(lengths, size, seed=0)

    def spread(batches: list[list[int]]) -> list[list[int]]:
        by_length = sorted(batches, key=lambda batch: lengths[batch].max())
        return [by_length[int((k + 0.5) * len(by_length) / count)] for k in range(min(count, len(by_length)))]

    order = np.random.default_rng(0).permutation(len(lengths)).tolist()
    bucketed = spread(list(BatchSampler(plan, 0, plan.per_epoch)))
    shuffled = spread([order[i:i + size] for i in range(0, len(order) - size + 1, size)])
    longest = int(np.argmax(lengths))
    fixed = [[*batch[:-1], longest] for batch in shuffled]  # one such record pads its batch to the full length
    speeds = {name: records_per_s(parallel, step, records, iter(batches))
              for name, batches in (("bucketed", bucketed), ("random order", shuffled), ("full length", fixed))}
    for name, (speed, places) in speeds.items():
        print(f"  {name:>13}: {speed:9.1f} records/s, {places:8d} token places")
    return {name: speeds["bucketed"][0] / speed for name, (speed, _) in speeds.items() if name != "bucketed"}


def loader_share(parallel: Parallel, step: Callable[[Any], None], records: TextRecords, size: int, workers: int,
                 count: int) -> tuple[float, float, float]:
    """A run of steps fed by the loader: share of the time that waited for data, records/s, tokens/s."""
    plan = BatchPlan(records.rendered.lengths, size, seed=1)
    loader = DataLoader(records, batch_sampler=BatchSampler(plan, 0, count), collate_fn=records.collate,  # type: ignore[arg-type]
                        num_workers=workers, pin_memory=parallel.device.type == "cuda")
    batches = iter(loader)
    step(next(batches))
    clock, tokens = Clock(), 0
    for batch in clock.timed(batches):
        step(batch)
        tokens += int(batch.attention_mask.sum())
    if parallel.device.type == "cuda":
        torch.cuda.synchronize()
    return clock.data_wait, clock.speed, tokens / clock.seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reports", metavar="CSV")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    options = parser.parse_args()
    if options.smallest:
        options.rounds, options.batch_size = 1, 4
        SMALL.update(hidden_size=64, intermediate_size=128, num_hidden_layers=2)
    parallel = open_parallel("auto", "bf16" if torch.cuda.is_available() else "fp32", max_grad_norm=1.0)
    large = parallel.device.type == "cuda"
    if not large:
        torch.set_num_threads(1)
    size, rank = options.batch_size or (64 if large else 32), 64 if large else 8
    workers = options.workers if options.workers is not None else (4 if large else 0)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if large else 'CPU, one thread'}")
    overhead, plain = fusion_overhead(parallel.device, options.rounds, size if large else 4, 128, rank)
    print(f"plain peft, LoRA of rank {rank} on 128 tokens of text: {plain:.1f} records/s, {128 * plain:.0f} tokens/s")
    print(f"step with prefix-kv / the same of plain peft: {overhead:.3f}  (aim: at most 1.06)")
    with tempfile.TemporaryDirectory() as folder:
        reports = read_reports(options.reports, 48 if options.smallest else 800)
        store = FakeStore(Path(folder), len(reports), 5000 if large else 1000)
        records, tokenizer = make_records(reports, store, (LARGE if large else SMALL)["vocab_size"])
        backbone = make_backbone(parallel.device, rank)
        model = build_report_model(backbone, encoder="resnet50" if large else "resnet18-tiny", projector="mlp",
                                   fusion="prefix-kv", signal_tokens=1, token_norm="unit", seed=0)
        objective = Objective(model, torch.zeros(0), weight=1.0, end=(tokenizer.eos_token_id,), eos_weight=1.0)
        prepared, optimizer = parallel.prepare(objective, lambda o: torch.optim.AdamW(
            [p for p in o.parameters() if p.requires_grad], 1e-4))
        step = step_of(parallel, prepared.train(), optimizer, records)
        lengths = records.rendered.lengths
        print(f"{len(reports)} reports; conversations of {lengths.min()} to {lengths.max()} tokens, "
              f"median {int(np.median(lengths))}; batches of {size}")
        count = 2 if options.smallest else 10
        for name, ratio in bucketing(parallel, step, records, size, 40 if large else count).items():
            print(f"bucketed / {name}: {ratio:.2f}  (aim: at least 1.5)")
        wait, speed, tokens = loader_share(parallel, step, records, size, workers, 60 if large else count)
        print(f"through the loader, {workers} workers: {speed:.1f} records/s, {tokens:.0f} tokens/s, "
              f"data wait {wait:.1%}  (aim: at most 5 %)")
        if large:
            parameters = sum(p.numel() for p in backbone.parameters())
            peak = next((value for name, value in PEAK.items() if name in torch.cuda.get_device_name()), None)
            # Forward and the backward pass to the inputs; LoRA needs no gradient of the frozen weights.
            share = f"{4 * parameters * tokens / peak:.1%}" if peak else "of an unknown peak"
            print(f"MFU at 4 N FLOP a token: {share}; peak memory {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")
    parallel.close()


if __name__ == "__main__":
    main()
