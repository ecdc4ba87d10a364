"""What the text of an ECG report states, as SCP-ECG statements: each present, possible or absent."""
