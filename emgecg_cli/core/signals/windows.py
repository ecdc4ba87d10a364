"""Which stretches of a recording become rows of a store: the first seconds, the middle ones, or all of them."""

from __future__ import annotations


def window_starts(sig_len: int, length: int, policy: str) -> list[int]:
    """The first sample of each window of `length` samples in a recording of `sig_len`.

    `first` and `center` give one window. `all` gives windows that follow each other without overlap; a rest of at least
    half a window is a window too, to be padded, and a shorter one is left out. A recording shorter than one window
    gives one, to be padded at its end.
    """
    if sig_len <= length or policy == "first":
        return [0]
    if policy == "center":
        return [(sig_len - length) // 2]
    whole, rest = divmod(sig_len, length)
    return [i * length for i in range(whole + (2 * rest >= length))]
