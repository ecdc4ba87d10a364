"""What records show under a condition: their own inputs, another patient's, zeros, noise, or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.records import OWN, Inputs, Instead
from emgecg_cli.core.inputs.shuffled import OTHER_RECORDS, shuffle_between_patients
from emgecg_cli.core.inputs.values import Messages
from emgecg_cli.core.signals.leads import MISSING, to_float_uv, to_int16_uv

SIGNALS = ("real", "shuffled", "zeros", "noise", "none")


@dataclass(frozen=True)
class Shown:
    """The records of a store under one condition: `how` each input is shown, by its name.

    `sources` are the records whose inputs each record is shown where they are not its own; `seed` decides on noise.
    """

    inputs: Inputs
    sources: Mapping[int, Instead]
    how: Mapping[str, str]
    seed: int

    @property
    def nothing(self) -> bool:
        """Whether no input of any record is shown."""
        return set(self.how.values()) == {"none"}

    def messages(self, index: int) -> Messages:
        """The conversation of a record."""
        return self.inputs.messages(index, self.source_of(index))

    def lacking(self, index: int) -> tuple[str, ...]:
        """The inputs that are blank."""
        return self.inputs.lacking(index, self.source_of(index))

    def placeholders(self, index: int, counts: Mapping[str, int] | None) -> dict[str, int] | None:
        """Of a model's `placeholders`, those of a record; an input that is not shown has none."""
        return self.inputs.placeholders(index, None if self.nothing else counts, self.source_of(index))

    def arrays(self, index: int) -> dict[str, np.ndarray]:
        """What the towers take of a record."""
        made = self.inputs.arrays(index, self.source_of(index))
        for name in made.keys() & self.how.keys():  # the names of items stay, as the words around them do
            if name == "image" and self.how[name] in ("zeros", "noise"):
                made[name] = self._page(index)
            elif self.how[name] == "zeros":  # NaN is what matrices are padded with, and stays
                made[name] = np.where(np.isnan(made[name]), made[name], made[name].dtype.type(0))
            elif self.how[name] == "noise":
                made[name] = noise_like(made[name], _generator(self.seed, self._id(index)))
        return made

    def _page(self, index: int) -> np.ndarray:
        """The page of a recording of zeros, or of noise; nothing for a record that shows none."""
        source: Any = self.inputs.sources["image"]
        if not self.inputs.has(index, "image"):
            return source.blank()
        rng = _generator(self.seed, self._id(index))
        record = self.inputs.record(index, "image", self.messages(index))
        zeros = self.how["image"] == "zeros"
        return source.changed(record, np.zeros_like if zeros else lambda signal: noise_like(signal, rng))

    def signal_from(self, index: int) -> str | None:
        """The record whose signal a record is shown: another, where any input is another's; None where none is shown.
        """
        found = [one for name in self.inputs.names if self.how[name] not in ("zeros", "noise")
                 if (one := self.source_of(index).get(name, index)) is not None]
        at = next((one for one in found if one != index), index)
        return self._id(at) if found else None

    def source_of(self, index: int) -> Instead:
        """Whose inputs a record is shown, where they are not its own."""
        return self.sources.get(index, OWN)

    def shuffled(self, chosen: Sequence[int]) -> Shown | None:
        """The same with another patient's in place of what is shown as each record's own; None where nothing is.

        Raises MedReportError when one patient has more than half of the `chosen` records.
        """
        own = [name for name, how in self.how.items() if how == "real"]
        return shown_as(self.inputs, chosen, {**self.how, **dict.fromkeys(own, "shuffled")}, self.seed,
                        "leave --reference-loss out, or give a larger --limit") if own else None

    def _id(self, index: int) -> str:
        return str(self.inputs.store.column("record_id")[index])


def shown_as(inputs: Inputs, chosen: Sequence[int], how: Mapping[str, str], seed: int,
             hint: str = OTHER_RECORDS) -> Shown:
    """Choose what each of the `chosen` records is shown: a seeded permutation between patients, or nothing. Where there
    is no such permutation, an error has this hint."""
    sources: dict[int, dict[str, int | None]] = {i: {} for i in chosen}
    subjects = inputs.store.column("subject_id").to_list() if "shuffled" in how.values() else []
    for name, one in how.items():
        others: dict[int, int | None] = {}
        if one == "none":
            others = dict.fromkeys(chosen)
        elif one == "shuffled":  # of several inputs, each among the records that have it
            those = [i for i in chosen if len(how) == 1 or inputs.has(i, name)]
            others = dict(shuffle_between_patients(those, subjects, seed, hint))
        for i, other in others.items():
            sources[i][name] = other
    return Shown(inputs, sources, how, seed)


def parse_signal(signal: str, inputs: Sequence[str]) -> dict[str, str]:
    """How each input is shown: "shuffled" says it of all, "ecg=shuffled,values=zeros" of those, the others being real.

    Raises MedReportError for unknown words, and for inputs that are not among these.
    """
    if signal in SIGNALS:
        return dict.fromkeys(inputs, signal)
    said: dict[str, str] = {}
    for word in signal.split(","):
        name, _, how = word.partition("=")
        if how not in SIGNALS or name in said:
            raise MedReportError(f"no signal '{word}'", f"available: {', '.join(SIGNALS)}, for all inputs, or for each "
                                 "as in ecg=shuffled,values=real")
        if name not in inputs:
            raise MedReportError(f"--signal {word}: the run reads no input '{name}'", f"it reads {', '.join(inputs)}")
        said[name] = how
    return dict.fromkeys(inputs, "real") | said


def joined_signal(said: Mapping[str, str]) -> str:
    """The inverse, as short as possible: one word if all inputs are shown alike."""
    return next(iter(said.values())) if len(set(said.values())) == 1 else ",".join(map("=".join, said.items()))


def noise_like(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of the power of a recording, int16 microvolts (C, L): white, in each lead of the lead's mean and deviation,
    missing where samples are."""
    values = to_float_uv(array).astype(np.float64)
    present = np.isfinite(values)
    count = np.maximum(present.sum(axis=1, keepdims=True), 1)
    mean = np.where(present, values, 0).sum(axis=1, keepdims=True) / count
    spread = np.sqrt((np.where(present, values - mean, 0) ** 2).sum(axis=1, keepdims=True) / count)
    drawn, _ = to_int16_uv((mean + spread * rng.standard_normal(values.shape)).astype(np.float32))
    return np.where(present, drawn, np.int16(MISSING))


def _generator(seed: int, record_id: str) -> np.random.Generator:
    digest = hashlib.sha256(f"in place of a signal:{seed}:{record_id}".encode("utf-8", "surrogatepass")).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
