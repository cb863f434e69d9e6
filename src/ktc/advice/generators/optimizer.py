"""kneronnxopt, and those of its options that act on the operators of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.advice._candidate import SAME_RESULTS, Candidate
from ktc.advice.changes._edit import attribute
from ktc.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx

    from ktc.advice._candidate import Situation
    from ktc.advice._wiring import Wiring
    from ktc.evaluator import EvaluationSettings

__all__ = ["propose_optimizer"]


def _has(*types: str) -> Callable[[Wiring], bool]:
    return lambda wiring: any(True for _ in wiring.nodes(*types))


def _dilated(wiring: Wiring) -> bool:
    return any(set(attribute(node, "dilations") or ()) - {1} for node in wiring.nodes("Conv"))


#: Option of ``kneronnxopt.optimize`` -> whether the model has anything that it could act on.
_OPTIONS: dict[str, Callable[[Wiring], bool]] = {
    "opt_matmul": _has("MatMul", "Einsum", "LSTM", "GRU", "RNN"),
    "replace_avgpool_with_conv": _has("AveragePool"),
    "replace_dilated_conv": _dilated,
    "defuse_gaps": _has("GlobalAveragePool", "ReduceMean", "AveragePool"),
    "skip_fuse_qkv": _has("MatMul", "Gemm"),
    "fuse_bn": _has("BatchNormalization"),
    "replace_split": _has("Split"),
}


def propose_optimizer(situation: Situation) -> Iterator[Candidate]:
    """The optimised model; with each option that may act, and with all of these."""
    if situation.model.producer_name != "kneronnxopt":
        yield _optimized(situation, (), ())
    options = [name for name, applies in _OPTIONS.items() if applies(situation.wiring)]
    for name in options:
        yield _optimized(situation, (name,), ("",))
    together = tuple(name for name in options if name != "skip_fuse_qkv")
    if len(together) > 1:
        yield _optimized(situation, together, ("", *options))


def _optimized(situation: Situation, options: tuple[str, ...], beyond: tuple[str, ...]) -> Candidate:
    def change() -> tuple[onnx.ModelProto, EvaluationSettings]:
        import kneronnxopt

        try:
            flags = dict.fromkeys(options, True)
            return kneronnxopt.optimize(situation.model, skip_check=True, **flags), situation.settings  # type: ignore[arg-type]
        except (kneronnxopt.OptimizationError, RuntimeError) as error:
            raise ModelError(str(error)) from error

    target_path = f"output_path={str(situation.advised_path)!r}"
    arguments = ", ".join([repr(str(situation.path)), *(f"{name}=True" for name in options), target_path])
    source, target = situation.quoted(situation.path), situation.quoted(situation.advised_path)
    flags = "".join(f" --{name.replace('_', '-')}" for name in options)
    command = f"python -m kneronnxopt.optimize {source} -o {target}{flags}" if source and target else None
    with_options = f" with {' and '.join(f'{name}=True' for name in options)}" if options else ""
    key = "+".join(options)
    return Candidate(
        kind="optimizer",
        nodes=(),
        text=f"Optimise the model with kneronnxopt{with_options}.",
        condition=SAME_RESULTS,
        exact=True,
        snippet=f"import kneronnxopt\n\nkneronnxopt.optimize({arguments})\n",
        change=change,
        time_ms=situation.evaluation.time_ms,
        cpu_nodes=len(situation.evaluation.cpu_nodes),
        command=command,
        key=f"optimizer:{key}",
        beyond=tuple(f"optimizer:{name}" for name in beyond),
    )
