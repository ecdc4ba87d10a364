"""One process of the BatchNorm tests: its rows of a batch through a synchronised layer, forward and backward."""

from __future__ import annotations

import json
import sys

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn

from emgecg_cli.core.models.batch_norm import synchronise_batch_norm


def run(case: dict, folder: str, rank: int) -> None:
    given = load_file(f"{folder}/{case['name']}.safetensors")
    start, stop = case["rows"][rank]
    layer = nn.BatchNorm1d(given["x0"].shape[1], affine=case["affine"], momentum=case["momentum"])
    if case["affine"]:
        layer.load_state_dict({"weight": given["weight"], "bias": given["bias"]}, strict=False)
    layer = synchronise_batch_norm(nn.Sequential(layer))[0]
    results = {}
    for step in range(2):
        x = given[f"x{step}"][start:stop].requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=case["autocast"]):
            y = layer(x)
        (y.float() * given["g"][start:stop]).sum().backward()
        results |= {f"y{step}": y.detach(), f"dx{step}": x.grad}
    results |= {f"d{name}": parameter.grad for name, parameter in layer.named_parameters()}
    results |= dict(layer.named_buffers())
    layer.eval()
    results["eval"] = layer(given["x0"][start:stop]).detach()
    save_file({name: tensor.contiguous() for name, tensor in results.items()},
              f"{folder}/{case['name']}-{rank}.safetensors")


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    dist.init_process_group("gloo")
    for each in arguments["cases"]:
        run(each, arguments["folder"], dist.get_rank())
    dist.destroy_process_group()
