"""Signal encoders: modules with an attribute `width` that map a signal (B, C, L) to features (B, E), E = width."""
