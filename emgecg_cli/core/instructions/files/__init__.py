"""Files of conversations about recordings, as GEM and ECGBench have them: read, joined to a store, and written."""
