"""The series of runs: `memory` does the bookkeeping, `files` keeps it on disk through any kill."""
