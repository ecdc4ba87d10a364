"""Answers to the closed questions of ECGBench: labels from a list, one option of several, options of ECG-QA."""
