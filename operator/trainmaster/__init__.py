"""Trainmaster runs PyTorch training on Kubernetes and keeps it healthy.

`from trainmaster import Client` talks to a cluster; it is imported when it is asked for, since the operator and the
trainer have no use for it.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Client", "__version__"]

if TYPE_CHECKING:
    from trainmaster.client import Client
else:
    # Type checkers do not see it: it would make every misspelt name a known one.
    def __getattr__(name: str) -> type:
        if name == "Client":
            from trainmaster.client import Client  # noqa: PLC0415 - see the module's docstring

            return Client
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
