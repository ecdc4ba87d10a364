"""One `Accelerator` for each strategy: the group of processes, this one's device, the precision, what is wrapped how.

Settings of `accelerate config` that are no setting of ours, as how FSDP wraps, Accelerate reads from the environment.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import (
    DeepSpeedPlugin,
    DistributedDataParallelKwargs,
    DistributedType,
    FullyShardedDataParallelPlugin,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    ParallelismConfig,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy

from emgecg_cli.core import launch
from emgecg_cli.core.accelerate_file import deepspeed_config
from emgecg_cli.core.errors import MedReportError

# Others wait this long for the main process, which alone writes checkpoints and predictions.
PATIENCE = timedelta(hours=1)
ZERO = ("zero2", "zero3")
MESH = "dp_shard_cp"  # Accelerate's name of what FSDP shards over


def open_accelerator(kind: str, precision: str, accumulation: int, max_grad_norm: float) -> Accelerator:
    """Join the group that RANK, LOCAL_RANK and WORLD_SIZE describe, NCCL on CUDA and Gloo on the CPU.

    Where there is no launcher, a strategy other than "none" gets a group of one. Raises MedReportError when there are
    more processes on a machine than devices, and where DeepSpeed is needed and not installed.
    """
    if kind in ZERO and find_spec("deepspeed") is None:
        raise MedReportError("ZeRO needs DeepSpeed, which is not installed", "pip install 'medreport[zero]'")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    cpu = not torch.cuda.is_available()
    if not cpu and local >= torch.cuda.device_count():
        raise MedReportError(f"process {local} of this machine has no device: there are {torch.cuda.device_count()}",
                             "start as many processes as there are devices")
    leave_accelerator_state()
    _KEPT.clear()
    with _environment(kind), talking_on_stderr(kind):
        sharded = _fsdp(precision) if kind == "fsdp" else None
        zero = _zero(kind, precision, accumulation, max_grad_norm) if kind in ZERO else None
        half = precision == "bf16" and kind not in ZERO  # DeepSpeed has an autocast of its own
        accelerator = Accelerator(
            cpu=cpu, mixed_precision="bf16" if half else "no", fsdp_plugin=None if cpu else sharded,
            deepspeed_plugin=None if cpu else zero,
            # Sharded gradients are exchanged after each micro-batch: kept whole until the last, they would take the
            # memory that sharding saves.
            gradient_accumulation_plugin=GradientAccumulationPlugin(
                num_steps=accumulation, sync_with_dataloader=False, sync_each_batch=kind in ("fsdp", *ZERO)),
            # Buffers need no broadcast: BatchNorm sees all rows and so has the same statistics everywhere.
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE),
                             DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)])
        if cpu:
            _shard_on_cpu(accelerator, sharded, zero)
    # Or transformers would leave the weights of all but the first process empty for Accelerate to fill, which it cannot
    # where a model has buffers.
    if os.environ.get("FSDP_CPU_RAM_EFFICIENT_LOADING"):
        os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    if torch.distributed.is_initialized():
        _KEPT.append(torch.distributed.group.WORLD)
    return accelerator


# Freeing a group of processes joins Gloo's threads and holds the interpreter's lock meanwhile; a thread that is still
# putting away the last collective wants that lock, and neither goes on. So a group outlives its training, whose last
# references go right after a collective: until the next one opens, which needs its port, or for good.
_KEPT: list[object] = []


@atexit.register
def _keep_for_good() -> None:
    for group in _KEPT:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(group))


def leave_accelerator_state() -> None:
    """Forget the strategy of an earlier training in this process; a group of processes stays."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@contextmanager
def _environment(kind: str) -> Iterator[None]:
    """The environment Accelerate is to see while it starts; afterwards it is as before, whatever it wrote there."""
    before = dict(os.environ)
    try:
        for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_DYNAMO_BACKEND",
                     "ACCELERATE_CONFIG_DS_FIELDS", "ACCELERATE_USE_PARALLELISM_CONFIG"):
            os.environ.pop(name, None)  # said by the plugins; compiling is ours
        if kind == "none":
            for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
                os.environ.pop(name, None)
        elif "RANK" not in os.environ:
            os.environ.update(launch.distributed_environment(0, 1, launch.free_port()))
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def talking_on_stderr(kind: str) -> Iterator[None]:
    """Stdout is for data, and DeepSpeed greets there."""
    with redirect_stdout(sys.stderr) if kind in ZERO else nullcontext():
        yield
        for handler in logging.getLogger("DeepSpeed").handlers if kind in ZERO else ():
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(sys.stderr)


def _fsdp(precision: str) -> FullyShardedDataParallelPlugin:
    """FSDP2: weights are gathered in bf16 under that precision, gradients summed in float32.

    Checkpointing of activations is ours, and so are checkpoints on disk.
    """
    half = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    return FullyShardedDataParallelPlugin(
        fsdp_version=2, mixed_precision_policy=half if precision == "bf16" else MixedPrecisionPolicy(),
        activation_checkpointing=False, cpu_ram_efficient_loading=False,
        auto_wrap_policy=os.environ.get("FSDP_AUTO_WRAP_POLICY", "TRANSFORMER_BASED_WRAP"),
        state_dict_type="FULL_STATE_DICT")


def _zero(kind: str, precision: str, accumulation: int, max_grad_norm: float) -> DeepSpeedPlugin:
    """ZeRO as a `deepspeed_config_file` has it, if there is one, and as our settings say."""
    config: dict[str, Any] = {key: value for key, value in deepspeed_config().items()
                              if key not in ("bf16", "fp16", "train_batch_size")}
    config["zero_optimization"] = config.get("zero_optimization", {}) | {"stage": int(kind[-1])}
    config |= {"train_micro_batch_size_per_gpu": 1,  # it only counts samples by it
               "gradient_accumulation_steps": accumulation, "gradient_clipping": max_grad_norm,
               "zero_allow_untested_optimizer": True}
    if precision == "bf16":  # autocast over fp32 parameters: its own bf16 mode keeps BatchNorm in half precision
        config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    return DeepSpeedPlugin(hf_ds_config=config, zero3_init_flag=False)


def _shard_on_cpu(accelerator: Accelerator, sharded: FullyShardedDataParallelPlugin | None,
                  zero: DeepSpeedPlugin | None) -> None:
    """Accelerate itself shards on accelerators only; set afterwards, it does so on the CPU just as well."""
    shared = AcceleratorState._shared_state
    if sharded is not None:
        world = accelerator.num_processes
        shared |= {"distributed_type": DistributedType.FSDP, "fsdp_plugin": sharded,
                   "parallelism_config": ParallelismConfig(dp_shard_size=world),
                   "device_mesh": init_device_mesh("cpu", (world,), mesh_dim_names=(MESH,))}
    if zero is not None:
        zero.set_mixed_precision("no")
        zero.select(_from_accelerator_state=True)
        shared |= {"distributed_type": DistributedType.DEEPSPEED, "deepspeed_plugins": zero}
        accelerator.deepspeed_engine_wrapped = None
    # From where whatever looks at the state again takes it.
    PartialState._shared_state["distributed_type"] = shared["distributed_type"]
