"""How recorders spell the names of the twelve leads, and which names that look alike are other signals.

Known are the lead itself (`II`, `aVR`, `v5`), its French, Spanish, Portuguese and Italian name (`DII`, `D2`), the
chest leads by their electrode (`C1` to `C6`), the codes of IEEE 11073 and HL7 (`MDC_ECG_LEAD_II`), a word before it
(`Lead-I`, `ECG II`, `ECG lead aVF`), a unit after it (`V1 (mV)`) and a blank or dash inside it (`V 1`, `D-I`). Other
signals stay other signals: modified leads (`MLII`, `MCL1`, `CM5`), numbered channels (`ECG1`, `Lead 1`), right and
posterior leads (`V3R`, `V7`), differences (`II-V2`), and an inverted lead (`-aVR`), which is not the lead.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

from emgecg_cli.core.signals.leads import LEADS

LIMB_SPELLINGS = {"I": ("di", "d1"), "II": ("dii", "d2"), "III": ("diii", "d3")}
SPELLINGS: Mapping[str, int] = {
    spelling: row for row, lead in enumerate(LEADS)
    for spelling in (lead.lower(), *LIMB_SPELLINGS.get(lead, ()), *((f"c{lead[1]}",) if lead[0] == "V" else ()))}
# electrodes of an EEG: beside them C3 and C4 are electrodes as well
_EEG = re.compile(r"eeg\b.*|(?:fp?[1-8z]|cz|pz|oz|p[3478]|o[12]|t[3-8]|a[12]|m[12])(?:[-\s].*)?")
# A dash joins a word and a lead, or stands between blanks; right before a lead, after a blank, it is a sign.
_SEPARATOR = r"(?:[\s_.:]+(?:-\s+)?|-\s*)"
_WORD = re.compile(rf"(?:(?:mdc{_SEPARATOR})?(?:ecg|ekg|lead|ableitung|d[eé]riva\w*|elec{_SEPARATOR}potl|导联)"
                   rf"(?:{_SEPARATOR})?)(?=\S)")
_UNIT = re.compile(r"(?:\s*[(\[]\s*(?:[mµμu]?v|einthoven|goldberger|wilson)\s*[)\]]|[\s_/][mµμu]v|\s*导联)$")
# what stands inside the name of one lead: `V 1`, `D_I`, `a VR`, `V-1`
_PARTING = re.compile(r"[\s_]+|(?<=\w)-(?=\w)")
_LONGEST = 80


def lead_rows(sig_name: Sequence[str]) -> dict[int, int]:
    """Map the row of each standard lead in `leads.LEADS` to its row in a file, by its name there.

    Names that are no spelling of a standard lead are left out, and so are `C1` to `C6` beside electrodes of an EEG.
    Raises ValueError when two signals are named as one lead.
    """
    rows: dict[int, int] = {}
    has_eeg = any(_is_eeg(name) for name in sig_name)
    for source_row, name in enumerate(sig_name):
        lead = lead_of(name)
        if lead is None or (has_eeg and _is_chest_electrode(name)):
            continue
        if lead in rows:
            other = sig_name[rows[lead]]
            raise ValueError(f"lead {LEADS[lead]} is named twice"
                             + (f", as {other[:_LONGEST]} and as {name[:_LONGEST]}" if name != other else ""))
        rows[lead] = source_row
    return rows


@lru_cache(maxsize=1024)
def lead_of(name: str) -> int | None:
    """The row in `leads.LEADS` of the lead that a name spells; None for the name of anything else."""
    return SPELLINGS.get(_bare(name))


def named(names: Sequence[str]) -> list[str]:
    """Names of signals for messages: shortened, with a placeholder for those without a name."""
    return [name.strip()[:_LONGEST] or "(no name)" for name in names]


def _bare(name: str) -> str:
    """The name without what stands around the lead, in lower case; full-width letters and Roman numerals as plain."""
    text = _UNIT.sub("", unicodedata.normalize("NFKC", name[:2 * _LONGEST]).strip().lower())
    while match := _WORD.match(text):
        text = text[match.end():]
    return _PARTING.sub("", text) if text[:1] in ("a", "c", "d", "v") else text


@lru_cache(maxsize=1024)
def _is_eeg(name: str) -> bool:
    return _EEG.fullmatch(name[:_LONGEST].strip().lower()) is not None


def _is_chest_electrode(name: str) -> bool:
    return _bare(name)[:1] == "c"
