"""What runs a converted network: OpenVINO in f32, bf16 or INT8, or ONNX Runtime in f32.

Both run on the processor, on as many threads as they are told, and give the same picture the same
result again. The network is loaded once for inputs of any size.
"""

from typing import Any, Protocol

import numpy as np
import openvino  # type: ignore[import-untyped]
from numpy.typing import NDArray

from detectors.models import InstalledModel, optional_package
from enforcement.errors import ModelError


class Session(Protocol):
    """A network that was loaded."""

    def infer(self, blob: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(1, 3, h, w)`` RGB in [0, 1] → the network's only output, for the boxes of the YOLO
        family ``(1, 4 + classes, anchors)``."""


def open_session(model: InstalledModel, threads: int) -> Session:
    """Load the model with the backend that its catalog entry names.

    Raises ModelError if it can't be loaded or the backend is not installed.
    """
    if model.entry.export == "onnx-f32":
        return _OnnxRuntime(model, threads)
    return _OpenVino(model, threads)


class _OpenVino:
    def __init__(self, model: InstalledModel, threads: int) -> None:
        # Left to itself the CPU plugin computes in bf16. Of a quantised network this is the
        # precision of what was not quantised.
        precision = "bf16" if model.entry.export == "openvino-bf16" else "f32"
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        try:
            self._network = openvino.Core().compile_model(str(model.path), "CPU", options)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load {model.name}; pull it anew") from error

    def infer(self, blob: NDArray[np.float32]) -> NDArray[np.float32]:
        (output,) = self._network([blob]).values()
        return np.asarray(output, np.float32)


class _OnnxRuntime:
    def __init__(self, model: InstalledModel, threads: int) -> None:
        runtime = optional_package("onnxruntime")
        options: Any = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        # Neither keeps what the largest input took: inputs come in several sizes.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        # Its errors have no class in common but Exception: these are those of loading.
        errors = optional_package("onnxruntime.capi.onnxruntime_pybind11_state")
        unreadable = (
            errors.Fail, errors.InvalidGraph, errors.InvalidProtobuf, errors.NoSuchFile,
            errors.NotImplemented, errors.RuntimeException,
        )  # fmt: skip
        try:
            self._session = runtime.InferenceSession(
                str(model.path), options, providers=["CPUExecutionProvider"]
            )
        except unreadable as error:
            raise ModelError(f"ONNX Runtime cannot load {model.name}; pull it anew") from error
        self._input = self._session.get_inputs()[0].name

    def infer(self, blob: NDArray[np.float32]) -> NDArray[np.float32]:
        (output,) = self._session.run(None, {self._input: blob})
        return np.asarray(output, np.float32)
