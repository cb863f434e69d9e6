"""Write graphs like those that optimisers fuse, and near misses that they must not fuse, as .onnx files.

    python benchmarks/fusion_corpus.py DIR
    python benchmarks/backend_corpus.py --folder DIR [--failures]

Each pattern is a graph with choices, of which every combination makes a model.  The first combination of a pattern
also comes in variants: each intermediate value as an output, or read once more; constants as inputs that callers may
override, as in IR version 3, or as true inputs; each reader with a copy of its constant; an unknown batch; and inside
the branch of an If.  Graphs that onnxruntime refuses are left out.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import string
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.parser

from kneronnxopt import OptimizationError
from kneronnxopt.verify import random_inputs, run_model

if TYPE_CHECKING:
    from collections.abc import Iterator

Weight = tuple[int, ...] | list[int] | float | np.ndarray[Any, Any]

IR_VERSION = 10
_NUMPY = {"float": np.float32, "double": np.float64, "float16": np.float16}


@dataclass(frozen=True)
class Pattern:
    """Graphs by combination.

    Attributes
    ----------
    name : str
        Begins the names of its models.
    head : str
        Inputs and outputs, ``float[2,3] x => y``; outputs get the types that onnxruntime finds.
    body : str
        Nodes in onnx's text form, with ``$name`` for what varies; ``$T`` is the type.
    choices : dict of str to str
        Texts for each ``$name``, divided by ``|``.
    weights : dict of str to Weight
        A tuple is the shape of random numbers of the type ``$T``, a list holds int64, a float is a scalar of ``$T``.
    opsets : tuple of int
        Opsets to write it for.
    """

    name: str
    head: str
    body: str
    choices: dict[str, str] = field(default_factory=dict)
    weights: dict[str, Weight] = field(default_factory=dict)
    opsets: tuple[int, ...] = (17,)


_ATTENTION = {"wo": (8, 8), "s3": [0, 0, 8], "s4": [0, 0, 2, 4], "flat": [2, 5, 8], "root": 2.0, "half": 0.5}
_AFFINE = {"a": (4,), "b": (1, 4), "c": (3, 1), "one": np.ones(1, np.float32), "zero": np.zeros((1, 4), np.float32)}

PATTERNS = [
    # Normalisations
    Pattern(
        "layer_norm",
        "$T[2,4,8] x => y",
        """m = ReduceMean<axes=[$axis], keepdims=1>(x) d = Sub(x, m) $square v = ReduceMean<axes=[$axis2],
        keepdims=1>(s) e = Add($sum) r = Sqrt(e) $div y = Add(g, beta)""",
        {
            "T": "float | double | float16",
            "axis": "-1 | 1",
            "axis2": "-1 | 2",
            "square": "s = Pow(d, two) | s = Mul(d, d) | d2 = Sub(x, m) s = Pow(d2, two) | s = Pow(d, three)",
            "sum": "v, eps | eps, v",
            "div": "n = Div(d, r) g = Mul(n, gamma) | i = Reciprocal(r) n = Mul(d, i) g = Mul(gamma, n)",
        },
        {"two": 2.0, "three": 3.0, "eps": 1e-05, "gamma": (8,), "beta": (8,)},
    ),
    Pattern(
        "rms_norm",
        "float[2,4,8] x => y",
        "s = $square v = ReduceMean<axes=[-1]>(s) e = Add(v, eps) r = Sqrt(e) n = Div($order) y = Mul(n, gamma)",
        {
            "square": "Pow(x, two) | Mul(x, x)",
            "order": "x, r | r, x",
        },
        {"two": 2.0, "eps": 1e-05, "gamma": (8,)},
    ),
    Pattern(
        "skip_layer_norm",
        "float[2,4,8] x, float[2,4,8] skip => y$more",
        "a = $first s = Add(a, $last) y = LayerNormalization<axis=$axis>(s, gamma$beta)",
        {
            "first": "Add(x, bias) | Add(bias, skip) | Identity(x)",
            "last": "skip | bias",
            "axis": "-1 | 2 | 1",
            "beta": "| , beta",
            "more": "| , s",
        },
        {"gamma": (8,), "beta": (8,), "bias": (8,)},
    ),
    Pattern(
        "embed_layer_norm",
        "int64[2,4] ids, int64[2,4] segments => y",
        """w = Gather(words, ids) p = Gather(positions, $which) s = Gather(kinds, segments) a = Add($sum) b = Add(a,
        s) y = LayerNormalization(b, gamma, beta)""",
        {
            "which": "range | ids | row",
            "sum": "w, p | p, w",
        },
        {
            "words": (9, 8),
            "positions": (4, 8),
            "kinds": (2, 8),
            "range": [0, 1, 2, 3],
            "row": np.array([[3, 2, 1, 0]]),
            "gamma": (8,),
            "beta": (8,),
        },
    ),
    Pattern(
        "batch_norm",
        "float[2,3,6,6] x => y",
        "c = $op b = BatchNormalization(c, g, h, m, v) y = Relu(b)",
        {
            "op": "Conv(x, w) | Conv(x, w, h) | Conv<group=3>(x, dw) | ConvTranspose(x, w) | Relu(x) | Conv(x, nw)",
        },
        {"w": (3, 3, 3, 3), "dw": (3, 1, 3, 3), "g": (3,), "h": (3,), "m": (3,), "v": np.ones(3, np.float32) * 2}
        | {"nw": (3, 3, 1, 1)},
    ),
    # Activations
    Pattern(
        "gelu",
        "$T[2,8] x0 => y",
        "x = $bias d = $scaled e = Erf(d) a = Add($plus) $product",
        {
            "T": "float | double | float16",
            "bias": "Identity(x0) | Add(x0, b) | Add(b, x0) | MatMul(x0, w)",
            "scaled": "Div(x, root) | Mul(x, inverse) | Mul(inverse, x) | Div(x, wrong)",
            "plus": "e, one | one, e",
            "product": """m = Mul(x, a) y = Mul(m, half) | m = Mul(half, x) y = Mul(a, m) | m = Mul(a, x) y =
            Div(m, two) | m =
            Mul(half, a) y = Mul(m, x) | m = Mul(x0, a) y = Mul(m, half)""",
        },
        {
            "root": 2**0.5,
            "inverse": 0.5**0.5,
            "wrong": 1.5,
            "one": 1.0,
            "half": 0.5,
            "two": 2.0,
            "b": (8,),
            "w": (8, 8),
        },
    ),
    Pattern(
        "fast_gelu",
        "float[2,8] x => y",
        "c = $cube s = Mul($coefficient) a = Add($sum) m = Mul(a, $root) t = Tanh(m) p = Add(one, t) $product",
        {
            "cube": "Pow(x, three) | Pow(x, two)",
            "coefficient": "c, k | k, c",
            "sum": "x, s | s, x",
            "root": "r | half",
            "product": """h = Mul(x, half) y = Mul(h, p) | h = Mul(p, half) y = Mul(x, h) | h = Mul(p, x) y =
            Mul(h, half)""",
        },
        {"three": 3.0, "two": 2.0, "k": 0.044715, "r": 0.7978845608, "one": 1.0, "half": 0.5},
    ),
    Pattern(
        "hard_swish",
        "float[2,3,4,4] x => y",
        "a = Add(x, $shift) c = $clip $rest",
        {
            "shift": "three | half",
            "clip": "Clip(a, zero, six) | Clip(a, , six) | Relu(a) | Clip(a, zero)",
            "rest": """m = Mul(x, c) y = Div(m, six) | d = Div(c, six) y = Mul(d, x) | y = Mul(c, sixth) | d =
            Mul(c, sixth) y
            = Mul(a, d)""",
        },
        {"three": 3.0, "half": 0.5, "zero": 0.0, "six": 6.0, "sixth": 1 / 6},
    ),
    Pattern(
        "swish",
        "float[2,8] x => y",
        "$body",
        {
            "body": """s = Sigmoid(x) y = Mul(x, s) | a = Mul(x, k) s = Sigmoid(a) y = Mul(x, s) | p =
            Softplus(x) t = Tanh(p)
            y = Mul(x, t) | m = Mul(x, k) y = Max(x, m) | y = Max(x, zero) | n = Neg(x) e = Exp(n) a = Add(e, one)
            y = Div(one, a) | n = Neg(x) r = Relu(n) y = Neg(r)""",
        },
        {"k": 0.2, "zero": 0.0, "one": 1.0},
    ),
    Pattern(
        "clip",
        "$T[3,4] x => y",
        "a = $first y = $second",
        {
            "T": "float | double | float16 | int32",
            "first": """Clip(x, lo, hi) | Clip(x, , hi) | Clip(x, lo) | Relu(x) | Min(x, hi) | Max(lo, x) |
            Clip(x, hi, lo)""",
            "second": """Relu(a) | Clip(a, lo, hi) | Clip(a, zero) | Clip(a, , lo) | Max(a, zero) | Clip(a) |
            Min(a, row)""",
        },
        {"lo": -1.0, "hi": 1.0, "zero": 0.0, "row": (4,)},
    ),
    Pattern(
        "relu6",
        "float[3,4] x => y",
        "a = $first y = Clip<min=$lo, max=6.0>(a)",
        {
            "first": "Relu(x) | Clip<max=3.0>(x) | Clip<min=7.0>(x)",
            "lo": "0.0 | -1.0",
        },
        opsets=(7, 10),
    ),
    # Attention
    Pattern(
        "attention",
        "float[$B,5,8] x, float[2,1,1,5] m => y",
        """q3 = MatMul(x, wq) k3 = MatMul(x, wk) $vproj q4 = Reshape(q3, s4) kr = Reshape(k3, s4) v4 = Reshape(v3, s4)
        q = Transpose<perm=[0,2,1,3]>(q4) v = Transpose<perm=[0,2,1,3]>(v4) k = Transpose<perm=[0,2,3,1]>(kr) qk =
        MatMul(q, k) $scale $mask p = Softmax<axis=-1>(masked) c = MatMul(p, v) ct = Transpose<perm=[0,2,1,3]>(c)
        cr = Reshape(ct, $back) o = MatMul(cr, wo) y = Add(o, x)""",
        {
            "B": "2 | N",
            "vproj": "v3 = MatMul(x, wv) | v2 = MatMul(x, wv) v3 = Add(v2, bv) | v2 = MatMul(x, wv) v3 = Add(bv, v2)",
            "scale": "qs = Div(qk, root) | qs = Mul(qk, half) | qs = Identity(qk)",
            "mask": "masked = Identity(qs) | masked = Add(qs, m) | masked = Add(m, qs)",
            "back": "s3 | flat",
        },
        _ATTENTION | {"wq": (8, 8), "wk": (8, 8), "wv": (8, 8), "bv": (8,)},
    ),
    Pattern(
        "attention_packed",
        "float[2,5,8] x, float[2,1,1,5] m => y",
        """all0 = MatMul(x, w) all = Add(all0, b) $split q = Transpose<perm=[0,2,1,3]>(q4) v =
        Transpose<perm=[0,2,1,3]>(v4) k = Transpose<perm=[0,2,3,1]>(kr) qk = MatMul(q, k) $scale $mask p =
        Softmax<axis=-1>(masked) c = MatMul(p, v) ct = Transpose<perm=[0,2,1,3]>(c) cr = Reshape(ct, $back) o =
        MatMul(cr, wo) y = Add(o, x)""",
        {
            "split": """q3, k3, v3 = Split<axis=2>(all, thirds) q4 = Reshape(q3, s4) kr = Reshape(k3, s4) v4 =
            Reshape(v3, s4)
            | a5 = Reshape(all, s5) t = Transpose<perm=[2,0,1,3,4]>(a5) q4 = Gather<axis=0>(t, i0) kr =
            Gather<axis=0>(t, i1) v4 = Gather<axis=0>(t, i2) | q3 = Slice(all, z, e8, ax) k3 = Slice(all, e8, e16,
            ax) v3 = Slice(all, e16, big, ax) q4 = Reshape(q3, s4) kr = Reshape(k3, s4) v4 = Reshape(v3, s4) | q4 =
            Einsum<equation="bsd,dhe->bshe">(x, w4) kr = Einsum<equation="bsd,dhe->bshe">(x, w4) v4 = Reshape(x,
            s4)""",
            "scale": "qs = Div(qk, root) | qs = Mul(qk, half) | qs = Identity(qk)",
            "mask": "masked = Identity(qs) | masked = Add(qs, m) | masked = Add(m, qs)",
            "back": "s3",
        },
        _ATTENTION
        | {"w": (8, 24), "b": (24,), "thirds": [8, 8, 8], "s5": [0, 0, 3, 2, 4], "w4": (8, 2, 4)}
        | {f"i{i}": np.array(i) for i in range(3)}
        | {"z": [0], "e8": [8], "e16": [16], "big": [2**63 - 1], "ax": [-1]},
    ),
    Pattern(
        "attention_past",
        "float[2,5,8] x, float[2,2,3,4] pk, float[2,2,3,4] pv => y, k, v",
        """q3 = MatMul(x, wq) k3 = MatMul(x, wk) v3 = MatMul(x, wv) q4 = Reshape(q3, s4) k4 = Reshape(k3, s4) v4 =
        Reshape(v3, s4) q = Transpose<perm=[0,2,1,3]>(q4) kn = Transpose<perm=[0,2,1,3]>(k4) vn =
        Transpose<perm=[0,2,1,3]>(v4) k = Concat<axis=2>(pk, kn) v = Concat<axis=-2>(pv, vn) kt =
        Transpose<perm=[0,1,3,2]>(k) qk = MatMul(q, kt) $scale masked = $mask p = Softmax<axis=3>(masked) c =
        MatMul(p, v) ct = Transpose<perm=[0,2,1,3]>(c) cr = Reshape(ct, s3) y = MatMul(cr, wo)""",
        {
            "scale": "qs = Div(qk, root) | qs = Mul(qk, half) | qs = Identity(qk)",
            "mask": "Identity(qs) | Where(causal, qs, low) | Where(causal, low, qs)",
        },
        _ATTENTION
        | {
            "wq": (8, 8),
            "wk": (8, 8),
            "wv": (8, 8),
            "low": -10000.0,
            "causal": np.tri(5, 8, 3, dtype=bool)[None, None],
        },
    ),
    # Products
    Pattern(
        "matmul_add",
        "float[$shape] x => y",
        "m = MatMul($product) y = $sum",
        {
            "shape": "4,4 | 2,4,4 | 4 | 1,4 | N,4 | 0,4",
            "product": "x, w | w, x | x, v | x, wb",
            "sum": """Add(m, b1) | Add(b1, m) | Add(m, b2) | Add(b2, m) | Add(m, b3) | Add(b3, m) | Add(m, b4)
            | Add(b4, m) |
            Add(m, bs) | Add(bs, m) | Add(m, bc) | Add(bc, m) | Sub(m, b1) | Sub(b1, m) | Mul(m, b1) | Div(m, b1) |
            Div(b1, m)""",
        },
        {"w": (4, 4), "v": (4,), "wb": (3, 4, 4), "b1": (4,), "b2": (1, 4), "b3": (3, 1, 4), "b4": (4, 4), "bs": 1.5}
        | {"bc": (4, 1)},
    ),
    Pattern(
        "transpose_matmul",
        "$T[2,3,4] x, $T[2,3,4] z => y",
        "a = Transpose<perm=[$p]>(x) b = Transpose<perm=[$q]>(z) m = MatMul($product) y = Mul(m, k)",
        {
            "T": "float | double",
            "p": "0,2,1 | 0,1,2 | 1,0,2 | 2,1,0",
            "q": "0,2,1 | 0,1,2 | 1,0,2",
            "product": "a, z | x, b | a, b | b, a | a, w",
        },
        {"k": 0.5, "w": (3, 4)},
    ),
    Pattern(
        "gemm",
        "float[3,3] x, float[3,3] z => y",
        "t = Transpose(x) g = Gemm<transA=$ta, transB=$tb, alpha=$alpha, beta=0.5>($inputs) y = $then",
        {
            "ta": "0 | 1",
            "tb": "0 | 1",
            "alpha": "1.0 | 2.0",
            "inputs": "t, z | z, t, c | x, w, c | w, t, d | x, w | x, w, s",
            "then": "Add(g, c) | Gemm(g, w, c) | Relu(g) | Transpose(g) | Mul(g, c) | MatMul(g, w)",
        },
        {"w": (3, 3), "c": (3,), "d": (3, 1), "s": 2.0},
        (11, 17),
    ),
    # Convolutions and padding
    Pattern(
        "conv_arithmetic",
        "float[2,3,5,5] x => y",
        "c = $conv a = $op y = $then",
        {
            "conv": """Conv(x, w) | Conv(x, w, bias) | Conv<pads=[1,1,1,1]>(x, w) | Conv<group=3>(x, dw) |
            ConvTranspose(x, w)
            | Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w)""",
            "op": """Add(c, k0) | Add(c, k1) | Add(c, kc) | Add(c, kcc) | Mul(c, k0) | Mul(c, k1) | Mul(c, kc)
            | Mul(c, kcc)
            | Sub(c, k0) | Sub(c, k1) | Sub(c, kc) | Sub(c, kcc) | Div(c, k0) | Div(c, k1) | Div(c, kc) | Div(c,
            kcc) | Add(k1, c) | Add(kcc, c) | Sub(k1, c) | Sub(kcc, c) | Div(k1, c) | Div(kcc, c) | Add(c, kw) |
            Mul(c, kw) | Mul(c, kn) | Add(c, kn) | Add(c, k5) | Mul(c, k5)""",
            "then": "Relu(a) | Mul(a, kcc)",
        },
        {
            "w": (3, 3, 3, 3),
            "dw": (3, 1, 3, 3),
            "bias": (3,),
            "k0": 1.5,
            "k1": (1,),
            "kc": (3, 1, 1),
            "kcc": (1, 3, 1, 1),
        }
        | {"kw": (3,), "kn": (2, 1, 1, 1), "k5": (1, 1, 3, 1, 1)},
    ),
    Pattern(
        "pad_op",
        "float[1,2,6,6] x => y",
        'p = Pad<mode="$mode">(x, $pads$value) y = $op',
        {
            "mode": "constant | reflect | edge",
            "pads": "spatial | channel | negative | nothing | uneven",
            "value": "| , zero | , one",
            "op": """Conv(p, w$extra) | Conv<pads=[1,0,1,0]>(p, w$extra) | MaxPool<kernel_shape=[2,2]>(p) |
            AveragePool<kernel_shape=[2,2], count_include_pad=1>(p) | AveragePool<kernel_shape=[2,2]>(p) |
            MaxPool<kernel_shape=[2,2], pads=[1,1,1,1]>(p) | Pad(p, spatial) | ConvTranspose(p, w) |
            Conv<auto_pad="SAME_LOWER">(p, w)""",
            "extra": "",
        },
        {
            "spatial": [0, 0, 1, 1, 0, 0, 1, 1],
            "channel": [0, 1, 0, 0, 0, 0, 0, 0],
            "negative": [0, 0, -1, 0, 0, 0, -1, 0],
        }
        | {"nothing": [0] * 8, "uneven": [0, 0, 0, 2, 0, 0, 1, 0], "zero": 0.0, "one": 1.0, "w": (2, 2, 3, 3)},
    ),
    Pattern(
        "pad_old",
        "float[1,2,6,6] x => y",
        "p = Pad<pads=[0,0,1,1,0,0,1,1]$value>(x) y = $op",
        {
            "value": "| , value=1.0",
            "op": "Conv(p, w) | AveragePool<kernel_shape=[2,2]>(p)",
        },
        {"w": (2, 2, 3, 3)},
        (7, 10),
    ),
    # Shapes, types, arithmetic
    Pattern(
        "reshape_from_shape",
        "float[$shape] x, float[$shape] z => y",
        """s = Shape($of) a0 = Gather<axis=0>(s, $i) b0 = Gather<axis=0>(s, $j) a = Unsqueeze(a0, ax) b =
        Unsqueeze(b0, ax) t = Concat<axis=0>($target) r = Relu(x) y = Reshape(r, t)""",
        {
            "shape": "2,3,4 | N,3,4 | N,M,4",
            "of": "x | z",
            "i": "i0 | in",
            "j": "i1 | i0",
            "target": "a, rest | a, b, rest | rest, b | a, rest, two",
        },
        {"i0": np.array(0), "i1": np.array(1), "in": np.array(-1), "ax": [0], "rest": [-1], "two": [2]},
    ),
    Pattern(
        "views",
        "float[$shape] x => y",
        "a = $first b = $second y = $third",
        {
            "shape": "2,3,4 | N,3,4 | 1,1,1 | 2,0,4",
            "first": """Reshape(x, s43) | Unsqueeze(x, ax) | Flatten(x) | Transpose<perm=[1,0,2]>(x) | Expand(x, s431) |
            Relu(x)""",
            "second": "Transpose(a) | Squeeze(a) | Reshape(a, keep) | Reshape(a, flat) | Expand(a, ones) | Identity(a)",
            "third": "Neg(b) | Flatten<axis=0>(b) | Squeeze(b) | Reshape(b, flat) | Unsqueeze(b, ends)",
        },
        {"s43": [-1, 4, 3], "ax": [1], "s431": [1, 1, 1], "keep": [0, -1], "flat": [-1], "ones": [1], "ends": [0, -1]},
    ),
    Pattern(
        "slice",
        "float[4,6] x => y",
        "a = Slice(x, $range) y = $then",
        {
            "range": """$s, big, $axes | $s, six, $axes | $s, minus, $axes | $s, low, $axes | $s, big, $axes, two
            | $s, minus, $axes, one | $s, low, $axes, minus | $s, zero, $axes, minus | $s, low, $axes, back
            | $s, big, $axes, minus | $s, last, $axes, back | $s, six, $axes, minus""",
            "s": "zero | one | minus",
            "axes": "zero | one | minus",
            "then": "Neg(a) | Slice(a, one, big, zero) | Concat<axis=0>(a, a)",
        },
        {"zero": [0], "one": [1], "two": [2], "minus": [-1], "back": [-2], "six": [6], "big": [2**31 - 1]}
        | {"low": [-(2**31)], "last": [2**63 - 1]},
    ),
    Pattern(
        "slice_no_axes",
        "float[4,6] x => y",
        "a = Slice(x, s, e, $rest) y = Neg(a)",
        {
            "rest": ", t |",
        },
        {"s": [0, 5], "e": [4, -9], "t": [1, -1]},
    ),
    Pattern(
        "gather_split",
        "float[2,3,4] x => y",
        "a = Gather<axis=$axis>(x, $i) b = Gather<axis=$axis>(x, $j) y = $then",
        {
            "axis": "0 | 1 | -1",
            "i": "i0 | v0 | vv",
            "j": "i1 | v1 | in",
            "then": "Concat<axis=0>(a, b) | Add(a, b) | Max(b, a)",
        },
        {"i0": np.array(0), "i1": np.array(1), "in": np.array(-1), "v0": [0], "v1": [1], "vv": [0, 1]},
    ),
    Pattern(
        "split_concat",
        "float[2,6] x => y$more",
        "a, b, c = Split<axis=$axis>(x, $sizes) y = Concat<axis=$to>($parts)",
        {
            "axis": "1 | -1",
            "sizes": "equal | uneven | zero",
            "to": "1 | 0",
            "parts": "a, b, c | c, b, a | a, a, b | a, c",
            "more": "| , b",
        },
        {"equal": [2, 2, 2], "uneven": [1, 2, 3], "zero": [0, 0, 6]},
    ),
    Pattern(
        "expand",
        "float[$shape] x, float[2,3] z => y",
        "e = Expand(x, $to) y = $then",
        {
            "shape": "2,3 | 1,3 | 3 | | 2,1",
            "to": "ones | same | more | none",
            "then": "Add(e, z) | Mul(z, e) | Concat<axis=0>(e, e) | ReduceSum<keepdims=0>(e) | MatMul(e, w)",
        },
        {"ones": [1, 1], "same": [2, 3], "more": [4, 2, 3], "none": [1], "w": (3, 2)},
    ),
    Pattern(
        "cast_chain",
        "$A[2,3] x => y",
        "a = Cast<to=$b>(x) c = Cast<to=$c>(a) y = Cast<to=$d>(c)",
        {
            "A": "float | int64 | double | float16 | bool",
            "b": "1 | 10 | 11 | 7 | 9 | 2 | 16",
            "c": "1 | 6 | 11",
            "d": "1 | 7",
        },
    ),
    Pattern(
        "arithmetic",
        "$T[3,4] x => y",
        "p = $first q = $second y = Relu(q)",
        {
            "T": "float | double | int32",
            "first": """Add(x, a) | Add(a, x) | Add(x, c) | Sub(x, a) | Sub(a, x) | Sub(x, c) | Mul(x, a) |
            Mul(a, x) | Mul(x,
            c) | Div(x, a) | Div(a, x) | Div(x, c)""",
            "second": """Add(p, b) | Add(b, p) | Add(p, one) | Sub(p, b) | Sub(b, p) | Sub(p, one) | Mul(p, b)
            | Mul(b, p) |
            Mul(p, one) | Div(p, b) | Div(b, p) | Div(p, one) | Add(p, zero) | Sub(zero, p) | Neg(p) | Pow(p, one)
            | Mul(p, zero)""",
        },
        {**_AFFINE, "a": np.array([2, -3, 4, 5], np.float32), "b": np.array([[3, 2, -2, 7]], np.float32)}
        | {"c": np.array([[2], [3], [-5]], np.float32)},
        (14,),
    ),
    # Quantisation: a result is the same, or off by a whole step
    Pattern(
        "qdq",
        "float[1,2,6,6] x => y",
        """q0 = QuantizeLinear(x, s$z) d0 = DequantizeLinear(q0, s$z) a = $op q1 = QuantizeLinear(a, s2$z) d1 =
        DequantizeLinear(q1, s2$z) y = $then""",
        {
            "z": ", z | | , i",
            "op": """Conv(d0, dw) | Relu(d0) | Clip(d0, lo, hi) | MaxPool<kernel_shape=[2,2]>(d0) | Transpose(d0) |
            Identity(d0) | Reshape(d0, flat) | Add(d0, d0) | Mul(d0, half) | Concat<axis=1>(d0, d0) | Slice(d0,
            one, two, one) | AveragePool<kernel_shape=[2,2]>(d0) | Softmax(d0) | GlobalAveragePool(d0) |
            ReduceMean<axes=[2,3]>(d0)""",
            "then": "Relu(d1) | Identity(d1) | Mul(d1, half)",
        },
        {
            "s": 0.1,
            "s2": 0.13,
            "z": np.array(120, np.uint8),
            "i": np.array(3, np.int8),
            "dw": (2, 2, 3, 3),
            "lo": -0.35,
        }
        | {"hi": 0.77, "flat": [1, 72], "half": 0.5, "one": [1], "two": [2]},
    ),
    Pattern(
        "qdq_arithmetic",
        "float[1,2,6,6] x => y",
        """q0 = QuantizeLinear(x, s, z) d0 = DequantizeLinear(q0, s, z) $op b = $then q1 = QuantizeLinear(b, s2, z) y =
        DequantizeLinear(q1, s2, z)""",
        {
            "op": """m = Mul(d0, half) a = Mul(m, fifth) | m = Add(d0, half) a = Add(m, fifth) | m = Conv(d0, ones) a =
            Mul(m, fifth) | m = Conv(d0, ones) a = Add(m, fifth) | m = Conv(d0, ones) a = BatchNormalization(m, g, h, h,
            g) | m = BatchNormalization(d0, g, h, h, g) a = Mul(m, fifth) | p = Add(d0, three) c = Clip(p, zero, six) m
            = Mul(d0, c) a = Div(m, six) | m = MatMul(d0, square) a = Mul(m, fifth) | m = ReduceMean<axes=[2]>(d0) a =
            ReduceMean<axes=[3]>(m) | a = AveragePool<kernel_shape=[6,6]>(d0) | a = AveragePool<kernel_shape=[3,3],
            pads=[1,1,1,1]>(d0)""",
            "then": "Relu(a) | Transpose(a) | Mul(a, half) | MaxPool<kernel_shape=[1,1]>(a)",
        },
        {"s": 0.1, "s2": 0.13, "z": np.array(120, np.uint8), "half": 0.5, "fifth": 0.2, "three": 3.0, "six": 6.0}
        | {"zero": 0.0, "ones": np.full((2, 2, 2, 2), 0.25, np.float32), "square": np.full((6, 6), 0.5, np.float32)}
        | {"g": np.full(2, 0.5, np.float32), "h": np.full(2, 0.25, np.float32)},
    ),
    Pattern(
        "qdq_weights",
        "float[1,2,6,6] x => y",
        """q0 = QuantizeLinear(x, s, z) d0 = DequantizeLinear(q0, s, z) w = DequantizeLinear$axis(wq, ws, wz) b =
        DequantizeLinear(bq, bs) c = Conv(d0, w, b) n = $then q1 = QuantizeLinear(n, s, z) y = DequantizeLinear(q1,
        s, z)""",
        {
            "axis": "<axis=0>",
            "then": "Relu(c) | Clip(c, lo, hi) | BatchNormalization(c, g, g, g, v) | Add(c, d0c) | Mul(c, k)",
        },
        {"s": 0.1, "z": np.array(120, np.uint8), "wq": np.arange(-18, 18, dtype=np.int8).reshape(2, 2, 3, 3)}
        | {"ws": np.array([0.02, 0.03], np.float32), "wz": np.zeros(2, np.int8), "bq": np.array([9, -7], np.int32)}
        | {
            "bs": 0.002,
            "lo": 0.0,
            "hi": 6.0,
            "g": (2,),
            "v": np.ones(2, np.float32),
            "d0c": (2, 1, 1),
            "k": (1, 2, 1, 1),
        },
        (13, 17),
    ),
    Pattern(
        "q_twice",
        "float[2,4] x => y",
        """a = QuantizeLinear(x, s, z) b = DequantizeLinear(a, $s2, z) c = QuantizeLinear(b, $s3, z) y =
        DequantizeLinear(c, s, z)""",
        {
            "s2": "s | t",
            "s3": "s | t",
        },
        {"s": 0.1, "t": 0.07, "z": np.array(128, np.uint8)},
    ),
    Pattern(
        "dynamic_q",
        "float[3,4] x => y",
        """q, s, z = DynamicQuantizeLinear(x) i = MatMulInteger(q, w, z) f = Cast<to=1>(i) m = Mul(s, ws) y = Mul(f,
        m)""",
        weights={"w": np.arange(8, dtype=np.uint8).reshape(4, 2), "ws": 0.02},
    ),
    # Dropout, optional inputs and outputs, recurrent layers
    Pattern(
        "dropout",
        "float[3,4] x => y$more",
        "a$mask = Dropout$seed(x$args) y = Relu(a)",
        {
            "more": "| , m",
            "mask": "| , m",
            "seed": "| <seed=3>",
            "args": "| , ratio | , zero, true | , ratio, false | , , true | , zero | , ratio, true",
        },
        {"ratio": 0.5, "zero": 0.0, "true": np.array(True), "false": np.array(False)},
        (12, 17),
    ),
    Pattern(
        "dropout_old",
        "float[3,4] x => y$more",
        "a$mask = Dropout<ratio=0.3>(x) y = Relu(a)",
        {
            "mask": "| , m",
            "more": "| , m",
        },
        opsets=(7, 10),
    ),
    Pattern(
        "unused_outputs",
        "float[3,4] x => y",
        "$body",
        {
            "body": """v, i = TopK<axis=1>(x, k) y = Relu(v) | a, b = Split<axis=1>(x, two) y = Relu(b) | u, f, g, h =
            Unique(x) y = Relu(u) | r = Reshape(x, s4) p, q = MaxPool<kernel_shape=[2,2]>(r) y = Relu(p)""",
        },
        {"k": [2], "two": [2, 2], "s4": [1, 1, 3, 4]},
    ),
    Pattern(
        "resize",
        "float[1,2,4,4] x => y",
        'r = Resize<mode="$mode"$how>(x, , $args) y = Relu(r)',
        {
            "mode": "nearest | linear | cubic",
            "how": '| , coordinate_transformation_mode="asymmetric"',
            "args": "one | two | , same | , more | down",
        },
        {
            "one": np.ones(4, np.float32),
            "two": np.array([1, 1, 2, 2], np.float32),
            "same": [1, 2, 4, 4],
            "more": [1, 2, 5, 7],
            "down": np.array([1, 1, 0.5, 0.5], np.float32),
        },
    ),
    Pattern(
        "recurrent",
        "float[5,2,3] x, float[$D,2,4] h => y",
        "$op y = $then",
        {
            "D": "1 | 2",
            "op": """s = LSTM<hidden_size=4, direction="forward">(x, lw1, lr1) | , s = LSTM<hidden_size=4,
            direction="forward">(x, lw1, lr1, lb1) | s = LSTM<hidden_size=4, direction="forward">(x, lw1, lr1, , ,
            h) | s = LSTM<hidden_size=4, direction="forward", clip=0.5>(x, lw1, lr1) | , s = LSTM<hidden_size=4,
            direction="forward", clip=0.5>(x, lw1, lr1, lb1) | s = LSTM<hidden_size=4, direction="forward",
            clip=0.5>(x, lw1, lr1, , , h) | s = LSTM<hidden_size=4, direction="reverse">(x, lw1, lr1) | , s =
            LSTM<hidden_size=4, direction="reverse">(x, lw1, lr1, lb1) | s = LSTM<hidden_size=4,
            direction="reverse">(x, lw1, lr1, , , h) | s = LSTM<hidden_size=4, direction="reverse", clip=0.5>(x,
            lw1, lr1) | , s = LSTM<hidden_size=4, direction="reverse", clip=0.5>(x, lw1, lr1, lb1) | s =
            LSTM<hidden_size=4, direction="reverse", clip=0.5>(x, lw1, lr1, , , h) | s = LSTM<hidden_size=4,
            direction="bidirectional">(x, lw2, lr2) | , s = LSTM<hidden_size=4, direction="bidirectional">(x, lw2,
            lr2, lb2) | s = LSTM<hidden_size=4, direction="bidirectional">(x, lw2, lr2, , , h) | s =
            LSTM<hidden_size=4, direction="bidirectional", clip=0.5>(x, lw2, lr2) | , s = LSTM<hidden_size=4,
            direction="bidirectional", clip=0.5>(x, lw2, lr2, lb2) | s = LSTM<hidden_size=4,
            direction="bidirectional", clip=0.5>(x, lw2, lr2, , , h) | s = GRU<hidden_size=4,
            direction="forward">(x, gw1, gr1) | , s = GRU<hidden_size=4, direction="forward">(x, gw1, gr1, gb1) | s
            = GRU<hidden_size=4, direction="forward">(x, gw1, gr1, , , h) | s = GRU<hidden_size=4,
            direction="forward", clip=0.5>(x, gw1, gr1) | , s = GRU<hidden_size=4, direction="forward",
            clip=0.5>(x, gw1, gr1, gb1) | s = GRU<hidden_size=4, direction="forward", clip=0.5>(x, gw1, gr1, , , h)
            | s = GRU<hidden_size=4, direction="reverse">(x, gw1, gr1) | , s = GRU<hidden_size=4,
            direction="reverse">(x, gw1, gr1, gb1) | s = GRU<hidden_size=4, direction="reverse">(x, gw1, gr1, , ,
            h) | s = GRU<hidden_size=4, direction="reverse", clip=0.5>(x, gw1, gr1) | , s = GRU<hidden_size=4,
            direction="reverse", clip=0.5>(x, gw1, gr1, gb1) | s = GRU<hidden_size=4, direction="reverse",
            clip=0.5>(x, gw1, gr1, , , h) | s = GRU<hidden_size=4, direction="bidirectional">(x, gw2, gr2) | , s =
            GRU<hidden_size=4, direction="bidirectional">(x, gw2, gr2, gb2) | s = GRU<hidden_size=4,
            direction="bidirectional">(x, gw2, gr2, , , h) | s = GRU<hidden_size=4, direction="bidirectional",
            clip=0.5>(x, gw2, gr2) | , s = GRU<hidden_size=4, direction="bidirectional", clip=0.5>(x, gw2, gr2,
            gb2) | s = GRU<hidden_size=4, direction="bidirectional", clip=0.5>(x, gw2, gr2, , , h) | s =
            RNN<hidden_size=4, direction="forward">(x, nw1, nr1) | , s = RNN<hidden_size=4, direction="forward">(x,
            nw1, nr1, nb1) | s = RNN<hidden_size=4, direction="forward">(x, nw1, nr1, , , h) | s =
            RNN<hidden_size=4, direction="forward", clip=0.5>(x, nw1, nr1) | , s = RNN<hidden_size=4,
            direction="forward", clip=0.5>(x, nw1, nr1, nb1) | s = RNN<hidden_size=4, direction="forward",
            clip=0.5>(x, nw1, nr1, , , h) | s = RNN<hidden_size=4, direction="reverse">(x, nw1, nr1) | , s =
            RNN<hidden_size=4, direction="reverse">(x, nw1, nr1, nb1) | s = RNN<hidden_size=4,
            direction="reverse">(x, nw1, nr1, , , h) | s = RNN<hidden_size=4, direction="reverse", clip=0.5>(x,
            nw1, nr1) | , s = RNN<hidden_size=4, direction="reverse", clip=0.5>(x, nw1, nr1, nb1) | s =
            RNN<hidden_size=4, direction="reverse", clip=0.5>(x, nw1, nr1, , , h) | s = RNN<hidden_size=4,
            direction="bidirectional">(x, nw2, nr2) | , s = RNN<hidden_size=4, direction="bidirectional">(x, nw2,
            nr2, nb2) | s = RNN<hidden_size=4, direction="bidirectional">(x, nw2, nr2, , , h) | s =
            RNN<hidden_size=4, direction="bidirectional", clip=0.5>(x, nw2, nr2) | , s = RNN<hidden_size=4,
            direction="bidirectional", clip=0.5>(x, nw2, nr2, nb2) | s = RNN<hidden_size=4,
            direction="bidirectional", clip=0.5>(x, nw2, nr2, , , h)""",
            "then": "Relu(s) | Identity(s)",
        },
        {
            f"{letter}{kind}{d}": (d, n * 4, size) if size else (d, n * 8)
            for letter, n in (("l", 4), ("g", 3), ("n", 1))
            for d in (1, 2)
            for kind, size in (("w", 3), ("r", 4), ("b", 0))
        },
    ),
    # Layouts
    Pattern(
        "between_transposes",
        "float[1,4,4,6] x => y",
        "a = Transpose<perm=[0,3,1,2]>(x) b = $op y = Transpose<perm=[$back]>(b)",
        {
            "op": """Relu(a) | Conv(a, w) | MaxPool<kernel_shape=[2,2]>(a) | Softmax<axis=1>(a) | Add(a, k) |
            Mul(a, r) |
            Concat<axis=1>(a, a) | ReduceMean<axes=[2,3]>(a) | Pad(a, p) | Slice(a, one, two, one) | Add(a, a) |
            BatchNormalization(a, c, c, c, v) | InstanceNormalization(a, c, c) | PRelu(a, k) | Clip(a, lo) |
            Resize(a, , up) | DepthToSpace<blocksize=1>(a) | ArgMax<axis=1>(a) | Where(flag, a, k) | Tile(a, tiles)
            | LayerNormalization<axis=-1>(a, c4) | CumSum(a, at) | Gather<axis=1>(a, pick) | Expand(a, tiles) |
            QuantizeLinear<axis=1>(a, sc) | Flatten<axis=2>(a) | Squeeze(a, zero) | GlobalMaxPool(a) | MatMul(a, m)""",
            "back": "0,2,3,1 | 0,3,1,2 | 3,2,1,0 | 1,0 | 2,1,0",
        },
        {"w": (6, 6, 3, 3), "k": (6, 1, 1), "r": (4,), "p": [0, 0, 1, 0, 0, 0, 0, 1], "one": [1], "two": [3], "c": (6,)}
        | {"v": np.ones(6, np.float32), "lo": 0.0, "up": np.array([1, 1, 2, 2], np.float32), "tiles": [1, 1, 1, 2]}
        | {"flag": np.eye(4, dtype=bool), "c4": (4,), "at": np.array(1), "pick": [5, 0], "zero": [0], "m": (4, 4)}
        | {"sc": np.full(6, 0.1, np.float32)},
    ),
    Pattern(
        "softmax",
        "float[2,3,4] x => y",
        "t = Transpose<perm=[$p]>(x) s = $op<axis=$axis>(t) y = Transpose<perm=[$p]>(s)",
        {
            "p": "0,2,1 | 1,0,2",
            "op": "Softmax | LogSoftmax | Hardmax",
            "axis": "0 | 1 | 2 | -1",
        },
        opsets=(11, 17),
    ),
    Pattern(
        "reduce",
        "float[2,3,4,4] x => y",
        "t = Transpose<perm=[0,2,3,1]>(x) a = $op<axes=[$axes], keepdims=$keep>(t) y = $then",
        {
            "op": "ReduceMean | ReduceMax | ReduceL2 | ReduceProd",
            "axes": "1,2 | -1 | 0 | 1,2,3",
            "keep": "0 | 1",
            "then": "Relu(a) | Squeeze(a) | ReduceMean(a)",
        },
    ),
    Pattern(
        "reduce_input",
        "float[2,3,4,4] x => y",
        "a = $op<keepdims=$keep$noop>(x$axes) y = Relu(a)",
        {
            "op": "ReduceMean | ReduceSum | ReduceMax",
            "keep": "0 | 1",
            "noop": "| , noop_with_empty_axes=1",
            "axes": "| , hw | , none | ,",
        },
        {"hw": [2, 3], "none": []},
        (18,),
    ),
    Pattern(
        "mean_by_hand",
        "float[2,3,4,4] x => y",
        "s = ReduceSum<keepdims=1>(x, $axes) y = $op",
        {
            "axes": "hw | c",
            "op": "Div(s, n) | Mul(s, i)",
        },
        {"hw": [2, 3], "c": [1], "n": 16.0, "i": 1 / 16},
    ),
    # Scalars, empty tensors, constant conditions, subgraphs
    Pattern(
        "scalar",
        "float x => y",
        "a = $first b = $second y = Add(b, $k)",
        {
            "first": """Unsqueeze(x, z) | Reshape(x, m) | Expand(x, two) | Identity(x) | Transpose(x) |
            Reshape(x, e) | Neg(x)""",
            "second": "Squeeze(a) | Reshape(a, m) | Identity(a) | ReduceSum<keepdims=0>(a) | Flatten(a) | Transpose(a)",
            "k": "k0 | k1 | k2",
        },
        {"z": [0], "m": [-1], "two": [2, 1], "e": [], "k0": 1.0, "k1": (1,), "k2": (0,)},
    ),
    Pattern(
        "empty",
        "float[0,4] x => y",
        "a = $first y = $second",
        {
            "first": """Relu(x) | Concat<axis=0>(x, full) | Concat<axis=0>(full, x, x) | Transpose(x) | Add(x,
            row) | MatMul(x,
            w)""",
            "second": """Neg(a) | ReduceSum<keepdims=0>(a) | Concat<axis=0>(a, none) | Transpose(a) |
            Reshape(a, m) | Softmax(a)""",
        },
        {"full": (2, 4), "row": (4,), "w": (4, 4), "none": (0, 4), "m": [-1, 4]},
    ),
    Pattern(
        "condition",
        "float[3,4] x => y",
        "$body",
        {
            "body": """y = Where(yes, x, k) | y = Where(no, x, k) | c = Greater(x, k) n = Not(c) m = Not(n) y =
            Where(m, x, k)
            | s = Shape(x) g = Gather(s, i) q = Equal(g, three) f = Cast<to=1>(q) y = Mul(x, f) | c =
            ConstantOfShape(sh) y = Add(x, c) | s = Shape<start=1>(x) c = ConstantOfShape(s) y = Mul(x, c) | z =
            NonZero(x) t = Transpose(z) y = GatherND(x, t) | n = Size(x) f = Cast<to=1>(n) y = Div(x, f) | y =
            Sum(x) | y = Max(x) | y = Sum(x, k, x, row) | y = Mean(x, k) | y = Concat<axis=0>(x)""",
        },
        {
            "yes": np.ones((3, 1), bool),
            "no": np.zeros((1, 4), bool),
            "k": (3, 4),
            "i": np.array(0),
            "three": np.array(3),
            "sh": [3, 4],
            "row": (4,),
        },
    ),
    Pattern(
        "if",
        "float[3,4] x, bool[1] flag => y",
        """c = Identity(x) k2 = Add(k, k) f = $flag r = If<then_branch = a () => (float[3,4] p) { q = Identity(c) p =
        $then }, else_branch = b () => (float[3,4] p) { p = $else }>(f) y = Identity(r)""",
        {
            "flag": "Squeeze(flag) | Identity(yes) | Not(yes)",
            "then": "Add(q, k2) | Identity(q) | Identity(c)",
            "else": "Mul(c, k) | Identity(k) | Neg(c)",
        },
        {"k": (3, 4), "yes": np.array(True)},
    ),
    Pattern(
        "loop",
        "float[3,4] x => y, z",
        """k2 = Add(k, k) i = Identity(x) y, z = Loop<body = b (int64 n, bool c, float[3,4] s) => (bool o, float[3,4]
        t, float[3,4] u) { o = Identity(c) a = Identity(k2) m = Mul(s, half) t = Add(m, $term) u = $scan }>($trips,
        $go, i)""",
        {
            "term": "a | k | i",
            "scan": "Relu(t) | Identity(s)",
            "trips": "three | zero",
            "go": "yes | | no",
        },
        {
            "k": (3, 4),
            "half": 0.5,
            "three": np.array(3),
            "zero": np.array(0),
            "yes": np.array(True),
            "no": np.array(False),
        },
    ),
    # Operators of onnxruntime's own, which have no schema here
    Pattern(
        "microsoft",
        "float[2,4,8] x => y",
        "i = Identity(x) a = $op t = Identity(a) r = Relu(t) y = Relu(r)",
        {
            "op": """com.microsoft.Gelu(i) | com.microsoft.FastGelu(i, b) | com.microsoft.BiasGelu(i, b) |
            com.microsoft.QuickGelu(i) | com.microsoft.SkipLayerNormalization(i, x, g, b) |
            com.microsoft.FusedMatMul<transB=1, alpha=0.5>(i, w) |
            com.microsoft.SkipSimplifiedLayerNormalization(i, x, g) |
            com.microsoft.MultiHeadAttention<num_heads=2>(i, i, i) | com.microsoft.Attention<num_heads=2>(i, qkv,
            qb)""",
        },
        {"b": (8,), "g": (8,), "w": (8, 8), "qkv": (8, 24), "qb": (24,)},
    ),
    Pattern(
        "microsoft_conv",
        "float[1,2,6,6] x => y",
        "$body y = Identity(c)",
        {
            "body": """p = Pad(x, pads) c = com.microsoft.FusedConv<activation="Relu">(p, w, b) | t =
            Transpose<perm=[0,2,3,1]>(x) u = Transpose<perm=[0,3,1,2]>(t) c =
            com.microsoft.FusedConv<activation="Sigmoid">(u, w)""",
        },
        {"w": (2, 2, 3, 3), "b": (2,), "pads": [0, 0, 1, 1, 0, 0, 1, 1]},
    ),
]


def models_of(pattern: Pattern) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yield the models of a pattern that onnxruntime runs, with their names."""
    choices = [[text.strip() for text in texts.split("|")] for texts in pattern.choices.values()]
    first = True
    for opset in pattern.opsets:
        for values in itertools.product(*choices):
            texts = dict(zip(pattern.choices, values, strict=True))
            model = make_model(pattern, texts, opset)
            numbers = [str(options.index(text)) for options, text in zip(choices, values, strict=True)]
            name = "-".join([pattern.name, str(opset), "".join(n if len(n) == 1 else f"({n})" for n in numbers)])
            if not declare_outputs(model):
                continue
            yield name, model
            if first:
                first = False
                for kind, variant in variants(model):
                    if declare_outputs(variant):
                        yield f"{name}-{kind}", variant


