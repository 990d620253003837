"""Which images are run."""

from __future__ import annotations

from pathlib import Path

from tests.support.chart import Rendered, render
from trainmaster import __version__

VALUES = Path(__file__).parent / "values"
DIGESTS = VALUES / "digests.yaml"


def operator_image(rendered: Rendered) -> str:
    image: str = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
    return image


def test_a_digest_wins_over_a_tag() -> None:
    rendered = render(values=DIGESTS)
    assert operator_image(rendered) == "mirror.internal/trainmaster/operator@sha256:" + "0123456789abcdef" * 4
    assert rendered.flags["--trainer-image"] == ["mirror.internal/trainmaster/trainer@sha256:" + "fedcba9876543210" * 4]


def test_without_either_it_is_the_version_of_the_chart() -> None:
    rendered = render()
    assert operator_image(rendered) == f"trainmaster/operator:{__version__}"
    assert rendered.flags["--trainer-image"] == [f"trainmaster/trainer:{__version__}"]


def test_a_tag_is_taken() -> None:
    assert operator_image(render("--set-string", "image.tag=1.10")) == "trainmaster/operator:1.10"


def test_pods_are_told_who_may_pull() -> None:
    rendered = render(values=DIGESTS)
    assert [pod["imagePullSecrets"] for pod in rendered.pods] == [[{"name": "mirror"}]] * 2
