"""What an encoder is pretrained on: its records, their codes, and the two objectives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.batch import Totals
from emgecg_cli.core.models.encoders.patches import cut
from emgecg_cli.core.models.encoders.vit1d import Vit1d
from emgecg_cli.core.models.masked_decoder import MaskedDecoder
from emgecg_cli.core.models.preprocessing import Preprocessing
from emgecg_cli.core.signals.leads import MISSING
from emgecg_cli.core.store import Store
from emgecg_cli.core.training.augment import Augmentation, generators
from emgecg_cli.core.training.encoder_targets import LEAST_RECORDS, learnable, mark
from emgecg_cli.core.training.objective import Losses

MOST_WEIGHT = 20.0
DECODER_DEPTH = 2
MASK_STREAM = 0x9E3779B9  # a record's masks come from other random numbers than its augmentations


@dataclass(frozen=True)
class SignalBatch:
    """signal int16 (B, C, L), targets float32 (B, K); the records' numbers, what makes network input of the signal, and
    the seeds that the loop fills in."""

    signal: Tensor
    targets: Tensor
    indices: list[int]
    preprocessing: Preprocessing
    seeds: list[int] = field(default_factory=list)

    def to(self, device: torch.device) -> SignalBatch:
        """The same batch on a device."""
        return replace(self, signal=self.signal.to(device, non_blocking=True),
                       targets=self.targets.to(device, non_blocking=True))

    def network_input(self) -> dict[str, Tensor]:
        """What the encoder takes."""
        return {"ecg": self.preprocessing(self.signal)}

    @property
    def scale(self) -> float:
        """Microvolts in a unit of network input."""
        return self.preprocessing.scale


@dataclass(frozen=True)
class SignalRecords:
    """Recordings of a split with their targets, bool (records, K), for an encoder with this preprocessing; `rows` are
    those of the store."""

    store: Store
    rows: np.ndarray
    targets: np.ndarray
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray, int]:
        signal = self.preprocessing.recording(self.store, int(self.rows[i]))
        return signal, self.targets[i], i

    def totals(self, indices: np.ndarray) -> Totals:
        """How many records these are."""
        return Totals(0, len(indices))

    def collate(self, items: Sequence[tuple[np.ndarray, np.ndarray, int]]) -> SignalBatch:
        """Stack items."""
        signals, targets, numbers = zip(*items, strict=True)
        return SignalBatch(torch.from_numpy(np.stack(signals)),
                           torch.from_numpy(np.stack(targets).astype(np.float32)), list(numbers),
                           self.preprocessing)


def learnable_codes(store: Store) -> tuple[list[str], dict[str, int]]:
    """Codes to learn, and those left out with their number: of fewer than 5 train records, or of all of them.

    Raises MedReportError when none remains.
    """
    rows = store.indices("train")
    counts = Counter(code for codes in store.column("codes").gather(rows).to_list() for code in set(codes))
    chosen = sorted(learnable(counts, len(rows)))
    if not chosen:
        raise MedReportError(f"{store.path}: no code that occurs in {LEAST_RECORDS} of the {len(rows)} train records "
                             "and not in all", "give --objective masked, which needs no codes")
    return chosen, {code: counts[code] for code in sorted(set(counts) - set(chosen))}


def code_records(store: Store, split: str, codes: Sequence[str], preprocessing: Preprocessing) -> SignalRecords:
    """The records of a split, with the codes each of them has."""
    rows = store.indices(split)
    return SignalRecords(store, rows, mark(store.column("codes").gather(rows).to_list(), len(rows), codes),
                         preprocessing)


class Supervised(nn.Module):
    """Multi-label classification by the encoder's pooled vector and one linear layer, balanced over classes.

    A record with a code weighs min((n - n_k) / n_k, 20) as much as one without, where n_k of the n training records
    have it: both sides of a code weigh alike, but for the rarest. `shares` (K) are n_k / n.
    """

    def __init__(self, encoder: nn.Module, shares: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.weights: Tensor
        self.head = nn.Linear(encoder.width, len(shares))  # type: ignore[arg-type]
        self.register_buffer("weights", ((1 - shares) / shares).clamp(max=MOST_WEIGHT), persistent=False)

    def forward(self, inputs: dict[str, Tensor], batch: SignalBatch, totals: Totals | None) -> Losses | Tensor:
        """The loss as a share of the step's, of network input (B, C, L); without `totals` the scores (B, K)."""
        scores = self.head(self.encoder(inputs["ecg"])[:, 0]).float()
        if totals is None:
            return scores
        summed = F.binary_cross_entropy_with_logits(scores, batch.targets, pos_weight=self.weights, reduction="sum")
        loss = summed / scores.shape[1] / totals.records
        return Losses(loss, {"codes": loss.detach()})


