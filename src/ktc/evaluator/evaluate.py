"""Program x Platform x settings -> Evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ktc.errors import ConfigError
from ktc.evaluator.calibration import node_outside_calibration, settings_outside_calibration
from ktc.evaluator.cost import bandwidths, node_time
from ktc.evaluator.cpu_cost import cpu_time_ms
from ktc.evaluator.evaluation import Evaluation, IoTensor, NodeEvaluation
from ktc.evaluator.macs import theoretical_ms, width_factor
from ktc.evaluator.strips import search_strips
from ktc.evaluator.tiling import tile
from ktc.evaluator.validation import check_settings
from ktc.hardware.user_config import user_figures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ktc.evaluator.cost import Bandwidths
    from ktc.evaluator.evaluation import Bound
    from ktc.evaluator.settings import EvaluationSettings
    from ktc.evaluator.tiling import TiledNode, TiledProgram
    from ktc.frontend.program import Node, Program
    from ktc.hardware.platform import Platform

__all__ = ["evaluate"]


def evaluate(program: Program, platform: Platform, settings: EvaluationSettings) -> Evaluation:
    """Estimate what one inference costs.

    Parameters
    ----------
    program : Program
        What `ktc.frontend.lower` made for the same platform.
    platform : Platform
        The platform.
    settings : EvaluationSettings
        Documented arguments.

    Returns
    -------
    Evaluation
        Times in ms, traffic in bytes, node by node.

    Raises
    ------
    ConfigError
        A setting is not allowed, or the program was lowered for another platform.
    """
    check_settings(settings, platform)
    if program.platform != platform.name:
        raise ConfigError(f"the program was lowered for KL{program.platform}, but evaluated on {platform.title}.")
    tiled = tile(program, platform, settings)
    if settings.compiler_tiling != "default" and settings.compiler_tiling in platform.compiler_tilings:
        tiled = search_strips(tiled, platform, settings)
    rates = bandwidths(platform, settings)
    theoretical = sum(
        theoretical_ms(node.mac, platform, computing, weights)
        for node, computing, weights in zip(program.nodes, tiled.widths.computing, tiled.widths.weights, strict=True)
        if node.mac is not None and node.type != "CPU"
    )
    return Evaluation(
        platform=platform.name,
        model_name=program.model_name,
        settings=settings,
        nodes=_nodes(tiled, platform, rates),
        io=_io(tiled),
        frequency_mhz=platform.frequency_mhz,
        macs_per_cycle=platform.macs_per_cycle,
        read_bandwidth=rates.read,
        write_bandwidth=rates.write,
        weight_bandwidth=rates.weight,
        exposed_share=platform.exposed_share,
        feature_memory_bytes=platform.feature_memory_bytes,
        theoretical_conv_ms=theoretical,
        expected_error_percent=platform.expected_error_percent,
        expected_error_source=platform.figures["expected_error_percent"].source,
        warnings=(*program.warnings, *_warnings(program, platform, settings)),
        user_figures=user_figures(platform),
        cpu_core=platform.cpu_core,
        cpu_frequency_mhz=platform.cpu_frequency_mhz,
        settings_outside_calibration=settings_outside_calibration(settings, platform),
    )


class _Cost(NamedTuple):
    """What follows from a node's work, traffic and widths alone, as in `NodeEvaluation`."""

    macs: int
    mac_cycles: float
    mac_ms: float
    read_bytes: int
    read_ms: float
    write_bytes: int
    write_ms: float
    weight_bytes: int
    weight_ms: float
    cfunc_ms: float
    pfunc_ms: float
    runtime_ms: float
    sync_ms: float
    bound: Bound
    auxiliary_ms: float
    layout_ms: float
    overhead_ms: float
    outside_calibration: tuple[str, ...]
    width_factor: float
    weight_loads: int


def _cpu_cost(node: Node) -> _Cost:
    macs = node.mac.macs if node.mac else 0
    return _Cost(macs, 0.0, 0.0, 0, 0.0, 0, 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, "cpu", 0.0, 0.0, 0.0, (), 0.0, 0)


def _npu_cost(
    node: Node, traffic: TiledNode, platform: Platform, rates: Bandwidths, bits: int, weight_bits: int, widest: int
) -> _Cost:
    time = node_time(node, traffic, platform, rates, bits, weight_bits)
    layout_only = node.mac is None and all(step.pooling for step in node.auxiliary)
    cfunc = time.compute + time.auxiliary + (0.0 if layout_only else time.overhead)
    pfunc = time.pooling + time.layout + (time.overhead if layout_only else 0.0)
    used_bits = weight_bits if traffic.weight_bytes else None
    return _Cost(
        macs=node.mac.macs if node.mac else 0,
        mac_cycles=time.cycles,
        mac_ms=time.compute,
        read_bytes=traffic.read_bytes,
        read_ms=time.read,
        write_bytes=traffic.write_bytes,
        write_ms=time.write,
        weight_bytes=traffic.weight_bytes,
        weight_ms=time.weights,
        cfunc_ms=cfunc,
        pfunc_ms=pfunc,
        runtime_ms=cfunc + pfunc + time.read + time.write,
        sync_ms=time.total,
        bound=time.bound,
        auxiliary_ms=time.auxiliary + time.pooling,
        layout_ms=time.layout,
        overhead_ms=time.overhead,
        outside_calibration=node_outside_calibration(node, platform.name, widest, used_bits),
        width_factor=width_factor(platform, bits, weight_bits) if node.mac else 1.0,
        weight_loads=traffic.weight_loads if traffic.weight_bytes else 0,
    )


