"""Kubernetes behind the ports: runs, Jobs and pods as the API server has them.

Reads come from caches that watches keep (`reflector`, `store`); a live look asks the server for the run and for the
Jobs that could exist, by name. Writes go through one session (`client`), each fenced by resourceVersion, UID or a
deterministic name. What the caches keep of a Job or a pod is what decisions need of it, not the object.
"""
