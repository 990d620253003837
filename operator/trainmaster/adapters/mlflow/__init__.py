"""Tracking by MLflow: `tracker` is the port, imported lazily; `store` speaks to an imported MLflow.

MLflow itself is the only memory of what it has been told: `store` reads back before it writes. `metrics` names what is
written, `sqlite` makes a database that a kill cannot spoil, `uri` turns paths into addresses.
"""
