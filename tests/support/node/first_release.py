"""The first release of the project, chart and images as they were: what upgrades begin with.

tests/e2e/fixtures/first-release.tar.xz holds what they are made of at 680ec51, the first commit whose chart and
operator ran in pods (the chart itself is some commits older, but no operator of that time knew its flags):
`git archive 680ec51 Dockerfile LICENSE README.md charts examples operator pyproject.toml requirements/build.lock
requirements/operator.lock scripts/build_zipapp.sh trainer_image | xz -9e`. Its stub is the launcher of that time and
the training program of today, which says how long its steps take.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from tests.support.node.cluster import Cluster
from tests.support.node.images import ROOT, STUB_FILE, Images
from tests.support.node.release import Release

ARCHIVE = ROOT / "tests" / "e2e" / "fixtures" / "first-release.tar.xz"
TAG = "first"
"""Of its images."""
OPERATOR = f"localhost/trainmaster/operator:{TAG}"
STUB = f"localhost/trainmaster/stub:{TAG}"


def first_release(cluster: Cluster, *, folder: Path) -> Release:
    """The first release, to be installed; its images are in the cluster, its chart in the folder.

    Raises:
        AssertionError: the cluster is a given one, which brings its own images.
        ImageError: an image could not be made.
    """
    assert cluster.node is not None, "a given cluster brings its own images"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    program = STUB_FILE.parent
    shutil.copytree(ROOT / program, folder / program)
    images = Images(folders=cluster.node.folders, source=folder)
    images.make_operator(OPERATOR)
    images.make_stub(STUB)
    for name in (OPERATOR, STUB):
        images.hand_over(name, cluster.node.images)
    return Release(cluster=cluster, chart=folder / "charts" / "trainmaster", tag=TAG)
