"""Predictions files: our own, and those of others, whose fields have other names."""

from emgecg_cli.core.predictions.fields import parse_fields
from emgecg_cli.core.predictions.reading import Predictions, read_predictions

__all__ = ["Predictions", "parse_fields", "read_predictions"]
