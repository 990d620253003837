"""The life of one run: launches, outcomes, deadlines, suspension, rerun, conditions, effects.

`decide` calls, in order: `absorb` (status learns what jobs and reports say), `course` (what should happen next: it asks
`outcome` how a launch ended, `account` who pays for it, `nodes` whether its node is to blame, `waiting` why a pod does
not run or does not go, `deadlines` what is due, and `records` what is left of a run that is gone), `recovery` for
a run that trains, `standing` (how it reads to kstatus and to people), `effects` (what committed decisions do) and
`events` (what is worth telling).
"""
