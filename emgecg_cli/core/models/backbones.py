"""Language models and their tokenizers, by name, hub id or folder; more tokens for them."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BitsAndBytesConfig,
)
from transformers.utils.quantization_config import Mxfp4Config

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import check_is_plain
from emgecg_cli.core.instructions.turns import own_end
from emgecg_cli.core.models.capacity import Use
from emgecg_cli.core.models.hub import commit_of, locate, obtain
from emgecg_cli.core.models.other_formats import hint_of_a_failure

MEGABYTE = 1 << 20
LOADING = (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError)


def machine_at_hand() -> dict[str, str]:
    """The type of the device here, and the precision that suits it: bf16 where it has it, else fp32."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {"device": device, "precision": "bf16" if device == "cuda" and torch.cuda.is_bf16_supported() else "fp32"}


def slow_here(precision: str) -> str | None:
    """Why a precision makes training slower here than another would; None where it does not, or nobody knows."""
    if precision != "bf16" or torch.cuda.is_available() or not hasattr(torch.cpu, "get_capabilities"):
        return None
    units = any(there for name, there in torch.cpu.get_capabilities().items() if "bf16" in name)
    return None if units else ("--precision bf16: this processor has no bf16 units and emulates them, several times "
                               "slower than --precision fp32")


def load_backbone(name: str, dtype: torch.dtype, revision: str | None = None, four_bit: bool = False, *,
                  tuning: str | None = None, device: torch.device | None = None, shards: int = 1,
                  download: bool = True) -> tuple[Any, Any]:
    """Model and tokenizer of a known name, a hub id (both with `@revision` if asked) or a folder; only safetensors, no
    remote code. Encoder-decoder models (BART, T5) come with their own kind of head.

    `revision` is the commit of a hub model; without it, what the cache holds completely, else the newest. `four_bit`
    quantises the linear layers but the output head (NF4, double quantisation, computing in `dtype`). `tuning` and
    `shards`, the number of devices the parameters are spread over, only decide what memory must hold. Weights go to
    `device`; without it to main memory, four bits to the GPU if there is one. Nothing is fetched without `download`.
    Raises one MedReportError listing all that is missing: access, network, disk, memory, files, a package, an EOS.
    """
    if four_bit and importlib.util.find_spec("bitsandbytes") is None:
        raise MedReportError("4-bit weights (--tuning qlora) need bitsandbytes, which is not installed",
                             "pip install 'medreport[qlora]'")
    if four_bit and device is None:
        device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    place = locate(name, revision)
    folder = obtain(place, Use(dtype, four_bit, tuning, shards, through_ram=device is None), download)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        model = load_model(folder, dtype, four_bit, device)
    except LOADING as error:
        raise _cannot_load(name, folder, error) from None
    # The name by which it can be had again, not where this machine's cache lies; an adapter is saved with it.
    model.name_or_path = model.config._name_or_path = tokenizer.name_or_path = place.repo or name
    model.config._commit_hash = commit_of(place, folder)
    _settle_tokens(name, tokenizer, model)
    return model, tokenizer


