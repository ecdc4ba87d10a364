"""Where the impression of a report sees a disease: in which nerves, or in all nerves of a limb.

Only words of a short list count as understood. A disease of no place (a polyneuropathy, a myopathy, motor neuron
disease), or a word that is not on the list, leaves no nerve of which one could say that it is healthy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from emgecg_cli.core.emg.terms import SIDES, limb
from emgecg_cli.core.reports.emg.healthy import abnormal_word, says_normal
from emgecg_cli.core.reports.emg.statement_words import Token, normal_form, scan
from emgecg_cli.core.reports.emg.statements_read import LONGEST_TEXT

UNREAD = "the impression cannot be read in full"
NO_PLACE = "the impression calls something abnormal and not which nerve"
# A syndrome by the nerve that is caught in it
_SYNDROMES = tuple(
    (re.compile(rf"(?:{chinese})(?:综合[征症])?|(?<![a-z])(?:{english})(?: syndrome)?(?![a-z])", re.I), nerves)
    for chinese, english, nerves in (
        ("腕管", "cts|carpal tunnel", " median nerve "),
        ("肘管|尺管", "cubital tunnel|guyon'?s? canal", " ulnar nerve "),
        ("跗管|踝管", "tarsal tunnel", " tibial nerve, medial plantar nerve, lateral plantar nerve ")))
# A root or a plexus by the limb whose nerves come from it
_ROOT = re.compile(r"神经根|根性|(?<![a-z])(?:radiculopath(?:y|ies)|(?:nerve )?roots?)(?![a-z])", re.I)
_LEVELS = {"upper": re.compile(r"颈|(?<![a-z])(?:c\s?[1-8]|cervical)", re.I),
           "lower": re.compile(r"[腰骶]|(?<![a-z])(?:l\s?[1-5]|s\s?[1-4]|lumb\w*|sacral)", re.I)}
_PLEXUS = {"upper": re.compile(r"臂丛(?:神经)?|brachial plex\w*", re.I),
           "lower": re.compile(r"[腰骶]+丛(?:神经)?|(?:lumbar|sacral|lumbosacral) plex\w*", re.I)}
# What an impression says besides, which names neither a place nor another disease
_ALLOWED = re.compile(
    r"病变|受压|卡压|受累|受损|电生理|结合|临床|符合|请|可能(?:性大)?|可疑|亦|不除外|本次|性|以|主"
    r"|(?<![a-z])(?:(?:mono)?neuropath(?:y|ies)|entrapment|compression|lesions?|injury|damage|consistent|suggest(?:s|ive)?"
    r"|compatible|consider|possible|probable|likely|clinical(?:ly)?|correlation|advised|recommended|please|findings"
    r"|electrophysiological(?:ly)?|electrodiagnostic|level)(?![a-z])", re.I)
# How the disease of the clause before is, in a clause of its own
_GOES_ON = re.compile(r"受累|受压|卡压|(?<![a-z])(?:entrapment|compression)(?![a-z])", re.I)
_BETWEEN = ("filler", "sev", "and", "type", "cond", "limb")  # may stand between a side and its nerve


@dataclass(frozen=True)
class Place:
    """A nerve, or with `nerve` None every nerve of a limb ("upper" or "lower"), on these sides."""

    nerve: str | None
    limb: str | None
    sides: tuple[str, ...]

    def has(self, nerve: str) -> bool:
        """Whether this is the place of a nerve."""
        return nerve == self.nerve if self.nerve else limb(nerve) == self.limb


def places_of(impression: str) -> tuple[Place, ...] | str:
    """The places of all that an impression calls abnormal, both sides where it does not say one; else why they are not
    known: UNREAD or NO_PLACE."""
    if len(impression) > LONGEST_TEXT:
        return UNREAD
    found: list[Place] = []
    for sentence in re.split(r"[;。\n!?]|\.(?=\s|$)", normal_form(impression)):
        here: list[Place] = []
        for clause in re.split(r",|但|而", sentence):
            if why := _read_clause(clause, here):
                return why
        found += here
    return tuple(found)


def _read_clause(clause: str, here: list[Place]) -> str:
    """Add the places of a clause to those of its sentence; returns why they are not known, "" where they are."""
    text, limbs = clause, []
    for place, pattern in _PLEXUS.items():
        text, n = pattern.subn(" ", text)
        limbs += [place] * bool(n)
    if _ROOT.search(text):
        roots = [place for place, pattern in _LEVELS.items() if pattern.search(text)]
        if not roots:
            return NO_PLACE
        limbs += roots
        for pattern in (_ROOT, *_LEVELS.values()):
            text = pattern.sub(" ", text)
    for pattern, nerve in _SYNDROMES:
        text = pattern.sub(nerve, text)
    tokens = [*scan(_ALLOWED.sub(" ", text), needle=False)]
    if any(token.kind in ("unknown", "muscle", "ignored") for token in tokens):
        return UNREAD
    if says_normal(clause):
        return ""
    places = _named(tokens, here)
    sides = _sides(tokens)
    if not any(token.kind == "nerve" for token in tokens):
        limbs += [token.value for token in tokens if token.kind == "limb"]
    places += [Place(None, place, sides or SIDES) for place in limbs]
    if not places and not any(token.kind == "nerve" for token in tokens):
        if _names_a_disease(clause) or (not here and abnormal_word(clause)):
            return NO_PLACE
        places = [Place(place.nerve, place.limb, sides) for place in here if sides]
    here += places
    return ""


def _names_a_disease(clause: str) -> bool:
    """Whether a clause has a word for abnormal beside grades, and what may be said of the disease before it: "motor and
    sensory neuropathy" behind a nerve is another disease."""
    words = (token.text for token in scan(clause, needle=False) if token.kind != "sev")
    return abnormal_word(_GOES_ON.sub(" ", " ".join(words))) is not None


def _named(tokens: Sequence[Token], here: Sequence[Place]) -> list[Place]:
    """The nerves of a clause, each on the sides named straight before it; a side named before no nerve is one more of
    them all. Said again without a side, a nerve is where it was."""
    known = {place.nerve for place in here}
    found: list[Place] = []
    sides: tuple[str, ...] = ()
    words = [token for token in tokens if token.kind not in _BETWEEN]
    for i, token in enumerate(words):
        if token.kind == "side":
            sides = _sides(words[i - 1:i + 1] if sides and words[i - 1].kind == "side" else [token])
        elif token.kind == "nerve" and (sides or token.value not in known):
            found.append(Place(token.value, None, sides or SIDES))
    behind = [word for word, after in pairwise([*words, Token("end", "", "")])
              if word.kind == "side" and after.kind not in ("side", "nerve")]
    if behind:
        found += [Place(token.value, None, _sides(behind)) for token in words if token.kind == "nerve"]
    return found + [Place(None, "lower", place.sides) for place in found if place.nerve == "sciatic"]


def _sides(tokens: Sequence[Token]) -> tuple[str, ...]:
    named = {token.value for token in tokens if token.kind == "side"}
    return tuple(side for side in SIDES if named & {side, "both"})