class Masked(nn.Module):
    """Masked reconstruction (MAE): the encoder sees some patches, a light decoder reconstructs the others.

    The loss is the mean squared error over the masked patches of a record, in network input and so in voltage: scaled
    to each patch's own deviation, as MAE also offers, the flat line between beats would weigh as much as a QRS complex.
    Samples that are missing, and those that pad the last patch, are no targets. What is masked in a record depends on
    its seed alone. `power` is the mean square of the same samples: the loss of an answer of zero volts.
    """

    def __init__(self, encoder: Vit1d, leads: int, ratio: float, augmentations: Sequence[Augmentation] = ()) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = MaskedDecoder(encoder.width, leads * encoder.patch, width=max(64, encoder.width // 2),
                                     depth=DECODER_DEPTH)
        self.ratio = ratio
        self.augmentations = augmentations

    def forward(self, inputs: dict[str, Tensor], batch: SignalBatch, totals: Totals) -> Losses:
        """The loss as a share of the step's, of network input (B, C, L)."""
        signal = inputs["ecg"]
        patches = cut(signal, self.encoder.patch)  # (B, P, C, patch)
        count = patches.shape[1]
        visible, hidden = self._draw(batch.seeds, count, signal.device)
        embedded = self.encoder.embed(patches)
        chosen = embedded.gather(1, visible[..., None].expand(-1, -1, embedded.shape[-1]))
        guess = self.decoder(self.encoder.encode(chosen), visible, count).float()
        targets = patches.flatten(2).float()
        counted = cut(self._present(signal, batch), self.encoder.patch).flatten(2) * hidden[..., None]
        each = counted.sum((1, 2)).clamp(min=1)
        loss = ((guess - targets).square() * counted).sum((1, 2)).div(each).sum() / totals.records
        power = (targets.square() * counted).sum((1, 2)).div(each).sum() / totals.records
        return Losses(loss, {"masked": loss.detach(), "power": power.detach()})

    def _draw(self, seeds: Sequence[int], count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Which patches are visible, indices (B, V), and which are masked, 0 or 1 (B, P); at least one of each."""
        kept = min(max(1, round(count * (1 - self.ratio))), count - 1)
        # On the CPU, whose random numbers are the same on every machine.
        drawn = torch.stack([torch.rand(count, generator=generator) for generator in
                             generators([seed ^ MASK_STREAM for seed in seeds], torch.device("cpu"))])
        visible = drawn.argsort(1)[:, :kept].to(device)
        return visible, torch.ones(len(seeds), count, device=device).scatter(1, visible, 0.0)

    def _present(self, signal: Tensor, batch: SignalBatch) -> Tensor:
        """1 where a sample was recorded, 0 where it is missing: (B, C, L), moved in time as the signal was."""
        missing = (batch.signal == int(MISSING)).to(signal.dtype)
        if self.training and self.augmentations:
            # The same random numbers again; the little that gain and noise do to a mark does not carry it over 0.5.
            drawn = generators(batch.seeds, signal.device)
            for augment in self.augmentations:
                missing = augment(missing, drawn, batch.scale)
        return (missing < 0.5).to(signal.dtype)
