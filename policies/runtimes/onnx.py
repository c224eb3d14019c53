"""ONNX Runtime: the whole loop as one graph of fused kernels with prepacked weights."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import Inputs
from .program import SamplingProgram


def missing(device: torch.device) -> str | None:
    """Tell why ONNX Runtime cannot run a policy of `device`; None when it can."""
    if device.type != "cpu":
        return f"the policy is on {device}, and laminar runs ONNX on the CPU only"
    return _absent("onnx", "onnxscript", "onnxruntime")


def unloadable() -> str | None:
    """Tell why a model that was exported before cannot be run; None when it can."""
    return _absent("onnxruntime")


def _absent(*packages: str) -> str | None:
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    return f"{', '.join(absent)} not installed; pip install 'laminar[export]'" if absent else None


class Session:
    """An inference session bound to its inputs and to one output tensor."""

    def __init__(self, program: SamplingProgram, inputs: Inputs) -> None:
        """Export, and load what was exported."""
        self.program, self.inputs = program, inputs
        self.output = torch.empty(len(inputs[0]), program.policy.spec.chunk, program.policy.spec.action_dim)
        self.refresh()

    def __call__(self) -> Tensor:
        """Run; the result (B, H, A) is overwritten by the next call."""
        self.session.run_with_iobinding(self.binding)
        return self.output

    def refresh(self) -> None:
        """Export anew: weights are constants of a session, prepacked and folded."""
        self.session = session(to_onnx(self.program, self.inputs).model_proto.SerializeToString())
        self.binding = self.session.io_binding()
        for argument, tensor in zip(self.session.get_inputs(), self.inputs, strict=True):
            dtype = str(tensor.dtype).removeprefix("torch.")
            self.binding.bind_input(
                argument.name, "cpu", 0, np.dtype(dtype).type, tuple(tensor.shape), tensor.data_ptr()
            )
        name = self.session.get_outputs()[0].name
        self.binding.bind_output(name, "cpu", 0, np.float32, tuple(self.output.shape), self.output.data_ptr())


def build(program: SamplingProgram, inputs: Inputs) -> Session:
    """Export the program and open a session on it."""
    return Session(program, inputs)


def to_onnx(program: SamplingProgram, inputs: Inputs) -> Any:
    """Return the program as a torch.onnx.ONNXProgram with inputs named noise, inner_noise and as the Spec's keys."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells of every optional package that is not there
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from onnxscript import optimizer

            exported = torch.export.export(program, inputs)
            model = torch.onnx.export(exported, (), dynamo=True, verbose=False, optimize=False)
            assert model is not None
            # Its defaults, two rounds with shape inference, find nothing more and take twice as long.
            optimizer.optimize_ir(model.model, num_iterations=1, onnx_shape_inference=False)
    finally:
        logger.setLevel(level)
    _rename(model.model.graph, program.input_names)
    return model


def _rename(graph: Any, names: list[str]) -> None:
    """Name inputs and output; what is called so inside of the graph makes room."""
    taken = {*names, "chunk"}
    inner = [value for node in graph for value in node.outputs]
    for value in inner:
        if value.name in taken:
            value.name = f"inner.{value.name}"
    for name in taken & graph.initializers.keys():
        weight = graph.initializers.pop(name)
        weight.name = f"inner.{name}"
        graph.initializers[weight.name] = weight
    for value, name in zip(graph.inputs, names, strict=True):
        value.name = name
    graph.outputs[0].name = "chunk"


def session(model: bytes) -> Any:
    """Open a session on the CPU, with as many intra-op threads as PyTorch has now."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # it warns of constants that it does not fold
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
