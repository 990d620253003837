"""What turns decisions into deeds: the work queue, the reconciler, the report server, the tracking pump.

One loop (`reconcile.Reconciler`): observe -> `core.decide` -> commit status -> tell Events -> carry out effects. It is
the same loop in a cluster and on a laptop; only the adapters behind its ports differ.
"""
