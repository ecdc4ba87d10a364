"""How fast reports are generated: batches beside single records, prefix-kv with its memo beside the plain LM, and rows
that are refilled beside batches that run until their longest report ends.

    python benchmarks/generate_speed.py [--batch-size N] [--prompt N] [--new-tokens N] [--rounds N] [--only refill]
                                        [--reports FILE.csv] [--smallest]

On a CPU: a LLaMA of 50 M parameters (8 layers, width 512) with random weights in float32 on one thread, one signal
token. Batched and single generation take turns, as do generation with the prefix and the same weights without it, and
the medians of processor time are compared. The aims: batched >= 4 times the records a second of batch 1, and the
prefix <= 1.08 times the time of the plain model.

Refilled rows are compared on the lengths that PTB-XL's reports have in 2,000 pieces learnt from them (`--reports`, a
CSV with a column `report`; by default the one under ../shared/data, and where there is none, lengths drawn from a gamma
distribution of the same mean and spread), by a LLaMA of 6 M parameters with prefix-kv, one chunk of `generate` at each
batch size. The aim: >= 1.8 times the tokens a second at 32 and at 256.

On a GPU: random weights of Llama-3-8B's shape in bfloat16, made on the device; the same ratio by wall clock, tokens a
second, and peak memory.
"""

from __future__ import annotations

import argparse
import copy
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, StoppingCriteria, StoppingCriteriaList

from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.generation.job import BATCHES
from emgecg_cli.core.generation.refill import Choice, Report, write_refilled
from emgecg_cli.core.instructions.turns import TurnEnd
from emgecg_cli.core.models.decoding import Rows, read_prompts
from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV
from emgecg_cli.core.models.report_model import pad_prompts

REPORTS = Path(__file__).parents[2] / "shared/data/ptb-xl-reports/reports.csv"
PIECES = 2000

SMALL = LlamaConfig(vocab_size=24_000, hidden_size=512, intermediate_size=1376, num_hidden_layers=8,
                    num_attention_heads=8, num_key_value_heads=8)
TINY = LlamaConfig(vocab_size=PIECES, hidden_size=256, intermediate_size=688, num_hidden_layers=6,
                   num_attention_heads=8, num_key_value_heads=8)
LLAMA_3_8B = LlamaConfig(vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32,
                         num_attention_heads=32, num_key_value_heads=8, rope_parameters={"rope_type": "default",
                                                                                         "rope_theta": 500_000.0})


def make_model(config: LlamaConfig, device: torch.device) -> Any:
    """Random weights, made where they are used and in the precision they are used in."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if device.type == "cuda" else torch.float32)
    try:
        with device:
            model = LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)
    model.generation_config.eos_token_id = None  # lengths are given, no token ends a report
    return model


def work_of(model: Any, fusion: PrefixKV | None, rows: int, prompt: int, new: int) -> Callable[[], None]:
    """Generation of exactly `new` tokens for `rows` records, with one signal token each or without any."""
    device = model.device
    ids = torch.randint(3, model.config.vocab_size, (rows, prompt), device=device)
    mask = torch.ones_like(ids)
    settings = GenerationConfig(max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0)
    token = None if fusion is None else torch.nn.functional.normalize(
        torch.randn(rows, 1, fusion.dim, device=device, dtype=model.dtype), dim=-1)

    @torch.no_grad()
    def work() -> None:
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "generation_config": settings}
        made = model.generate(**given)[:, prompt:] if fusion is None else fusion.generate(token, **given)
        assert made.shape == (rows, new)

    return work


def seconds(work: Callable[[], None], device: torch.device) -> float:
    """Processor time on a CPU, which others' load does not change much; wall clock on a GPU."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def interleaved(works: dict[str, Callable[[], None]], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each piece of work; they take turns, after a round that warms up."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            spent = seconds(work, device)
            if number:
                times[name].append(spent)
    return {name: statistics.median(spent) for name, spent in times.items()}


def report_lengths(path: Path | None, count: int) -> tuple[np.ndarray, str]:
    """Tokens of `count` reports in random order, and where they are from."""
    rng = np.random.default_rng(0)
    if path is None or not path.is_file():
        return np.clip(rng.gamma(4.0, 6.65, count).round().astype(int), 3, 100), "simulated lengths"
    with path.open(encoding="utf-8", newline="") as stream:
        reports = [row["report"] for row in csv.DictReader(stream)]
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel()
    pieces.train_from_iterator(reports, trainers.BpeTrainer(vocab_size=PIECES, show_progress=False))
    lengths = np.array([len(encoded.ids) + 1 for encoded in pieces.encode_batch(reports)])
    return rng.choice(lengths, count), f"lengths of {len(lengths)} reports of {path.name}"


