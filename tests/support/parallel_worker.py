"""A small training, which tests of parallel strategies run in one process and in several, with the same global batches.

Started as a script, it runs a list of cases in one group of processes and writes what each ended with.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from emgecg_cli.core.accelerate_file import asked
from emgecg_cli.core.models.fusion.cross_attention import CrossAttention
from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV
from emgecg_cli.core.models.fusion.splice import Splice
from emgecg_cli.core.models.projector import linear_projector
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.models.towers import Tower
from emgecg_cli.core.training.checkpoint import load_checkpoint, save_checkpoint
from emgecg_cli.core.training.parallel import Parallel, open_parallel
from emgecg_cli.core.training.parallel.gathering import gather_rows

WIDTH, VOCABULARY, ROWS, TEXT, SAMPLES = 24, 31, 6, 9, 32
FUSIONS = {"prefix-kv": PrefixKV, "splice": Splice, "cross-attention": CrossAttention}
DEFAULTS: dict[str, Any] = dict(kind="none", tuning="full", fusion="prefix-kv", accumulation=1, clip=0.0, dropout=0.0,
                                checkpointing=False, precision="fp32", storage="fp32", steps=3, save_at=None,
                                load=None, seed=0)


class Encoder(nn.Module):
    """The least that has the parts of a real one: a convolution and two BatchNorms, one of them without scale."""

    width = 10

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(3, 10, 5, stride=2), nn.BatchNorm1d(10), nn.GELU())
        self.norm = nn.BatchNorm1d(10, affine=False)

    def forward(self, signal: Tensor, tokens: int = 1) -> Tensor:
        """(B, C, L) -> (B, 1, E)."""
        return self.norm(self.layers(signal).mean(-1))[:, None]


@dataclass(frozen=True)
class Share:
    """As the losses of a real objective: not a tensor, tuple or dictionary."""

    total: Tensor
    parts: dict[str, Tensor]


class ReportObjective(nn.Module):
    """Cross-entropy of the text given the signal, and a share of the encoder's own."""

    def __init__(self, model: ReportModel) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(Encoder.width, 1)

    def forward(self, signal: Tensor, ids: Tensor, mask: Tensor, tokens: int, rows: int) -> Share:
        """Shares of a step that holds so many tokens and rows."""
        logits, seen = self.model({"ecg": signal}, ids, mask)
        labels = torch.where(mask.bool() & (ids >= 0), ids, -100)[:, 1:]
        report = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels.flatten(), reduction="sum") / tokens
        encoder = (self.head(seen.features["ecg"].float()).squeeze(-1) - signal.mean((1, 2))).square().sum() / rows
        return Share(report + encoder, {"report": report.detach()})


class EncoderObjective(nn.Module):
    """An encoder alone, with a scalar parameter, which cannot be sharded, and a matrix of fewer rows than processes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.head = nn.Linear(Encoder.width, 1)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, signal: Tensor, ids: Tensor, mask: Tensor, tokens: int, rows: int) -> Share:
        """Share of a squared error."""
        error = self.scale.exp() * self.head(self.encoder(signal)[:, 0]).squeeze(-1) - signal.mean((1, 2))
        loss = error.square().sum() / rows
        return Share(loss, {"report": loss.detach()})


class ContrastiveObjective(nn.Module):
    """Every record's features are to be closest to its own text's, among those of all processes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.words = nn.Embedding(VOCABULARY, Encoder.width)

    def forward(self, signal: Tensor, ids: Tensor, mask: Tensor, tokens: int, rows: int) -> Share:
        """Share of the cross-entropy of this process's records over the texts of all."""
        texts = self.words(ids).mean(1)
        everyone, first = gather_rows(texts) if self.training else (texts, 0)  # in evaluation each has all rows
        scores = self.encoder(signal)[:, 0] @ everyone.T
        loss = F.cross_entropy(scores, torch.arange(first, first + len(ids)), reduction="sum") / rows
        return Share(loss, {"report": loss.detach()})


def make_objective(case: dict[str, Any]) -> nn.Module:
    """A backbone that is always the same, and other weights that are the same for the same seed."""
    torch.manual_seed(0)
    backbone: Any = LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=28, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32, pad_token_id=0, initializer_range=0.15,
        tie_word_embeddings=case["tuning"] == "full"))
    if case["storage"] == "bf16":  # as a frozen backbone is loaded; its adapters are fp32 all the same
        backbone.to(torch.bfloat16)
    torch.manual_seed(case["seed"])
    if case["fusion"] == "none":
        return EncoderObjective()
    if case["fusion"] == "contrastive":
        return ContrastiveObjective()
    if case["tuning"] == "lora":
        backbone = get_peft_model(backbone, LoraConfig(r=3, lora_alpha=6, lora_dropout=case["dropout"],
                                                       target_modules="all-linear", init_lora_weights=False))
    if case["checkpointing"]:
        backbone.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    fusion = FUSIONS[case["fusion"]](backbone)
    if isinstance(fusion, CrossAttention):  # an open gate, or its block would learn nothing at first
        for name, parameter in fusion.named_parameters():
            if "gate" in name:
                parameter.data.fill_(0.5)
    tower = Tower(Encoder(), linear_projector(Encoder.width, 1, fusion.dim))
    return ReportObjective(ReportModel({"ecg": tower}, backbone, fusion))


