"""From findings to corrections, within budgets.

`policy` picks the worst finding that has a rule; `corrections` turns the rule into absolute targets, which a directive
carries to the training process. The first rung of the ladder (DESIGN 3.5) only: adjust the living process.
"""
