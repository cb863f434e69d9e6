"""Train the digits network and write digits.onnx and samples.npz.

    pip install torch==2.13.0 onnx onnxscript scikit-learn
    python train.py

It takes about 20 seconds on two idle cores. It is seeded: on one machine, every run writes the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from digits_data import SIDE, preprocess, split
from torch import nn
from torch.nn import functional

EPOCHS = 30
BATCH = 64


def conv_bn(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_bn(channels, channels, 3)
        self.second = conv_bn(channels, channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, of the shape of `x`."""
        return functional.relu(x + self.second(functional.relu(self.first(x))))


class DigitsNet(nn.Module):
    """24 074 parameters: a stem, a residual block between two depthwise-separable layers, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_bn(1, 16, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            conv_bn(16, 16, 3, groups=16),
            nn.ReLU(),
            conv_bn(16, 32, 1),
            nn.ReLU(),
            Residual(32),
            nn.MaxPool2d(2),
            conv_bn(32, 32, 3, stride=2, groups=32),
            nn.ReLU(),
            conv_bn(32, 96, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classifier = nn.Linear(96, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ten logits for each image of `x`."""
        return self.classifier(torch.flatten(self.features(x), 1))


def augment(batch: torch.Tensor) -> torch.Tensor:
    """Rotate, scale, slant and shift each image a little, as another hand would."""
    count = len(batch)
    angle = (torch.rand(count) - 0.5) * 0.4
    slant = (torch.rand(count) - 0.5) * 0.3
    zoom = 1 + (torch.rand(count, 2) - 0.5) * 0.2
    shift = (torch.rand(count, 2) - 0.5) * 0.2
    theta = torch.empty(count, 2, 3)
    theta[:, 0, 0] = zoom[:, 0] * angle.cos()
    theta[:, 0, 1] = slant - angle.sin()
    theta[:, 1, 0] = angle.sin()
    theta[:, 1, 1] = zoom[:, 1] * angle.cos()
    theta[:, :, 2] = shift
    grid = functional.affine_grid(theta, list(batch.shape), align_corners=False)
    # Outside of the image is background, which is -1 here and 0 to grid_sample.
    return functional.grid_sample(batch + 1, grid, align_corners=False) - 1


def train(inputs: torch.Tensor, labels: torch.Tensor, epochs: int) -> DigitsNet:
    model = DigitsNet()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    steps = epochs * -(-len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    for epoch in range(epochs):
        losses = []
        for chosen in torch.randperm(len(inputs)).split(BATCH):
            loss = functional.cross_entropy(model(augment(inputs[chosen])), labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1:2}: loss {np.mean(losses):.4f}")
    return model.eval()


def accuracy(model: DigitsNet, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return (model(inputs).argmax(1) == labels).float().mean().item()


def export(model: DigitsNet, path: Path) -> None:
    torch.onnx.export(
        model,
        (torch.zeros(1, 1, SIDE, SIDE),),
        path,
        input_names=["images"],
        output_names=["logits"],
        opset_version=18,
        dynamo=True,
        external_data=False,
        optimize=False,  # keep BatchNormalization and the exporter's bookkeeping: something to optimise
        verbose=False,
    )
    exported = onnx.load(path)
    graph = exported.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]  # stack traces and paths of this machine
    onnx.save(exported, path)


def to_tensors(images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(preprocess(images)), torch.from_numpy(labels.astype(np.int64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--output-dir", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    training, held_out = split()
    model = train(*to_tensors(*training), arguments.epochs)
    print(f"training accuracy {accuracy(model, *to_tensors(*training)):.2%} of {len(training[1])}")
    print(f"held-out accuracy {accuracy(model, *to_tensors(*held_out)):.2%} of {len(held_out[1])}")

    export(model, arguments.output_dir / "digits.onnx")
    np.savez_compressed(arguments.output_dir / "samples.npz", images=held_out[0], labels=held_out[1])


if __name__ == "__main__":
    main()
