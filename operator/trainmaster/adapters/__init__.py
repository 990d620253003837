"""The adapters: each carries one port to something real, or reads what people wrote.

`manifests` turns files into TrainingRuns and problems; `local` runs launchers as processes of this machine;
`mlflow` keeps metrics where people look at them; `series` keeps what detectors read. Nothing in here decides.
"""