def _nodes(tiled: TiledProgram, platform: Platform, rates: Bandwidths) -> tuple[NodeEvaluation, ...]:
    result, command = [], 0
    shapes = {tensor.name: tensor.shape or () for tensor in tiled.program.tensors}
    formats = {name: layout.name for name, layout in tiled.layouts.items()}
    widths = tiled.widths.tensors
    known: dict[tuple[object, ...], _Cost] = {}
    for node, traffic, bits, weight_bits, live, outside in zip(
        tiled.program.nodes,
        tiled.nodes,
        tiled.widths.computing,
        tiled.widths.weights,
        tiled.live,
        tiled.outside,
        strict=True,
    ):
        inputs, outputs = node.inputs, node.outputs
        read = max([widths[name] for name in inputs], default=bits)
        written = max([widths[name] for name in outputs], default=bits)
        on_cpu = node.type == "CPU"
        if on_cpu:
            cost = _cpu_cost(node)
        else:
            widest = max(bits, written)
            # Lowering shares the work of operators that repeat: its identity is compared faster than its content.
            key = node.backend, id(node.mac), id(node.auxiliary), traffic, bits, weight_bits, widest
            found = known.get(key)
            if found is None:
                found = known[key] = _npu_cost(node, traffic, platform, rates, bits, weight_bits, widest)
            cost = found
        result.append(
            NodeEvaluation(
                node.name,
                node.origins,
                node.type,
                node.backend,
                None if on_cpu else command,
                read,
                written,
                weight_bits if traffic.weight_bytes else None,
                _formats(formats, inputs),
                _formats(formats, outputs),
                shapes[outputs[0]] if outputs else (),
                live,
                outside,
                *cost,  # its fields follow in the same order
                node.reason,
                None if node.cpu_work is None else cpu_time_ms(node.cpu_work, platform, bits),
            )
        )
        command += not on_cpu
    return tuple(result)


def _formats(formats: Mapping[str, str], names: tuple[str, ...]) -> str:
    r"""One name if all layouts agree, else ``"FMT:names \\ FMT:names"`` (facts 3.3)."""
    if len(names) == 1:
        return formats[names[0]]
    by_format: dict[str, list[str]] = {}
    for name in names:
        by_format.setdefault(formats[name], []).append(name)
    if len(by_format) <= 1:
        return next(iter(by_format), "")
    return " \\ ".join(f"{layout}:{','.join(members)}" for layout, members in by_format.items())


def _io(tiled: TiledProgram) -> tuple[IoTensor, ...]:
    """Inputs, outputs of CPU nodes, outputs; a graph output that is a view has its source's layout."""
    program, sources = tiled.program, dict(tiled.program.sources)
    shapes = {tensor.name: tensor.shape or () for tensor in program.tensors}
    result = [
        IoTensor("input", name, shapes[name], tiled.widths.tensors[name], tiled.layouts[name].name)
        for name in program.inputs
    ]
    for node in program.nodes:
        if node.type == "CPU":
            result.extend(
                IoTensor("cpu", name, shapes[name], tiled.widths.tensors[name], tiled.layouts[name].name)
                for name in node.outputs
                if name not in program.outputs
            )
    for name in program.outputs:
        held = sources.get(name, name)
        bits = tiled.widths.tensors.get(held, tiled.widths.tensors.get(name, 8))
        layout = tiled.layouts.get(held)
        result.append(IoTensor("output", name, shapes[name], bits, layout.name if layout else "RAW8"))
    return tuple(result)


def _warnings(program: Program, platform: Platform, settings: EvaluationSettings) -> list[str]:
    warnings = []
    has_l2 = any(node.backend == "ReduceL2" for node in program.nodes)
    if has_l2 and settings.datapath_bitwidth_mode == "int8":
        advice = 'use datapath_bitwidth_mode "mix light" or "int16"'
        if "int16" not in platform.datapath_modes:
            advice += f", which {platform.title} does not have"
        warnings.append(f"the model has ReduceL2, which loses precision in int8; {advice}.")
    if settings.compiler_tiling not in platform.compiler_tilings:
        warnings.append(f'compiler_tiling="{settings.compiler_tiling}" has no effect on {platform.title}.')
    return warnings
