"""The first layers of YOLOv8 as a torch module that starts with the pulled detector's weights.

Layer numbers are those of the published architecture (Ultralytics ``yolov8.yaml``). Batch
normalisation is already folded into the converted model's convolutions, so there is none here.
"""

from pathlib import Path

import numpy as np
import openvino  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from enforcement.errors import ModelError


class FirstLayers(nn.Module):
    """``(N, 3, side, side)`` RGB in [0, 1] → maps of strides 8 (64 of them) and 16 (128)."""

    def __init__(self, xml: Path) -> None:
        super().__init__()
        pulled = _Pulled(xml)
        self.to_8 = nn.Sequential(
            _Convolution(pulled, "model.0", 2),
            _Convolution(pulled, "model.1", 2),
            _Stage(pulled, "model.2", 1),
            _Convolution(pulled, "model.3", 2),
            _Stage(pulled, "model.4", 2),
        )
        self.to_16 = nn.Sequential(_Convolution(pulled, "model.5", 2), _Stage(pulled, "model.6", 2))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        at_8 = self.to_8(images)
        return at_8, self.to_16(at_8)


class _Pulled:
    """Weights of a converted YOLOv8, by the name of the convolution."""

    def __init__(self, xml: Path) -> None:
        network = openvino.Core().read_model(xml)
        self._nodes = {node.get_friendly_name(): node for node in network.get_ops()}

    def convolution(self, name: str) -> tuple[Tensor, Tensor]:
        """Kernel ``(out, in, side, side)`` and bias ``(out,)``; ModelError when it isn't there."""
        path = f"__module.{name}.conv/aten::_convolution"
        kernel, bias = self._second(f"{path}/Convolution"), self._second(f"{path}/Add")
        return torch.from_numpy(kernel), torch.from_numpy(bias.ravel())

    def _second(self, name: str) -> NDArray[np.float32]:
        """The constant that is the node's second input."""
        node = self._nodes.get(name)
        if node is None:
            raise ModelError(f"the pulled model has no {name}")
        given = node.input_value(1).get_node()
        while given.get_type_name() == "Convert":  # constants stored in half precision
            given = given.input_value(0).get_node()
        return np.array(given.get_data(), np.float32)


class _Convolution(nn.Module):
    def __init__(self, pulled: _Pulled, name: str, stride: int = 1) -> None:
        super().__init__()
        kernel, bias = pulled.convolution(name)
        given, taken, side, _ = kernel.shape
        self.inner = nn.Conv2d(taken, given, side, stride, side // 2)
        kernel = kernel.contiguous(memory_format=torch.channels_last)  # a quarter faster on CPUs
        self.inner.weight, self.inner.bias = nn.Parameter(kernel), nn.Parameter(bias)

    def forward(self, maps: Tensor) -> Tensor:
        return nn.functional.silu(self.inner(maps))


class _Stage(nn.Module):
    """YOLOv8's ``C2f``: half of the maps pass residual blocks, every step's output is kept."""

    def __init__(self, pulled: _Pulled, name: str, blocks: int) -> None:
        super().__init__()
        self.entry = _Convolution(pulled, f"{name}.cv1")
        self.exit = _Convolution(pulled, f"{name}.cv2")
        self.blocks = nn.ModuleList(
            nn.Sequential(
                _Convolution(pulled, f"{name}.m.{at}.cv1"),
                _Convolution(pulled, f"{name}.m.{at}.cv2"),
            )
            for at in range(blocks)
        )

    def forward(self, maps: Tensor) -> Tensor:
        kept = list(self.entry(maps).chunk(2, 1))
        for block in self.blocks:
            kept.append(kept[-1] + block(kept[-1]))
        given: Tensor = self.exit(torch.cat(kept, 1))
        return given
