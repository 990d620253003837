"""One plane for all processes of a test run: the first one starts it, it ends after the last one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.control_plane.plane import ControlPlane
from tests.support.control_plane.process import locked
from tests.support.control_plane.start import Use, join, start


@contextmanager
def shared_control_plane(run: Path, *, prepare: Callable[[ControlPlane], None]) -> Iterator[ControlPlane]:
    """The plane of a test run.

    Args:
        run: a folder that the run's processes share.
        prepare: called once with a plane that was just started, before anybody else sees it.
    """
    with locked(run / "plane.lock"):
        use = _join_or_start(run / "plane", prepare=prepare)
    try:
        yield use.plane
    finally:
        with locked(run / "plane.lock"):
            use.end()


def _join_or_start(reference: Path, *, prepare: Callable[[ControlPlane], None]) -> Use:
    use = join(Path(reference.read_text())) if reference.exists() else None
    if use is not None:
        return use
    use = start()
    try:
        prepare(use.plane)
    except BaseException:
        use.end()
        raise
    reference.write_text(str(use.plane.folder))
    return use
