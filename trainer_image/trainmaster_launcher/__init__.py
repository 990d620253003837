"""PID 1 of a training pod: starts, watches and restarts the training process; carries reports and directives."""
