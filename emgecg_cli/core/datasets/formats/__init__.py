"""Files as data sets and hospitals have them, each read into arrays and rows: a file of one recording is known by its
content (`recording_files`)."""

from __future__ import annotations

_HERE = "emgecg_cli.core.datasets.formats."

# name -> recording_files.FileFormat, in the order in which a file is held against them
FILE_FORMATS = {
    "wfdb": _HERE + "wfdb_record:FORMAT",
    "npy": _HERE + "numpy_arrays:NPY",
    "npz": _HERE + "numpy_arrays:NPZ",
    "edf": _HERE + "edf:EDF",
    "bdf": _HERE + "edf:BDF",
    "dicom": _HERE + "dicom:FORMAT",
    "scp-ecg": _HERE + "scp_ecg:FORMAT",
    "muse-xml": _HERE + "muse_xml:FORMAT",
    "hl7-aecg": _HERE + "hl7_aecg:FORMAT",
    "sierra-xml": _HERE + "sierra_xml:FORMAT",
    "csv": _HERE + "csv_signals:FORMAT",
}
