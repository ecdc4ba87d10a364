"""A folder of safetensors by the names in it, one tensor at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import check_is_plain
from emgecg_cli.core.models.other_formats import INDEX, WEIGHTS, weight_files


def shapes_in(folder: Path) -> tuple[list[Path], dict[str, tuple[int, ...]]]:
    """The files of weights of a folder, and all names in them with their shapes; nothing is read but headers.

    Raises MedReportError where there are none, one is missing or damaged, or two have the same name.
    """
    if not folder.is_dir():
        raise MedReportError(f"{folder}: no such folder", "give the folder of the released weights")
    files = [folder / name for name in weight_files([path.name for path in folder.iterdir()])]
    if not files:
        raise MedReportError(f"{folder}: holds no weights ({WEIGHTS}, or shards with {INDEX})",
                             "fetch them: `hf download LANSG/GEM --local-dir DIR`")
    found: dict[str, tuple[int, ...]] = {}
    for file in files:
        check_is_plain(file)
        try:
            with safe_open(file, "pt") as held:
                for name in held.keys():  # noqa: SIM118
                    if name in found:
                        raise MedReportError(f"{folder}: {name} is in two files", "fetch the weights again")
                    found[name] = tuple(held.get_slice(name).get_shape())
        except (OSError, SafetensorError) as error:
            raise MedReportError(f"{file}: damaged ({' '.join(str(error).split())[:120]})",
                                 "fetch it again") from None
    if folder / WEIGHTS not in files:
        _check_index(folder, found)
    return files, found


def _check_index(folder: Path, found: Mapping[str, object]) -> None:
    """Raise MedReportError where the index names shards or weights that are not there."""
    try:
        named = set(json.loads((folder / INDEX).read_bytes())["weight_map"])
    except (OSError, ValueError, KeyError, TypeError):
        raise MedReportError(f"{folder / INDEX}: damaged", "fetch it again") from None
    lacking = sorted(named - set(found))
    if lacking:
        more = f" and {len(lacking) - 8} more" if lacking[8:] else ""
        raise MedReportError(f"{folder}: {INDEX} names {', '.join(lacking[:8])}{more}, which no file there holds",
                             "fetch the shards that are missing")


def precision_of(file: Path) -> str:
    """The type of the first tensor of a file, as safetensors names it: F32, BF16."""
    with safe_open(file, "pt") as held:
        return str(held.get_slice(next(iter(held.keys()))).get_dtype())


def tensors_in(file: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a file, one after the other."""
    with safe_open(file, "pt") as held:
        for name in held.keys():  # noqa: SIM118
            yield name, held.get_tensor(name)


def write_shards(folder: Path, parts: Iterable[Mapping[str, Tensor]], count: int) -> None:
    """Write parts of a model, `count` of them, each as a shard, and their index; a single one as the whole."""
    weight_map: dict[str, str] = {}
    size = 0
    for number, part in enumerate(parts, 1):
        name = WEIGHTS if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"
        save_file({key: tensor.contiguous() for key, tensor in part.items()}, folder / name, {"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
        size += sum(tensor.numel() * tensor.element_size() for tensor in part.values())
    if count > 1:
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
