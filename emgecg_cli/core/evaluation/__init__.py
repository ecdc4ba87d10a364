"""What is done with metrics: scores of a predictions file, intervals, slices, baselines, audit, page."""
