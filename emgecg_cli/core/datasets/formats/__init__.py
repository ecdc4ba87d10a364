"""Files as data sets ship them: WFDB, MATLAB, HDF5 and CSV, each read into arrays and rows."""
