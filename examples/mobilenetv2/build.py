"""Build MobileNetV2 (width 1.0, 224x224) as an ONNX file, with random weights.

python build.py

The graph is that of the paper (https://arxiv.org/abs/1801.04381, table 2), with 3 504 872 parameters. The
weights are random, but reproducible, and scaled as in a trained network, so that activations neither vanish
nor explode. Times, optimisation and numerical comparisons mean something; the predicted class does not.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MODEL = Path(__file__).resolve().with_name("mobilenetv2.onnx")
OPSET = 17
CLASSES = 1000
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280

# Expansion, output channels, repetitions, stride of the first repetition.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2Builder:
    """Appends layers to a graph; each method takes the name of a value and returns the name of the next.

    `power` holds the mean square that a value is expected to have. The variances of BatchNormalization follow
    from it, so that they fit the data that arrives there, as they do after training.
    """

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.power: dict[str, float] = {}

    def model(self) -> onnx.ModelProto:
        """Return the whole network."""
        self.power["images"] = 0.3
        self.add_constant("zero", np.array(0))
        self.add_constant("six", np.array(6))
        channels = STEM_CHANNELS
        value = self.convolution("features.0", "images", 3, channels, kernel=3, stride=2)
        value = self.relu6("features.0", value)
        block = 1
        for expansion, outputs, repetitions, first_stride in STAGES:
            for repetition in range(repetitions):
                stride = first_stride if repetition == 0 else 1
                value = self.inverted_residual(f"features.{block}", value, channels, outputs, expansion, stride)
                channels = outputs
                block += 1
        value = self.convolution(f"features.{block}", value, channels, HEAD_CHANNELS)
        value = self.relu6(f"features.{block}", value)
        self.classifier(value)

        graph = helper.make_graph(
            self.nodes,
            "mobilenetv2",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 224, 224])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, CLASSES])],
            self.initializers,
        )
        model = helper.make_model(
            graph, producer_name="ktc example", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def inverted_residual(self, name: str, value: str, inputs: int, outputs: int, expansion: int, stride: int) -> str:
        """Widen by 1x1, filter each channel by 3x3, narrow by 1x1; add the input where the shapes allow."""
        shortcut, hidden = value, inputs * expansion
        if expansion > 1:
            value = self.convolution(f"{name}.expand", value, inputs, hidden)
            value = self.relu6(f"{name}.expand", value)
        value = self.convolution(f"{name}.depthwise", value, hidden, hidden, 3, stride, groups=hidden)
        value = self.relu6(f"{name}.depthwise", value)
        value = self.convolution(f"{name}.project", value, hidden, outputs)
        if stride == 1 and inputs == outputs:
            power = self.power[shortcut] + self.power[value]
            value = self.add_node("Add", f"{name}.add", [shortcut, value], power)
        return value

    def convolution(
        self,
        name: str,
        value: str,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
    ) -> str:
        """Append Conv (He initialisation) and BatchNormalization (statistics near those of the data)."""
        rng = self.rng
        fan_in = inputs // groups * kernel * kernel
        weight = rng.normal(0, math.sqrt(2 / fan_in), (outputs, inputs // groups, kernel, kernel))
        variance = 2 * self.power[value] * rng.uniform(0.8, 1.2, outputs)
        conv_inputs = [value, self.add_constant(f"{name}.conv.weight", weight)]
        conv = self.add_node(
            "Conv",
            f"{name}.conv",
            conv_inputs,
            float(variance.mean()),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            group=groups,
        )
        norm_inputs = [
            conv,
            self.add_constant(f"{name}.norm.weight", rng.uniform(0.8, 1.2, outputs)),
            self.add_constant(f"{name}.norm.bias", rng.normal(0, 0.1, outputs)),
            self.add_constant(f"{name}.norm.running_mean", rng.normal(0, 0.1, outputs) * np.sqrt(variance)),
            self.add_constant(f"{name}.norm.running_var", variance),
        ]
        return self.add_node("BatchNormalization", f"{name}.norm", norm_inputs, 1.0, epsilon=1e-5)

    def relu6(self, name: str, value: str) -> str:
        """Append Clip(0, 6), which halves the power of a symmetric value."""
        return self.add_node("Clip", f"{name}.relu6", [value, "zero", "six"], self.power[value] / 2)

    def classifier(self, value: str) -> None:
        """Append GlobalAveragePool, Flatten and Gemm; the last value is the output."""
        value = self.add_node("GlobalAveragePool", "pool", [value], self.power[value])
        value = self.add_node("Flatten", "flatten", [value], self.power[value], axis=1)
        weight = self.rng.normal(0, math.sqrt(2 / HEAD_CHANNELS), (CLASSES, HEAD_CHANNELS))
        inputs = [
            value,
            self.add_constant("classifier.weight", weight),
            self.add_constant("classifier.bias", self.rng.normal(0, 0.01, CLASSES)),
        ]
        self.nodes.append(helper.make_node("Gemm", inputs, ["output"], "classifier", transB=1))

    def add_constant(self, name: str, array: np.ndarray) -> str:
        """Append an initializer and return its name."""
        self.initializers.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def add_node(self, op_type: str, name: str, inputs: list[str], power: float, **attributes: object) -> str:
        """Append a node, note the power of its output, and return the name of the output."""
        output = f"{name}.out"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name, **attributes))
        self.power[output] = power
        return output


def save_model(path: Path = MODEL) -> None:
    """Build the network and write it to `path`."""
    onnx.save(MobileNetV2Builder().model(), path)
    print(f"built {path.name}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    save_model()
