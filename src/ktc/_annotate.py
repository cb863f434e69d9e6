"""``annotate``: the figures of an evaluation, written onto the nodes of the ONNX model, where viewers show them."""

from __future__ import annotations

import collections
import logging
import reprlib
from typing import TYPE_CHECKING, Any

from ktc._models import given_model
from ktc.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    import onnx

    from ktc.evaluator import Evaluation, NodeEvaluation
    from ktc.report import EvaluationReport

__all__ = ["annotate"]

logger = logging.getLogger(__name__)


def annotate(
    model: onnx.ModelProto | str | os.PathLike[str], evaluation: Evaluation | EvaluationReport
) -> onnx.ModelProto:
    """Write the figures of an evaluation into a copy of its model, as metadata that Netron shows.

    Each node gets entries in ``metadata_props``, whose keys begin with ``ktc.<platform>.``. A backend node may
    compute several ONNX nodes: the first of these gets its figures,

    - ``node`` and ``backend``: name and operator of the backend node;
    - ``bound``: what determines its time;
    - ``time_ms``, ``mac_cycles``, ``read_bytes``, ``write_bytes``, ``weight_bytes``: what it costs per inference;
    - ``cpu_reason`` in place of the costs, where it runs on the CPU;

    and the others ``part_of``, the name of the first. Nodes that cost nothing, such as reshapes that are free on
    the platform, get none. The model gets ``time_ms``, ``fps``, ``expected_error_percent`` and ``generator``. What
    the model computes does not change, nor does its IR version: onnx and onnxruntime take metadata of nodes in
    any. Entries of an earlier annotation for the same platform are replaced; those for other platforms stay.

    Parameters
    ----------
    model : onnx.ModelProto or path
        The model that was evaluated; it is not changed.
    evaluation : EvaluationReport or Evaluation
        What ``ModelConfig.evaluate`` returned, or a column of `ktc.compare`.

    Returns
    -------
    onnx.ModelProto
        The annotated copy.

    Raises
    ------
    ConfigError
        ``model`` or ``evaluation`` is something else.
    ModelError
        The model is not valid ONNX, or the evaluation is not of this model.
    """
    from ktc.evaluator import Evaluation as EvaluationType

    held = getattr(evaluation, "evaluation", evaluation)
    if not isinstance(held, EvaluationType):
        raise ConfigError(
            f"evaluation is a {type(evaluation).__name__}; give what ModelConfig.evaluate returned for the model."
        )
    annotated = _copy(given_model(model, "model"))
    _check_model(annotated, held)
    prefix = f"ktc.{held.platform}."
    for holder in (annotated, *annotated.graph.node):
        _clear(holder.metadata_props, prefix)
    nodes = _nodes_by_name(annotated)
    heads = _by_head(held.nodes)
    missing = 0
    for head, parts in heads.items():
        missing += _write(nodes, head, _figures(parts), prefix)
        others = dict.fromkeys(name for part in parts for name in part.origins if name != head)
        for name in others.keys() - heads.keys():
            missing += _write(nodes, name, {"part_of": head}, prefix)
    if missing:
        logger.warning(
            "%d nodes are not annotated: they belong to functions, or share their name with another node", missing
        )
    _add(annotated.metadata_props, _totals(held), prefix)
    return annotated


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = type(model)()
    copied.CopyFrom(model)
    return copied


