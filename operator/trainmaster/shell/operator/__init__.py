"""The operator's process: watches, queue, report server, health, and the Lease that lets one replica act.

Everything starts at once on every replica, but the queue: its workers begin when this replica holds the Lease and its
caches of Jobs and pods are filled. Watches and reports only wake keys. When the Lease is lost the process ends, as it
does when a part of it dies: what it knew is in status, and the next process goes on from there.
"""
