"""EMG and nerve-conduction tables: the words in them, one cell, one row, one case.

`words` is the vocabulary, `terms` finds a name in it, `cells` reads one number, `rows` reads a row and finds
slips across rows, `person` reads age, sex and height, `case` holds the result. Nothing here opens a file.
"""
