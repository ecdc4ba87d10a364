"""The weights of a pretrained encoder on disk: written by `pretrain`, read wherever an encoder starts from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import give_usual_modes, removed_on_failure, writing
from emgecg_cli.core.manifest import check_files, is_finished, read_manifest
from emgecg_cli.core.models.encoders.published import SUFFIXES, read_published
from emgecg_cli.core.models.weight_names import misfit

ENCODER_FILE = "encoder.safetensors"


def save_encoder_weights(folder: Path, name: str, weights: Mapping[str, Tensor]) -> None:
    """Write `encoder.safetensors`, whole or not at all, with the encoder's name in its header."""
    temporary = folder / f".{ENCODER_FILE}.tmp"
    with writing(folder / ENCODER_FILE), removed_on_failure(temporary):
        save_file({key: tensor.contiguous().cpu() for key, tensor in weights.items()}, temporary, {"encoder": name})
        give_usual_modes(temporary)
        temporary.replace(folder / ENCODER_FILE)


def load_encoder_weights(encoder: nn.Module, path: Path) -> None:
    """Load the weights of a `pretrain` into an encoder; `path` is its folder, the file in it, or a checkpoint that
    others publish (`published`).

    Raises MedReportError when there are none, when they were changed after they were written (a folder always has the
    manifest that tells, a file may have it beside it), or when they are another encoder's, with the names that do not
    fit.
    """
    folder, file = (path, path / ENCODER_FILE) if path.is_dir() else (path.parent, path)
    name = None
    if file.suffix in SUFFIXES and file.is_file():
        weights = read_published(file)
    else:
        name, weights = _own(path, folder, file)
    if wrong := misfit(weights, encoder.state_dict()):
        raise MedReportError(f"{file}: weights of {f'encoder {name}' if name else 'something else'}, which do not fit "
                             f"this encoder ({wrong})", f"give --encoder {name}" if name else "check the path")
    encoder.load_state_dict(weights)


def _own(path: Path, folder: Path, file: Path) -> tuple[str | None, dict[str, Tensor]]:
    """The name of the encoder that a file of `pretrain` says, and its weights."""
    if path.is_dir() or is_finished(folder):
        check_files(folder, read_manifest(folder, "encoder", made_by="pretrain"))
    try:
        with safe_open(file, "pt") as header:
            name = (header.metadata() or {}).get("encoder")
        return name, load_file(file)
    except (OSError, SafetensorError) as error:
        raise MedReportError(f"{file}: no weights of an encoder ({' '.join(str(error).split())[:200]})",
                             "make some with `medreport pretrain`") from None
