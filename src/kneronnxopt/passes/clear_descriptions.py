"""Texts that only people read are removed (on request)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes import PassResult
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from kneronnxopt.passes._base import Pass

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["ClearDescriptions"]


class ClearDescriptions(Pass):
    """Remove doc strings and metadata of model, graphs, functions and nodes, and doc strings of inputs and outputs."""

    name = "clear_descriptions"

    def call(self, model: ir.Model) -> PassResult:
        """Clear them all."""
        modified = ClearMetadataAndDocStringPass()(model).modified or bool(model.doc_string or model.metadata_props)
        model.doc_string = None
        model.metadata_props.clear()
        for value in (*model.graph.inputs, *model.graph.outputs):
            modified |= bool(value.doc_string)
            value.doc_string = None
        return PassResult(model, modified=modified)
