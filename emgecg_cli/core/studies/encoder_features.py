"""What an encoder makes of recordings, one vector a record: of a run, or of a `pretrain`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest, check_files, read_manifest
from emgecg_cli.core.models.encoders.weights import load_encoder_weights
from emgecg_cli.core.models.preprocessing import Preprocessing, preprocessing_of
from emgecg_cli.core.models.run_files import SIGNAL_FILE, as_named_now
from emgecg_cli.core.store import Store

_AT_ONCE = 64


@dataclass(frozen=True)
class RecordingEncoder:
    """An encoder of 12-lead recordings with its weights, in evaluation mode; `folder` is where they are from."""

    folder: Path
    encoder: nn.Module
    preprocessing: Preprocessing
    progress: Callable[..., None] | None = None

    def __str__(self) -> str:
        return self.folder.as_posix()

    def __call__(self, store: Store, indices: Sequence[int]) -> np.ndarray:
        """Features of records of a store, float32 (n, E): one vector for the whole recording.

        Raises MedReportError for a store without recordings.
        """
        return self._all(store, indices, lambda x: self.encoder(x, 1).mean(1))

    def _all(self, store: Store, indices: Sequence[int], of: Callable[[Tensor], Tensor]) -> np.ndarray:
        if not store.kind.has_signals:
            raise MedReportError(f"{store.path}: has no recordings for the encoder of {self.folder}",
                                 "leave --baseline-encoder out")
        found = []
        with torch.inference_mode():
            for start in range(0, len(indices), _AT_ONCE):
                if self.progress:
                    self.progress(start, len(indices), next="encoder features")
                raw = np.stack([self.preprocessing.recording(store, i) for i in indices[start:start + _AT_ONCE]])
                found.append(of(self.preprocessing(torch.from_numpy(raw))).float().numpy())
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)

    def vectors(self, store: Store, indices: Sequence[int]) -> np.ndarray:
        """The vectors that were compared with texts in pretraining, of length 1; of other encoders their features."""
        latent: Any = getattr(self.encoder, "latent", None)
        return self._all(store, indices, lambda x: self.encoder(x, 1).mean(1) if latent is None else latent(x))


def open_recording_encoder(folder: Path, progress: Callable[..., None] | None = None) -> RecordingEncoder:
    """The encoder of recordings of a finished run of `train`, without its backbone, or of `pretrain`.

    Raises MedReportError where there is none.
    """
    manifest = read_manifest(folder, None)
    name = _name(folder, manifest)
    model = manifest.details.get("model", {})  # of a run
    encoder: nn.Module = names.resolve("encoder", name)(**model.get("sizes", {}).get(name, {}))
    if manifest.kind == "encoder":
        load_encoder_weights(encoder, folder)
    else:
        check_files(folder, manifest)
        try:
            weights = as_named_now(load_file(folder / SIGNAL_FILE), manifest.details["model"]["encoder"])
            prefix = "towers.ecg.encoder."
            encoder.load_state_dict({key.removeprefix(prefix): tensor for key, tensor in weights.items()
                                     if key.startswith(prefix)})
        except (OSError, RuntimeError, SafetensorError) as error:
            raise MedReportError(f"{folder / SIGNAL_FILE}: does not fit the encoder {name} "
                                 f"({' '.join(str(error).split())[:120]})", "train the run again") from None
    return RecordingEncoder(folder, encoder.eval(), preprocessing_of(name, model), progress)


def published_encoder(file: Path, name: str | None, lead_order: str,
                      progress: Callable[..., None] | None = None) -> RecordingEncoder:
    """A named encoder with the weights of a file, such as ECG-CoCa's published one."""
    if name is None or name not in names.encoders_reading("ecg"):
        raise MedReportError(f"{file}: a file does not say which encoder it is of",
                             f"give --encoder: {', '.join(names.encoders_reading('ecg'))}")
    encoder: nn.Module = names.resolve("encoder", name)()
    load_encoder_weights(encoder, file)
    return RecordingEncoder(file.parent, encoder.eval(), preprocessing_of(name, {"lead_order": lead_order}), progress)


def _name(folder: Path, manifest: Manifest) -> str:
    """The encoder of recordings that a folder holds."""
    if manifest.kind == "encoder":
        name = str(manifest.arguments.get("encoder"))
        found = name if name in names.ENCODERS and names.ENCODERS[name].reads == "ecg" else None
    elif manifest.kind == "run":
        found = names.encoders_of(manifest.details["model"]["encoder"]).get("ecg")
    else:
        raise MedReportError(f"{folder}: holds {manifest.kind}, no encoder", "give a run of `train` or of `pretrain`")
    if found is None:
        raise MedReportError(f"{folder}: its encoder does not read 12-lead recordings",
                             "give one that does, or leave --baseline-encoder out")
    return found