def load_model(folder: Path, dtype: torch.dtype, four_bit: bool = False, device: torch.device | None = None) -> Any:
    """A model from a folder, with the head its architecture has; raises ValueError when weights are missing."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    auto: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    quantised: Any = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                        bnb_4bit_compute_dtype=dtype) if four_bit else None
    packed = (getattr(config, "quantization_config", None) or {}).get("quant_method") == "mxfp4"
    if packed and not four_bit:  # gpt-oss: else its kernels would be fetched, where a GPU could run them
        quantised = Mxfp4Config(dequantize=True)
    direct = device is not None and (four_bit or device.type == "cuda")
    model, loaded = auto.from_pretrained(folder, dtype=dtype, use_safetensors=True, trust_remote_code=False,
                                         local_files_only=True, quantization_config=quantised,
                                         device_map={"": device} if direct else None, output_loading_info=True)
    if packed and not four_bit:
        model = model.to(dtype)
        model._weight_conversions = None  # else it would be saved under the names of the packed weights
    # transformers would make them up, and a report model with a random head still trains.
    lacking = sorted(set(loaded["missing_keys"]) & {key for key, _ in model.named_parameters()})
    if lacking:
        raise ValueError(f"its weights lack {lacking[0]}" + (f" and {len(lacking) - 1} more" if lacking[1:] else ""))
    if four_bit and model.device.type == "cpu":
        odd = [name for name, module in model.named_modules()
               if type(module).__name__ == "Linear4bit" and module.in_features % 64]
        if odd:  # bitsandbytes' own blocks; on a GPU it takes any width
            raise MedReportError(f"backbone {folder}: 4 bits on the CPU need widths that are multiples of 64, "
                                 f"{odd[0]} has another", "use --tuning lora, or a GPU")
    return model


def end_ids(model: Any) -> list[int]:
    """The tokens at which a checkpoint says its texts end, of its `generation_config`: none, one or several."""
    said = getattr(model.generation_config, "eos_token_id", None)
    return [] if said is None else [said] if isinstance(said, int) else [int(token) for token in said]


def _settle_tokens(name: str, tokenizer: Any, model: Any) -> None:
    """Every text can end and be padded, and no prompt of a decoder ends before its answer begins."""
    if tokenizer.eos_token_id is None:
        own = own_end(tokenizer, end_ids(model))
        if own is None:
            raise MedReportError(f"backbone {name}: its tokenizer has no EOS token", "a report must end; add one")
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(own)
    end, encoder_decoder = tokenizer.eos_token_id, model.config.is_encoder_decoder
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # masks are explicit everywhere, so the pad's identity is free
    ids = tokenizer("ecg")["input_ids"]
    if not encoder_decoder and ids[-1] == end:
        tokenizer.add_bos_token = ids[0] == tokenizer.bos_token_id  # the next line would drop it
        tokenizer.add_eos_token = False
        if tokenizer("ecg")["input_ids"] != ids[:-1]:
            raise MedReportError(f"backbone {name}: its tokenizer ends every prompt with EOS",
                                 "remove the EOS from the post-processor in its tokenizer.json")


def add_tokens(model: Any, tokenizer: Any, tokens: Sequence[str]) -> None:
    """Add special tokens to a model and its tokenizer; their embeddings start as the mean of all others.

    Raises MedReportError for a token that is there already, is given twice or is empty.
    """
    known = tokenizer.get_vocab()
    for i, token in enumerate(tokens):
        if token in known or token in tokens[:i] or not token.strip():
            raise MedReportError(f"token '{token}' is in the backbone's vocabulary already" if token.strip() else
                                 "a token is empty", "choose other tokens")
    before = len(tokenizer)
    tokenizer.add_tokens(list(tokens), special_tokens=True)
    grow_embeddings(model, before, len(tokenizer))


def grow_embeddings(model: Any, before: int, after: int) -> None:
    """Give the tokens `before` <= id < `after` embeddings (and outputs): the mean of those before. Depends on nothing
    else, so that a run without embeddings of its own can repeat it."""
    if after <= before:
        return
    if after > model.get_input_embeddings().weight.shape[0]:
        with torch.random.fork_rng(devices=[]):
            model.resize_token_embeddings(after, mean_resizing=False)
    seen = set()
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        for rows in (getattr(module, "weight", None), getattr(module, "bias", None)):
            if rows is not None and rows.data_ptr() not in seen:
                seen.add(rows.data_ptr())
                rows.data[before:after] = rows.data[:before].mean(0, dtype=torch.float32).to(rows.dtype)


def positions_of(model: Any) -> int | None:
    """How many positions a model has; None where they are relative."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def check_positions(model: Any, longest: int, what: str, hint: str) -> None:
    """Raise MedReportError when a sequence has more tokens than the model has positions."""
    most = positions_of(model)
    if most is not None and longest > most:
        raise MedReportError(f"{what} has {longest} tokens, the backbone takes {most}", hint)


def fingerprint(folder: Path) -> str:
    """SHA-256 over a backbone's folder: small files whole, weights by size, first and last megabyte.

    Enough to notice another model or other training, without reading 100 GB twice.
    """
    digest = hashlib.sha256()
    kinds = (".json", ".safetensors", ".jinja", ".model")
    for path in sorted(path for path in folder.iterdir() if path.suffix in kinds):
        check_is_plain(path)
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(MEGABYTE))
            stream.seek(max(0, size - MEGABYTE))
            digest.update(stream.read())
    return digest.hexdigest()


def _cannot_load(name: str, folder: Path, error: Exception) -> MedReportError:
    reason = " ".join(str(error).split()).split(". ")[0][:300]
    return MedReportError(f"backbone {name}: cannot load {folder}: {reason}", hint_of_a_failure(folder))
