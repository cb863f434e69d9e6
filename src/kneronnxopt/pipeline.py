"""The order in which passes run. It reads like a recipe, and can be printed."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from kneronnxopt.passes._base import FixedPoint, NodePass, Pass
from kneronnxopt.passes.clear_descriptions import ClearDescriptions
from kneronnxopt.passes.eliminate_identity import EliminateDropout, EliminateIdentity, FuseIdempotent
from kneronnxopt.passes.eliminate_no_op import (
    EliminateNopArithmetic,
    EliminateNopCast,
    EliminateNopPad,
    EliminateNopPool,
    EliminateNopShape,
)
from kneronnxopt.passes.expand_einsum import ExpandEinsum
from kneronnxopt.passes.expand_recurrent import ExpandRecurrent
from kneronnxopt.passes.fold_constants import FoldConstants, FoldShape
from kneronnxopt.passes.fold_shape_arithmetic import FoldDimension, FoldExpandTarget, FoldReshapeTarget
from kneronnxopt.passes.fuse_batch_norm import FuseBatchNormIntoConv, FuseBatchNormIntoGemm
from kneronnxopt.passes.fuse_bias import FuseAddIntoConv, FuseMatMulAddIntoGemm
from kneronnxopt.passes.fuse_casts import FuseConsecutiveCasts
from kneronnxopt.passes.fuse_clips import FuseConsecutiveClips
from kneronnxopt.passes.fuse_concats import FuseConsecutiveConcats, ReplaceConcatWithPad
from kneronnxopt.passes.fuse_constant_arithmetic import FuseConstantArithmetic, FuseScaleIntoMatMul
from kneronnxopt.passes.fuse_focus import FuseFocusIntoConv
from kneronnxopt.passes.fuse_gemms import FuseConsecutiveGemms
from kneronnxopt.passes.fuse_into_batch_norm import FuseArithmeticIntoBatchNorm
from kneronnxopt.passes.fuse_linear_between_reshapes import FuseLinearBetweenReshapes
from kneronnxopt.passes.fuse_pad_into_window import FusePadIntoConv, FusePadIntoMaxPool
from kneronnxopt.passes.fuse_pads import FuseConsecutivePads
from kneronnxopt.passes.fuse_qkv import FuseQkv
from kneronnxopt.passes.fuse_reduce_means import FuseConsecutiveReduceMeans, ReduceMeanBeforeTranspose
from kneronnxopt.passes.fuse_scale_into_conv import FuseScaleIntoConv
from kneronnxopt.passes.fuse_shape_chains import FuseConsecutiveReshapes, FuseConsecutiveTransposes
from kneronnxopt.passes.fuse_slices import FuseConsecutiveSlices
from kneronnxopt.passes.fuse_transpose_into_gemm import FuseTransposeIntoGemm, FuseTransposeIntoWeight
from kneronnxopt.passes.global_average_pool import AveragePoolToGlobal, ReduceMeanToGlobal
from kneronnxopt.passes.infer_node import InferNode
from kneronnxopt.passes.lift_constants import LiftConstants
from kneronnxopt.passes.merge_equal_nodes import MergeEqualNodes
from kneronnxopt.passes.opt_matmul import OptimizeMatMul
from kneronnxopt.passes.push_transpose import PushTranspose
from kneronnxopt.passes.recognise_depth_to_space import RecogniseDepthToSpace
from kneronnxopt.passes.recognise_gelu import RecogniseGelu
from kneronnxopt.passes.recognise_hard_swish import RecogniseHardSigmoid, RecogniseHardSwish
from kneronnxopt.passes.recognise_layer_norm import RecogniseLayerNormalization
from kneronnxopt.passes.remove_unused import RemoveUnused
from kneronnxopt.passes.replace_average_pool import (
    GAP_AREA_LIMIT,
    DefuseGlobalAveragePool,
    ReplaceAveragePoolWithConv,
)
from kneronnxopt.passes.replace_cast_like import ReplaceCastLike
from kneronnxopt.passes.replace_dilated_conv import ReplaceDilatedConv
from kneronnxopt.passes.replace_gather import ReplaceGather
from kneronnxopt.passes.replace_reshapes import EliminateExpandBeforeBroadcast, ReplaceWithReshape
from kneronnxopt.passes.replace_split import ReplaceSplit
from kneronnxopt.passes.replace_sum import ReplaceSum
from kneronnxopt.passes.reshape_before_slices import ReshapeBeforeSlices
from kneronnxopt.passes.shapes import (
    ClearShapes,
    DeclareOutputShapes,
    ForgetNegativeDimensions,
    InferShapes,
    OverwriteInputShapes,
)
from kneronnxopt.passes.simplify import Simplify
from kneronnxopt.passes.sort_nodes import SortNodes
from kneronnxopt.passes.transpose_to_reshape import TransposeToReshape
from kneronnxopt.passes.weights import ConvertFloat16, DuplicateSharedWeights

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import onnx
    import onnx_ir as ir


__all__ = ["Options", "Stage", "build_pipeline", "every_option", "pass_names", "run_pipeline"]

logger = logging.getLogger(__name__)

AnyPass = TypeVar("AnyPass", bound=Pass)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``optimize`` that choose passes; same names, same defaults."""

    duplicate_shared_weights: int = 1
    convert_f16: bool = True
    skip_fuse_qkv: bool = False
    clear_descriptions: bool = False
    opt_matmul: bool = False
    clear_shapes: bool = False
    replace_avgpool_with_conv: bool = False
    replace_dilated_conv: bool = False
    defuse_gaps: bool = False
    fuse_bn: bool = False
    onnxsim: bool = False
    replace_split: bool = False
    input_shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()
    extra_passes: tuple[Pass, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """What one pass did: its name, how often it acted, and its time in seconds."""

    name: str
    count: int
    seconds: float


def build_pipeline(options: Options, source: onnx.ModelProto | None = None) -> list[ir.passes.PassBase]:
    """List the passes for these options, in order; ``source`` is the model as it was given."""
    return [
        # 1. A clean start: nodes in order, Constants as initializers, the shapes that the caller wants.
        SortNodes(),
        ForgetNegativeDimensions(),
        LiftConstants(),
        *([OverwriteInputShapes(options.input_shapes)] if options.input_shapes else []),
        *([ClearShapes()] if options.clear_shapes else []),
        *([ConvertFloat16()] if options.convert_f16 else []),
        InferShapes(check_declared=True, source=source),
        # 2. onnx-simplifier, for those who ask for it: what it does is among our own rewrites.
        *([Simplify(sorted(options.skipped)), LiftConstants(), InferShapes()] if options.onnxsim else []),
        # 3. Rewrites until nothing changes: equal nodes merged, constants folded, shapes followed up, fusions.
        *_only([MergeEqualNodes()], options.skipped),
        FixedPoint(
            _only(
                [
                    InferNode(),
                    *_folding(),
                    *_cleaning(),
                    *_recognising(),
                    *_decomposing(options),
                    *_fusing(options),
                    *_on_request(options),
                    *(pass_ for pass_ in options.extra_passes if isinstance(pass_, NodePass)),
                ],
                options.skipped,
            ),
            InferShapes(),
        ),
        *_only([MergeEqualNodes()], options.skipped),
        *(pass_ for pass_ in options.extra_passes if not isinstance(pass_, NodePass)),
        # 4. Leave a tidy model: no dead node, weights stored as asked, every shape known.
        RemoveUnused(),
        *(
            _only([DuplicateSharedWeights(options.duplicate_shared_weights)], options.skipped)
            if options.duplicate_shared_weights
            else []
        ),
        *([ClearDescriptions()] if options.clear_descriptions else []),
        SortNodes(),
        InferShapes(),
        DeclareOutputShapes(),
    ]


def every_option() -> Options:
    """Options with which every pass is in the pipeline."""
    return Options(
        clear_descriptions=True,
        clear_shapes=True,
        opt_matmul=True,
        replace_avgpool_with_conv=True,
        replace_dilated_conv=True,
        defuse_gaps=True,
        fuse_bn=True,
        onnxsim=True,
        replace_split=True,
        input_shapes={"input": (1,)},
    )


def pass_names() -> list[str]:
    """Names of all passes that can be skipped, in pipeline order."""
    names: dict[str, None] = {}
    for pass_ in build_pipeline(every_option()):
        if isinstance(pass_, FixedPoint):
            names.update((node_pass.name, None) for node_pass in pass_.passes)
        elif isinstance(pass_, Simplify | MergeEqualNodes | DuplicateSharedWeights):
            names[pass_.name] = None
    return list(names)


def run_pipeline(model: ir.Model, options: Options, source: onnx.ModelProto | None = None) -> list[Stage]:
    """Run all passes on ``model``, in place, and report what each did."""
    model.graph.meta["kneronnxopt.ir_version"] = model.ir_version
    stages = []
    pipeline = build_pipeline(options, source)
    for pass_ in pipeline:
        start = time.perf_counter()
        result = pass_(model)
        seconds = time.perf_counter() - start
        if result.modified and isinstance(pass_, OverwriteInputShapes | ConvertFloat16 | ForgetNegativeDimensions):
            _forget_source(pipeline)
        if isinstance(pass_, FixedPoint):
            stages += [Stage(name, count, pass_.seconds[name]) for name, count in pass_.counts.items()]
            continue
        name = pass_.name if isinstance(pass_, Pass) else type(pass_).__name__
        stages.append(Stage(name, int(result.modified), seconds))
        logger.debug("%s: %s, %.3f s", name, "changed the graph" if result.modified else "nothing to do", seconds)
    return stages


def _forget_source(pipeline: list[ir.passes.PassBase]) -> None:
    """The types or shapes of inputs are no longer those of the model as it was given."""
    for pass_ in pipeline:
        if isinstance(pass_, InferShapes):
            pass_.source = None


def _folding() -> list[NodePass]:
    return [
        ReplaceCastLike(),
        FoldShape(),
        FoldConstants(),
        FoldDimension(),
        FoldReshapeTarget(),
        FoldExpandTarget(),
    ]


def _cleaning() -> list[NodePass]:
    return [
        EliminateIdentity(),
        EliminateDropout(),
        FuseIdempotent(),
        EliminateNopCast(),
        EliminateNopShape(),
        EliminateNopPad(),
        EliminateNopPool(),
        EliminateNopArithmetic(),
    ]


def _recognising() -> list[NodePass]:
    return [
        RecogniseLayerNormalization(),
        RecogniseHardSigmoid(),
        RecogniseHardSwish(),
        RecogniseGelu(),
        RecogniseDepthToSpace(),
    ]


def _decomposing(options: Options) -> list[NodePass]:
    return [
        ExpandRecurrent(),
        ExpandEinsum(),
        ReplaceSum(),
        *([ReplaceSplit()] if options.replace_split else []),
        ReplaceGather(),
        ReplaceWithReshape(),
        EliminateExpandBeforeBroadcast(),
        ReplaceConcatWithPad(),
    ]


def _fusing(options: Options) -> list[NodePass]:
    return [
        FuseConsecutiveTransposes(),
        FuseConsecutiveReshapes(),
        FuseConsecutiveCasts(),
        FuseConsecutiveClips(),
        FuseConsecutiveConcats(),
        FuseConsecutivePads(),
        FusePadIntoConv(),
        FusePadIntoMaxPool(),
        FuseConsecutiveReduceMeans(),
        FuseConsecutiveSlices(),
        ReshapeBeforeSlices(),
        FuseFocusIntoConv(),
        *([FuseBatchNormIntoConv()] if options.fuse_bn else []),
        FuseAddIntoConv(),
        FuseScaleIntoConv(),
        *([] if options.skip_fuse_qkv else [FuseQkv()]),
        FuseMatMulAddIntoGemm(),
        FuseLinearBetweenReshapes(),
        FuseBatchNormIntoGemm(),
        FuseArithmeticIntoBatchNorm(),
        FuseConsecutiveGemms(),
        FuseConstantArithmetic(),
        FuseScaleIntoMatMul(),
        FuseTransposeIntoWeight(),
        FuseTransposeIntoGemm(),
        PushTranspose(),
        TransposeToReshape(),
        AveragePoolToGlobal(),
        ReduceMeanBeforeTranspose(),
        ReduceMeanToGlobal(area_limit=GAP_AREA_LIMIT if options.defuse_gaps else None),
    ]


def _on_request(options: Options) -> list[NodePass]:
    return [
        *([OptimizeMatMul()] if options.opt_matmul else []),
        *([ReplaceDilatedConv()] if options.replace_dilated_conv else []),
        *([DefuseGlobalAveragePool()] if options.defuse_gaps else []),
        *([ReplaceAveragePoolWithConv()] if options.replace_avgpool_with_conv else []),
    ]


def _only(passes: list[AnyPass], skipped: Collection[str]) -> list[AnyPass]:
    return [pass_ for pass_ in passes if pass_.name not in skipped]
