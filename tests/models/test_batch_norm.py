"""BatchNorm over all processes: what nn.BatchNorm1d makes of the whole batch, and nothing else where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from processes import run_in_processes
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from emgecg_cli.core.models.batch_norm import synchronise_batch_norm

CASES = [
    dict(name="unequal-rows", shape=(7, 5), rows=[(0, 4), (4, 7)]),
    dict(name="over-time", shape=(7, 5, 9), rows=[(0, 2), (2, 7)]),
    dict(name="one-row-each", shape=(2, 5), rows=[(0, 1), (1, 2)]),
    dict(name="no-rows-in-one", shape=(4, 5, 3), rows=[(0, 4), (4, 4)]),
    dict(name="not-affine", shape=(6, 5), rows=[(0, 3), (3, 6)], affine=False),
    dict(name="cumulative", shape=(6, 5), rows=[(0, 3), (3, 6)], momentum=None),
    dict(name="far-from-zero", shape=(8, 5, 50), rows=[(0, 3), (3, 8)], offset=3000.0),
    dict(name="half-precision", shape=(6, 5, 4), rows=[(0, 3), (3, 6)], autocast=True),
]


def filled(case: dict) -> dict:
    return dict(affine=True, momentum=0.1, offset=0.0, autocast=False) | case


def whole_batch(case: dict, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """nn.BatchNorm1d on all rows at once, in float64."""
    layer = nn.BatchNorm1d(given["x0"].shape[1], affine=case["affine"], momentum=case["momentum"])
    if case["affine"]:
        layer.load_state_dict({"weight": given["weight"], "bias": given["bias"]}, strict=False)
    layer.double()
    results = {}
    for step in range(2):
        x = given[f"x{step}"].double().requires_grad_()
        y = layer(x)
        (y * given["g"].double()).sum().backward()
        assert x.grad is not None
        results |= {f"y{step}": y.detach(), f"dx{step}": x.grad}
    results |= {f"d{name}": parameter.grad for name, parameter in layer.named_parameters()}
    results |= dict(layer.named_buffers())
    return results | {"eval": layer.eval()(given["x0"].double()).detach()}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the input of every case, and what each of two processes made of its rows."""
    folder = tmp_path_factory.mktemp("batch-norm")
    generator = torch.Generator().manual_seed(0)
    for case in map(filled, CASES):
        shape, channels = case["shape"], case["shape"][1]
        spread = torch.linspace(0.5, 3, channels).view(1, -1, *[1] * (len(shape) - 2))
        given = {name: torch.randn(shape, generator=generator) * spread + case["offset"] for name in ("x0", "x1")}
        given["g"] = torch.randn(shape, generator=generator)
        if case["autocast"]:
            given = {name: tensor.bfloat16() if name != "g" else tensor for name, tensor in given.items()}
        given |= {"weight": torch.rand(channels, generator=generator) + 0.5, "bias": torch.randn(channels)}
        save_file(given, folder / f"{case['name']}.safetensors")
    run_in_processes("batch_norm_worker.py", {"cases": [filled(case) for case in CASES], "folder": str(folder)})
    return folder


@pytest.mark.parametrize("case", [filled(case) for case in CASES], ids=lambda case: case["name"])
def test_two_processes_make_what_one_makes_of_the_whole_batch(case: dict, results: Path) -> None:
    expected = whole_batch(case, load_file(results / f"{case['name']}.safetensors"))
    parts = [load_file(results / f"{case['name']}-{rank}.safetensors") for rank in range(2)]
    loose = 2e-2 if case["autocast"] else 3e-3 if case["offset"] else 2e-6
    for name, tensor in expected.items():
        by_row = name[0] in "xy" or name.startswith("dx") or name == "eval"
        if name in ("dweight", "dbias"):
            got = parts[0][name] + parts[1][name]  # shares, which the training sums
        elif by_row:
            got = torch.cat([part[name] for part in parts])
            assert got.dtype == (torch.bfloat16 if case["autocast"] else torch.float32)
        else:
            assert torch.equal(parts[0][name], parts[1][name]), f"{name} differs between the processes"
            got = parts[0][name]
        scale = max(1.0, tensor.abs().max().item()) if name != "running_mean" else 1 + case["offset"]
        assert (got.double() - tensor).abs().max().item() <= loose * scale, name


def test_in_one_process_it_is_batch_norm_to_the_bit() -> None:
    torch.manual_seed(0)
    plain, synchronised = nn.BatchNorm1d(6), synchronise_batch_norm(nn.BatchNorm1d(6))
    for training in (True, True, False):
        x = torch.randn(5, 6, 7)
        outputs = []
        for layer in (plain, synchronised):
            given = x.clone().requires_grad_()
            layer.train(training)
            y = layer(given)
            y.square().sum().backward()
            outputs.append([y, given.grad, *layer.state_dict().values()])
        for one, other in zip(*outputs, strict=True):
            assert torch.equal(one, other)
    with pytest.raises(ValueError, match="more than 1 value"):
        synchronised.train()(torch.randn(1, 6))


def test_swapping_keeps_every_tensor_and_name_and_leaves_other_layers() -> None:
    model = nn.Sequential(nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4), nn.Sequential(nn.BatchNorm1d(4, affine=False)),
                          nn.BatchNorm2d(4), nn.LayerNorm(4))
    before = {name: id(tensor) for name, tensor in model.state_dict(keep_vars=True).items()}
    names = list(before)
    assert synchronise_batch_norm(model) is model
    assert {name: id(tensor) for name, tensor in model.state_dict(keep_vars=True).items()} == before
    assert list(model.state_dict()) == names
    changed = [type(module) is not kind for module, kind in
               zip(model, [nn.Conv1d, nn.BatchNorm1d, nn.Sequential, nn.BatchNorm2d, nn.LayerNorm], strict=True)]
    assert changed == [False, True, False, False, False] and type(model[2][0]) is type(model[1])
    synchronise_batch_norm(model)  # again changes nothing
    assert type(model[2][0]) is type(model[1])
