"""The command line: `trainmaster`.

`main` holds the program, one module each its commands; `output` prints for people (tables) and for programs (JSON and
YAML, on standard output, nothing else there). What takes long to import is imported by the command that needs it.
Exit codes are in `exits`.
"""
