"""The 32 hand-written prompts, and the draw that everything seeded here goes through."""

from __future__ import annotations

import hashlib

SEED_PROMPTS: tuple[str, ...] = (
    "Please write a clinical report for this ECG recording.",
    "Read this ECG and tell me in a short report what you find.",
    "What does this ECG show? Answer in the form of a clinical report.",
    "Here is a twelve-lead ECG; draft the report that should accompany it.",
    "Interpret the electrocardiogram and set down your findings as a cardiologist would.",
    "I need a report on this ECG for the patient's file. Could you write it?",
    "Summarise the findings of this electrocardiogram in a few clear phrases.",
    "Go through the ECG signal lead by lead, then write one report of everything relevant.",
    "How would you report this tracing if it landed on your desk in the cardiology department?",
    "Describe this ECG recording in the words of a diagnostic report.",
    "Give a written interpretation of the electrocardiogram at hand.",
    "Using only what can be seen in the signal, compose a report of this ECG.",
    "A colleague asks for your reading of this ECG. Write the report you would send back.",
    "Produce a concise ECG report from the recording provided.",
    "Could you look over this electrocardiogram and describe its findings for the referring physician?",
    "Turn this ECG signal into a report that a clinician can use.",
    "Have a look at this tracing and put your assessment into a brief report.",
    "The recording is in front of you: what should the ECG report say?",
    "Dictate the report for this twelve-lead electrocardiogram.",
    "Prepare the official interpretation of this ECG, using standard terminology.",
    "Study the electrocardiogram carefully and state your conclusions in a report.",
    "Would you please draw up the diagnostic report for this ECG?",
    "As the reader of this ECG, note down rhythm, conduction and waveform findings in a report.",
    "Examine the heart's electrical activity in this recording and report what you observe.",
    "Write down, in report form, everything of clinical interest in this electrocardiogram.",
    "This ECG has not been read yet. Please provide its interpretation.",
    "From the ECG signal alone, generate a report that describes the recording faithfully.",
    "Compile a brief statement of the findings in this ECG, as it would appear in a hospital record.",
    "Act as the reporting physician and write up this ECG recording.",
    "Tell me what this electrocardiogram reveals, phrased as a formal report.",
    "Review the waveforms of this ECG and provide a report without speculation.",
    "For the attached electrocardiogram, formulate a report in customary clinical language.",
)


def draw(size: int, *key: object) -> int:
    """A uniform index in 0..size-1 that depends on the key alone: SHA-256, so the same on every machine and Python."""
    text = "\x1f".join(str(part) for part in key)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), "big") % size
