"""The WFDB formats that are not decoded here, by the wfdb library.

The library opens whatever a header names, so it is given a header of one file that was written for it, in a folder of
its own beside a link to that file; what is asked of it is then what was checked.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from emgecg_cli.core.datasets.formats.wfdb_files import RecordError, file_size
from emgecg_cli.core.datasets.formats.wfdb_headers import LONGER, SignalFile

# format -> bytes that hold so many samples
_BYTES = {"8": (1, 1), "24": (3, 1), "32": (4, 1), "80": (1, 1), "160": (2, 1), "310": (4, 3),
          "311": (4, 3)}
FLAC = ("508", "516", "524")
KNOWN = (*_BYTES, *FLAC)
# FLAC holds a few samples per byte; a file that announces many more is not worth the memory.
SAMPLES_PER_BYTE, SAMPLES_AT_LEAST = 64, 10 ** 6

# All that the parsers are known to raise on a file that is not what it says; anything else is a bug and should be seen.
_PARSER_ERRORS = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, NameError, AssertionError,
                  OSError, EOFError, RuntimeError, MemoryError)


def frames_by_wfdb(root: str, file: SignalFile) -> int:
    """How many whole frames a file holds; raises RecordError."""
    if file.fmt in FLAC:
        return (_flac_samples(root, file) - file.byte_offset) // file.samples[0]
    n_bytes, n_samples = _BYTES[file.fmt]
    return (file_size(root, file.path) - file.byte_offset) * n_samples // n_bytes // file.frame


def read_by_wfdb(root: str, file: SignalFile, n_frames: int, span: tuple[int, int],
                 flags: list[str]) -> Sequence[np.ndarray]:
    """The stored numbers of each signal of a file, of the frames of a span; raises RecordError as `read_stored`."""
    there = frames_by_wfdb(root, file)
    if there < n_frames:
        raise RecordError("wrong length", f"{file.name} holds {max(0, there)} frames, the header says {n_frames}")
    _check_flac(root, file, n_frames)
    if there > n_frames and there > _padded(file, n_frames):
        flags.append(f"{LONGER}: {file.name} holds {there} frames, the header says {n_frames}")
    # The differences of format 8 are added up from the first on.
    first = 0 if file.fmt == "8" else span[0]
    signals = _rdrecord(file, n_frames, first, span[1])
    if first == span[0]:
        return signals
    return [signal[(span[0] - first) * n:] for signal, n in zip(signals, file.samples, strict=True)]


def _padded(file: SignalFile, n_frames: int) -> int:
    """The most frames that the bytes of so many seem to hold: the last three samples of a block may be filled up."""
    _, n_samples = _BYTES.get(file.fmt, (1, 1))
    return -(-n_frames * file.frame // n_samples) * n_samples // file.frame


def _check_flac(root: str, file: SignalFile, n_frames: int) -> None:
    """The library allocates what a FLAC file announces."""
    if file.fmt in FLAC and n_frames * file.frame > SAMPLES_AT_LEAST + SAMPLES_PER_BYTE * file_size(root, file.path):
        raise RecordError("wrong length", f"{file.name} announces {n_frames} frames, more than it can hold")


def _flac_samples(root: str, file: SignalFile) -> int:
    """Samples of a channel, as the file itself says."""
    file_size(root, file.path)  # refuses what is no regular file inside the root
    try:
        import soundfile  # comes with wfdb
        return int(soundfile.info(file.path).frames)
    except _PARSER_ERRORS as error:
        raise RecordError("unreadable signal", f"{file.name}: no FLAC file ({type(error).__name__})") from None


def _rdrecord(file: SignalFile, n_frames: int, first: int, last: int) -> list[np.ndarray]:
    import wfdb  # seconds to import, and rarely needed
    offset = f"+{file.byte_offset}" if file.byte_offset else ""
    lines = [f"r {len(file.samples)} 250 {n_frames}"]
    lines += [f"r.dat {file.fmt}x{n}{offset} 1(0)/mV 16 0 {initial} 0 0 s{i}"
              for i, (n, initial) in enumerate(zip(file.samples, file.initial, strict=True))]
    with tempfile.TemporaryDirectory(prefix="medreport-") as folder:
        with open(os.path.join(folder, "r.hea"), "w", encoding="ascii") as stream:
            stream.write("\n".join(lines) + "\n")
        os.symlink(os.path.abspath(file.path), os.path.join(folder, "r.dat"))
        try:
            record: Any = wfdb.rdrecord(os.path.join(folder, "r"), sampfrom=first, sampto=last, physical=False,
                                        smooth_frames=False)
            signals = record.e_d_signal
        except _PARSER_ERRORS as error:
            detail = str(error).replace(folder + os.sep, "").replace("r.dat", file.name)
            raise RecordError("unreadable signal", (detail.splitlines() or [type(error).__name__])[0][:200]) from None
    if any(len(signal) != (last - first) * n for signal, n in zip(signals, file.samples, strict=True)):
        raise RecordError("wrong length", f"{file.name} holds fewer samples than it announces")
    return signals
