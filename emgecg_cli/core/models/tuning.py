"""What trains, stated once: frozen, LoRA (also on 4-bit weights) or full, and the table of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from emgecg_cli.core.errors import MedReportError

TUNINGS = ("lora", "qlora", "full", "frozen")
ADAPTED = ("lora", "qlora")
ALL_LINEAR, MEIT_CODE = "all-linear", "meit-code"
_LLAMA_NAMES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# What MEIT's released scripts passed to peft. They gave OPT, GPT-J and GPT-Neo the list for LLaMA, of which
# these have only q, k and v.
MEIT_TARGETS = {
    "llama": _LLAMA_NAMES, "mistral": _LLAMA_NAMES, "gpt2": ("c_attn",), "bloom": ("query_key_value",),
    "gpt_neox": ("query_key_value",), "opt": _LLAMA_NAMES, "gptj": _LLAMA_NAMES, "gpt_neo": _LLAMA_NAMES,
}
# What peft refuses there, as its own table has it. Left out as well are routers of experts, whose linear layers give
# more than one tensor, and the indexers of sparse attention, which choose and so get no gradient.
MAMBA_FAMILIES = ("falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h")
MAMBA_REFUSED = ("out_proj", "conv1d")


@dataclass(frozen=True)
class PartRow:
    """One row of the table of what trains."""

    part: str
    tuning: str
    parameters: int
    trainable: int


def tune_backbone(backbone: Any, tuning: str, *, rank: int, alpha: int, dropout: float, targets: str = ALL_LINEAR,
                  train_embeddings: bool = False) -> Any:
    """Freeze the backbone, tune it in full, or put LoRA on its linear layers; "qlora" is LoRA on a 4-bit backbone.

    Of a multimodal checkpoint only the language model is tuned: no image is ever shown to it here. `targets` are
    "all-linear" (all but the output head and the experts of a mixture), "meit-code" (what MEIT's scripts chose for the
    family) or names of layers separated by commas. `train_embeddings` trains the input embedding and the output head
    as well, which new tokens need where the rest is frozen. Returns the model to use from now on.
    Raises MedReportError for an unknown tuning, or targets that the backbone does not have, or that peft refuses.
    """
    if tuning not in TUNINGS:
        raise MedReportError(f"no tuning '{tuning}'", f"available: {', '.join(TUNINGS)}")
    if tuning in ADAPTED:
        four_bit = bool(getattr(backbone, "is_loaded_in_4bit", False))
        if four_bit and tuning == "lora":
            raise MedReportError("--tuning lora: the backbone's weights are in four bits already", "use --tuning qlora")
        if (tuning == "qlora") != four_bit:
            raise RuntimeError(f"tuning {tuning} on a backbone loaded in another precision")
        # peft freezes all else. Norms and embeddings keep the backbone's dtype, as under plain LoRA; LoRA's own weights
        # are fp32. Gradients reach them under checkpointing too, which is never the reentrant kind here.
        backbone = _with_lora(backbone, target_layers(backbone, targets), rank, alpha, dropout)
    else:
        backbone.requires_grad_(False)
        for parameter in _language_parameters(backbone) if tuning == "full" else ():
            parameter.requires_grad_(True)
    if train_embeddings:
        _train_embeddings(backbone)
    return backbone


def _with_lora(backbone: Any, layers: list[str], rank: int, alpha: int, dropout: float) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model  # seconds, which a run without LoRA does not take

    family = backbone.config.model_type
    task = TaskType.SEQ_2_SEQ_LM if backbone.config.is_encoder_decoder else TaskType.CAUSAL_LM
    transposed = all(isinstance(backbone.get_submodule(layer), Conv1D) for layer in layers)  # GPT-2's (in, out)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, bias="none", target_modules=layers,
                        task_type=task, fan_in_fan_out=transposed)
    if dropout and len(_kept_linear(backbone, layers)) < len(layers):
        raise MedReportError(f"LoRA on the experts of '{family}' has no dropout, --lora-dropout is {dropout:g}",
                             f"this family needs --lora-dropout 0, or leave --lora-targets at {ALL_LINEAR}")
    try:
        return get_peft_model(backbone, config)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise _refused(family, error) from None


def _refused(family: str, error: Exception) -> MedReportError:
    """peft's own refusal in one line."""
    reason = " ".join(str(error).split()).split(". ")[0][:200]
    return MedReportError(f"peft cannot put LoRA on these layers of '{family}': {reason}",
                          f"name others with --lora-targets, or leave it at {ALL_LINEAR}")


def _kept_linear(backbone: Any, layers: list[str]) -> list[str]:
    """Those of some linear layers that peft adapts as they are.

    In a mixture of experts it takes names like "gate_proj", also of a dense layer or a shared expert, for the grouped
    experts, adapts those instead, and knows no dropout there; and it refuses the output projection of Mamba.
    """
    from peft import LoraConfig
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    family = backbone.config.model_type
    probe = LoraConfig(target_modules=layers)
    try:
        convert_peft_config_for_transformers(probe, backbone, None)
    except ValueError as error:
        raise _refused(family, error) from None
    kept = set(probe.target_modules or ())
    return [layer for layer in layers if layer in kept]


