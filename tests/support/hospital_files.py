"""Recordings written in the formats that hospitals have, by other means than those they are read with."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from ptbxl_fixture import write_record

from emgecg_cli.core.signals.leads import LEADS, MISSING

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
SCP_CODES = {"I": 1, "II": 2, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64, **{f"V{i}": i + 2 for i in range(1, 7)}}
PATIENT = "MRN-0815"


def write_wfdb(folder: Path, signal: np.ndarray, fs: int) -> Path:
    write_record(folder / "wfdb", signal, fs, LEADS)
    return folder / "wfdb.hea"


def write_csv(folder: Path, signal: np.ndarray, fs: int) -> Path:
    rows = ["time," + ",".join(f"{lead} (mV)" for lead in LEADS)]
    rows += [f"{i / fs:.4f}," + ",".join(f"{value / 1000:.3f}" for value in column)
             for i, column in enumerate(signal.T)]
    return _write(folder / "csv.csv", "\n".join(rows).encode())


def write_npy(folder: Path, signal: np.ndarray, fs: int) -> Path:
    np.save(folder / "npy.npy", signal.T.astype(np.float32))
    return folder / "npy.npy"


def write_npz(folder: Path, signal: np.ndarray, fs: int) -> Path:
    np.savez_compressed(folder / "npz.npz", signal=signal / 1000, fs=fs, leads=LEADS, units="mV")
    return folder / "npz.npz"


def _write_edf(path: Path, signal: np.ndarray, fs: int, kind: int, digital: int) -> Path:
    import pyedflib

    seconds = signal.shape[1] // fs
    with pyedflib.EdfWriter(str(path), len(LEADS), file_type=kind) as writer:
        writer.setPatientCode(PATIENT)
        writer.setSex(0)
        writer.setSignalHeaders([
            {"label": f"ECG {lead}", "dimension": "uV", "sample_frequency": fs, "physical_max": 16000.0,
             "physical_min": -16000.0, "digital_max": digital, "digital_min": -digital, "transducer": "",
             "prefilter": ""} for lead in LEADS])
        writer.writeSamples([np.ascontiguousarray(lead[:seconds * fs].astype(np.float64)) for lead in signal])
    return path


def write_edf(folder: Path, signal: np.ndarray, fs: int) -> Path:
    return _write_edf(folder / "edf.edf", signal, fs, 1, 32000)


def write_bdf(folder: Path, signal: np.ndarray, fs: int) -> Path:
    return _write_edf(folder / "bdf.bdf", signal, fs, 3, 8_000_000)


def write_dicom(folder: Path, signal: np.ndarray, fs: int, groups: int = 1, scheme: str = "SCPECG") -> Path:
    """`groups` multiplex groups, of an equal share of the leads each."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.sequence import Sequence
    from pydicom.uid import ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = TwelveLeadECGWaveformStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["ecg"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data: Any = FileDataset(str(folder / "dicom.dcm"), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientID, data.PatientSex, data.PatientAge, data.Modality = PATIENT, "F", "051Y", "ECG"

    def coded(value: str, designator: str, meaning: str) -> Any:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, designator, meaning
        return Sequence([item])

    made = []
    for rows in np.array_split(np.arange(len(LEADS)), groups):
        group = Dataset()
        group.MultiplexGroupLabel, group.WaveformOriginality = "RHYTHM", "ORIGINAL"
        group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = len(rows), signal.shape[1]
        group.SamplingFrequency, group.WaveformBitsAllocated, group.WaveformSampleInterpretation = fs, 16, "SS"
        definitions = []
        for row in rows:
            one = Dataset()
            code = SCP_CODES[LEADS[row]]
            one.ChannelSourceSequence = coded(f"5.6.3-9-{code}" if scheme == "SCPECG" else f"2:{code}", scheme,
                                              f"Lead {LEADS[row]}")
            one.ChannelSensitivity, one.ChannelSensitivityCorrectionFactor, one.ChannelBaseline = 1.0, 0.5, 10.0
            one.ChannelSensitivityUnitsSequence = coded("uV", "UCUM", "microvolt")
            one.ChannelSampleSkew, one.WaveformBitsStored = 0.0, 16
            definitions.append(one)
        group.ChannelDefinitionSequence = Sequence(definitions)
        stored = np.where(signal[rows].T == MISSING, MISSING, 2 * (signal[rows].T - 10))
        group.WaveformPaddingValue = b"\x00\x80"
        group.WaveformData = np.ascontiguousarray(stored).astype("<i2").tobytes()
        made.append(group)
    data.WaveformSequence = Sequence(made)
    data.save_as(folder / "dicom.dcm", enforce_file_format=True)
    return folder / "dicom.dcm"


def huffman(values: np.ndarray) -> bytes:
    """Whole numbers in the default code of SCP-ECG: 0, then 10s of ones for what is small, else 8 or 16 bits."""
    def code(value: int) -> str:
        if abs(value) <= 8:
            return "0" if not value else "1" * abs(value) + "0" + ("0" if value > 0 else "1")
        return f"1111111110{value & 0xFF:08b}" if -128 <= value < 128 else f"1111111111{value & 0xFFFF:016b}"

    bits = "".join(code(int(value)) for value in values)
    return int(bits + "1" * (-len(bits) % 8), 2).to_bytes(-(-len(bits) // 8), "big")


def write_scp(folder: Path, signal: np.ndarray, fs: int, compressed: bool = False) -> Path:
    """Sections 0, 1, 3 and 6, one microvolt a step; `compressed` as second differences in Huffman's code."""
    def section(number: int, body: bytes) -> bytes:
        body += b"\0" * (len(body) % 2)
        head = struct.pack("<HIBB6x", number, len(body) + 16, 20, 20)
        return struct.pack("<H", binascii.crc_hqx(head + body, 0xFFFF)) + head + body

    length = signal.shape[1]
    person = b"".join(struct.pack("<BH", tag, len(value)) + value
                      for tag, value in ((2, PATIENT.encode() + b"\0"), (8, b"\2"), (4, struct.pack("<HB", 51, 1))))
    leads = b"".join(struct.pack("<IIB", 1, length, SCP_CODES[lead]) for lead in LEADS)
    parts = [row.astype("<i2").tobytes() for row in signal]
    if compressed:
        parts = [huffman(np.concatenate([row[:2], np.diff(row.astype(np.int64), 2)])) for row in signal]
    rhythm = struct.pack("<HHBB", 1000, 1_000_000 // fs, 2 if compressed else 0, 0) + b"".join(
        struct.pack("<H", len(part)) for part in parts) + b"".join(parts)
    made = {1: section(1, person + struct.pack("<BH", 255, 0)),
            3: section(3, struct.pack("<BB", len(LEADS), 0x04 | len(LEADS) << 3 & 0xFF) + leads),
            6: section(6, rhythm)} | ({2: section(2, struct.pack("<H", 19999))} if compressed else {})
    made = dict(sorted(made.items()))
    at = 6 + 16 + 10 * 12
    entries = [(0, 16 + 10 * 12, 7)]
    for number in range(1, 12):
        here = made.get(number, b"")
        entries.append((number, len(here), at + 1 if here else 0))
        at += len(here)
    zero = section(0, b"".join(struct.pack("<HII", *entry) for entry in entries))
    content = struct.pack("<I", 6 + len(zero) + sum(map(len, made.values()))) + zero + b"".join(made.values())
    return _write(folder / "scp.scp", struct.pack("<H", binascii.crc_hqx(content, 0xFFFF)) + content)


def write_muse(folder: Path, signal: np.ndarray, fs: int, step: float = 1.0) -> Path:
    """Eight leads, as the system stores them; `step` microvolts a bit."""
    leads = ""
    for lead in EIGHT:
        data = np.rint(signal[LEADS.index(lead)] / step).astype("<i2").tobytes()
        leads += (f"<LeadData><LeadByteCountTotal>{len(data)}</LeadByteCountTotal><LeadTimeOffset>0</LeadTimeOffset>"
                  f"<LeadSampleCountTotal>{len(data) // 2}</LeadSampleCountTotal>"
                  f"<LeadAmplitudeUnitsPerBit>{step}</LeadAmplitudeUnitsPerBit>"
                  f"<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits><LeadID>{lead}</LeadID>"
                  f"<LeadSampleSize>2</LeadSampleSize><LeadDataCRC32>{zlib.crc32(data)}</LeadDataCRC32>"
                  f"<WaveFormData>{base64.encodebytes(data).decode()}</WaveFormData></LeadData>")
    text = ('<?xml version="1.0" encoding="ISO-8859-1"?>\n<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n<RestingECG>'
            "<MuseInfo><MuseVersion>8.0.2</MuseVersion></MuseInfo><PatientDemographics>"
            f"<PatientID>{PATIENT}</PatientID><PatientAge>51</PatientAge><AgeUnits>YEARS</AgeUnits>"
            "<Gender>FEMALE</Gender><PatientLastName>Müller</PatientLastName></PatientDemographics>"
            f"<Waveform><WaveformType>Rhythm</WaveformType><SampleBase>{fs}</SampleBase>"
            f"<SampleExponent>0</SampleExponent>{leads}</Waveform></RestingECG>")
    return _write(folder / "muse.xml", text.encode("latin-1"))


def write_aecg(folder: Path, signal: np.ndarray, fs: int) -> Path:
    sequences = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{lead.upper()}" codeSystem="2.16.840.1.113883.6.24"/>'
        f'<value xsi:type="SLIST_PQ"><origin value="0" unit="uV"/><scale value="1" unit="uV"/>'
        f'<digits>{" ".join(map(str, row.tolist()))}</digits></value></sequence></component>'
        for lead, row in zip(LEADS, signal, strict=True))
    text = ('<?xml version="1.0" encoding="UTF-8"?><AnnotatedECG xmlns="urn:hl7-org:v3" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><id root="1.2.3"/><componentOf><timepointEvent>'
            "<componentOf><subjectAssignment><subject><trialSubject>"
            f'<id extension="{PATIENT}" root="1.2"/><subjectDemographicPerson><administrativeGenderCode code="F"/>'
            "</subjectDemographicPerson></trialSubject></subject></subjectAssignment></componentOf></timepointEvent>"
            '</componentOf><component><series><code code="RHYTHM"/><component><sequenceSet><component><sequence>'
            '<code code="TIME_ABSOLUTE"/><value xsi:type="GLIST_TS"><head value="20200101120000"/>'
            f'<increment value="{1 / fs}" unit="s"/></value></sequence></component>{sequences}</sequenceSet>'
            "</component></series></component></AnnotatedECG>")
    return _write(folder / "aecg.xml", text.encode())


def write_sierra(folder: Path, signal: np.ndarray, fs: int) -> Path:
    data = base64.encodebytes(signal.astype("<i2").tobytes()).decode()
    text = ('<?xml version="1.0" encoding="UTF-16"?><restingecgdata xmlns="http://www3.medical.philips.com">'
            "<documentinfo><documenttype>SierraECG</documenttype><documentversion>1.04</documentversion>"
            "</documentinfo><patient><generalpatientdata><patientid>"
            f"{PATIENT}</patientid><age><years>51</years></age><sex>Female</sex></generalpatientdata></patient>"
            "<dataacquisition><signalcharacteristics><samplingrate>"
            f"{fs}</samplingrate><resolution>1</resolution><numberchannelsvalid>12</numberchannelsvalid>"
            "<numberchannelsallocated>12</numberchannelsallocated><acquisitiontype>STD-12</acquisitiontype>"
            '</signalcharacteristics></dataacquisition><waveforms><parsedwaveforms dataencoding="Base64" '
            f'compressflag="False" numberofleads="12" leadlabels="{" ".join(LEADS)}" resolution="1" '
            f'durationperchannel="{signal.shape[1] * 1000 // fs}" samplespersecond="{fs}">{data}</parsedwaveforms>'
            "</waveforms></restingecgdata>")
    return _write(folder / "sierra.xml", text.encode("utf-16"))


WRITERS = {"wfdb": write_wfdb, "npy": write_npy, "npz": write_npz, "edf": write_edf, "bdf": write_bdf,
           "dicom": write_dicom, "scp-ecg": write_scp, "muse-xml": write_muse, "hl7-aecg": write_aecg,
           "sierra-xml": write_sierra, "csv": write_csv}


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
