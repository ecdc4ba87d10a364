"""Metrics of what a report says about the patient."""
