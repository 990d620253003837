"""Python's cycle collector, set for a process with a large, long-lived heap that hardly makes cycles.

With the defaults the collector looks at every 700 new objects, and by and by at all that the caches and series hold:
one profile at 1,000 reporting runs had a third of the process's CPU in it.
"""

from __future__ import annotations

import gc
from typing import Final

YOUNG: Final = 50_000
"""New objects until the young ones are looked at: some 100 reports or reconciles, 10 MB at most that a cycle keeps."""
MIDDLE: Final = 20
OLD: Final = 50
"""Looks at the young until one at the middle-aged, and at those until one at all; that one waits, besides, until a
quarter of the heap is new."""


def settle_heap() -> None:
    """Call once the caches are full: what is there is looked at no more, and what comes is looked at rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
