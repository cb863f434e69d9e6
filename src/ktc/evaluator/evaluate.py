"""Program x Platform x settings -> Evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.errors import ConfigError
from ktc.evaluator.calibration import node_outside_calibration, settings_outside_calibration
from ktc.evaluator.cost import bandwidths, node_time
from ktc.evaluator.cpu_cost import cpu_time_ms
from ktc.evaluator.evaluation import Evaluation, IoTensor, NodeEvaluation
from ktc.evaluator.macs import theoretical_ms
from ktc.evaluator.strips import search_strips
from ktc.evaluator.tiling import tile
from ktc.evaluator.validation import check_settings
from ktc.hardware.user_config import user_figures

if TYPE_CHECKING:
    from ktc.evaluator.cost import Bandwidths
    from ktc.evaluator.settings import EvaluationSettings
    from ktc.evaluator.tiling import TiledProgram
    from ktc.frontend.program import Program
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
        overlap=platform.overlap,
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


def _nodes(tiled: TiledProgram, platform: Platform, rates: Bandwidths) -> tuple[NodeEvaluation, ...]:
    result, command = [], 0
    shapes = {tensor.name: tensor.shape or () for tensor in tiled.program.tensors}
    widths = tiled.widths.tensors
    for index, node in enumerate(tiled.program.nodes):
        traffic, bits = tiled.nodes[index], tiled.widths.computing[index]
        weight_bits = tiled.widths.weights[index]
        on_cpu = node.type == "CPU"
        used_bits = weight_bits if traffic.weight_bytes else None
        widest = max([bits, *(widths[name] for name in node.outputs)])
        time = None if on_cpu else node_time(node, traffic, platform, rates, bits, weight_bits)
        layout_only = node.mac is None and not any(not step.pooling for step in node.auxiliary)
        cfunc = time.compute + time.auxiliary + (0.0 if layout_only else time.overhead) if time else 0.0
        pfunc = time.pooling + time.layout + (time.overhead if layout_only else 0.0) if time else 0.0
        read, write = (time.read, time.write) if time else (0.0, 0.0)
        result.append(
            NodeEvaluation(
                name=node.name,
                origins=node.origins,
                type=node.type,
                backend=node.backend,
                command_index=None if on_cpu else command,
                input_bits=max((widths[name] for name in node.inputs), default=bits),
                output_bits=max((widths[name] for name in node.outputs), default=bits),
                weight_bits=used_bits,
                macs=node.mac.macs if node.mac else 0,
                mac_cycles=time.cycles if time else 0.0,
                mac_ms=time.compute if time else 0.0,
                read_bytes=traffic.read_bytes,
                read_ms=read,
                write_bytes=traffic.write_bytes,
                write_ms=write,
                weight_bytes=traffic.weight_bytes,
                weight_ms=time.weights if time else 0.0,
                cfunc_ms=cfunc,
                pfunc_ms=pfunc,
                runtime_ms=cfunc + pfunc + read + write,
                sync_ms=time.total if time else 0.0,
                bound=time.bound if time else "cpu",
                input_format=_formats(tiled, node.inputs),
                output_format=_formats(tiled, node.outputs),
                output_shape=shapes[node.outputs[0]] if node.outputs else (),
                reason=node.reason,
                auxiliary_ms=time.auxiliary + time.pooling if time else 0.0,
                layout_ms=time.layout if time else 0.0,
                overhead_ms=time.overhead if time else 0.0,
                live_bytes=tiled.live[index],
                spilled_bytes=tiled.outside[index],
                cpu_ms=None if node.cpu_work is None else cpu_time_ms(node.cpu_work, platform, bits),
                outside_calibration=node_outside_calibration(node, platform.name, widest, used_bits),
            )
        )
        command += not on_cpu
    return tuple(result)


def _formats(tiled: TiledProgram, names: tuple[str, ...]) -> str:
    r"""One name if all layouts agree, else ``"FMT:names \\ FMT:names"`` (facts 3.3)."""
    by_format: dict[str, list[str]] = {}
    for name in names:
        by_format.setdefault(tiled.layouts[name].name, []).append(name)
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
