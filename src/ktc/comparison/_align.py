"""Which backend nodes of different columns compute the same part of the network."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from ktc.evaluator import NodeEvaluation
    from ktc.frontend.graph import Operator

__all__ = ["Group", "align", "match_operators"]


@dataclass(frozen=True, slots=True)
class Group:
    """Backend nodes that belong into one row.

    Attributes
    ----------
    origins : tuple of tuple of str
        For each version of the model: the ONNX nodes, in execution order.
    nodes : tuple of tuple of int
        For each column: positions of its backend nodes.
    """

    origins: tuple[tuple[str, ...], ...]
    nodes: tuple[tuple[int, ...], ...]


def match_operators(model: Sequence[Operator], other: Sequence[Operator]) -> dict[str, str]:
    """Find the node of a model that a node of its other version corresponds to.

    1. Nodes that write a tensor of the same name correspond, whatever their type: rewriters keep the names of
       the tensors that they replace.
    2. Of the rest, nodes of the same name correspond. Names that were made up from positions do not count.

    Returns
    -------
    dict of str to str
        Name in `other` -> name in `model`; each name occurs once on either side.
    """
    writers = {output: operator.name for operator in model for output in operator.outputs if output}
    matches: dict[str, str] = {}
    taken: set[str] = set()
    for operator in other:
        found = next(
            (writers[name] for name in operator.outputs if name in writers and writers[name] not in taken), None
        )
        if found is not None and operator.name not in matches:
            matches[operator.name] = found
            taken.add(found)
    named = {operator.name for operator in model if operator.proto.name}
    for operator in other:
        if operator.proto.name in named - taken and operator.name not in matches:
            matches[operator.name] = operator.name
            taken.add(operator.name)
    return matches


def align(
    columns: Sequence[tuple[int, Sequence[NodeEvaluation]]],
    operators: Sequence[Sequence[Operator]],
    matches: dict[str, str],
) -> list[Group]:
    """Group the backend nodes of all columns by connected sets of ONNX nodes.

    Two backend nodes belong together if they share an origin, directly or through others: where one platform
    fuses Conv and Relu and the next does not, the three nodes make one group.

    Parameters
    ----------
    columns : sequence of (int, sequence of NodeEvaluation)
        Version of the model (0 or 1), and backend nodes.
    operators : sequence of sequence of Operator
        ONNX nodes of each version, in execution order.
    matches : dict of str to str
        Result of `match_operators`; empty for one version.

    Returns
    -------
    list of Group
        In the order of the network. Each node of each column is in exactly one group.
    """
    places = _places(operators, matches)
    sets = _DisjointSets()
    for version, nodes in columns:
        for node in nodes:
            sets.join(_key(version, name, matches) for name in node.origins)
    members: dict[Hashable, list[list[int]]] = defaultdict(lambda: [[] for _ in columns])
    origins: dict[Hashable, list[dict[str, None]]] = defaultdict(lambda: [{} for _ in operators])
    for column, (version, nodes) in enumerate(columns):
        for index, node in enumerate(nodes):
            # A node without origins stands alone.
            root = sets.find(_key(version, node.origins[0], matches)) if node.origins else (column, index)
            members[root][column].append(index)
            origins[root][version].update(dict.fromkeys(node.origins))
    ranks = [{operator.name: operator.index for operator in version} for version in operators]
    groups = {
        root: Group(
            tuple(
                tuple(sorted(names, key=lambda name: rank.get(name, 0)))
                for names, rank in zip(origins[root], ranks, strict=True)
            ),
            tuple(map(tuple, positions)),
        )
        for root, positions in members.items()
    }
    return sorted(groups.values(), key=lambda group: _place(group, places))


def _key(version: int, name: str, matches: dict[str, str]) -> tuple[int, str]:
    """The node that a name stands for, in the first version if it has it."""
    return (0, matches[name]) if version and name in matches else (version, name)


def _places(operators: Sequence[Sequence[Operator]], matches: dict[str, str]) -> list[dict[str, float]]:
    """Place of each node in the order of the first version; what only the second has follows what precedes it."""
    places = [{operator.name: float(index) for index, operator in enumerate(operators[0])}]
    for version in operators[1:]:
        last, found = -1.0, {}
        for index, operator in enumerate(version):
            matched = matches.get(operator.name)
            last = places[0][matched] if matched is not None else last
            found[operator.name] = last if matched is not None else last + (index + 1) / (len(version) + 2)
        places.append(found)
    return places


def _place(group: Group, places: list[dict[str, float]]) -> float:
    known = (place[name] for names, place in zip(group.origins, places, strict=True) for name in names if name in place)
    return min(known, default=float("inf"))


class _DisjointSets:
    """Sets that grow together (union-find with path halving)."""

    def __init__(self) -> None:
        self._parent: dict[Hashable, Hashable] = {}

    def find(self, item: Hashable) -> Hashable:
        parent = self._parent
        parent.setdefault(item, item)
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, items: Iterable[Hashable]) -> None:
        first: Hashable = None
        for item in items:
            root = self.find(item)
            first = root if first is None else first
            self._parent[root] = first
