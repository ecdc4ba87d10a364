"""medreport: from raw ECG and EMG recordings to clinical reports whose every score can be reproduced."""

__version__ = "0.1.0"
