"""What each disease does to nerves and muscles: shifts in SD in the abnormal direction, and what needle EMG shows.

A disease has a place. Carpal tunnel syndrome slows the median nerve at the wrist and nothing else; an ulnar nerve is
slow across the elbow, of normal speed below it; a root denervates its myotome and leaves sensory nerves alone, as it
is hurt above the ganglion; an axonal neuropathy takes the longest nerves first; a demyelinating one slows everything;
motor neuron disease takes motor responses in several limbs; a myopathy shows to the needle only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from emgecg_cli.core.datasets.synthetic_emg.healthy import MOTOR, SENSORY
from emgecg_cli.core.emg.case import EmgRow
from emgecg_cli.core.emg.terms import SIDES

DIAGNOSES = ("healthy", "carpal_tunnel", "ulnar_elbow", "radiculopathy", "axonal_polyneuropathy",
             "demyelinating_polyneuropathy", "myopathy", "motor_neuron_disease")
# root -> its muscles, and the nerves whose motor response it feeds
ROOTS = {"C6": (("biceps_brachii", "deltoid", "pronator_teres"), ()),
         "C7": (("triceps_brachii", "edc", "fcr"), ()),
         "C8": (("fdi", "apb", "adm", "eip"), ("median", "ulnar")),
         "L5": (("tibialis_anterior", "ehl", "peroneus_longus", "gluteus_medius"), ("peroneal",)),
         "S1": (("gastrocnemius", "biceps_femoris", "gluteus_maximus"), ("tibial",))}
LEGS = ("peroneal", "superficial_peroneal", "tibial", "sural")

Shift = tuple[str, str, str]  # nerve, side, quantity of `healthy.quantities`


@dataclass
class Effects:
    """`shifts` in SD in the abnormal direction, `blocks` as the share of a response that passes a segment, `gone`
    responses (nerve, side, "motor", "sensory" or "f_wave"), and `muscles`: (muscle, side) to what the needle sees."""

    shifts: dict[Shift, float] = field(default_factory=dict)
    blocks: dict[Shift, float] = field(default_factory=dict)
    gone: set[Shift] = field(default_factory=set)
    muscles: dict[tuple[str, str], str] = field(default_factory=dict)
    root: str | None = None


def draw_effects(diagnosis: str, side: str, muscles: Mapping[tuple[str, str], bool], region: str,
                 rng: np.random.Generator) -> Effects:
    """The effects of a disease that is worse on `side`; `muscles` are those the needle looks at."""
    effects = Effects(root=_draw_root(region, rng) if diagnosis == "radiculopathy" else None)
    if diagnosis == "carpal_tunnel":
        _carpal_tunnel(effects, side, rng)
    elif diagnosis == "ulnar_elbow":
        _ulnar_elbow(effects, side, rng)
    elif diagnosis == "radiculopathy":
        _radiculopathy(effects, side, muscles, rng)
    elif diagnosis == "axonal_polyneuropathy":
        _axonal(effects, muscles, rng)
    elif diagnosis == "demyelinating_polyneuropathy":
        _demyelinating(effects, rng)
    elif diagnosis == "myopathy":
        _myopathy(effects, muscles, rng)
    elif diagnosis == "motor_neuron_disease":
        _motor_neuron(effects, side, muscles, rng)
    return effects


def _draw_root(region: str, rng: np.random.Generator) -> str:
    roots = ("L5", "S1") if region == "lumbar" else ("C6", "C7", "C8")
    return roots[rng.integers(len(roots))]


def _sides(side: str, share_both: float, rng: np.random.Generator) -> list[tuple[str, float]]:
    """The affected sides, each with its severity from 0 to 1; the other side is the milder one."""
    worse = float(rng.random())
    other = SIDES[side == "left"]
    return [(side, worse), (other, worse * float(rng.uniform(0.3, 0.9)))] if rng.random() < share_both else [
        (side, worse)]


def _carpal_tunnel(effects: Effects, side: str, rng: np.random.Generator) -> None:
    for at, grade in _sides(side, 0.5, rng):
        lat = 2.0 + 9.0 * grade + float(rng.normal(0, 0.5))
        effects.shifts |= {("median", at, "s_cv"): 2.6 + 2.6 * grade, ("median", at, "lat"): max(lat, 0.5),
                           ("median", at, "s_amp"): 0.3 + 3.0 * grade**1.5, ("median", at, "amp"): 3.5 * grade**3,
                           ("median", at, "f"): 0.3 + 1.2 * grade}
        if grade > 0.75 and rng.random() < 0.6:
            effects.gone.add(("median", at, "sensory"))
        if grade > 0.6:
            effects.muscles["apb", at] = "chronic" if rng.random() < 0.6 else "acute"


def _ulnar_elbow(effects: Effects, side: str, rng: np.random.Generator) -> None:
    for at, grade in _sides(side, 0.15, rng):
        effects.shifts |= {("ulnar", at, "cv:above_elbow"): 2.7 + 3.3 * grade, ("ulnar", at, "s_amp"): 3.5 * grade**2,
                           ("ulnar", at, "amp"): 3.5 * grade**2.5, ("ulnar", at, "f"): 0.4 + grade}
        if rng.random() < 0.5:
            effects.blocks["ulnar", at, "above_elbow"] = float(rng.uniform(0.4, 0.85))
        if grade > 0.85 and rng.random() < 0.6:
            effects.gone.add(("ulnar", at, "sensory"))
        if grade > 0.5:
            effects.muscles |= dict.fromkeys([("fdi", at), ("adm", at)], "chronic" if rng.random() < 0.6 else "acute")


def _radiculopathy(effects: Effects, side: str, muscles: Mapping[tuple[str, str], bool],
                   rng: np.random.Generator) -> None:
    members, nerves = ROOTS[effects.root or "C7"]
    kind = "acute" if rng.random() < 0.5 else "chronic"
    own = [muscle for muscle, at in muscles if at == side and muscle in members]
    own += [muscle for muscle, at in muscles if at == side and muscle.startswith("paraspinal") and rng.random() < 0.6]
    effects.muscles |= {(muscle, side): kind for i, muscle in enumerate(own) if i == 0 or rng.random() < 0.85}
    for nerve in nerves:
        effects.shifts |= {(nerve, side, "f"): float(rng.uniform(0.5, 3.0)),
                           (nerve, side, "amp"): max(0.0, float(rng.uniform(-1.5, 3.0)))}


def _axonal(effects: Effects, muscles: Mapping[tuple[str, str], bool], rng: np.random.Generator) -> None:
    grade = float(rng.uniform(0.25, 1.0))
    for at in SIDES:
        for nerve in (*MOTOR, *(name for name in SENSORY if name not in MOTOR)):
            reach = 1.0 if nerve in LEGS else 0.45
            push = 6.5 * grade * reach * float(rng.uniform(0.85, 1.15))
            effects.shifts |= {(nerve, at, "amp"): push * 0.7, (nerve, at, "s_amp"): push,
                               (nerve, at, "lat"): grade * reach, (nerve, at, "s_cv"): 1.5 * grade * reach,
                               (nerve, at, "f"): 1.2 * grade * reach}
            effects.shifts |= {(nerve, at, f"cv:{segment.stim}"): 1.5 * grade * reach
                               for segment in (MOTOR[nerve].segments if nerve in MOTOR else ())}
            if nerve in SENSORY and nerve in LEGS and grade > 0.6 and rng.random() < 0.7:
                effects.gone.add((nerve, at, "sensory"))
            if nerve == "peroneal" and grade > 0.85 and rng.random() < 0.5:
                effects.gone |= {(nerve, at, "motor"), (nerve, at, "f_wave")}
    distal = ("tibialis_anterior", "gastrocnemius", "ehl", "peroneus_longus") + (("fdi", "apb") if grade > 0.8 else ())
    effects.muscles |= dict.fromkeys([key for key in muscles if key[0] in distal and grade > 0.45], "chronic")


def _demyelinating(effects: Effects, rng: np.random.Generator) -> None:
    grade = float(rng.uniform(0.3, 1.0))
    for at in SIDES:
        for nerve in (*MOTOR, *(name for name in SENSORY if name not in MOTOR)):
            push = (2.2 + 4.0 * grade) * float(rng.uniform(0.85, 1.15))
            effects.shifts |= {(nerve, at, "lat"): push * 1.3, (nerve, at, "f"): push * 1.1, (nerve, at, "s_cv"): push,
                               (nerve, at, "s_amp"): 1.6 * grade, (nerve, at, "amp"): 1.2 * grade}
            for segment in (MOTOR[nerve].segments if nerve in MOTOR else ()):
                effects.shifts[nerve, at, f"cv:{segment.stim}"] = push
                if rng.random() < 0.35:
                    effects.blocks[nerve, at, segment.stim] = float(rng.uniform(0.35, 0.8))
            if nerve in MOTOR and grade > 0.8 and rng.random() < 0.3:
                effects.gone.add((nerve, at, "f_wave"))


def _myopathy(effects: Effects, muscles: Mapping[tuple[str, str], bool], rng: np.random.Generator) -> None:
    proximal = ("deltoid", "biceps_brachii", "vastus_lateralis", "iliopsoas", "triceps_brachii", "gluteus_medius")
    own = [key for key in muscles if key[0] in proximal]
    effects.muscles |= {key: "myopathic" for i, key in enumerate(own) if i < 2 or rng.random() < 0.8}


def _motor_neuron(effects: Effects, side: str, muscles: Mapping[tuple[str, str], bool],
                  rng: np.random.Generator) -> None:
    for at, worst in ((side, 1.0), (SIDES[side == "left"], float(rng.uniform(0.3, 0.9)))):
        for nerve in MOTOR:
            grade = worst * float(rng.uniform(0.3, 1.0))
            effects.shifts |= {(nerve, at, "amp"): 6.0 * grade, (nerve, at, "f"): grade,
                               (nerve, at, "lat"): 0.8 * grade}
    own = list(muscles)
    effects.muscles |= {key: "motor_neuron" for i, key in enumerate(own) if i < 3 or rng.random() < 0.85}


def draw_needle_row(muscle: str, side: str, kind: str | None, rng: np.random.Generator) -> EmgRow:
    """What the needle sees in a muscle: at rest, and in the units and their recruitment. `kind` None is healthy."""

    def grade(chance: float, most: int = 3) -> str:
        return f"{rng.integers(1, most + 1)}+" if rng.random() < chance else "-"

    recruitment = "mixed" if rng.random() < 0.2 else "interference"
    if kind is None:
        return EmgRow(side, muscle, "-", "-", "-", "-", "-", "-", recruitment)
    sparse = ("single_mixed", "single", "reduced")[rng.integers(3)]
    if kind == "myopathic":
        return EmgRow(side, muscle, grade(0.35, 2), grade(0.3, 2), "-", "-", grade(0.7, 2), "small",
                      "early" if rng.random() < 0.75 else recruitment)
    if kind == "acute":
        return EmgRow(side, muscle, f"{rng.integers(1, 4)}+", grade(0.8), "-", "-", grade(0.3, 2), "-",
                      sparse if rng.random() < 0.5 else recruitment)
    fascics = grade(0.75, 2) if kind == "motor_neuron" else "-"
    return EmgRow(side, muscle, grade(0.75 if kind == "motor_neuron" else 0.3), grade(0.5 if fascics != "-" else 0.3),
                  fascics, "-", grade(0.4, 2), "large", sparse if rng.random() < 0.8 else recruitment)
