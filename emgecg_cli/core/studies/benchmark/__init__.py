"""The tasks of MEIT's paper over a grid of models, and its tables from these runs beside the published numbers."""
