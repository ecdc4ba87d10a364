"""The network: a tower (preprocessing, encoder, projector) for each input, joined to the backbone by a fusion.

Shapes, everywhere in this package and in training and generation:
B batch, C leads, L samples, N signal tokens, T text tokens, E encoder width, D backbone width, H heads,
G key/value heads, K cached plus new text tokens. A head is D / H wide.

    input (B, …) -> encoder -> features (B, E) -> projector -> signal tokens (B, N, D / H) -> fusion -> backbone
"""

import logging
import warnings

import huggingface_hub
import transformers

# What goes wrong is said once, by the error; loading weights is quick.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
huggingface_hub.logging.set_verbosity_error()
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*deprecated")  # peft's own, for transformers