def make_model(pattern: Pattern, texts: dict[str, str], opset: int) -> onnx.ModelProto:
    """Build one model; its outputs have no type yet."""
    head = string.Template(pattern.head).substitute({"T": "float"} | texts)
    body = string.Template(string.Template(pattern.body).substitute({"T": "float"} | texts)).substitute(texts)
    inputs, outputs = (part.strip() for part in head.split("=>"))
    typed = ", ".join(f"float[1] {name.strip()}" for name in outputs.split(","))
    try:
        graph = onnx.parser.parse_graph(f"{pattern.name} ({inputs}) => ({typed}) {{ {body} }}")
    except onnx.parser.ParseError as error:
        raise ValueError(f"pattern {pattern.name}: {error}\n{body}") from error
    used = {name for node in graph.node for name in names_read(node)}
    dtype = _NUMPY.get(texts.get("T", texts.get("A", "float")), np.int32 if texts.get("T") == "int32" else np.float32)
    for index, (name, weight) in enumerate(pattern.weights.items()):
        if name in used:
            graph.initializer.append(onnx.numpy_helper.from_array(as_array(weight, dtype, index), name))
    imports = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)


def names_read(node: onnx.NodeProto) -> Iterator[str]:
    """Yield what a node and the nodes inside it read."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from names_read(inner)


def as_array(weight: Weight, dtype: type[np.generic], seed: int) -> np.ndarray[Any, Any]:
    """Return the array of a weight."""
    if isinstance(weight, tuple):
        return np.asarray(np.random.default_rng(seed).standard_normal(weight)).astype(dtype)
    if isinstance(weight, list):
        return np.array(weight, np.int64)
    if isinstance(weight, float):
        return np.array(weight, dtype)
    return weight.astype(dtype) if weight.dtype == np.float32 else weight


def declare_outputs(model: onnx.ModelProto) -> bool:
    """Give outputs the types that onnxruntime finds; return whether it runs the model."""
    for output in model.graph.output:
        output.ClearField("type")
    try:
        results = run_model(model, random_inputs(model))
        symbolic = any(dim.dim_param for value in model.graph.input for dim in value.type.tensor_type.shape.dim)
        for output in model.graph.output:
            array = np.asarray(results[output.name])
            dims = [f"{output.name}_{axis}" if symbolic else size for axis, size in enumerate(array.shape)]
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, kind, dims))
        onnx.checker.check_model(model)
    except (OptimizationError, onnx.checker.ValidationError):
        return False
    return True


def variants(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yield variants of a model, with names."""
    inner = [name for node in model.graph.node for name in node.output if name]
    for name in inner:
        if name not in [output.name for output in model.graph.output]:
            yield f"output_{name}", with_outputs(model, [name])
            read = with_outputs(model, [f"{name}/read"])
            read.graph.node.add(op_type="Identity", input=[name], output=[f"{name}/again"])
            read.graph.node.add(op_type="Transpose", input=[f"{name}/again"], output=[f"{name}/read"])
            yield f"read_{name}", read
    for kind, ir_version, kept in (("ir3", 3, True), ("overridable", IR_VERSION, True), ("inputs", IR_VERSION, False)):
        variant = with_outputs(model, [])
        variant.ir_version = ir_version
        for tensor in model.graph.initializer:
            shape = list(tensor.dims)
            variant.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, shape))
        if not kept:
            del variant.graph.initializer[:]
        yield kind, variant
    yield "copies", with_copies(model)
    batched = with_outputs(model, [])
    for value in batched.graph.input:
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    yield "batch", batched
    yield "branch", inside_if(model)


