"""Whether a backbone can be run, trained and asked to generate from embeddings of its text, as splice fusion does."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from emgecg_cli.core.models.fusion.attention_families import FAMILIES


def why_not_embedded(base: Any) -> str | None:
    """Why a language model (no peft wrapper) cannot be given embeddings in place of words; None where it can.

    The families that tests know are asked for the signature of their `generate` only; any other one is tried out.
    """
    if getattr(base.config, "is_encoder_decoder", False):
        return f"needs a causal language model, '{base.config.model_type}' is an encoder-decoder"
    text = base.config.get_text_config()
    # Gemma 3n and 4 look ids up again for each layer; decoders cut from BART and its like give positions by place, so
    # that padding would move the text; state-space models take no positions and read padding as text.
    takes_positions = "position_ids" in inspect.signature(type(base).forward).parameters
    if getattr(text, "hidden_size_per_layer_input", 0) or not (takes_positions or text.model_type in FAMILIES):
        return f"cannot serve '{text.model_type}', which needs more of its words than their embeddings and positions"
    prepare = getattr(base, "prepare_inputs_for_generation", None)
    if prepare is not None and "inputs_embeds" not in inspect.signature(prepare).parameters:
        return f"cannot serve '{base.config.model_type}', whose generate takes no embeddings"
    if text.model_type in FAMILIES:
        return None
    return _tried(base, text.model_type)


@torch.no_grad()
def _tried(base: Any, family: str) -> str | None:
    """What goes wrong when a model of a family that no test knows reads and writes a few words."""
    training, device = base.training, base.get_input_embeddings().weight.device
    base.eval()
    try:
        with torch.device(device):
            plain, later, earlier = (base(input_ids=torch.tensor([ids])).logits[0, 2].float()
                                     for ids in ([3, 4, 5, 6], [3, 4, 5, 7], [7, 4, 5, 6]))
            effect = (plain - earlier).abs().max()
            # The last word changes what is said of those before it, by as much as the first one would.
            if (plain - later).abs().max() > 0.05 * effect:
                return f"needs a causal language model, '{family}' looks ahead: it would read the answer it is to learn"
            embedded = base.get_input_embeddings()(torch.tensor([[3, 4, 5, 6]]))
            given = base(inputs_embeds=embedded, position_ids=torch.arange(4)[None]).logits[0, 2].float()
            if (plain - given).abs().max() > 0.05 * effect:
                return f"cannot serve '{family}', which reads embeddings unlike the words they are of"
            base.generate(inputs_embeds=embedded, attention_mask=torch.ones(1, 4, dtype=torch.long), max_new_tokens=2,
                          do_sample=False)
    except Exception as error:  # whatever a model of another kind makes of it
        return f"cannot serve '{family}', which fails on embeddings: {' '.join(str(error).split())[:120]}"
    finally:
        base.train(training)
    return None
