"""The adapters: each carries one port to something real, or reads what people wrote.

`manifests` turns files into TrainingRuns and problems; `local` runs launchers as processes of this machine; the
`mlflow_*` modules keep metrics; the `series_*` modules keep the points that detectors read. Nothing in here decides.
"""
