from __future__ import annotations

import pytest
import torch

from trainmaster_trainer.errors import ConfigurationError
from trainmaster_trainer.precision import Precision, PrecisionName, choose_device

CPU = torch.device("cpu")


@pytest.mark.parametrize(("name", "dtype"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_a_forward_pass_on_a_cpu_computes_in_it_and_weights_stay_float32(
    name: PrecisionName, dtype: torch.dtype
) -> None:
    layer = torch.nn.Linear(2, 2)

    with Precision.choose(name, device=CPU).autocast():
        out = layer(torch.ones(1, 2))

    assert (out.dtype, layer.weight.dtype) == (dtype, torch.float32)


def test_float16_is_refused_on_a_cpu_with_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match="float16 needs a GPU; on a CPU take bfloat16"):
        Precision.choose("float16", device=CPU)


@pytest.mark.parametrize(("dtype", "scales"), [(torch.float16, True), (torch.bfloat16, False), (torch.float32, False)])
def test_only_float16_scales_its_loss(dtype: torch.dtype, *, scales: bool) -> None:
    assert Precision(dtype=dtype, device_type="cuda").scales_loss is scales


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused_by_name() -> None:
    assert choose_device("auto") == CPU
    with pytest.raises(ConfigurationError, match=r"device: cuda is not there: torch sees no GPU"):
        choose_device("cuda")
