"""The terms of the time, node by node, from which the page computes it anew for other rates and widths."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ktc.evaluator.evaluation import Evaluation

__all__ = ["what_if"]

_ORDER = ("int4", "int8", "mix light", "mix balance", "int16")


def what_if(evaluation: Evaluation, alternatives: Sequence[Evaluation] = ()) -> dict[str, Any] | None:
    """Return the terms of `ktc.evaluator.cost.node_time` as plain values for ``report.js``.

    Parameters
    ----------
    evaluation : Evaluation
        What the page reports.
    alternatives : sequence of Evaluation
        The same program in other widths, as `ktc.evaluator.other_widths` makes them.

    Returns
    -------
    dict or None
        ``cycles`` of the MAC array in the present widths, one value a node; for each datapath mode ``factor`` on
        them, ``read`` and ``write`` bytes, a factor ``loads`` on the bytes of the weights, and ``fixed`` ms in all; for
        each weight mode ``factor`` and ``bytes``; the present rates (GB/s, MHz), widths, and the share of the weight
        loading that nothing hides. Nodes that only move feature maps take time in proportion to their bytes, so one
        stands for all of them. None if nothing runs on the NPU.
    """
    nodes = evaluation.nodes
    if not evaluation.time_ms:
        return None
    now = evaluation.settings
    paths = _by_mode(
        (each.settings.datapath_bitwidth_mode, each)
        for each in (evaluation, *alternatives)
        if each.settings.weight_bitwidth_mode == now.weight_bitwidth_mode
    )
    weights = _by_mode(
        (each.settings.weight_bitwidth_mode, each)
        for each in (evaluation, *alternatives)
        if each.settings.datapath_bitwidth_mode == now.datapath_bitwidth_mode
    )
    single = [i for i, node in enumerate(nodes) if node.mac_cycles or node.weight_bytes]
    rest = [i for i, node in enumerate(nodes) if not (node.mac_cycles or node.weight_bytes)]

    def maps(each: Evaluation, field: str) -> list[int]:
        amounts = [getattr(node, field) for node in each.nodes]
        return [*(amounts[i] for i in single), sum(amounts[i] for i in rest)]

    def factors(each: Evaluation, field: str) -> list[float]:
        return [*(_factor(getattr(each.nodes[i], field), getattr(nodes[i], field)) for i in single), 1]

    return {
        "cycles": [*(_short(nodes[i].mac_cycles) for i in single), 0],
        "datapath": {
            mode: {
                "factor": factors(each, "mac_cycles"),
                "loads": factors(each, "weight_bytes"),
                "read": maps(each, "read_bytes"),
                "write": maps(each, "write_bytes"),
                "fixed": sum(node.auxiliary_ms + node.layout_ms + node.overhead_ms for node in each.nodes),
            }
            for mode, each in paths.items()
        },
        "weights": {
            mode: {"factor": factors(each, "mac_cycles"), "bytes": [*(each.nodes[i].weight_bytes for i in single), 0]}
            for mode, each in weights.items()
        },
        "exposed": evaluation.exposed_share,
        "now": {
            "clock": evaluation.frequency_mhz,
            "weight": evaluation.weight_bandwidth,
            "read": evaluation.read_bandwidth,
            "write": evaluation.write_bandwidth,
            "datapath": now.datapath_bitwidth_mode,
            "weights": now.weight_bitwidth_mode,
        },
    }


def _by_mode(pairs: Iterable[tuple[str, Evaluation]]) -> dict[str, Evaluation]:
    return dict(sorted(pairs, key=lambda pair: _ORDER.index(pair[0]) if pair[0] in _ORDER else len(_ORDER)))


def _factor(amount: float, present: float) -> float:
    return _short(amount / present) if present else 1


def _short(value: float) -> float:
    """Return a number that takes few characters: seven significant digits."""
    if not value:
        return 0
    rounded = round(value, 6 - math.floor(math.log10(abs(value))))
    return int(rounded) if rounded == int(rounded) else rounded
