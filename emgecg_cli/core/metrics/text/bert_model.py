"""The encoder of BERTScore: a local folder's tokenizer and weights, cut to the layers that are compared."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core.delimited import detect, match_headings, read_rows
from emgecg_cli.core.delimited.numerals import COMMA, with_point
from emgecg_cli.core.errors import MedReportError

_MAX_TOKENS = 512
_FOLDER_HINT = "--bertscore-model takes the folder of a Hugging Face encoder and its tokenizer"
_BATCH = 32


@dataclass(frozen=True)
class Encoder:
    """A tokenizer and a model whose last hidden state is the layer to compare."""

    tokenizer: Any
    model: Any
    max_tokens: int

    def embed(self, texts: Sequence[str]) -> dict[str, tuple[list[int], Any]]:
        """Token ids and states, (T, E), of each text. The batches depend on the texts and their order alone."""
        import torch

        ids = [self.tokenizer.encode(text, truncation=True, max_length=self.max_tokens) for text in texts]
        order = sorted(range(len(texts)), key=lambda index: len(ids[index]))
        embedded = {}
        for start in range(0, len(order), _BATCH):
            batch = order[start:start + _BATCH]
            padded = self.tokenizer.pad({"input_ids": [ids[index] for index in batch]}, return_tensors="pt")
            padded = padded.to(self.model.device)
            with torch.inference_mode():
                states = self.model(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"])[0].cpu()
            for index, row in zip(batch, states, strict=True):
                embedded[texts[index]] = (ids[index], row[:len(ids[index])].clone())
        return embedded

    def stack(self, side: Sequence[tuple[list[int], Any]]) -> tuple[Any, Any, Any]:
        """One side of B pairs of T tokens each for bert-score: states (B, T, E), mask (B, T), weights (B, T).

        The special tokens may be matched, but have no weight of their own.
        """
        import torch

        special = {self.tokenizer.cls_token_id, self.tokenizer.sep_token_id}
        weights = torch.tensor([[0.0 if token in special else 1.0 for token in ids] for ids, _ in side])
        return torch.stack([states for _, states in side]), torch.ones_like(weights, dtype=torch.bool), weights


def load_encoder(folder: Path, layers: int) -> Encoder:
    """Load a BERT- or RoBERTa-like encoder from a local folder with safetensors weights; raises MedReportError."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModel
    from transformers.utils import logging

    if not any(folder.glob("*.safetensors")):
        raise MedReportError(f"{folder}: no weights in safetensors format", "save the model with save_pretrained()")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, info = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True,
                                                trust_remote_code=False, dtype="float32", output_loading_info=True)
        tokenizer = _load_tokenizer(folder)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MedReportError(f"{folder}: cannot be loaded as an encoder ({reason})",
                             _FOLDER_HINT) from None
    finally:
        if shown:
            logging.enable_progress_bar()
    absent = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    if absent:
        raise MedReportError(f"{folder}: the weights lack {len(absent)} of the encoder's parts, first {absent[0]}",
                             "give the folder of an encoder whose weights are complete")
    _cut(model, folder, layers)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    positions = getattr(model.config, "max_position_embeddings", _MAX_TOKENS)
    # RoBERTa counts positions from padding_idx + 1, so that two of its positions are never used.
    usable = positions - 2 if "roberta" in model.config.model_type else positions
    return Encoder(tokenizer, model.eval(), min(tokenizer.model_max_length, usable, _MAX_TOKENS))


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    # Without the prefix blank RoBERTa's first word becomes another token; other tokenizers ignore the setting.
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False,
                                              add_prefix_space=True)
    if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None or tokenizer.pad_token_id is None:
        raise ValueError("its tokenizer has no CLS, SEP or padding token")
    return tokenizer


def _cut(model: Any, folder: Path, layers: int) -> None:
    """Keep the first `layers` layers."""
    holder = getattr(model, "encoder", getattr(model, "transformer", None))
    if holder is None or not hasattr(holder, "layer"):
        raise MedReportError(f"{folder}: a {model.config.model_type} model, whose layers are not known here",
                             "BERTScore works with encoders of the BERT, RoBERTa, XLM-R, ELECTRA and DistilBERT kind")
    if not 1 <= layers <= len(holder.layer):
        raise MedReportError(f"{folder}: has {len(holder.layer)} layers, not {layers}",
                             f"--bertscore-layers takes 1 to {len(holder.layer)}")
    holder.layer = holder.layer[:layers]


def check_folder(folder: Path) -> None:
    """Raise MedReportError for a path that cannot be a model folder: names of the hub are not looked up."""
    if not folder.is_dir():
        raise MedReportError(f"{folder}: no such folder", f"{_FOLDER_HINT}; nothing is downloaded")
    if not (folder / "config.json").is_file():
        raise MedReportError(f"{folder}: not a model folder (no config.json)", _FOLDER_HINT)


def known_layers(folder: Path) -> int:
    """The layer that bert-score tuned for a model of this folder's name; raises MedReportError for other names."""
    from bert_score.utils import model2layers

    found = {name.rsplit("/", 1)[-1]: layers for name, layers in model2layers.items()}.get(folder.resolve().name)
    if found is None:
        raise MedReportError(f"{folder}: bert-score names no layer for a model of this name",
                             "say how many layers to run with --bertscore-layers N")
    return found


def read_baseline(path: Path, layers: int) -> np.ndarray:
    """P, R and F of the row of a bert-score baseline file whose LAYER is `layers`, (3,); raises MedReportError."""
    hint = "give a file of bert-score's rescale_baseline made for this model"
    try:
        dialect = detect(path, ("LAYER", *"PRF"))
        (_, header), *rows = read_rows(path, dialect)
        of = match_headings(path, header, (), ("LAYER", *"PRF"))
        cells = [dict(zip(header, row, strict=False)) for _, row in rows]
        mark = COMMA if dialect.separator == ";" else None
        found = [[float(with_point(row[of[key]].strip(), mark) or row[of[key]]) for key in "PRF"] for row in cells
                 if int(row[of["LAYER"]]) == layers]
    except OSError as error:
        raise MedReportError(f"{path}: cannot be read ({error.strerror})", hint) from None
    except (KeyError, TypeError, ValueError, csv.Error):
        raise MedReportError(f"{path}: not a baseline file (columns LAYER, P, R, F)", hint) from None
    if len(found) != 1:
        raise MedReportError(f"{path}: {len(found)} rows for layer {layers}, not one", hint)
    return np.array(found[0])


def file_hash(paths: Sequence[Path]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of some files' bytes."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:12]
