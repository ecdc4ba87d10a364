"""The core: functions that take and return values and raise `MedReportError`. Nothing here prints or parses options.

Import order, total; a room may import only those before it:
errors, artifacts, manifest, claims, names, config -> signals -> datasets -> store -> llm
-> {instructions, perturbations} -> models -> training -> generation. `metrics` depends on the first group, signals,
store and llm only; `demo` stands on top of all.
"""
