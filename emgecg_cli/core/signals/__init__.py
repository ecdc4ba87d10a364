"""(C, L) arrays in, (C, L) arrays out: leads, resampling, quality, drawing."""
