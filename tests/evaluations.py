"""Evaluations made up for tests: a plausible one, and strategies for all sorts of odd ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from ktc.evaluator.evaluation import Bound, Evaluation, IoTensor, NodeEvaluation
from ktc.evaluator.settings import EvaluationSettings
from ktc.hardware import UserFigure

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "HOSTILE",
    "evaluations",
    "for_any_evaluation",
    "make_cpu_node",
    "make_evaluation",
    "make_node",
    "names",
]

HOSTILE = (
    "<script>alert(1)</script>",
    "</style></title></svg></script><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "{{ 7 * 7 }}{% raw %}",
    "a\nkdp720/ip_eval/fps: 9999",
    "a\r\n[Evaluation Result]\u2028estimate FPS float = 9999",
    'comma, "quote" and \' apostrophe',
    "only, a comma",
    "=HYPERLINK(A1)",
    " padded ",
    "卷積/ümlaut/🙂",
    "\u202egnp.exe",
    "",
)


def make_node(index: int = 0, **changes: object) -> NodeEvaluation:
    """Build a node whose figures follow from `index`."""
    macs = 1_000_000 * (index % 7 + 1)
    cycles = macs / 400
    read, write, weights = 4096 * (index % 5), 2048 * (index % 3), 9216 * (index % 4 + 1)
    mac_ms = cycles / 7e5
    transfer_ms = weights / 6e6 + (read + write) / 4e6
    alive = 50_000 * (index % 9)
    fields: dict[str, object] = {
        "name": f"npu_fusion_node_/stage{index // 12}/block{index % 12}/conv/Conv_/act/Relu",
        "origins": (f"/stage{index // 12}/block{index % 12}/conv/Conv", f"/stage{index // 12}/act/Relu"),
        "type": "FUSED",
        "backend": "Conv",
        "command_index": index,
        "input_bits": 8,
        "output_bits": 8,
        "weight_bits": 8,
        "macs": macs,
        "mac_cycles": cycles,
        "mac_ms": mac_ms,
        "read_bytes": read,
        "read_ms": read / 4e6,
        "write_bytes": write,
        "write_ms": write / 4e6,
        "weight_bytes": weights,
        "weight_ms": weights / 6e6,
        "cfunc_ms": mac_ms,
        "pfunc_ms": 0.0,
        "runtime_ms": mac_ms + read / 4e6 + write / 4e6,
        "sync_ms": max(mac_ms, transfer_ms) + 0.002,
        "auxiliary_ms": 0.0005,
        "layout_ms": 0.0003,
        "overhead_ms": 0.0012,
        "live_bytes": alive,
        "spilled_bytes": max(0, alive - 200_000),
        "bound": "compute" if mac_ms > weights / 6e6 else "weights",
        "input_format": "1W16C8B",
        "output_format": "1W16C8B",
        "output_shape": (1, 64, 56, 56),
    }
    return NodeEvaluation(**(fields | changes))  # type: ignore[arg-type]


def make_cpu_node(
    name: str = "cpu_fusion_node_resize", reason: str | None = "no linear resize", cpu_ms: float | None = 2.5
) -> NodeEvaluation:
    """Build a node that the NPU cannot run."""
    zero = (
        "macs",
        "mac_cycles",
        "mac_ms",
        "read_bytes",
        "read_ms",
        "write_bytes",
        "write_ms",
        "weight_bytes",
    )
    zero += ("weight_ms", "cfunc_ms", "pfunc_ms", "runtime_ms", "sync_ms")
    zero += ("auxiliary_ms", "layout_ms", "overhead_ms")
    return make_node(
        name=name,
        origins=("resize",),
        type="CPU",
        backend="KneronResize",
        command_index=None,
        weight_bits=None,
        bound="cpu",
        input_format="RAW8",
        output_format="RAW8",
        reason=reason,
        cpu_ms=cpu_ms,
        **dict.fromkeys(zero, 0),
    )


def make_evaluation(count: int = 3, **changes: object) -> Evaluation:
    """Build an evaluation of `count` NPU nodes."""
    fields: dict[str, object] = {
        "platform": "720",
        "model_name": "net",
        "settings": EvaluationSettings(),
        "nodes": tuple(make_node(index) for index in range(count)),
        "io": (
            IoTensor("input", "image", (1, 3, 224, 224), 8, "4W4C8B"),
            IoTensor("output", "scores", (1, 1000), 8, "1W16C8B"),
        ),
        "frequency_mhz": 700.0,
        "macs_per_cycle": 512.0,
        "read_bandwidth": 3.8,
        "write_bandwidth": 3.8,
        "weight_bandwidth": 5.8,
        "feature_memory_bytes": 200_000.0,
        "theoretical_conv_ms": 0.002 * count,
        "expected_error_percent": 12.5,
        "expected_error_source": "median of networks left out of the fit",
        "cpu_core": "Cortex-M4",
        "cpu_frequency_mhz": 400.0,
    }
    return Evaluation(**(fields | changes))  # type: ignore[arg-type]


names = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))

_small = st.integers(0, 2**40)
_ms = st.floats(0, 1e6, allow_nan=False).map(lambda x: x if x > 1e-12 else 0.0)
_shape = st.lists(st.integers(1, 4096), max_size=5).map(tuple)


_user_figures = st.builds(
    UserFigure,
    name=st.sampled_from(["read_bandwidth", "cpu_bandwidth", "layout_operators"]),
    value=st.floats(1e-9, 1e15) | names | st.lists(names, max_size=3),
    packaged=st.integers(1, 9) | st.floats(1e-9, 1e15) | st.lists(names, max_size=3),
    unit=names,
    source=names,
)


@st.composite
def _nodes(draw: st.DrawFn) -> NodeEvaluation:
    if draw(st.integers(0, 4)) == 0:
        return make_cpu_node(draw(names), draw(st.none() | names), draw(st.none() | _ms))
    return make_node(
        name=draw(names),
        origins=tuple(draw(st.lists(names, max_size=3))),
        type=draw(st.sampled_from(["NPU", "FUSED"])),
        backend=draw(names),
        command_index=draw(_small),
        weight_bits=draw(st.sampled_from([None, 4, 8, 16])),
        macs=draw(_small),
        mac_cycles=draw(st.floats(0, 1e12)),
        mac_ms=draw(_ms),
        read_bytes=draw(_small),
        weight_bytes=draw(_small),
        sync_ms=draw(_ms),
        live_bytes=draw(st.integers(2**30, 2**40)),
        spilled_bytes=draw(st.integers(0, 2**30)),
        auxiliary_ms=draw(_ms),
        outside_calibration=tuple(draw(st.lists(names, max_size=2))),
        bound=draw(st.sampled_from(get_args(Bound))),
        output_shape=draw(_shape),
    )


@st.composite
def evaluations(draw: st.DrawFn) -> Evaluation:
    """Any evaluation, with any names that a model file can hold."""
    return make_evaluation(
        platform=draw(st.sampled_from(["520", "720", "530", "630", "730"])),
        model_name=draw(names),
        nodes=tuple(draw(st.lists(_nodes(), max_size=4))),
        io=tuple(
            draw(
                st.lists(
                    st.builds(
                        IoTensor,
                        kind=st.sampled_from(["input", "cpu", "output"]),
                        name=names,
                        shape=_shape,
                        bits=st.sampled_from([8, 16]),
                        data_format=st.just("1W16C8B"),
                    ),
                    max_size=4,
                )
            )
        ),
        exposed_share=draw(st.floats(0, 1)),
        settings=EvaluationSettings(
            datapath_bitwidth_mode=draw(st.sampled_from(["int8", "int16", "mix light"])),
            dma_bandwidth=draw(st.none() | st.floats(0.1, 100)),
        ),
        warnings=tuple(draw(st.lists(names, max_size=3))),
        expected_error_percent=draw(st.floats(0, 300)),
        expected_error_source=draw(names),
        user_figures=tuple(draw(st.lists(_user_figures, max_size=2))),
        cpu_core=draw(names),
        settings_outside_calibration=tuple(draw(st.lists(names, max_size=1))),
        cpu_frequency_mhz=draw(st.floats(1, 1e4)),
    )


def for_any_evaluation(test: Callable[..., Any]) -> Callable[..., Any]:
    """Run a test on many evaluations; without a deadline, since machines that run tests are busy."""
    return settings(max_examples=50, deadline=None)(given(evaluations())(test))
