"""Weights as others publish them: to a run that `generate` takes, and back to the published names."""
