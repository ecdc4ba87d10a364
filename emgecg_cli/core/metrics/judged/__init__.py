"""What language models say of a report beside its reference: criteria, judges whose controls come out right, agreement.

A suite of criteria is one file with a `criteria.Criteria`, and one line in `names.JUDGE_CRITERIA`.
"""
