"""Trainmaster runs PyTorch training on Kubernetes and keeps it healthy."""

__version__ = "0.1.0"
