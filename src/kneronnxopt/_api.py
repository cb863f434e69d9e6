"""The public functions. The package and ``kneronnxopt.optimize`` (the command line) share them from here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import onnx

    from kneronnxopt.passes import Pass
    from kneronnxopt.verify import Comparison

__all__ = ["compare", "optimize", "pass_names"]


def optimize(
    model: onnx.ModelProto | str | os.PathLike[str],
    duplicate_shared_weights: int = 1,
    skip_check: bool = False,
    overwrite_input_shapes: str | Sequence[str] | Mapping[str, Sequence[int]] | None = None,
    convert_f16: bool = True,
    skipped_optimizers: Sequence[str] | None = None,
    skip_fuse_qkv: bool = False,
    clear_descriptions: bool = False,
    opt_matmul: bool = False,
    clear_shapes: bool = False,
    replace_avgpool_with_conv: bool = False,
    replace_dilated_conv: bool = False,
    defuse_gaps: bool = False,
    *,
    fuse_bn: bool = False,
    onnxsim: bool = False,
    replace_split: bool = False,
    target_opset: int | None = None,
    output_path: str | os.PathLike[str] | None = None,
    extra_passes: Sequence[Pass] = (),
) -> onnx.ModelProto:
    """Optimise an ONNX model for Kneron's compilers. The given model is not changed.

    Parameters
    ----------
    model : onnx.ModelProto or path
        The model. From a path, external data in the model's folder are read as well.
    duplicate_shared_weights : {1, 0, 2}
        0 never copies shared weights, 1 copies them for users of different kinds, 2 always.
    skip_check : bool
        Do not run the original and the result in onnxruntime to compare them.
    overwrite_input_shapes : list of str, str or dict, optional
        ``["name:1,3,224,224"]``, or ``["1,3,224,224"]`` for a model with one input.
    convert_f16 : bool
        Turn float16 weights, constants, values, inputs and outputs into float32.
    skipped_optimizers : list of str, optional
        Passes to skip: onnx-simplifier's names, or ours (``kneronnxopt.pass_names()``).
    skip_fuse_qkv : bool
        Leave separate q, k, v projections apart.
    clear_descriptions : bool
        Remove doc strings and metadata.
    opt_matmul : bool
        Bring MatMul into the forms that the NPU takes.
    clear_shapes : bool
        Forget declared shapes of intermediate values and outputs, and infer them anew.
    replace_avgpool_with_conv : bool
        Turn AveragePool into an equal depthwise Conv where that is exact.
    replace_dilated_conv : bool
        Turn dilated Conv into Conv with a zero-inserted kernel.
    defuse_gaps : bool
        Split large GlobalAveragePools.
    fuse_bn : bool
        Fuse BatchNormalization into Conv (off by default, as documented; keyword of ours).
    onnxsim : bool
        Run onnx-simplifier's passes as well, without its constant folding (keyword of ours). Our own do the same.
    replace_split : bool
        Turn Split into Slices; only KL730 has Split, and for the others ``evaluate`` counts it as Slices anyway
        (keyword of ours).
    target_opset : int, optional
        Convert to this opset first (keyword of ours).
    output_path : path, optional
        Also write the result here (keyword of ours).
    extra_passes : sequence of kneronnxopt.passes.Pass
        Passes of your own, which run with ours (keyword of ours). A ``NodePass`` runs until nothing changes; any
        other runs once, after the rewrites.

    Returns
    -------
    onnx.ModelProto
        Same inputs and outputs (names, order, types but for float16), same results.

    Raises
    ------
    OptimizationError
        The file or model is not valid ONNX, or an argument does not fit it.
    RuntimeError
        A declared shape contradicts the inferred one (``Inferred shape and existing shape differ ...``).
    """
    from kneronnxopt._optimize import optimize_model
    from kneronnxopt.pipeline import Options

    options = Options(
        duplicate_shared_weights=duplicate_shared_weights,
        convert_f16=convert_f16,
        skip_fuse_qkv=skip_fuse_qkv,
        clear_descriptions=clear_descriptions,
        opt_matmul=opt_matmul,
        clear_shapes=clear_shapes,
        replace_avgpool_with_conv=replace_avgpool_with_conv,
        replace_dilated_conv=replace_dilated_conv,
        defuse_gaps=defuse_gaps,
        fuse_bn=fuse_bn,
        onnxsim=onnxsim,
        replace_split=replace_split,
        extra_passes=tuple(extra_passes),
    )
    result, _ = optimize_model(
        model,
        options,
        overwrite_input_shapes=overwrite_input_shapes,
        skipped_optimizers=skipped_optimizers,
        skip_check=skip_check,
        target_opset=target_opset,
        output_path=output_path,
    )
    return result


def compare(
    first: onnx.ModelProto | str | os.PathLike[str],
    second: onnx.ModelProto | str | os.PathLike[str],
    *,
    seed: int = 0,
    tolerance: float = 1e-3,
) -> Comparison:
    """Run two models on the same random inputs under onnxruntime; see ``kneronnxopt.verify.compare``.

    Parameters
    ----------
    first, second : onnx.ModelProto or path
        The models.
    seed : int
        Seed of the inputs.
    tolerance : float
        Largest relative difference that counts as equal.

    Raises
    ------
    OptimizationError
        A file cannot be read, or onnxruntime cannot run one of the models.
    """
    from kneronnxopt.model_io import given_model
    from kneronnxopt.verify import compare as run

    return run(given_model(first, "first"), given_model(second, "second"), seed=seed, tolerance=tolerance)


def pass_names() -> list[str]:
    """Names of our passes, in the order in which they run."""
    from kneronnxopt.pipeline import pass_names as names

    return names()