class EndsAt(StoppingCriteria):
    """Ends each row of a batch at a length given for it."""

    def __init__(self, lengths: np.ndarray, prompt: int) -> None:
        self.ends = torch.from_numpy(lengths) + prompt

    def __call__(self, input_ids: Tensor, scores: Any, **more: Any) -> Tensor:
        return input_ids.shape[1] >= self.ends.to(input_ids.device)


class ChoiceOfLength(Choice):
    """Ends each report at a length given for its record."""

    lengths: np.ndarray

    def ended(self, report: Report) -> bool:
        return len(report.ids) >= self.lengths[report.record]


class Chunk:
    """Records to be written both ways."""

    def __init__(self, model: Any, fusion: PrefixKV, size: int, longest_prompt: int, lengths: np.ndarray) -> None:
        self.model, self.fusion, self.size, self.lengths = model, fusion, size, lengths
        self.made: dict[str, list[list[int]]] = {}
        rng = np.random.default_rng(1)
        widths = np.sort(rng.integers(longest_prompt // 2, longest_prompt + 1, len(lengths)))
        self.prompts = [rng.integers(3, model.config.vocab_size, width).tolist() for width in widths]
        self.tokens = torch.nn.functional.normalize(
            torch.randn(len(lengths), 1, fusion.dim, device=model.device, dtype=model.dtype), dim=-1)

    def padded(self, numbers: list[int]) -> tuple[Tensor, Tensor]:
        ids, mask = pad_prompts([self.prompts[i] for i in numbers], 0, "left")
        return ids.to(self.model.device), mask.to(self.model.device)

    @torch.no_grad()
    def static(self) -> None:
        """Batches by `transformers`, each until its longest report ends."""
        made = []
        for at in range(0, len(self.lengths), self.size):
            numbers = list(range(at, min(at + self.size, len(self.lengths))))
            ids, mask = self.padded(numbers)
            settings = GenerationConfig(max_new_tokens=int(self.lengths.max()), do_sample=False, pad_token_id=0)
            output = self.fusion.generate(
                self.tokens[numbers], input_ids=ids, attention_mask=mask, generation_config=settings,
                stopping_criteria=StoppingCriteriaList([EndsAt(self.lengths[numbers], ids.shape[1])]))
            made += [row[:self.lengths[i]] for i, row in zip(numbers, output.tolist(), strict=True)]
        self.made["static"] = made

    @torch.no_grad()
    def refilled(self) -> None:
        """Rows that come and go, as `generate` writes a chunk."""
        def begin(numbers: list[int]) -> tuple[Rows, Tensor]:
            return read_prompts(self.fusion, self.model, self.tokens[numbers], None, *self.padded(numbers))

        choice = ChoiceOfLength(GenerateConfig(batch_size=self.size), int(self.lengths.max()), TurnEnd((), ()), None)
        choice.lengths = self.lengths
        self.made["refilled"] = write_refilled([str(i) for i in range(len(self.lengths))], begin, choice,
                                               len(self.prompts[-1]), self.model.device, lambda ended: None)


def refilling(model: Any, sizes: list[int], given: argparse.Namespace) -> None:
    """Both ways of writing a chunk, at each batch size; they take turns, and write the same."""
    fusion = PrefixKV(model)
    for size in sizes:
        lengths, origin = report_lengths(given.reports, size * BATCHES)
        if given.smallest:
            lengths = np.minimum(lengths, given.new_tokens + 2)
        chunk = Chunk(model, fusion, size, given.prompt, lengths)
        batches = [lengths[at:at + size] for at in range(0, len(lengths), size)]
        steps = sum(len(batch) * int(batch.max()) for batch in batches)
        spent = interleaved({"static": chunk.static, "refilled": chunk.refilled}, given.rounds, model.device)
        same = sum(a == b for a, b in zip(chunk.made["static"], chunk.made["refilled"], strict=True))
        tokens = int(lengths.sum())
        print(f"batch {size}, {len(lengths)} records, {origin}: mean {lengths.mean():.1f} tokens, longest "
              f"{lengths.max()}; static batches make {steps / tokens:.2f} times the useful steps; "
              f"{same} texts of {len(lengths)} the same")
        for name, taken in spent.items():
            print(f"{name:>20}: {taken:.2f} s, {tokens / taken:,.0f} tokens/s")
        print(f"refilled ÷ static: {spent['static'] / spent['refilled']:.2f} times the tokens/s (aim: at least 1.8)")
    fusion.detach()


def on_cpu(given: argparse.Namespace) -> None:
    """Both ratios."""
    torch.set_num_threads(1)
    device, many = torch.device("cpu"), given.batch_size or 32
    refilling(make_model(TINY, device), [given.batch_size] if given.batch_size else [32, 256], given)
    if given.only:
        return
    plain = make_model(SMALL, device)
    model = copy.deepcopy(plain)
    fusion = PrefixKV(model)
    print(f"{sum(p.numel() for p in plain.parameters()) / 1e6:.1f} M parameters, float32, one thread, prompts of "
          f"{given.prompt}, {given.new_tokens} new tokens, median of {given.rounds} rounds, processor time")
    works = {f"{name}, batch {rows}": work_of(*pair, rows, given.prompt, given.new_tokens)
             for rows in (1, many) for name, pair in {"prefix-kv": (model, fusion), "plain": (plain, None)}.items()}
    spent = interleaved(works, given.rounds, device)
    for name, taken in spent.items():
        speed = int(name.split()[-1]) / taken
        print(f"{name:>20}: {taken:.3f} s, {speed:.2f} records/s, {speed * given.new_tokens:.0f} tokens/s")
    gain = many * spent["prefix-kv, batch 1"] / spent[f"prefix-kv, batch {many}"]
    costs = [spent[f"prefix-kv, batch {rows}"] / spent[f"plain, batch {rows}"] for rows in (1, many)]
    print(f"batch {many} ÷ batch 1: {gain:.2f} times the records/s (aim: at least 4)")
    print(f"prefix-kv with memo ÷ plain: {costs[0]:.3f} at batch 1, {costs[1]:.3f} at batch {many} (aim: at most 1.08)")


def on_gpu(given: argparse.Namespace) -> None:
    """Throughput and memory of a large model, and the ratio."""
    device, many = torch.device("cuda"), given.batch_size or 512
    model = make_model(LLAMA_3_8B, device)
    refilling(model, [given.batch_size] if given.batch_size else [32, 256], given)
    if given.only:
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, "
          f"{sum(p.numel() for p in model.parameters()) / 1e9:.2f} G parameters, bfloat16, batch {many}, prompts of "
          f"{given.prompt}, {given.new_tokens} new tokens, median of {given.rounds} rounds, wall clock")
    spent = {}
    for name in ("plain", "prefix-kv"):  # one model for both: two would not leave room; so they do not take turns
        fusion = PrefixKV(model) if name == "prefix-kv" else None
        torch.cuda.reset_peak_memory_stats()
        work = work_of(model, fusion, many, given.prompt, given.new_tokens)
        spent[name] = interleaved({name: work}, given.rounds, device)[name]
        print(f"{name:>10}: {spent[name]:.2f} s, {many / spent[name]:.1f} records/s, "
              f"{many * given.new_tokens / spent[name]:,.0f} tokens/s, "
              f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    print(f"prefix-kv with memo ÷ plain: {spent['prefix-kv'] / spent['plain']:.3f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed of generation: batches, and the prefix's share.")
    parser.add_argument("--batch-size", type=int, help="32 on a CPU, 512 on a GPU if not given")
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["refill"], help="refilled rows beside static batches, and nothing else")
    parser.add_argument("--reports", type=Path, default=REPORTS, help="a CSV whose column `report` gives the lengths")
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    given = parser.parse_args()
    if given.smallest:
        given.batch_size, given.prompt, given.new_tokens, given.rounds = 2, 8, 4, 1
        for config in (SMALL, TINY):
            config.hidden_size, config.intermediate_size, config.num_hidden_layers, config.head_dim = 64, 128, 2, 8
        given.reports = None
    torch.manual_seed(0)
    (on_gpu if torch.cuda.is_available() else on_cpu)(given)


if __name__ == "__main__":
    main()
