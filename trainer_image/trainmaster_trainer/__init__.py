"""The v2 trainer: one engine, workloads on it."""
