"""The text side of contrastive pretraining: any BERT, or a small new one, and what it is compared by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import normalizers
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import made_aside
from emgecg_cli.core.models.capacity import Use
from emgecg_cli.core.models.hub import locate, obtain
from emgecg_cli.core.models.tiny_backbone import train_tokenizer

TINY = "tiny"
CONTEXT = 77  # tokens of a text, its two ends included
FOLDER, HEADS = "text", "text_heads.safetensors"  # in an encoder's folder
_VOCABULARY = 1000
_TINY = dict(hidden_size=96, num_hidden_layers=2, num_attention_heads=6, intermediate_size=192)
_LOADING = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError)


@dataclass(frozen=True)
class Words:
    """A tokenizer as captions are cut by it."""

    tokenizer: Any

    @property
    def pad(self) -> int:
        """What fills short captions."""
        return int(self.tokenizer.pad_token_id)

    def ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, its two ends included, cut at `CONTEXT`."""
        held = self.tokenizer
        start = held.cls_token_id if held.cls_token_id is not None else held.bos_token_id
        end = held.sep_token_id if held.sep_token_id is not None else held.eos_token_id
        cut = held(list(texts), add_special_tokens=False)["input_ids"] if texts else []
        return [np.array([start, *one[:CONTEXT - 2], end], np.int64) for one in cut]

    def batch(self, ids: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Token ids (B, T) padded behind, and which are there, bool (B, T)."""
        longest = max(map(len, ids))
        made = np.full((len(ids), longest), self.pad, np.int64)
        for row, one in zip(made, ids, strict=True):
            row[:len(one)] = one
        lengths = np.array([len(one) for one in ids])
        return torch.from_numpy(made), torch.from_numpy(np.arange(longest) < lengths[:, None])


class TextTower(nn.Module):
    """Token ids (B, T) to one vector a text (B, latent): the mean of the last states, projected."""

    def __init__(self, bert: nn.Module, latent: int) -> None:
        super().__init__()
        self.bert = bert
        config: Any = bert.config
        self.proj = nn.Linear(config.hidden_size, latent, bias=False)

    def forward(self, ids: Tensor, there: Tensor) -> Tensor:
        """See the class; `there` (B, T) says which tokens are no padding."""
        states = self.bert(input_ids=ids, attention_mask=there.long()).last_hidden_state
        kept = there[..., None].to(states.dtype)
        return self.proj((states * kept).sum(1) / kept.sum(1))

    def lock(self) -> None:
        """Let of the BERT nothing train but its LayerNorms."""
        self.bert.requires_grad_(False)
        for module in self.bert.modules():
            if isinstance(module, nn.LayerNorm):
                module.requires_grad_(True)


def open_text_tower(name: str, reports: Iterable[str], latent: int, seed: int) -> tuple[TextTower, Words]:
    """"tiny", a folder or a hub id of a BERT with its tokenizer; of "tiny" the tokenizer is trained on the reports.

    Weights that are new depend on the seed alone. Raises MedReportError where it cannot be had.
    """
    if name == TINY:
        tokenizer: Any = train_tokenizer((report.lower() for report in reports), _VOCABULARY)
        tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
        sizes: Any = _TINY | {"attn_implementation": "eager"}
        config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=CONTEXT,
                            pad_token_id=tokenizer.pad_token_id, **sizes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return TextTower(BertModel(config, add_pooling_layer=False), latent), Words(tokenizer)
    try:
        folder = Path(name) if Path(name).is_dir() else obtain(locate(name), Use(torch.float32))
    except MedReportError as error:
        raise MedReportError(error.message.replace("backbone ", "text tower ", 1),
                             (error.hint or "").replace("--backbone", "--text-tower")) from None
    bert, tokenizer = _load(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TextTower(bert, latent), Words(tokenizer)


def _load(folder: Path) -> tuple[Any, Any]:
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        loaded: Any = AutoModel.from_pretrained(folder, use_safetensors=True, trust_remote_code=False,
                                                local_files_only=True, attn_implementation="eager",
                                                output_loading_info=True)
    except _LOADING as error:
        raise MedReportError(f"text tower {folder}: cannot be loaded: {' '.join(str(error).split())[:200]}",
                             "give a folder of a BERT in safetensors, with its tokenizer") from None
    bert, found = loaded
    lacking = sorted(key for key in found["missing_keys"] if not key.startswith("pooler."))
    if lacking:
        raise MedReportError(f"text tower {folder}: its weights lack {', '.join(lacking[:8])}",
                             "fetch it again from where it came")
    if hasattr(bert, "pooler"):
        bert.pooler = None
    if tokenizer.pad_token_id is None or (tokenizer.cls_token_id is None and tokenizer.bos_token_id is None):
        raise MedReportError(f"text tower {folder}: its tokenizer has no token for padding, or for where a text begins",
                             "give a BERT")
    return bert, tokenizer


def save_text_tower(folder: Path, bert: Any, weights: Mapping[str, Tensor], proj: Tensor, scale: Tensor,
                    words: Words) -> list[str]:
    """Write a text tower beside an encoder, for comparing it with texts: a BERT with its whole weights, what projects
    it, and the logarithm of the factor on similarities. Returns the names of the files."""
    with made_aside(folder / ".text.tmp") as aside:
        bert.save_pretrained(aside / FOLDER, state_dict=dict(weights))
        words.tokenizer.save_pretrained(aside / FOLDER)
        save_file({"proj.weight": proj.contiguous().cpu(), "logit_scale": scale.reshape(1).cpu()}, aside / HEADS)
        return sorted(path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file())


def load_text_tower(folder: Path) -> tuple[TextTower, Words, float]:
    """The text tower of a finished encoder, its tokenizer, and the factor on similarities.

    Raises MedReportError where there is none.
    """
    if not (folder / HEADS).is_file():
        raise MedReportError(f"{folder}: its encoder was not trained beside texts",
                             "make one with `medreport pretrain --objective coca`")
    bert, tokenizer = _load(folder / FOLDER)
    try:
        held = load_file(folder / HEADS)
        tower = TextTower(bert, len(held["proj.weight"]))
        tower.proj.load_state_dict({"weight": held["proj.weight"]})
        return tower.eval(), Words(tokenizer), float(held["logit_scale"].exp())
    except _LOADING as error:
        raise MedReportError(f"{folder / HEADS}: does not fit its text tower ({' '.join(str(error).split())[:120]})",
                             "pretrain the encoder again") from None