def with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """Return a copy with more outputs."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for name in names:
        result.graph.output.add(name=name)
    return result


def with_copies(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which each reader of an initializer has its own."""
    result = with_outputs(model, [])
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    turns: collections.Counter[str] = collections.Counter()
    for node in result.graph.node:
        for position, name in enumerate(node.input):
            if name in tensors:
                turns[name] += 1
                node.input[position] = f"{name}/{turns[name]}"
                copied = result.graph.initializer.add()
                copied.CopyFrom(tensors[name])
                copied.name = node.input[position]
    return result


def inside_if(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model that has the nodes in both branches of an If; inputs and initializers are captured."""
    result = with_outputs(model, [])
    branches = {}
    for side in ("then", "else"):
        nodes = with_outputs(model, []).graph.node
        produced = {name for node in nodes for name in node.output if name}
        for node in nodes:
            for names in (node.input, node.output):
                names[:] = [f"{name}/{side}" if name in produced else name for name in names]
        outputs = []
        for value in model.graph.output:
            outputs.append(onnx.ValueInfoProto())
            outputs[-1].CopyFrom(value)
            outputs[-1].name = f"{value.name}/{side}"
        branches[f"{side}_branch"] = onnx.helper.make_graph(nodes, side, [], outputs)
    del result.graph.node[:]
    result.graph.input.append(onnx.helper.make_tensor_value_info("condition", onnx.TensorProto.BOOL, []))
    results = [output.name for output in model.graph.output]
    result.graph.node.append(onnx.helper.make_node("If", ["condition"], results, **branches))
    return result


def main() -> None:
    """Write the corpus."""
    parser = argparse.ArgumentParser(description="Write graphs like those that optimisers fuse.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the .onnx files go")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth model")
    options = parser.parse_args()
    for pattern in PATTERNS:
        folder = options.folder / pattern.name
        folder.mkdir(parents=True, exist_ok=True)
        count = 0
        for index, (name, model) in enumerate(models_of(pattern)):
            if index % options.every == 0:
                onnx.save(model, folder / f"{name}.onnx")
                count += 1
        sys.stdout.write(f"{pattern.name:<24}{count:>6}\n")


if __name__ == "__main__":
    main()
