"""A model whose labels are measured, for the tests of batches."""

from __future__ import annotations

import pytest
import torch
from toy import ToyMethod

from napari_medseg.method import Model


class Measured(ToyMethod):
    measure = "volume"


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    method = Measured()
    return Model(method, method.build_network().eval(), {"sha256": "abc", "file": "m.pt", "method": "toy"})