def _check_model(model: onnx.ModelProto, evaluation: Evaluation) -> None:
    """Refuse an evaluation of another model: one with other nodes, or with other inputs, outputs or shapes.

    Raises
    ------
    ModelError
        The first difference.
    """
    from ktc.frontend import analyse

    graph = analyse(model).graph
    wrong = "the evaluation is not of this model"
    remedy = "evaluate this model"
    known = {operator.name for operator in graph.operators}
    if missing := [name for node in evaluation.nodes for name in node.origins if name not in known]:
        raise ModelError(f"{wrong}: its node {reprlib.repr(missing[0])} is not in the model; {remedy}.")
    for tensor in evaluation.io:
        value = graph.values.get(tensor.name)
        if value is None:
            raise ModelError(f"{wrong}: its tensor {reprlib.repr(tensor.name)} is not in the model; {remedy}.")
        if value.shape is not None and value.shape != tensor.shape:
            raise ModelError(
                f"{wrong}: its tensor {reprlib.repr(tensor.name)} has the shape {list(tensor.shape)}, "
                f"in the model {list(value.shape)}; {remedy}."
            )
    shapes: dict[str, set[object]] = {}
    for operator in graph.operators:
        shapes.setdefault(operator.name, set()).update(graph.shape(name) for name in operator.outputs)
    for node in evaluation.nodes:
        # A CPU node computes ONNX nodes whole, and so its shape is one of theirs; NPU nodes may compute a part.
        possible = set().union(*(shapes[name] for name in node.origins))
        if node.type == "CPU" and possible and None not in possible and node.output_shape not in possible:
            raise ModelError(f"{wrong}: its node {reprlib.repr(node.name)} has another output shape; {remedy}.")


def _nodes_by_name(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Nodes by the name that evaluations give them; those whose name is not unique are left out.

    Where there are functions, positions are those of the expanded graph, and nodes without a name are left out too.
    """
    from ktc.frontend.graph import node_name

    expanded = bool(model.functions)
    names = [node.name if expanded else node_name(node, position) for position, node in enumerate(model.graph.node)]
    times = collections.Counter(names)
    return {name: node for name, node in zip(names, model.graph.node, strict=True) if name and times[name] == 1}


def _by_head(nodes: Iterable[NodeEvaluation]) -> dict[str, list[NodeEvaluation]]:
    heads: dict[str, list[NodeEvaluation]] = {}
    for node in nodes:
        if node.origins:
            heads.setdefault(node.origins[0], []).append(node)
    return heads


def _figures(parts: Sequence[NodeEvaluation]) -> dict[str, str]:
    costliest = max(parts, key=lambda part: part.sync_ms)
    figures = {
        "node": " + ".join(part.name for part in parts),
        "backend": " + ".join(part.backend for part in parts),
        "bound": costliest.bound,
    }
    if reasons := [part.reason or "no reason recorded" for part in parts if part.type == "CPU"]:
        figures["cpu_reason"] = " ".join(reasons)
    if on_npu := [part for part in parts if part.type != "CPU"]:
        figures |= {
            "time_ms": f"{sum(part.sync_ms for part in on_npu):.6g}",
            "mac_cycles": f"{sum(part.mac_cycles for part in on_npu):.0f}",
            "read_bytes": str(sum(part.read_bytes for part in on_npu)),
            "write_bytes": str(sum(part.write_bytes for part in on_npu)),
            "weight_bytes": str(sum(part.weight_bytes for part in on_npu)),
        }
    return figures


def _totals(evaluation: Evaluation) -> dict[str, str]:
    from ktc.report._summary import tool_version

    rate = {"fps": f"{evaluation.fps:.6g}"} if evaluation.time_ms else {}
    return rate | {
        "time_ms": f"{evaluation.time_ms:.6g}",
        "expected_error_percent": f"{evaluation.expected_error_percent:.3g}",
        "generator": tool_version(),
    }


def _write(nodes: dict[str, onnx.NodeProto], name: str, values: dict[str, str], prefix: str) -> int:
    """Add entries to a node; return how many nodes could not get theirs."""
    if name not in nodes:
        return 1
    _add(nodes[name].metadata_props, values, prefix)
    return 0


def _add(entries: Any, values: dict[str, str], prefix: str) -> None:
    for key, value in values.items():
        entries.add(key=prefix + key, value=value)


def _clear(entries: Any, prefix: str) -> None:
    kept = [(entry.key, entry.value) for entry in entries if not entry.key.startswith(prefix)]
    del entries[:]
    for key, value in kept:
        entries.add(key=key, value=value)
