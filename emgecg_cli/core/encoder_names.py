"""Torch-free table of encoders: name -> "module:object", what it reads, its rate and scale."""

from __future__ import annotations

from dataclasses import dataclass

_ENCODERS = "emgecg_cli.core.models.encoders."


@dataclass(frozen=True)
class Encoder:
    """A network for one of `INPUTS`, by the name of what it `reads`.

    `fs` is the rate in Hz it takes recordings at, None any; `scale` how many units of the store (microvolts, for a
    recording) make one of network input; `tokens` how many signal tokens it gives, None as many as are asked for (an
    attribute `tokens` of the network goes before it, where sizes decide); `batch_norm`: it needs two records at once.
    """

    path: str
    reads: str = "ecg"
    fs: int | None = None
    scale: float = 1.0
    tokens: int | None = None
    batch_norm: bool = False


# Microvolts: R waves of 1 mV become 4. A fixed scale, since one per record would erase voltage, and with it low voltage
# and hypertrophy.
_VOLTAGE = 250.0
_MILLIVOLT = 1000.0
# name -> build() -> nn.Module with .width, (B, …) -> (B, N, width); of values build(embeddings, …)
ENCODERS = {
    "resnet18": Encoder(_ENCODERS + "resnet1d:resnet18", scale=_VOLTAGE, batch_norm=True),
    "resnet34": Encoder(_ENCODERS + "resnet1d:resnet34", scale=_VOLTAGE, batch_norm=True),
    "resnet50": Encoder(_ENCODERS + "resnet1d:resnet50", scale=_VOLTAGE, batch_norm=True),
    "resnet101": Encoder(_ENCODERS + "resnet1d:resnet101", scale=_VOLTAGE, batch_norm=True),
    "resnet152": Encoder(_ENCODERS + "resnet1d:resnet152", scale=_VOLTAGE, batch_norm=True),
    "vit1d": Encoder(_ENCODERS + "vit1d:vit1d", scale=_VOLTAGE),
    "mamba": Encoder(_ENCODERS + "mamba:mamba", scale=_VOLTAGE),
    "resnet18-tiny": Encoder(_ENCODERS + "resnet1d:resnet18_tiny", scale=_VOLTAGE, batch_norm=True),
    "vit1d-tiny": Encoder(_ENCODERS + "vit1d:vit1d_tiny", scale=_VOLTAGE),
    "mamba-tiny": Encoder(_ENCODERS + "mamba:mamba_tiny", scale=_VOLTAGE),
    "ecg-coca": Encoder(_ENCODERS + "ecg_coca:ecg_coca", fs=500, scale=_MILLIVOLT, tokens=101),
    "ecg-coca-tiny": Encoder(_ENCODERS + "ecg_coca:ecg_coca_tiny", fs=100, scale=_MILLIVOLT, tokens=41),
    "clip": Encoder(_ENCODERS + "clip:clip_vision", reads="image", tokens=576),
    "page-tiny": Encoder(_ENCODERS + "page_cnn:page_tiny", reads="image", batch_norm=True),
    "emg-alignment": Encoder(_ENCODERS + "emg_alignment:EmgAlignment", reads="values", tokens=2),
}
