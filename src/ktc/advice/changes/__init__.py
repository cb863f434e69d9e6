"""The changes that advice proposes, as functions on an ``onnx.ModelProto``, which they change in place.

A snippet of an `ktc.advice.Advice` calls the very function whose effect was evaluated. Nodes are named by their
first output, because names of nodes may be missing or repeated, and those of tensors cannot.
"""

from __future__ import annotations

from ktc.advice.changes.activations import replace_activations
from ktc.advice.changes.channel_moves import convolve_channel_moves
from ktc.advice.changes.channels import narrow_channels
from ktc.advice.changes.gates import remove_channel_gates
from ktc.advice.changes.kernels import shrink_kernels
from ktc.advice.changes.pools import chain_max_pools
from ktc.advice.changes.resizes import replace_resizes
from ktc.advice.changes.transposed import replace_transposed_convolutions

__all__ = [
    "chain_max_pools",
    "convolve_channel_moves",
    "narrow_channels",
    "remove_channel_gates",
    "replace_activations",
    "replace_resizes",
    "replace_transposed_convolutions",
    "shrink_kernels",
]
