"""onnx-simplifier, on a skeleton of the model, as the documented simplification stage."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from kneronnxopt._text import first_line
from kneronnxopt.passes._base import Pass
from kneronnxopt.passes._slices import disputed_slices
from kneronnxopt.passes._weightless import weightless_proto

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Simplify"]

logger = logging.getLogger(__name__)

#: onnx-optimizer passes that never run: kneronnxopt does the first four itself, under its own conditions and
#: options; the last one pads MaxPool with zeros before onnxsim 0.7.
_NEVER = (
    "fuse_bn_into_conv",
    "fuse_qkv",
    "fuse_matmul_add_bias_into_gemm",
    "extract_constant_to_initializer",
    "fuse_pad_into_pool",
)

#: The pass that merges equal nodes; it takes two random numbers for one.
_MERGING = ("eliminate_common_subexpression",)
_RANDOM = (
    *("Bernoulli", "Dropout", "Multinomial"),
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
)


class Simplify(Pass):
    """The graph rewrites of onnx-simplifier (its optimizer passes), without constant folding.

    1. It sees a skeleton: large weights stand as inputs, so it moves no weight and evaluates nothing.
    2. Equal nodes are merged, unless the model draws random numbers.
    3. If it raises, or returns a graph that is invalid, larger, or has other inputs or outputs, its result is
       dropped and the log says so.
    4. Skipped where a Slice goes backwards to INT_MAX, whose shape it takes from onnx, against onnxruntime.

    Parameters
    ----------
    skipped : sequence of str
        onnx-simplifier's names of passes to skip.
    """

    name = "onnxsim"

    def __init__(self, skipped: Sequence[str] = ()) -> None:
        self.skipped = skipped

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Simplify the skeleton and give it back its weights."""
        if any(value.shape is None for value in model.graph.outputs):
            logger.info("onnxsim is skipped for this model: the shape of an output is not known")
            return ir.passes.PassResult(model, modified=False)
        if disputed_slices(model):  # onnxsim writes the shapes that onnx infers
            logger.info("onnxsim is skipped for this model: a Slice goes backwards to INT_MAX, which runtimes dispute")
            return ir.passes.PassResult(model, modified=False)
        skeleton = weightless_proto(model, keep_shapes=True)
        skipped = [*_NEVER, *self.skipped, *(_MERGING if _is_random(model) else [])]
        simplified = self._simplify(skeleton, skipped)
        if simplified is None:
            return ir.passes.PassResult(model, modified=False)
        _graft(model, ir.from_proto(simplified).graph)
        return ir.passes.PassResult(model, modified=True)

    @staticmethod
    def _simplify(skeleton: onnx.ModelProto, skipped: list[str]) -> onnx.ModelProto | None:
        import onnxsim

        try:
            result, _ = onnxsim.simplify(
                skeleton,
                check_n=0,
                skip_constant_folding=True,
                skip_fuse_bn=True,
                skipped_optimizers=skipped,
            )
            onnx.checker.check_model(result)
        except Exception as error:  # noqa: BLE001 - the stage is optional; whatever it raises, we go on without it
            logger.warning("onnxsim is skipped for this model: %s", first_line(error))
            return None
        if _interface(result) != _interface(skeleton) or len(result.graph.node) > len(skeleton.graph.node):
            logger.warning("onnxsim is skipped for this model: it changed inputs or outputs, or made the graph larger")
            return None
        unchanged = [node.SerializeToString() for node in result.graph.node] == [
            node.SerializeToString() for node in skeleton.graph.node
        ]
        return None if unchanged else result


def _is_random(model: ir.Model) -> bool:
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    return any(node.op_type in _RANDOM for graph in graphs for node in ir.traversal.RecursiveGraphIterator(graph))


def _interface(model: onnx.ModelProto) -> tuple[list[tuple[str, bytes]], list[tuple[str, int]]]:
    """What must stay: inputs with their types, outputs with their element types."""
    inputs = [(value.name, value.type.SerializeToString(deterministic=True)) for value in model.graph.input]
    outputs = [(value.name, value.type.tensor_type.elem_type) for value in model.graph.output]
    return inputs, outputs


def _graft(model: ir.Model, graph: ir.Graph) -> None:
    """Put ``graph`` in place of the model's own, with the weights and the descriptions of the old one."""
    old = model.graph
    tensors = {name: value.const_value for name, value in old.initializers.items()}
    original_inputs = {value.name for value in old.inputs}
    inputs = [value for value in graph.inputs if value.name in original_inputs]
    weights = [value for value in graph.inputs if value.name in tensors]
    graph.inputs.clear()
    graph.inputs.extend(inputs)
    for value in weights:
        if value.uses() or value.is_graph_output() or value.name in original_inputs:
            value.const_value = tensors[value.name or ""]
            graph.register_initializer(value)
    for new, declared in zip(graph.outputs, old.outputs, strict=True):
        new.shape, new.type = declared.shape, declared.type
    graph.name, graph.doc_string = old.name, old.doc_string
    graph.metadata_props.update(old.metadata_props)
    graph.opset_imports.clear()
    graph.opset_imports.update(old.opset_imports)
    graph.meta.update({key: item for key, item in old.meta.items() if key != "kneronnxopt.names"})
    model.graph = graph
