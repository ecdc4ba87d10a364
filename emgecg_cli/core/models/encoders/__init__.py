"""Signal encoders: modules with an attribute `width` (E) that map a signal (B, C, L) to N vectors of it, (B, N, E).

`forward(signal, tokens=1)`: with one token all time is pooled into it, with N each is one of N equal stretches of time.
Any L, any N. The table `names.ENCODERS` knows them by name.
"""

from emgecg_cli.core.models.encoders.weights import ENCODER_FILE, load_encoder_weights, save_encoder_weights

__all__ = ["ENCODER_FILE", "load_encoder_weights", "save_encoder_weights"]
