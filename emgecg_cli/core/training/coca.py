"""CoCa: an encoder learns beside the texts of reports, which vector is whose, and to have its caption written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.batch import Totals
from emgecg_cli.core.models.caption_decoder import CaptionDecoder
from emgecg_cli.core.models.encoders.ecg_coca import EcgCoca
from emgecg_cli.core.models.preprocessing import Preprocessing
from emgecg_cli.core.models.text_tower import CONTEXT, TextTower, Words
from emgecg_cli.core.store import Store
from emgecg_cli.core.training.augment import generators, network_input
from emgecg_cli.core.training.objective import Losses
from emgecg_cli.core.training.parallel import Parallel
from emgecg_cli.core.training.parallel.gathering import gather_rows
from emgecg_cli.core.training.signal_mixing import mix

FIRST_SCALE, LARGEST_SCALE = math.log(1 / 0.07), math.log(100.0)
DECODER_HEADS = 8
_STREAM = 0x434F4341  # what is drawn here are other random numbers than those of augmentations


@dataclass(frozen=True)
class CaptionBatch:
    """signal int16 (B, C, L), token ids (B, T) and which are no padding (B, T); the records' numbers, what makes
    network input of the signal, and the seeds that the loop fills in."""

    signal: Tensor
    ids: Tensor
    there: Tensor
    indices: list[int]
    preprocessing: Preprocessing
    seeds: list[int] = field(default_factory=list)

    def to(self, device: torch.device) -> CaptionBatch:
        """The same batch on a device."""
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in ("signal", "ids", "there")}
        return replace(self, **moved)

    def network_input(self) -> dict[str, Tensor]:
        """What the encoder takes."""
        return {"ecg": self.preprocessing(self.signal)}

    @property
    def scale(self) -> float:
        """Microvolts in a unit of network input."""
        return self.preprocessing.scale


@dataclass(frozen=True)
class CaptionedRecords:
    """Recordings of a split that have a report, beside its token ids."""

    store: Store
    rows: np.ndarray
    captions: list[np.ndarray]
    texts: list[str]
    words: Words
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray, int]:
        return self.preprocessing.recording(self.store, int(self.rows[i])), self.captions[i], i

    def totals(self, indices: np.ndarray) -> Totals:
        """Words that are to be written, ends included, and records among these."""
        return Totals(sum(len(self.captions[i]) - 1 for i in indices.tolist()), len(indices))

    def collate(self, items: Sequence[tuple[np.ndarray, np.ndarray, int]]) -> CaptionBatch:
        """Stack items."""
        signals, captions, numbers = zip(*items, strict=True)
        return CaptionBatch(torch.from_numpy(np.stack(signals)), *self.words.batch(captions), list(numbers),
                            self.preprocessing)


def captioned(store: Store, split: str, words: Words, preprocessing: Preprocessing) -> CaptionedRecords:
    """The records of a split that have a report."""
    rows, reports = store.indices(split), store.reports(split)
    kept = [(row, report) for row, report in zip(rows.tolist(), reports, strict=True) if report and report.strip()]
    texts = [report for _, report in kept]
    return CaptionedRecords(store, np.array([row for row, _ in kept], np.int64), words.ids(texts), texts, words,
                            preprocessing)


class Coca(nn.Module):
    """Contrast and caption, the latter weighted (CoCa, Yu et al. 2022).

    Recordings and texts are compared among the records of all processes, by cosines times a learned factor of at most
    100. `fs` and `mixes` are for `signal_mixing`.
    """

    def __init__(self, encoder: EcgCoca, text: TextTower, vocabulary: int, pad: int, *, fs: float,
                 mixes: Sequence[str] = (), caption_weight: float = 2.0) -> None:
        super().__init__()
        encoder.train_latent(True)
        self.encoder, self.text = encoder, text
        width, layers = encoder.width, len(encoder.transformer["resblocks"])  # type: ignore[arg-type]
        heads = DECODER_HEADS if width % DECODER_HEADS == 0 else 1
        self.decoder = CaptionDecoder(vocabulary, width, layers=layers, heads=heads, context=CONTEXT - 1)
        self.logit_scale = nn.Parameter(torch.full((1,), FIRST_SCALE))
        self.pad, self.fs, self.mixes, self.caption_weight = pad, fs, tuple(mixes), caption_weight

    def forward(self, inputs: dict[str, Tensor], batch: CaptionBatch, totals: Totals | None) -> Losses | Tensor:
        """The loss of a batch as its share of a step; without `totals` the vectors of recordings and texts, (2, B,
        latent), of length 1."""
        self.clamp()
        signal = inputs["ecg"]
        if self.training and self.mixes:
            drawn = generators([seed ^ _STREAM for seed in batch.seeds], torch.device("cpu"))
            signal = mix(signal, self.mixes, drawn, self.fs, batch.scale)
        pooled, patches = self.encoder.compared(signal)
        ours = F.normalize(pooled.float(), dim=-1)
        theirs = F.normalize(self.text(batch.ids, batch.there).float(), dim=-1)
        if totals is None:
            return torch.stack([ours, theirs])
        contrast = self.contrast(ours, theirs) / totals.records
        logits = self.decoder(batch.ids[:, :-1], patches)
        labels = batch.ids[:, 1:].masked_fill(~batch.there[:, 1:], -100)
        caption = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="sum") / totals.tokens
        return Losses(contrast + self.caption_weight * caption,
                      {"contrast": contrast.detach(), "caption": caption.detach()})

    def contrast(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Recordings and texts (B, latent) of this process against those of all, summed over this one's records."""
        (everyone, first), (texts, _) = gather_rows(ours), gather_rows(theirs)
        own = torch.arange(first, first + len(ours), device=ours.device)
        scale = self.logit_scale.exp()
        return 0.5 * (F.cross_entropy(scale * ours @ texts.T, own, reduction="sum")
                      + F.cross_entropy(scale * theirs @ everyone.T, own, reduction="sum"))

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep the factor between 1 and 100, as after each step."""
        self.logit_scale.clamp_(0.0, LARGEST_SCALE)


def make_coca(encoder: nn.Module, name: str, text: TextTower, words: Words, *, fs: float, mixes: Sequence[str],
              caption_weight: float, locked: bool) -> Coca:
    """Put an encoder beside a text tower. Raises MedReportError for one that has no vector to compare."""
    if not isinstance(encoder, EcgCoca):
        raise MedReportError(f"encoder {name} has no vector that is compared with texts",
                             "--objective coca works with ecg-coca and ecg-coca-tiny")
    if locked:
        text.lock()
    return Coca(encoder, text, len(words.tokenizer), words.pad, fs=fs, mixes=mixes, caption_weight=caption_weight)


@torch.no_grad()
def retrieval(parallel: Parallel, objective: nn.Module, records: CaptionedRecords, batch_size: int) \
        -> dict[str, float]:
    """How often the text of a record, word for word, is the nearest to its recording, and among the five nearest, of
    all texts of these records. Every process evaluates all of them."""
    found = []
    for start in range(0, len(records), batch_size):
        batch = records.collate([records[i] for i in range(start, min(start + batch_size, len(records)))])
        inputs, on_device = network_input(batch, parallel.device, 0, 0)
        with parallel.autocast():
            found.append(objective(inputs, on_device, None).float().cpu())
    ours, theirs = torch.cat(found, 1)
    number = {text: place for place, text in enumerate(dict.fromkeys(records.texts))}
    which = torch.tensor([number[text] for text in records.texts])
    first = torch.tensor([records.texts.index(text) for text in number])
    nearest = (ours @ theirs[first].T).argsort(1, descending=True)
    hits = nearest == which[:, None]
    return {f"recall_at_{count}": float(hits[:, :count].any(1).float().mean()) for count in (1, 5)}
