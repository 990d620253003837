"""The life of one run: launches, outcomes, deadlines, suspension, rerun, conditions, effects.

`decide` calls, in order: `absorb` (status learns what jobs and reports say), `rerun` (a changed `spec.rerun` ends the
old series and starts a new one), `course` (what should happen next), `corrections` (what the detectors ask for),
`effects` (what committed decisions do) and `conditions` (how it all reads to kstatus and to people).
"""
