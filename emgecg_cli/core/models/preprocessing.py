"""The form in which an encoder takes what it reads of a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emgecg_cli.core import names
from emgecg_cli.core.config.train import LEAD_ORDERS
from emgecg_cli.core.signals.leads import LEADS, MISSING
from emgecg_cli.core.signals.resampling import resample
from emgecg_cli.core.store import Store

# aVF before aVL, as the files of MIMIC-IV-ECG have them
_MIMIC = [LEADS.index(name) for name in ("I", "II", "III", "aVR", "aVF", "aVL", *LEADS[6:])]
_SETTINGS = {"lead_order": LEAD_ORDERS[0]}


@dataclass(frozen=True)
class Preprocessing:
    """The form in which an encoder takes what it `reads`: recordings at `fs` Hz (None: as they are stored), and `scale`
    units of the store in one of network input; token ids ("items") as they are. See `names.Encoder`.

    `lead_order` "mimic" gives recordings in the order of MIMIC-IV-ECG's files, "as-file" those of that data set alone.
    """

    reads: str = "ecg"
    fs: int | None = None
    scale: float = 1.0
    lead_order: str = LEAD_ORDERS[0]

    def recording(self, store: Store, index: int) -> np.ndarray:
        """A recording of a store, int16 microvolts (C, L) at the encoder's rate."""
        signal = store.signal(index)
        if self.lead_order == "mimic" or (self.lead_order == "as-file" and store.dataset == "mimic-iv-ecg"):
            signal = signal[_MIMIC]
        return signal if self.fs in (None, store.fs) else resample(signal, store.fs, self.fs)[0]

    def __call__(self, raw: Tensor) -> Tensor:
        """What a batch holds, (B, …) of whatever type, -> float32 network input.

        A missing sample of a recording, and so an absent lead, is shown at the baseline; which ones were missing is
        not.
        """
        if self.reads == "items":
            return raw
        if self.reads == "ecg":
            raw = torch.where(raw == int(MISSING), 0, raw)
        return raw.float() if self.scale == 1 else raw.float() / self.scale


def preprocessing_of(encoder: str, settings: Mapping[str, Any] | None = None) -> Preprocessing:
    """The preprocessing of an encoder, from the table of encoders and the settings of a training or a run."""
    spec, said = names.ENCODERS[encoder], _SETTINGS | dict(settings or {})
    return Preprocessing(spec.reads, spec.fs, spec.scale, **{name: said[name] for name in _SETTINGS})
