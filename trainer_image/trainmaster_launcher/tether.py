"""Runs a command that dies with the process that started it: `python -I -S tether.py SIGNAL [PARENT] -- COMMAND...`.

The kernel sends SIGNAL to the command when the thread that started it ends, so start it from the main thread. PARENT is
the process id of the starter: it may have died before this program ran. The command replaces this program: same
process, same descriptors. Not a package's module when it runs: the standard library only, no imports of ours.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
EXIT_CONFIGURATION = 78


def main(arguments: list[str]) -> None:
    """Ties this process to its parent, then becomes the command. Returns never."""
    cut = arguments.index("--")
    options, command = arguments[:cut], arguments[cut + 1 :]
    number = int(getattr(signal, options[0]))
    parent = int(options[1]) if len(options) > 1 else os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG, {number}) failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        # The parent died before the kernel knew: nobody would send the signal any more.
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - a command without a shell is what a manifest asks for
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]!r}: {error.strerror}\n")
        sys.exit(EXIT_CONFIGURATION)


if __name__ == "__main__":
    main(sys.argv[1:])
