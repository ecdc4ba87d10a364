"""The form in which an encoder takes what it reads of a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emgecg_cli.core import names
from emgecg_cli.core.config.train import LEAD_ORDERS
from emgecg_cli.core.signals.leads import LEADS, MISSING
from emgecg_cli.core.signals.paper.images import best_grid
from emgecg_cli.core.signals.resampling import resample
from emgecg_cli.core.store import Store

# aVF before aVL, as the files of MIMIC-IV-ECG have them
_MIMIC = [LEADS.index(name) for name in ("I", "II", "III", "aVR", "aVF", "aVL", *LEADS[6:])]
SETTINGS = ("lead_order", "image_layout", "image_mode", "image_dpi")  # of a training that decide what is shown


@dataclass(frozen=True)
class Page:
    """How a recording becomes pictures: its layout on paper, pixels an inch, how they are made ready for an encoder of
    pictures of `size` pixels; see `signals.paper`."""

    layout: str = "3x4"
    dpi: int = 200
    mode: str = "ori"
    size: int = 336

    @cached_property
    def pictures(self) -> int:
        """How many pictures a page becomes."""
        if self.mode != "anyres":
            return 1
        across, down = best_grid(int(11 * self.dpi), int(8.5 * self.dpi))
        return 1 + across * down


@dataclass(frozen=True)
class Preprocessing:
    """The form in which an encoder takes what it `reads`: recordings at `fs` Hz (None: as they are stored), and `scale`
    units of the store in one of network input; token ids ("items") as they are. See `names.Encoder`.

    `lead_order` "mimic" gives recordings in the order of MIMIC-IV-ECG's files, "as-file" those of that data set alone.
    `page` is what is made of recordings for an encoder of images.
    """

    reads: str = "ecg"
    fs: int | None = None
    scale: float = 1.0
    lead_order: str = LEAD_ORDERS[0]
    page: Page = Page()

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


def preprocessing_of(encoder: str, settings: Mapping[str, Any] | None = None,
                     sizes: Mapping[str, Mapping[str, Any]] | None = None) -> Preprocessing:
    """The preprocessing of an encoder, from the table of encoders, the `SETTINGS` of a training or a run, and the sizes
    of its encoders by name."""
    spec, said = names.ENCODERS[encoder], {name: (settings or {}).get(name) for name in SETTINGS}
    size = (sizes or {}).get(encoder, {}).get("image_size")
    chosen = {"layout": said["image_layout"], "mode": said["image_mode"], "dpi": said["image_dpi"], "size": size}
    page = Page(**{name: value for name, value in chosen.items() if value is not None})
    return Preprocessing(spec.reads, spec.fs, spec.scale, said["lead_order"] or LEAD_ORDERS[0], page)
