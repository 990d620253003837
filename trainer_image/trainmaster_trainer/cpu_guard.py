"""An instruction that this CPU does not have ends the process with words instead of a bare SIGILL.

Python's own signal handlers cannot do it: they run after the failing instruction, which is never over. So the handler
is a C function pointer, made with ctypes, that writes the message and ends the process from inside the signal.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

from trainmaster.api.conditions import EXIT_CONFIGURATION

MESSAGE: Final = (
    b"trainer: this CPU lacks an instruction that torch, or a library under it, was built with (SIGILL). "
    b"No restart helps here: run on a newer CPU (x86-64 with AVX2, for the wheels of PyPI), or install a build of "
    b"torch for this one.\n"
)


def _illegal_instruction(number: int) -> None:
    del number
    os.write(2, MESSAGE)
    os._exit(EXIT_CONFIGURATION)


_HANDLER_TYPE: Final = ctypes.CFUNCTYPE(None, ctypes.c_int)
_HANDLER: Final = _HANDLER_TYPE(_illegal_instruction)
"""Lives as long as the process: C holds a bare pointer to it."""


def guard_cpu() -> None:
    """Exit with 78 and a message on SIGILL from now on."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, _HANDLER_TYPE]
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGILL, _HANDLER)
