"""The open sets: where each one lies, which of its files are needed, and about how much room they take. Torch-free.

Only sets that anyone may have without an account are here.
"""

from __future__ import annotations

from dataclasses import dataclass

from emgecg_cli.core.config import DATA
from emgecg_cli.core.endpoints import is_http_address
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.names import unknown_name

PHYSIONET = "https://physionet.org/files/"
GB = 10**9


@dataclass(frozen=True)
class OpenSet:
    """One open set.

    `site` is "physionet" (a folder with SHA256SUMS.txt), "zenodo" (a record of its API) or "hub" (Hugging Face dataset
    repositories, then `wanted` names them). `base` is the address that a mirror replaces. `wanted` are the files and
    folders (ending in "/") that are needed, all where it is empty; `by_fs` are the folders of one sampling frequency
    each. `inside` is the folder of the published set that becomes the root. `size` is the room in bytes that the set
    takes, `fs_sizes` that of the folders in `by_fs`. `shows` are names one of which a root of this set holds.
    """

    base: str
    site: str
    size: int
    shows: tuple[str, ...]
    wanted: tuple[str, ...] = ()
    by_fs: tuple[tuple[int, str], ...] = ()
    fs_sizes: tuple[int, ...] = ()
    inside: str = ""


# Sizes are those of the files, rounded up; CODE-15% is its unpacked parts and two archives on their way.
SETS = {
    "ptb-xl": OpenSet(PHYSIONET + "ptb-xl/1.0.3/", "physionet", 10**7, ("ptbxl_database.csv",),
                      wanted=("ptbxl_database.csv", "scp_statements.csv", "LICENSE.txt"),
                      by_fs=((100, "records100/"), (500, "records500/")), fs_sizes=(6 * 10**8, 27 * 10**8)),
    "mimic-iv-ecg": OpenSet(PHYSIONET + "mimic-iv-ecg/1.0/", "physionet", 98 * GB, ("record_list.csv",)),
    "code15": OpenSet("https://zenodo.org/api/records/4916206", "zenodo", 75 * GB, ("exams.csv",)),
    "cpsc2018": OpenSet(PHYSIONET + "challenge-2021/1.0.3/", "physionet", 14 * 10**8, ("g1", "RECORDS"),
                        inside="training/cpsc_2018/"),
    "chapman-ningbo": OpenSet(PHYSIONET + "ecg-arrhythmia/1.0.0/", "physionet", 56 * 10**8, ("WFDBRecords",)),
    "georgia": OpenSet(PHYSIONET + "challenge-2021/1.0.3/", "physionet", 13 * 10**8, ("g1", "RECORDS"),
                       inside="training/georgia/"),
    "ludb": OpenSet(PHYSIONET + "ludb/1.0.1/", "physionet", 10**8, ("ludb.csv",)),
    "etm": OpenSet("https://huggingface.co", "hub", 5 * 10**8, ("ETM-17k",),
                   wanted=("fangbingzi/ETM-17k", "fangbingzi/ETM-17k-LLM")),
}


def open_set(dataset: str) -> OpenSet:
    """The set of that name; raises MedReportError for one that cannot be downloaded."""
    if dataset not in SETS:
        raise unknown_name("download of", dataset, SETS)
    return SETS[dataset]


def wanted_names(chosen: OpenSet, fs: int | None) -> tuple[str, ...]:
    """Files and folders to fetch, for recordings stored at `fs` Hz (None: 100); () is all of the set.

    The lowest rate that is not below `fs` would have to be resampled in vain, so that any other rate than the lowest
    takes the highest, as the reader does.
    """
    folder = _folder_of(chosen, fs)
    return (*chosen.wanted, folder) if folder else chosen.wanted


def room_needed(chosen: OpenSet, fs: int | None) -> int:
    """About how many bytes the files take on disk."""
    folder = _folder_of(chosen, fs)
    return chosen.size + sum(size for (_, name), size in zip(chosen.by_fs, chosen.fs_sizes, strict=True)
                             if name == folder)


def _folder_of(chosen: OpenSet, fs: int | None) -> str | None:
    if not chosen.by_fs:
        return None
    lowest, highest = chosen.by_fs[0], chosen.by_fs[-1]
    return lowest[1] if fs in (None, lowest[0]) else highest[1]


def default_root(dataset: str) -> str:
    """Where a set is put, and looked for, when no folder is named."""
    return f"{DATA}/{dataset}"


def check_mirror(base_url: str) -> str:
    """The address with its last "/" taken off; raises MedReportError for what is no http(s) address."""
    from urllib.parse import urlsplit

    parts = urlsplit(base_url) if is_http_address(base_url) else None
    if parts is None or parts.query or parts.fragment or parts.username:
        raise MedReportError("--mirror is no plain http(s) address",
                             "it is the address of the folder that holds SHA256SUMS.txt (for Zenodo, of the record)")
    return base_url.rstrip("/")
