"""Files that somebody else writes, read again when they change: the kubelet replaces mounted ones while we run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NoReturn

from trainmaster.api.errors import TrainmasterError

logger = logging.getLogger(__name__)


async def keep_reloading(reload: Callable[[], bool], *, seconds: float, changed: str, kept: str) -> NoReturn:
    """Reload again and again, until cancelled.

    Args:
        reload: Says whether there was anything new; raises TrainmasterError where it cannot be used.
        seconds: Between two looks.
        changed: What is logged when there was.
        kept: What is logged, with the error, when it cannot be used: once, however often it is looked at.
    """
    said = ""
    while True:
        await asyncio.sleep(seconds)
        try:
            if reload():
                logger.info("%s", changed)
            said = ""
        except TrainmasterError as error:
            if str(error) != said:
                logger.warning("%s: %s", kept, error)
            said = str(error)