def micro_batch(case: dict[str, Any], number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Signal, ids and mask of the global batch at this position."""
    generator = torch.Generator().manual_seed(1000 + number)
    signal = torch.randn(ROWS, 3, SAMPLES, generator=generator) + torch.randn(ROWS, 1, 1, generator=generator)
    ids = torch.randint(3, VOCABULARY, (ROWS, TEXT), generator=generator)
    lengths = torch.randint(4, TEXT + 1, (ROWS, 1), generator=generator)
    mask = (torch.arange(TEXT) < lengths).long()
    if case["fusion"] == "splice":
        ids[:, 1] = -1
    return signal, torch.where((mask == 1) | (ids < 0), ids, 0), mask


def rows_of(rank: int, world: int) -> slice:
    """An unequal share of a batch: the first process has four of six rows, the second two."""
    return slice(None) if world == 1 else slice(0, 4) if rank == 0 else slice(4, ROWS)


def train_step(parallel: Parallel, objective: nn.Module, optimizer: Any, case: dict[str, Any], step: int) -> Tensor:
    """One optimiser step; returns its loss over all processes."""
    objective.train()
    numbers = range(step * case["accumulation"], (step + 1) * case["accumulation"])
    whole = [micro_batch(case, number) for number in numbers]
    tokens = sum(int(mask[:, 1:].sum()) - (case["fusion"] == "splice") * ROWS for _, _, mask in whole)
    loss = torch.zeros(())
    for batch in whole:
        signal, ids, mask = (tensor[rows_of(parallel.rank, parallel.world)].to(parallel.device) for tensor in batch)
        with parallel.accumulate(objective):
            with parallel.autocast():
                share = objective(signal, ids, mask, tokens, ROWS * len(whole))
            parallel.backward(share.total)
        loss += share.total.detach().cpu()
    parallel.step(objective, optimizer)
    return parallel.sum(loss).cpu()


@torch.no_grad()
def look(parallel: Parallel, objective: nn.Module, case: dict[str, Any]) -> Tensor:
    """The loss on validation data; some strategies leave weights gathered, which must not show in state or training."""
    objective.eval()
    signal, ids, mask = (tensor.to(parallel.device) for tensor in micro_batch(case, 99))
    with parallel.autocast():
        return objective(signal, ids, mask, int(mask.sum()), ROWS).total


# oneDNN compiles a kernel for every new shape, which takes longer than all the rest.
@torch.backends.mkldnn.flags(enabled=False)
def train(case: dict[str, Any], folder: Path) -> dict[str, Tensor]:
    """Losses and final state of a case; checkpoints at `save_at` into, or goes on from `load`, under `folder`."""
    case = DEFAULTS | case
    kind = asked()["parallel"] if case["kind"] == "as launched" else case["kind"]
    parallel = open_parallel(kind if kind != "none" else "auto", case["precision"],
                             accumulation=case["accumulation"], max_grad_norm=case["clip"])
    if parallel.kind == "zero3":  # or it would keep parameters as small as these whole
        config = parallel.accelerator.state.deepspeed_plugin.deepspeed_config
        config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    # An epsilon so large that AdamW's steps depend on how large gradients are, and not on the noise of tiny ones.
    # Other weights in each process, of which the first one's must be taken.
    own = make_objective(case | {"seed": case["seed"] + parallel.rank})
    objective, optimizer = parallel.prepare(own, lambda inner: torch.optim.AdamW(
        [{"params": [p for p in inner.parameters() if p.requires_grad and p.ndim > 1], "lr": 0.02},
         {"params": [p for p in inner.parameters() if p.requires_grad and p.ndim < 2]}],
        lr=0.01, eps=0.03, weight_decay=0.1))
    torch.manual_seed(7 + parallel.rank)
    start = load_checkpoint(folder / case["load"], parallel, objective, optimizer) if case["load"] else 0
    losses = []
    for step in range(start, case["steps"]):
        losses.append(train_step(parallel, objective, optimizer, case, step))
        final = look(parallel, objective, case)
        if step + 1 == case["save_at"]:
            save_checkpoint(folder / case["name"], step + 1, parallel, objective, optimizer)
    weights, moments = parallel.state(objective, optimizer)
    shapes = parallel.shapes(objective)
    assert not parallel.is_main or {name: tensor.shape for name, tensor in weights.items()} == shapes
    parallel.accelerator.free_memory()
    return {"losses": torch.stack(losses), "final": final.cpu().reshape(1)} | \
        {f"model.{name}": tensor for name, tensor in weights.items()} | \
        {f"optimizer.{name}": tensor for name, tensor in moments.items()}


def furthest(one: dict[str, Tensor], other: dict[str, Tensor], prefixes: tuple[str, ...] = ("",)) -> tuple[float, str]:
    """The largest difference between two results of the same names and shapes, of large tensors relative, and where."""
    assert {name: t.shape for name, t in one.items()} == {name: t.shape for name, t in other.items()}
    return max(((one[name] - other[name]).abs().max().item() / max(1.0, one[name].abs().max().item()), name)
               for name in one if name.startswith(prefixes))


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    out = Path(arguments["folder"])
    for each in arguments["cases"]:
        result = train(each, out)
        if open_parallel("auto", "fp32").is_main:
            save_file(result, out / f"{each['name']}.safetensors")
    with suppress(RuntimeError):
        open_parallel("auto", "fp32").close()
