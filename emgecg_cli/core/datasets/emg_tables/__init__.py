"""EMG and nerve-conduction tables from a local folder: the two published forms of ETM, and CSV tables of any hospital.

`read_etm` streams a folder. `mapping` holds the names of columns, `files` goes through the files, `shapes` reads a
table inside a record, `tables_form`, `llm_form` and `csv_form` make cases of the three forms. docs/emg-tables.md is the
page for those who bring their own tables.
"""

from emgecg_cli.core.datasets.emg_tables.cases import ItemMatrix, RawExamination
from emgecg_cli.core.datasets.emg_tables.reader import read_etm, survey_etm

__all__ = ["ItemMatrix", "RawExamination", "read_etm", "survey_etm"]
