"""PID 1 of a training pod: starts, watches and restarts the training process; carries reports and directives.

1. `settings`, `plan`: read the environment; take the run's lock; confirm the plan with the operator (`reports`), or, if
   it is away, with the newest plan that storage holds (`start`).
2. `process`, `tether`: start the training process in its own session, tied to this process: it dies when this dies.
3. `channel`, `messages`: it speaks JSON lines over a Unix socket (`sdk`, `link` are its end of it); points, checkpoints
   and acknowledgements go into the `journal`, the steps of directives into `intents`, before they are answered.
4. `reports`: a thread sends the journal's new entries to the operator, and brings back newer plans.
5. `hang`: silence beyond the phase's limit is a hang: `stacks` are taken, the process is killed.
6. `outcome`, `restart`: how it ended is a verdict, or a crash; a crash is answered by a restart in place while the
   lease lasts. Before a new process starts, every descendant of the old one is gone (`descendants`).
7. `finish`: the verdict is journalled, written as the termination message, sent; the exit code says it to the kubelet.

The standard library only: the package also runs as a zipapp in images that know nothing of Trainmaster.
"""
