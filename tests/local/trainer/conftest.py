from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tests share their cores, and small tensors gain nothing from more threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_feature_store(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests keep features in no home; where they are kept between tests of a worker."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder
