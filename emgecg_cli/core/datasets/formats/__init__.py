"""Files as data sets and hospitals have them, each read into arrays and rows: a file of one recording is known by its
content (`recording_files`)."""
