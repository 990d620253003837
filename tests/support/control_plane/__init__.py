"""A real control plane for tests: etcd, API server, controller-manager, scheduler, and kwok for nodes and pods.

1. The programs are those of `KUBEBUILDER_ASSETS`; the others are built once from Go modules into a cache (`build`).
2. A supervisor, a process in a session of its own, makes certificates and tokens, picks free ports, starts the five
   programs in a new folder and says when they are ready (`supervisor`, `programs`, `credentials`).
3. Whoever uses the plane holds a shared lock on a file in that folder (`start`, `shared`). The supervisor waits for the
   exclusive lock: it gets it when the last user let go or died, however that happened. Then it kills its programs and
   removes the folder.
4. The programs die with the supervisor: the kernel sees to that. The folder of a supervisor that was killed is removed
   by the next start.
"""

from __future__ import annotations

from tests.support.control_plane.plane import ControlPlane
from tests.support.control_plane.shared import shared_control_plane
from tests.support.control_plane.start import start_control_plane

__all__ = ["ControlPlane", "shared_control_plane", "start_control_plane"]
