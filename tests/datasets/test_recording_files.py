"""One recording in one file: every format gives the samples of the WFDB original, and nothing hostile gets through."""

from __future__ import annotations

import base64
import gzip
import io
import random
import re
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hospital_files import (
    PATIENT,
    WRITERS,
    write_csv,
    write_dicom,
    write_edf,
    write_muse,
    write_npz,
    write_scp,
    write_sierra,
)
from ptbxl_fixture import twelve_leads

from emgecg_cli.core.datasets.formats import FILE_FORMATS
from emgecg_cli.core.datasets.formats.recording_files import (
    NOTHING,
    FileRecording,
    Stated,
    file_format,
    read_recording,
)
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.delineation import measure
from emgecg_cli.core.signals.derived_leads import derive_leads
from emgecg_cli.core.signals.leads import LEADS, MISSING

STATED = Stated(500, "uV", LEADS)
FS = 500
HOSTILE = 500


def read(path: Path, stated: Stated = NOTHING) -> FileRecording:
    return read_recording(str(path.parent), str(path), stated)


def refusal(path: Path, stated: Stated = NOTHING) -> RecordError:
    with pytest.raises(RecordError) as caught:
        read(path, stated)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    return caught.value


def put(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_every_format_gives_the_samples_of_the_original_whatever_the_file_is_called(name: str, tmp_path: Path) -> None:
    signal = twelve_leads(3, FS)
    path = WRITERS[name](tmp_path, signal, FS)
    if name != "wfdb":  # its signal file is found by its name
        path = path.rename(tmp_path / "a recording")
    found = read(path, STATED if name == "npy" else Stated())
    there = [LEADS.index(lead) for lead in LEADS if lead not in found.leads.absent_leads]
    assert found.leads.fs == FS and np.array_equal(found.leads.signal[there], signal[there])
    assert found.leads.flags == () and found.leads.n_clipped == 0
    assert len(there) == (8 if name == "muse-xml" else 12) and found.has_two_limb_leads == (name == "muse-xml")
    assert (found.patient == PATIENT) == file_format(name).names_patients
    assert (found.leads.signal[[i for i in range(12) if i not in there]] == MISSING).all()


def test_real_recordings_are_the_same_in_every_format(shared_data: Path, tmp_path: Path) -> None:
    """PTB-XL's and LUDB's; eight leads measure the same to a millisecond. The axis of LUDB's does not: within the QRS
    complex what it stores as aVF is up to 0.15 mV off what follows from I and II."""
    for header in ("ptb-xl/records500/00000/00002_hr.hea", "ludb/data/1.hea"):
        original = read(shared_data / header).leads
        signal, measured = np.asarray(original.signal), measure(np.asarray(original.signal), FS)
        assert original.fs == FS and measured.qt_ms
        for name in WRITERS:
            found = read(WRITERS[name](tmp_path, signal, FS), STATED).leads
            if name != "muse-xml":
                assert np.array_equal(found.signal, signal), (header, name)
                continue
            again = measure(derive_leads(np.asarray(found.signal), found.absent_leads)[0], FS)
            for what in ("heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms"):
                assert getattr(again, what) == pytest.approx(getattr(measured, what), abs=1.0), (header, what)


def test_what_a_file_says_of_the_patient_is_read(tmp_path: Path) -> None:
    signal = twelve_leads(3, FS)
    for name in ("dicom", "muse-xml", "scp-ecg", "sierra-xml"):
        found = read(WRITERS[name](tmp_path, signal, FS))
        assert (found.age, found.sex) == (51.0, "F"), name


def test_a_sample_published_with_pydicom_is_read_as_pydicom_calibrates_it() -> None:
    pydicom = pytest.importorskip("pydicom")
    path = Path(pydicom.__file__).parent / "data" / "test_files" / "waveform_ecg.dcm"
    found, oracle = read(path), pydicom.dcmread(path)
    assert found.leads.fs == 1000 and found.leads.flags == ("averaged beats: not read",) and found.sex == "F"
    codes = [one.ChannelSourceSequence[0].CodeMeaning for one in oracle.WaveformSequence[0].ChannelDefinitionSequence]
    order = [next(i for i, code in enumerate(codes) if re.match(rf"Lead {lead}\b", code)) for lead in LEADS]
    assert np.abs(found.leads.signal - oracle.waveform_array(0).T[order]).max() <= 0.5
    assert oracle.WaveformSequence[0].ChannelDefinitionSequence[0].ChannelSensitivityUnitsSequence[0].CodeValue == "uV"


def test_samples_published_with_pyedflib_have_no_leads_and_say_so() -> None:
    pyedflib = pytest.importorskip("pyedflib")
    for name in ("test_generator.edf", "test_generator.bdf"):
        path = Path(pyedflib.__file__).parent / "tests" / "data" / name
        if path.is_file():
            error = refusal(path)
            assert error.reason == "no standard leads" and "noise" in error.detail


def test_compressed_scp_and_coarse_steps_of_a_cart_are_read(tmp_path: Path) -> None:
    signal = twelve_leads(3, FS)
    assert np.array_equal(read(write_scp(tmp_path, signal, FS, compressed=True)).leads.signal, signal)
    found = read(write_muse(tmp_path, signal, FS, step=4.88)).leads
    there = [0, 1, *range(6, 12)]
    assert 1 < np.abs(found.signal[there].astype(int) - signal[there]).max() <= 3


def test_groups_of_a_general_waveform_are_joined_and_padding_is_missing(tmp_path: Path) -> None:
    signal = twelve_leads(3, FS)
    signal[4:, 20:30] = MISSING
    assert np.array_equal(read(write_dicom(tmp_path, signal, FS, groups=4, scheme="MDC")).leads.signal, signal)


def test_signals_that_are_no_leads_are_named_and_rates_become_one(tmp_path: Path) -> None:
    pyedflib = pytest.importorskip("pyedflib")
    signal, path = twelve_leads(3, FS), tmp_path / "a.edf"
    rates = {"II": 500, "V1": 250, "SpO2": 1}
    with pyedflib.EdfWriter(str(path), 3) as writer:
        writer.setSignalHeaders([{"label": name, "dimension": "mV" if name != "SpO2" else "%", "sample_frequency": fs,
                                  "physical_max": 8.0, "physical_min": -8.0, "digital_max": 8000, "digital_min": -8000,
                                  "transducer": "", "prefilter": ""} for name, fs in rates.items()])
        writer.writeSamples([signal[1] / 1000, signal[6, ::2] / 1000, np.ones(10)])
    found = read(path).leads
    assert found.fs == 500 and found.unused_signals == ("SpO2",)
    assert np.abs(found.signal[1].astype(int) - signal[1]).max() <= 1
    assert found.signal[6].shape == signal[6].shape and abs(np.corrcoef(found.signal[6], signal[6])[0, 1]) > 0.99


def test_csv_of_other_hands_is_read(tmp_path: Path) -> None:
    signal = twelve_leads(3, FS)[:, :400]
    rows = [";".join(f"{value / 1000:.3f}".replace(".", ",") for value in column) for column in signal.T]
    semicolons = "# fs = 500 Hz\n# Units: mV\n# sex: F\n" + ";".join(f"Lead {lead}" for lead in LEADS) + "\n"
    found = read(put(tmp_path / "a", "\ufeff" + semicolons + "\n".join(rows)))
    assert np.array_equal(found.leads.signal, signal) and found.sex == "F"
    below = "'Elapsed time'\t" + "\t".join(f"'{lead}'" for lead in LEADS) + "\n'seconds'\t" + "\t".join(["'uV'"] * 12)
    plain = [f"{i / 500:.3f}\t" + "\t".join(map(str, column)) for i, column in enumerate(signal.T.tolist())]
    content = "\r\n".join([below, *plain])
    assert np.array_equal(read(put(tmp_path / "b", content.encode("utf-16"))).leads.signal, signal)
    bare = "\n".join(" ".join(map(str, column)) for column in signal.T.tolist())
    assert np.array_equal(read(put(tmp_path / "c", bare), STATED).leads.signal, signal)
    assert "--file-leads" in str(refusal(tmp_path / "c"))
    assert "--file-fs" in str(refusal(tmp_path / "c", Stated(None, "uV", LEADS)))
    assert "--file-units" in str(refusal(tmp_path / "c", Stated(500, None, LEADS)))


def test_samples_and_times_that_a_csv_leaves_out_stay_missing(tmp_path: Path) -> None:
    lines = ["ms,II [uV],note"] + [f"{2 * i},{'' if i == 7 else i}," for i in range(100) if not 20 <= i < 30]
    found = read(put(tmp_path / "a.csv", "\n".join(lines))).leads
    assert found.fs == 500 and found.signal.shape[1] == 100 and found.unused_signals == ("note",)
    assert np.flatnonzero(found.signal[1] == MISSING).tolist() == [7, *range(20, 30)]
    assert found.signal[1, 99] == 99
    lines[50] = lines[49]
    assert "do not grow" in str(refusal(put(tmp_path / "b.csv", "\n".join(lines))))


def test_a_compressed_file_is_unpacked_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signal = twelve_leads(3, FS)
    packed = gzip.compress(write_csv(tmp_path, signal, FS).read_bytes())
    assert np.array_equal(read(put(tmp_path / "a.csv.gz", packed)).leads.signal, signal)
    assert "ends early" in str(refusal(put(tmp_path / "b.gz", packed[:len(packed) // 2])))
    monkeypatch.setattr("emgecg_cli.core.datasets.formats.recording_files.LARGEST_FILE", 1 << 20)
    bomb = gzip.compress(b"\0" * (1 << 22))
    assert len(bomb) < 1 << 13 and refusal(put(tmp_path / "c.gz", bomb)).reason == "file too large"


BOMB = '<!DOCTYPE RestingECG [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9)) + "]>"


@pytest.mark.parametrize("doctype", [
    BOMB, '<!DOCTYPE RestingECG [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    '<!DOCTYPE RestingECG [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x.dtd"> %p;]>'])
def test_xml_that_declares_entities_is_refused(doctype: str, tmp_path: Path) -> None:
    text = write_muse(tmp_path, twelve_leads(3, FS)[:, :500], FS).read_text("latin-1")
    hostile = re.sub("<!DOCTYPE[^>]*>", lambda _: doctype, text)
    hostile = hostile.replace("M\xfcller", "&j;" if doctype == BOMB else "&x;" if "% p" not in doctype else "x")
    assert refusal(put(tmp_path / "x.xml", hostile.encode("latin-1"))).reason == "unsafe XML"


def test_files_that_are_no_recordings_say_what_they_are(tmp_path: Path) -> None:
    signal = twelve_leads(3, FS)[:, :500]
    muse = write_muse(tmp_path, signal, FS).read_bytes()
    deep = b"<RestingECG>" + b"<a>" * 300 + b"</a>" * 300 + b"</RestingECG>"
    sealed = b'<?xml version="1.0"?><RestingECG><EncryptedData xmlns="http://www.w3.org/2001/04/xmlenc#"/></RestingECG>'
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "x")
    pickled = io.BytesIO()
    np.save(pickled, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    long = WRITERS["npy"](tmp_path, signal, FS).read_bytes().replace(b"(500, 12)", b"(999, 12)", 1)
    for content, reason in ((b"", "unreadable file"), (b"%PDF-1.7", "unknown format"), (b"hello\n", "unknown format"),
                            (buffer.getvalue(), "unknown format"), (b"Salted__" + b"x" * 99, "encrypted file"),
                            (b"-----BEGIN PGP MESSAGE-----\n\nabc\n", "encrypted file"), (deep, "unsafe XML"),
                            (sealed, "encrypted file"), (muse[:len(muse) // 2], "unreadable file"),
                            (pickled.getvalue(), "unreadable file"), (long, "wrong length"),
                            (b"name,value\na,1\nb,2\n", "no standard leads"), (b"\0" * 5000, "unknown format")):
        assert refusal(put(tmp_path / "x", content)).reason == reason, (content[:40], reason)


def test_wrong_lengths_and_checksums_set_a_file_aside(tmp_path: Path) -> None:
    signal = twelve_leads(3, FS)
    for name in ("edf", "bdf", "dicom", "scp-ecg", "npy", "npz", "hl7-aecg", "sierra-xml", "muse-xml"):
        whole = WRITERS[name](tmp_path, signal, FS).read_bytes()
        for cut in (len(whole) - 3001, len(whole) // 2, 300):
            refusal(put(tmp_path / "cut", whole[:cut]), STATED)
    muse = write_muse(tmp_path, signal, FS).read_bytes()
    changed = muse.replace(b"<LeadDataCRC32>", b"<LeadDataCRC32>1", 1)
    assert refusal(put(tmp_path / "x", changed)).reason == "checksum mismatch"
    scp = bytearray(WRITERS["scp-ecg"](tmp_path, signal, FS).read_bytes())
    scp[-100] ^= 1
    assert refusal(put(tmp_path / "x", bytes(scp))).reason == "checksum mismatch"
    sierra = write_sierra(tmp_path, signal, FS).read_bytes()
    twice = sierra.decode("utf-16").replace('"I II III', '"I II II').encode("utf-16")
    assert refusal(put(tmp_path / "x", twice)).reason == "lead named twice"


def test_files_are_read_within_their_root(tmp_path: Path) -> None:
    outside = write_edf(tmp_path, twelve_leads(3, FS), FS)
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.edf").symlink_to(outside)
    assert refusal(root / "link.edf").reason == "path outside root"
    assert refusal(root).reason in ("not a file", "path outside root")


@pytest.mark.parametrize(("name", "module"), [("edf", "pyedflib"), ("dicom", "pydicom"), ("muse-xml", "ecgdatakit")])
def test_a_library_that_is_missing_is_named_with_its_command(name: str, module: str, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    path = WRITERS[name](tmp_path, twelve_leads(3, FS), FS)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MedReportError) as caught:
        read(path)
    assert module in caught.value.message and "medreport[hospital]" in str(caught.value.hint)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A file with one to four faults: bytes turned, cut out, doubled, swapped for numbers, or the end missing."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(max(1, min(len(found), rng.choice((64, 600, 4000, 10 ** 9)))))
        size = rng.choice((1, 2, 4, 8, 40))
        how = rng.randrange(6)
        if how == 0:
            found[at:at + size] = rng.randbytes(size)
        elif how == 1:
            del found[at:at + size]
        elif how == 2:
            found[at:at] = found[at:at + size]
        elif how == 3:
            found[at:at + size] = rng.choice((b"\xff", b"\0", b"9", b" ", b"-", b"<", b"&")) * size
        elif how == 4:
            del found[at:]
        else:
            digits = [i for i, byte in enumerate(found[:6000]) if 48 <= byte < 58]
            if digits:
                found[rng.choice(digits)] = rng.choice(b"0123456789e.-")
        if not found:
            return b"x"
    return bytes(found)


def test_hostile_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    """Of all formats in turn, seeded; one that is read has the shape it says."""
    signal = twelve_leads(3, FS)[:, :250]
    formats = [name for name in WRITERS if name != "wfdb"]
    whole = {name: WRITERS[name](tmp_path, signal, FS).read_bytes() for name in formats}
    refused = 0
    for number in range(HOSTILE):
        name = formats[number % len(formats)]
        path = put(tmp_path / "x", mutated(whole[name], random.Random(number)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = read(path, STATED)
        except RecordError as error:
            assert "\n" not in str(error) and len(str(error)) < 400 and str(tmp_path) not in str(error)
            assert "/tmp" not in str(error), error
            refused += 1
        else:
            assert found.leads.signal.dtype == np.int16 and found.leads.signal.shape[0] == 12
    assert HOSTILE // 3 < refused < HOSTILE


def test_an_archive_of_many_zeros_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_npz(tmp_path, np.zeros((12, 200_000), np.int16), FS)
    monkeypatch.setattr("emgecg_cli.core.datasets.formats.numpy_arrays.LARGEST_FILE", 1 << 20)
    assert refusal(path).reason == "file too large"


def test_xli_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """Codes that repeat one byte, each a byte longer than the last: the longest string there is, over and over."""
    codes = [0, *range(256, 1022), *([1021] * 12_000)]
    bits = "".join(f"{code:010b}" for code in codes)
    chunk = int(bits + "0" * (-len(bits) % 8), 2).to_bytes(-(-len(bits) // 8), "big")
    packed = base64.b64encode(len(chunk).to_bytes(4, "little") + b"\0\0\0\0" + chunk).decode()
    text = write_sierra(tmp_path, twelve_leads(3, FS)[:, :500], FS).read_bytes().decode("utf-16")
    text = re.sub(r'(<parsedwaveforms[^>]*)compressflag="False"([^>]*>)[^<]*',
                  lambda found: f'{found[1]}compressflag="True" compression="XLI"{found[2]}{packed}', text)
    path = put(tmp_path / "x.xml", text.encode("utf-16"))
    assert path.stat().st_size < 50_000 and refusal(path).reason == "file too large"
