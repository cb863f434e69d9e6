"""Write the models of this folder: small networks, exported by both of PyTorch's exporters at several opsets.

    python3 -m venv /tmp/torchenv
    /tmp/torchenv/bin/pip install torch==2.13.0 onnx onnxscript numpy
    /tmp/torchenv/bin/python tests/data/exports/make_exports.py [NAME ...]

A file is ``<network>-<exporter>-<opset>.onnx``; the exporter is ``trace`` (``torch.onnx.export(dynamo=False)``) or
``dynamo``. An opset that an exporter does not support has no file. Weights are random with a fixed seed, so that
another run with the same versions writes the same graphs and numbers.
"""

from __future__ import annotations

import logging
import math
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parent
EXPORTERS = {"trace": (13, 17, 18, 20), "dynamo": (18, 20)}  # dynamo writes nothing older than 18
#: What the exporters note about the machine on which they ran.
PRIVATE_METADATA = ("stack_trace", "fx_node")


class SelfAttention(nn.Module):
    """Attention with separate projections, as in Hugging Face's BERT."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        return x.view(*x.size()[:-1], self.heads, self.size).permute(0, 2, 1, 3)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.size)
        context = torch.matmul(torch.softmax(scores + bias, dim=-1), v).permute(0, 2, 1, 3).contiguous()
        return self.output(context.view(*context.size()[:-2], self.heads * self.size))


class BertLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads)
        self.norms = nn.ModuleList([nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)])
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = self.norms[0](x + self.dropout(self.attention(x, bias)))
        return self.norms[1](x + self.dropout(self.down(functional.gelu(self.up(x)))))


class Bert(nn.Module):
    """Encoder of two layers with word, position and segment embeddings, and a mask."""

    def __init__(self, width: int = 24, heads: int = 3) -> None:
        super().__init__()
        self.words, self.positions, self.segments = (nn.Embedding(n, width) for n in (100, 16, 2))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList([BertLayer(width, heads) for _ in range(2)])
        self.pooler = nn.Linear(width, width)

    def forward(self, ids: Tensor, mask: Tensor, segment_type: Tensor) -> tuple[Tensor, Tensor]:
        positions = torch.arange(ids.size(1)).unsqueeze(0)
        x = self.norm(self.words(ids) + self.positions(positions) + self.segments(segment_type))
        bias = (1.0 - mask[:, None, None, :].to(x.dtype)) * -10000.0
        for layer in self.layers:
            x = layer(x, bias)
        return x, torch.tanh(self.pooler(x[:, 0]))


class VitBlock(nn.Module):
    """Pre-norm block with one projection for q, k and v, as in timm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        attention = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
        x = x + self.proj((attention @ v).transpose(1, 2).reshape(b, n, c))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    def __init__(self, width: int = 24, heads: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 17, width))
        self.blocks = nn.Sequential(VitBlock(width, heads), VitBlock(width, heads))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class SwinBlock(nn.Module):
    """Attention within windows, which are shifted in every second block."""

    def __init__(self, width: int, heads: int, size: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.size, self.window, self.shift = heads, size, window, shift
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads))
        grid = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        relative = (grid[:, :, None] - grid[:, None, :]).permute(1, 2, 0) + window - 1
        self.register_buffer("index", relative[..., 0] * (2 * window - 1) + relative[..., 1])
        regions = torch.zeros(1, size, size, 1)
        cuts = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
        for number, (rows, columns) in enumerate((r, c) for r in cuts for c in cuts):
            regions[:, rows, columns] = number
        numbers = self.windows(regions).squeeze(-1)
        self.register_buffer("mask", (numbers[:, None] != numbers[:, :, None]).float() * -100.0)

    def windows(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        x = x.view(b, h // self.window, self.window, w // self.window, self.window, c)
        return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, self.window**2, c)

    def attend(self, x: Tensor) -> Tensor:
        n, length, c = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.table[self.index.view(-1)].view(length, length, -1).permute(2, 0, 1).contiguous()
        scores = (q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1) + bias.unsqueeze(0)
        if self.shift:
            count = self.mask.shape[0]
            scores = scores.view(n // count, count, self.heads, length, length) + self.mask.unsqueeze(1).unsqueeze(0)
            scores = scores.view(-1, self.heads, length, length)
        return self.proj((scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(n, length, c))

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        y = self.norm1(x)
        if self.shift:
            y = torch.roll(y, shifts=(-self.shift, -self.shift), dims=(1, 2))
        y = self.attend(self.windows(y)).view(-1, h // self.window, w // self.window, self.window, self.window, c)
        y = y.permute(0, 1, 3, 2, 4, 5).contiguous().view(b, h, w, c)
        if self.shift:
            y = torch.roll(y, shifts=(self.shift, self.shift), dims=(1, 2))
        x = x + y
        return x + self.mlp(self.norm2(x))


class SwinBlockPlain(SwinBlock):
    def __init__(self, width: int, heads: int, size: int, window: int) -> None:
        super().__init__(width, heads, size, window, 1)
        self.shift = 0


class Swin(nn.Module):
    """Two stages with a patch merging between them."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, width, 2, 2), nn.LayerNorm(width)
        self.stage = nn.Sequential(SwinBlockPlain(width, 2, 8, 4), SwinBlock(width, 2, 8, 4, 2))
        self.merge_norm, self.merge = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)
        self.last = SwinBlockPlain(2 * width, 4, 4, 4)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stage(self.norm(self.patches(image).permute(0, 2, 3, 1)))
        parts = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        x = self.last(self.merge(self.merge_norm(torch.cat(parts, -1))))
        return self.head(x.mean(dim=(1, 2)))


class Gru(nn.Module):
    """Two bidirectional layers with an initial state."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 8, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        y, h = self.gru(x, h0)
        return functional.log_softmax(self.head(y), dim=-1), h


class Lstm(nn.Module):
    """A bidirectional layer with initial states, then one that starts from zero."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(6, 8, bidirectional=True)
        self.second = nn.LSTM(16, 7)
        self.head = nn.Linear(7, 5)

    def forward(self, x: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (h, c) = self.first(x, (h0, c0))
        y, _ = self.second(y)
        return self.head(y[-1]), h, c


def conv(inputs: int, outputs: int, kernel: int = 3, activation: nn.Module | None = None, **options: Any) -> nn.Module:
    padding = options.pop("padding", options.get("dilation", 1) * (kernel // 2))
    norm = nn.BatchNorm2d(outputs)
    layers = [nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False, **options), norm]
    return nn.Sequential(*layers, activation or nn.ReLU())


class Aspp(nn.Module):
    """Segmentation head: dilated convolutions and a global pool beside each other, resized to the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8, stride=2), conv(8, 12, stride=2))
        self.branches = nn.ModuleList([conv(12, 8, 1), *(conv(12, 8, dilation=rate) for rate in (2, 3, 5))])
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(12, 8, 1))
        self.project = nn.Sequential(conv(40, 12, 1), nn.Dropout(0.5), nn.Conv2d(12, 4, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        pooled = functional.interpolate(self.image(x), size=x.shape[-2:], mode="bilinear", align_corners=False)
        y = self.project(torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1))
        return functional.interpolate(y, size=image.shape[-2:], mode="bilinear", align_corners=False)


class OddPools(nn.Module):
    """Average pools whose windows do not fit: ceil_mode, count_include_pad, asymmetric padding, 1-D."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 6)
        self.pools = nn.ModuleList(
            [
                nn.AvgPool2d(3, 2, ceil_mode=True),
                nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False),
                nn.AvgPool2d(3, 2, padding=1, ceil_mode=False, count_include_pad=True),
                nn.AvgPool2d((3, 2), (2, 1), padding=(1, 0), count_include_pad=False),
                nn.AvgPool2d((5, 2), (3, 2), padding=(2, 1), count_include_pad=True),
                nn.AvgPool2d(1),
                nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
            ]
        )
        self.last = nn.ModuleList([conv(6, 4, 1) for _ in range(len(self.pools) + 1)])
        self.line = nn.AvgPool1d(3, 2, padding=1, count_include_pad=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(image)
        maps = [pool(x) for pool in self.pools]
        maps.append(functional.avg_pool2d(functional.pad(x, (0, 1, 2, 1)), 3, 2))
        rows = [layer(y).flatten(2) for layer, y in zip(self.last, maps, strict=True)]
        return torch.cat(rows, dim=2), self.line(rows[0])


class Tied(nn.Module):
    """One embedding for input and output, one linear layer used twice, one convolution at two scales."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 16)
        self.linear = nn.Linear(16, 16)
        self.conv = nn.Conv1d(16, 16, 3, padding=1)
        self.scale = nn.Parameter(torch.randn(16))
        self.norm = nn.LayerNorm(16)
        self.output = nn.Linear(16, 100, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.linear(functional.relu(self.linear(self.embedding(ids)))) * self.scale
        y = x.transpose(1, 2)
        y = self.conv(y) + functional.interpolate(self.conv(y[..., ::2]), scale_factor=2.0, mode="nearest")
        return self.output(self.norm(y.transpose(1, 2) + self.scale))


class Half(nn.Module):
    """Convolution, normalisation, attention and a head, all in half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8, stride=2), conv(8, 8, groups=8, activation=nn.Hardswish()))
        self.block = VitBlock(8, 2)
        self.head = nn.Linear(8, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        x = self.block(x.flatten(2).transpose(1, 2))
        return functional.softmax(self.head(x.mean(dim=1)), dim=-1)


class DynamicBatch(nn.Module):
    """Convolutions, then tokens, with reshapes that compute their target from the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8, stride=2), conv(8, 8, stride=2))
        self.block = VitBlock(8, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 10)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(image)
        tokens = self.block(x.flatten(2).transpose(1, 2))
        maps = tokens.transpose(1, 2).reshape(x.shape[0], 8, x.shape[2], x.shape[3])
        return self.head(self.pool(maps).view(image.size(0), -1)), maps


class Bottleneck(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(channels, channels // 2, 1, nn.SiLU()), conv(channels // 2, channels, 3, nn.SiLU())
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Yolo(nn.Module):
    """Focus, a residual block, pooling at three sizes, and a detection head with its grid and anchors."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem = conv(12, 8, 3, nn.SiLU())
        self.body = nn.Sequential(
            conv(8, 12, 3, nn.SiLU(), stride=2), Bottleneck(12), conv(12, 12, 3, nn.SiLU(), stride=2)
        )
        self.squeeze, self.pool = conv(12, 6, 1, nn.SiLU()), nn.MaxPool2d(5, 1, 2)
        self.expand = conv(24, 12, 1, nn.SiLU())
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.heads = nn.ModuleList([nn.Conv2d(12, 3 * (classes + 5), 1), nn.Conv2d(20, 3 * (classes + 5), 1)])
        self.narrow = conv(8, 8, 3, nn.SiLU(), stride=2)
        self.register_buffer(
            "anchors", torch.tensor([[[4.0, 5.0], [8.0, 7.0], [9.0, 15.0]], [[2.0, 2.0], [3.0, 6.0], [6.0, 4.0]]])
        )

    def decode(self, x: Tensor, level: int, stride: float) -> Tensor:
        b, c, h, w = x.shape
        y = x.view(b, 3, c // 3, h, w).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        grid = torch.stack((columns, rows), 2).view(1, 1, h, w, 2).to(y.dtype)
        xy = (y[..., 0:2] * 2.0 - 0.5 + grid) * stride
        wh = (y[..., 2:4] * 2.0) ** 2 * self.anchors[level].view(1, 3, 1, 1, 2)
        return torch.cat((xy, wh, y[..., 4:]), -1).view(b, -1, c // 3)

    def forward(self, image: Tensor) -> Tensor:
        x = [image[..., i::2, j::2] for j in (0, 1) for i in (0, 1)]
        stem = self.stem(torch.cat(x, 1))
        pools = [self.squeeze(self.body(stem))]
        for _ in range(3):
            pools.append(self.pool(pools[-1]))
        deep = self.expand(torch.cat(pools, 1))
        wide = torch.cat((self.up(deep), self.narrow(stem)), 1)
        return torch.cat((self.decode(self.heads[0](deep), 0, 8.0), self.decode(self.heads[1](wide), 1, 4.0)), 1)


class MobileBlock(nn.Module):
    """MobileNetV3's inverted residual with squeeze-and-excite."""

    def __init__(self, channels: int, wide: int, kernel: int, activation: nn.Module) -> None:
        super().__init__()
        self.expand = conv(channels, wide, 1, activation)
        self.depthwise = conv(wide, wide, kernel, activation, groups=wide)
        self.squeeze, self.excite = nn.Conv2d(wide, 4, 1), nn.Conv2d(4, wide, 1)
        self.project = conv(wide, channels, 1, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.expand(x))
        scale = self.excite(functional.relu(self.squeeze(functional.adaptive_avg_pool2d(y, 1))))
        return x + self.project(y * functional.hardsigmoid(scale))


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8, 3, nn.Hardswish(), stride=2)
        self.blocks = nn.Sequential(MobileBlock(8, 16, 3, nn.ReLU6()), MobileBlock(8, 24, 5, nn.Hardswish()))
        self.head = nn.Sequential(nn.Linear(8, 16), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(16, 10))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(torch.flatten(functional.adaptive_avg_pool2d(self.blocks(self.stem(image)), 1), 1))


class Shuffle(nn.Module):
    """ShuffleNetV2's unit, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16, stride=2)
        self.branches = nn.ModuleList(
            [
                nn.Sequential(conv(8, 8, 1), conv(8, 8, groups=8, activation=nn.Identity()), conv(8, 8, 1))
                for _ in range(2)
            ]
        )
        self.head = nn.Linear(16, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        for branch in self.branches:
            left, right = x.chunk(2, dim=1)
            x = torch.cat((left, branch(right)), dim=1)
            b, c, h, w = x.shape
            x = x.view(b, 2, c // 2, h, w).transpose(1, 2).contiguous().view(b, c, h, w)
        return self.head(x.mean([2, 3]))


class Unet(nn.Module):
    """One level down and up again by transposed convolutions, on an odd size that needs padding."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv(3, 8), conv(8, 12), conv(12, 16)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(16, 12, 2, 2), nn.ConvTranspose2d(12, 8, 3, 2, 1, 1, groups=4)])
        self.merge = nn.ModuleList([conv(24, 12), conv(16, 8)])
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        maps = [self.down[0](image)]
        for layer in self.down[1:]:
            maps.append(layer(functional.max_pool2d(maps[-1], 2)))
        x = maps.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            skip, x = maps.pop(), up(x)
            rows, columns = skip.size(2) - x.size(2), skip.size(3) - x.size(3)
            x = functional.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
            x = merge(torch.cat([skip, x], dim=1))
        return torch.sigmoid(self.last(x))


class EinsumAttention(nn.Module):
    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.scale = (width // heads) ** -0.5
        self.q, self.k, self.v = (nn.Parameter(torch.randn(width, heads, width // heads) / 4) for _ in range(3))
        self.o = nn.Parameter(torch.randn(heads, width // heads, width) / 4)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        q = torch.einsum("bnd,dhe->bhne", x, self.q)
        k = torch.einsum("bnd,dhe->bhne", memory, self.k)
        v = torch.einsum("bnd,dhe->bhne", memory, self.v)
        weights = (torch.einsum("bhie,bhje->bhij", q, k) * self.scale).softmax(-1)
        y = torch.einsum("bhij,bhje->bihe", weights, v)
        y = self.norm(x + torch.einsum("bihe,hed->bid", y, self.o))
        return y, torch.einsum("bid,bid->bi", y, x)


class Sdpa(nn.Module):
    """PyTorch's fused attention: causal, with a mask, and plain; and its transformer layer."""

    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.layer = nn.TransformerEncoderLayer(width, heads, 32, batch_first=True, norm_first=True)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = (y.view(b, n, self.heads, -1).transpose(1, 2) for y in self.qkv(x).chunk(3, dim=-1))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = y + functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        y = y + functional.scaled_dot_product_attention(y, k, v)
        return self.layer(x + self.out(y.transpose(1, 2).reshape(b, n, c)))


@dataclass(frozen=True)
class Network:
    """How to make and to export one network."""

    make: Callable[[], nn.Module]
    inputs: dict[str, Callable[[], Tensor]]
    outputs: tuple[str, ...] = ("y",)
    dynamic: dict[str, dict[int, str]] = field(default_factory=dict)
    oldest: int = 13


def floats(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(*shape)


def integers(below: int, *shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randint(0, below, shape)


def image(height: int = 16, width: int = 16, batch: int = 1) -> dict[str, Callable[[], Tensor]]:
    return {"image": floats(batch, 3, height, width)}


NETWORKS = {
    "aspp": Network(Aspp, image(36, 44)),
    "bert": Network(
        Bert,
        {"ids": integers(100, 1, 12), "mask": integers(2, 1, 12), "segment_type": integers(2, 1, 12)},
        ("y", "pooled"),
    ),
    "dynamic_batch": Network(
        DynamicBatch, image(16, 20, 2), ("y", "maps"), {name: {0: "batch"} for name in ("image", "y", "maps")}
    ),
    "einsum": Network(EinsumAttention, {"x": floats(2, 5, 16), "memory": floats(2, 7, 16)}, ("y", "dots")),
    "gru": Network(Gru, {"x": floats(2, 7, 6), "h0": floats(4, 2, 8)}, ("y", "h")),
    "half": Network(lambda: Half().half(), {"image": lambda: torch.randn(1, 3, 16, 16).half()}),
    "lstm": Network(Lstm, {"x": floats(7, 2, 6), "h0": floats(2, 2, 8), "c0": floats(2, 2, 8)}, ("y", "h", "c")),
    "mobilenet": Network(MobileNet, image()),
    "odd_pools": Network(OddPools, image(15, 18), ("y", "line")),
    "sdpa": Network(Sdpa, {"x": floats(1, 6, 16), "bias": floats(1, 1, 6, 6)}, oldest=14),
    "shuffle": Network(Shuffle, image()),
    "swin": Network(Swin, image()),
    "tied": Network(Tied, {"ids": integers(100, 1, 10)}),
    "unet": Network(Unet, image(21, 18)),
    "vit": Network(Vit, image()),
    "yolo": Network(Yolo, image(32, 48)),
}


def randomise_norms(module: nn.Module) -> None:
    """Give normalisations statistics, scales and shifts that are not 0 and 1."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.2, 0.8)
        if isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(layer.weight, 0.6, 1.4)
            nn.init.normal_(layer.bias, std=0.2)


def export(network: Network, exporter: str, opset: int, path: Path) -> None:
    """Export to ``path``, and take out what names files of this machine."""
    torch.manual_seed(7)
    module = network.make().eval()
    randomise_norms(module)
    arguments = tuple(make() for make in network.inputs.values())
    options: dict[str, Any] = {}
    if network.dynamic and exporter == "trace":
        options["dynamic_axes"] = network.dynamic
    elif network.dynamic:
        shapes = [
            {axis: torch.export.Dim(dim) for axis, dim in network.dynamic.get(name, {}).items()}
            for name in network.inputs
        ]
        options["dynamic_shapes"] = tuple(shapes)
    if exporter == "dynamo":
        options |= {"external_data": False, "verbose": False}
    with torch.no_grad():
        torch.onnx.export(
            module,
            arguments,
            str(path),
            input_names=list(network.inputs),
            output_names=list(network.outputs),
            opset_version=opset,
            dynamo=exporter == "dynamo",
            **options,
        )
    model = onnx.load(path)
    found = next(entry.version for entry in model.opset_import if entry.domain == "")
    if found != opset:
        raise RuntimeError(f"opset {found} was written")
    for item in (*model.graph.node, *model.graph.value_info, *(node for f in model.functions for node in f.node)):
        kept = [entry for entry in item.metadata_props if not entry.key.endswith(PRIVATE_METADATA)]
        del item.metadata_props[:]
        item.metadata_props.extend(kept)
        item.doc_string = ""
    onnx.save(model, path)


def main(names: list[str]) -> None:
    """Export the networks named, or all."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.backends.mha.set_fastpath_enabled(False)  # its one operator for a whole layer has no form in ONNX
    for name in names or NETWORKS:
        for exporter, opsets in EXPORTERS.items():
            for opset in opsets:
                if opset >= NETWORKS[name].oldest:
                    path = FOLDER / f"{name}-{exporter}-{opset}.onnx"
                    export(NETWORKS[name], exporter, opset, path)
                    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
