"""Grounded instructions: for each recording an interpretation whose findings are measured, after GEM.

What the report states and what is measured on each beat go into a prompt; a language model, or rules, write how a
cardiologist gets from the one to the other. Every text is checked before it is kept (`checks`): what is said that the
report does not say, and what is quoted that was not measured, sets it aside with the reason.
"""
