"""The one small network that both sides of the serve benchmark run: a classifier of 64x64 image crops, weights by seed."""

from __future__ import annotations

from typing import Any

import numpy as np

SIDE, CLASSES = 64, 8
_LAYERS = ((3, 16, 2), (16, 32, 2), (32, 64, 2), (64, 64, 1))
"""Input channels, output channels, stride of each 3x3 convolution."""


def weights() -> dict[str, np.ndarray]:
    """Name -> float32 array."""
    rng = np.random.default_rng(7)
    made: dict[str, np.ndarray] = {}
    for index, (inside, outside, _) in enumerate(_LAYERS):
        made[f"w{index}"] = rng.normal(0, np.sqrt(2 / (9 * inside)), (outside, inside, 3, 3)).astype(np.float32)
        made[f"b{index}"] = np.zeros(outside, np.float32)
    made["head"] = rng.normal(0, 0.5, (_LAYERS[-1][1], CLASSES)).astype(np.float32)
    return made


def onnx_bytes() -> bytes:
    """The network as ONNX: ``crops`` uint8 (N, 3, 64, 64) -> ``scores`` float32 (N, 8)."""
    from onnx import TensorProto, checker, helper, numpy_helper

    made = weights()
    made["scale"] = np.array(1 / 255, np.float32)
    nodes: list[Any] = [
        helper.make_node("Cast", ["crops"], ["raw"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["raw", "scale"], ["x0"]),
    ]
    for index, (_, _, stride) in enumerate(_LAYERS):
        names = [f"x{index}", f"w{index}", f"b{index}"]
        nodes.append(helper.make_node("Conv", names, [f"c{index}"], strides=[stride, stride], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"x{index + 1}"]))
    nodes += [
        helper.make_node("GlobalAveragePool", [f"x{len(_LAYERS)}"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "crops",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in made.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def torch_model() -> Any:
    """The network as a torch module, same weights."""
    import torch

    made = {name: torch.from_numpy(array) for name, array in weights().items()}

    class Network(torch.nn.Module):
        def forward(self, crops: Any) -> Any:
            x = crops.float() / 255
            for index, (_, _, stride) in enumerate(_LAYERS):
                w, b = made[f"w{index}"], made[f"b{index}"]
                x = torch.relu(torch.nn.functional.conv2d(x, w, b, stride=stride, padding=1))
            return torch.softmax(x.mean((2, 3)) @ made["head"], 1)

    return Network().eval()
