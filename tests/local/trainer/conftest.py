import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tests share their cores, and small tensors gain nothing from more threads."""
    torch.set_num_threads(1)
