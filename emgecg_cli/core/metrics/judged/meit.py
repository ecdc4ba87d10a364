"""MEIT's four criteria for ECG reports (Wan et al. 2024, Table 6), each from 1 to 5."""

from __future__ import annotations

from emgecg_cli.core.metrics.judged.criteria import Criteria, Criterion, Sample

CRITERIA = Criteria(
    name="meit", version=1, role="You are an expert in ECG text evaluation.", lowest=1, highest=5,
    lowest_means="poor", highest_means="expert",
    criteria=(
        Criterion("terminology", "Medical Terminology Accuracy",
                  "are the medical terms correct and appropriate for what the reference describes?"),
        Criterion("consistency", "Logical Consistency",
                  "are the statements in a logical, medically sound order, without contradicting each other?"),
        Criterion("completeness", "Completeness",
                  "is everything of the reference there: rhythm, rate, every abnormality?", telling=True),
        Criterion("diagnosis", "Diagnostic Accuracy",
                  "do the diagnoses agree with those of the expert's reference, with none missing, added or reversed?",
                  telling=True),
    ),
    samples=(
        Sample("Atrial fibrillation with rapid ventricular response. Left bundle branch block.",
               "Sinus bradycardia. Inferior myocardial infarction, age undetermined. First degree AV block.",
               "No atrial fibrillation. No left bundle branch block."),
        Sample("Sinus rhythm. Acute anterior myocardial infarction with ST elevation in V1-V4.",
               "Atrial flutter with 4:1 conduction. Right bundle branch block. Left axis deviation.",
               "Sinus rhythm. No myocardial infarction, no ST elevation."),
    ))