def language_part(backbone: Any) -> str:
    """The name of the language model inside a multimodal checkpoint, with a dot behind; "" where it is all of it."""
    text = backbone.config.get_text_config()
    if text is backbone.config or backbone.config.is_encoder_decoder:
        return ""
    return next((f"{name}." for name, module in backbone.named_modules()
                 if name and isinstance(module, PreTrainedModel) and module.config.model_type == text.model_type), "")


def _language_parameters(backbone: Any) -> Iterator[nn.Parameter]:
    """All parameters of the language model, its output head included."""
    part, head = language_part(backbone), backbone.get_output_embeddings()
    of_head = {id(parameter) for parameter in head.parameters()} if head is not None else set()
    return (parameter for name, parameter in backbone.named_parameters()
            if name.startswith(part) or id(parameter) in of_head)


def target_layers(backbone: Any, targets: str) -> list[str]:
    """Full names of the linear layers that `targets` means; raises MedReportError for a name that means none."""
    head, part, family = backbone.get_output_embeddings(), language_part(backbone), backbone.config.model_type
    linear = [name for name, module in backbone.named_modules()
              if isinstance(module, (nn.Linear, Conv1D)) and module is not head and name.startswith(part)]
    if targets == ALL_LINEAR:
        refused = MAMBA_REFUSED if family in MAMBA_FAMILIES else ()
        plain = [name for name in linear if name.rpartition(".")[2] not in refused and ".indexer." not in name
                 and "Router" not in type(backbone.get_submodule(name)).__name__]
        return _kept_linear(backbone, plain)
    kinds = list(dict.fromkeys(name.rpartition(".")[2] for name in linear))
    if targets == MEIT_CODE and family not in MEIT_TARGETS:
        raise MedReportError(f"LoRA targets '{MEIT_CODE}': MEIT's scripts name none for the family '{family}'",
                             f"it has {', '.join(MEIT_TARGETS)}; give {ALL_LINEAR}, or names among {', '.join(kinds)}")
    wanted = MEIT_TARGETS[family] if targets == MEIT_CODE else [name.strip() for name in targets.split(",")]
    chosen = {name: [layer for layer in linear if f".{layer}".endswith(f".{name}")] for name in wanted}
    unmatched = [name for name, layers in chosen.items() if not layers]
    if targets != MEIT_CODE and unmatched:
        raise MedReportError(f"LoRA targets: no linear layer of the backbone is named '{unmatched[0]}'",
                             f"it has {', '.join(kinds)}; or give {ALL_LINEAR} or {MEIT_CODE}")
    found = {layer for layers in chosen.values() for layer in layers}
    return [layer for layer in linear if layer in found]


def embeddings(backbone: Any) -> dict[str, Tensor]:
    """Weights of the input embedding and of the output head, the latter only where it is not tied to the former."""
    base = base_of(backbone)
    entry, head = base.get_input_embeddings(), base.get_output_embeddings()
    found = {"input": entry.weight}
    if head is not None and head.weight is not entry.weight:
        found["output"] = head.weight
    if head is not None and getattr(head, "bias", None) is not None:
        found["output_bias"] = head.bias
    return found


def _train_embeddings(backbone: Any) -> None:
    """Train embedding and head themselves, in fp32, and hand on the dtype of the rest.

    Not as peft's `modules_to_save`: those are copies, which tied modules do not follow in most families; in BART and
    T5, whose encoder and decoder have embeddings of their own tied to the first, the copy is never used.
    """
    base = base_of(backbone)
    weights = embeddings(backbone)
    dtype = weights["input"].dtype
    for weight in weights.values():
        weight.data = weight.data.float()  # in place, so that what is tied stays tied
        weight.requires_grad_(True)
    if dtype == weights["input"].dtype:
        return
    for module in base.modules():
        if getattr(module, "weight", None) is weights["input"] and isinstance(module, nn.Embedding):
            module.register_forward_hook(CastOutput(dtype))
    base.get_output_embeddings().register_forward_pre_hook(CastInput())


@dataclass(frozen=True)
class CastOutput:
    """Gives what an fp32 embedding looks up the dtype of the layers behind it."""

    dtype: Any

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output.to(self.dtype)


@dataclass(frozen=True)
class CastInput:
    """Lets an fp32 head take hidden states of another dtype."""

    def __call__(self, module: Any, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (inputs[0].to(module.weight.dtype),)


def base_of(backbone: Any) -> Any:
    """The transformers model inside a peft model, else the model itself."""
    return backbone.get_base_model() if hasattr(backbone, "get_base_model") else backbone


def table_of_what_trains(parts: dict[str, tuple[nn.Module, str]]) -> list[PartRow]:
    """One row for each named part (module, how it is tuned), and their sum."""
    rows = [PartRow(name, tuning, count_parameters(module), count_parameters(module, trainable=True))
            for name, (module, tuning) in parts.items()]
    return [*rows, PartRow("total", "", sum(row.parameters for row in rows), sum(row.trainable for row in rows))]


def count_parameters(module: nn.Module, trainable: bool = False) -> int:
    """Number of parameters, shared ones once, 4-bit ones as many as they stand for; only those that train if asked."""
    return sum(_size(p) for p in module.parameters() if p.requires_grad or not trainable)


def _size(parameter: Any) -> int:
    """bitsandbytes packs two weights in a byte and remembers the shape they had."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else state.shape.numel()
