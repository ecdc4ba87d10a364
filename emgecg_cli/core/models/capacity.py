"""Whether this machine can hold a backbone: bytes it takes on disk and in memory, and what would fit instead."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from emgecg_cli.core import names

GIGABYTE = 10**9
FOUR_BIT_BYTES = 0.75  # a parameter in 4 bits with its constants, and a share of embeddings that stay in 16
FULL_BYTES = 16  # weight, gradient and AdamW's two moments in fp32
CGROUP = Path("/sys/fs/cgroup")
# Named when a model does not fit: no licence to accept, safetensors, from large to small.
SMALLER = ("qwen3-32b", "qwen3-8b", "phi-4-mini", "qwen3-1.7b", "qwen3-0.6b", "smollm2-135m")


@dataclass(frozen=True)
class Missing:
    """One thing that is missing here, and what to do about it."""

    what: str
    remedy: str


@dataclass(frozen=True)
class Use:
    """What a backbone is loaded for: in which precision, how it is tuned (None: not trained), and over how many
    devices its parameters are sharded. `through_ram`: its weights pass through main memory on their way to a GPU."""

    dtype: torch.dtype
    four_bit: bool = False
    tuning: str | None = None
    shards: int = 1
    through_ram: bool = True

    @property
    def precision(self) -> str:
        """How the weights lie in memory, in words."""
        return "4 bit" if self.four_bit else str(self.dtype).removeprefix("torch.")


@dataclass(frozen=True)
class Memory:
    """Free bytes where weights end (`device`, a GPU or main memory) and in main memory."""

    device: int
    ram: int
    gpu: bool


def bytes_needed(parameters: int, use: Use) -> int:
    """Memory a device needs for a backbone's weights, in full training also for gradients and moments; activations are
    not counted."""
    each = FULL_BYTES if use.tuning == "full" else FOUR_BIT_BYTES if use.four_bit else use.dtype.itemsize
    return int(parameters * each) // use.shards


def missing_memory(parameters: int, use: Use) -> list[Missing]:
    """What memory lacks for a backbone of so many parameters; empty when it fits."""
    free, needed = available_memory(), bytes_needed(parameters, use)
    if needed > free.device:
        what = "weights, gradients and moments" if use.tuning == "full" else f"weights in {use.precision}"
        return [Missing(f"memory: its {what} need about {gigabytes(needed)}, {gigabytes(free.device)} of "
                        f"{'GPU ' if free.gpu else ''}memory are free", _what_fits(parameters, use, free))]
    weights = bytes_needed(parameters, replace(use, tuning=None, shards=1))
    if free.gpu and use.through_ram and weights > free.ram:
        return [Missing(f"memory: its weights in {use.precision} pass through main memory and need about "
                        f"{gigabytes(weights)}, {gigabytes(free.ram)} are free", "use a machine with more main memory")]
    return []


def _what_fits(parameters: int, use: Use, free: Memory) -> str:
    """Settings, or a smaller model, that this machine could hold."""
    ways = []
    if use.tuning is not None:
        lower = torch.bfloat16 if free.gpu else use.dtype
        others = {"--tuning lora": replace(use, tuning="lora", four_bit=False),
                  "--precision bf16": replace(use, dtype=lower),
                  "--tuning lora --precision bf16": replace(use, tuning="lora", four_bit=False, dtype=lower),
                  "--tuning qlora": replace(use, tuning="qlora", four_bit=True)}
        rooms = {text: bytes_needed(parameters, other) for text, other in others.items()}
        fitting = [f"`{text}` (about {gigabytes(room)})" for text, room in rooms.items()
                   if room <= free.device and room < bytes_needed(parameters, use)]
        smaller = [f"`--backbone {name}`" for name in SMALLER if names.BACKBONES[name].parameters < parameters
                   and bytes_needed(names.BACKBONES[name].parameters, use) <= free.device]
        ways = [*fitting[:1], *smaller[:1]]
    return " or ".join([*ways, "use a machine with more memory"])


def missing_disk(size: int, folder: Path) -> list[Missing]:
    """What the disk lacks for a download of so many bytes below `folder`, which need not be there yet."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if size <= free:
        return []
    return [Missing(f"disk: {gigabytes(size)} to download, {gigabytes(free)} are free at {folder}",
                    "free some space, or set HF_HOME to a folder on a larger disk")]


def available_memory() -> Memory:
    """What is free now; a container's own limit counts."""
    ram = psutil.virtual_memory().available
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        if limit.isdigit():
            ram = min(ram, max(0, int(limit) - int((CGROUP / "memory.current").read_text())))
    except (OSError, ValueError):
        pass
    gpu = torch.cuda.is_available()
    return Memory(torch.cuda.mem_get_info()[0] if gpu else ram, ram, gpu)


def gigabytes(size: int) -> str:
    """Bytes in words: 16.1 GB."""
    return f"{size / GIGABYTE:.1f} GB"
