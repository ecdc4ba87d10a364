"""Whole experiments in one call, over all of core."""
