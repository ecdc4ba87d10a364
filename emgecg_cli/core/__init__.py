"""The core: functions that take and return values and raise `MedReportError`. Nothing here prints or parses options.

The rooms stand in one order, and each imports only those before it; `tests/test_house.py` holds it.
"""
