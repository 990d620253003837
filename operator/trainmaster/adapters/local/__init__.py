"""The Cluster port on one machine: objects are JSON files, Jobs are launcher processes.

`state_dir` knows the folders and locks, `objects` keeps TrainingRuns as an API server would (UID, generation,
resourceVersion, immutability), `jobs` keeps one file per Job, `processes` starts, watches and ends launchers, and
`cluster` is the port over them. Nothing here decides anything.
"""
