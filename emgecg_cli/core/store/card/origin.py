"""Where the known sets come from: licence and citation, as their publishers ask."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """A published set: its name, the licence of its data, and what to cite."""

    name: str
    licence: str
    cite: str


_CHALLENGE = "Perez Alday et al. 2020, Physiological Measurement 41:124003"
ORIGINS = {
    "ptb-xl": Origin("PTB-XL", "CC BY 4.0", "Wagner et al. 2020, Scientific Data 7:154"),
    "mimic-iv-ecg": Origin("MIMIC-IV-ECG", "ODbL 1.0", "Gow et al. 2023, PhysioNet, doi:10.13026/4nqg-sb35"),
    "code15": Origin("CODE-15%", "CC BY 4.0", "Ribeiro et al. 2021, Zenodo, doi:10.5281/zenodo.4916206"),
    "cpsc2018": Origin("CPSC2018", "CC BY 4.0 (copy of the PhysioNet/CinC Challenge)",
                       "Liu et al. 2018, Journal of Medical Imaging and Health Informatics 8:1368–1373"),
    "chapman-ningbo": Origin("Chapman-Shaoxing and Ningbo", "CC BY 4.0",
                             "Zheng et al. 2020, Scientific Data 7:48; Zheng et al. 2020, Scientific Reports 10:2898"),
    "georgia": Origin("Georgia 12-lead ECG", "CC BY 4.0 (copy of the PhysioNet/CinC Challenge)", _CHALLENGE),
    "ludb": Origin("LUDB", "ODC-By 1.0", "Kalyakulina et al. 2020, IEEE Access 8:186181–186190"),
}
