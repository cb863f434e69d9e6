"""``onnx2onnx_flow``: the older name of ``kneronnxopt.optimize``."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from ktc.errors import ConfigError

if TYPE_CHECKING:
    import onnx

__all__ = ["onnx2onnx_flow"]

#: Old keywords that ask for something that is not done any more, and what to do instead.
_REPLACED = {
    "eliminate_tail": "cut the model with onnx.utils.extract_model",
    "bgr": "swap the channels in preprocessing",
    "norm": "add 0.5 in preprocessing",
    "rgba2yynn": "convert the colours in preprocessing",
}


def onnx2onnx_flow(
    m: onnx.ModelProto, opt_matmul: bool = False, duplicate_shared_weights: bool = False, **old_keywords: bool
) -> onnx.ModelProto:
    """Optimise a model; a wrapper of ``kneronnxopt.optimize``, which is recommended instead.

    Parameters
    ----------
    m : onnx.ModelProto
        The model; it is not changed.
    opt_matmul : bool
        Bring MatMul into the forms that the NPU takes.
    duplicate_shared_weights : bool
        Give every user of a shared weight its own copy.
    **old_keywords : bool
        ``disable_fuse_bn`` (False fuses BatchNormalization into Conv) and ``opt_720`` (means ``opt_matmul``)
        are accepted with a DeprecationWarning; ``eliminate_tail``, ``bgr``, ``norm`` and ``rgba2yynn`` only
        where they are False.

    Returns
    -------
    onnx.ModelProto
        The optimised model.

    Raises
    ------
    ConfigError
        An old keyword asks for something that this toolchain does not do.
    TypeError
        A keyword is unknown.
    kneronnxopt.OptimizationError
        The model is not valid.
    """
    import kneronnxopt

    fuse_bn = False
    for keyword, value in old_keywords.items():
        if keyword == "opt_720":
            opt_matmul = opt_matmul or bool(value)
        elif keyword == "disable_fuse_bn":
            fuse_bn = not value
        elif keyword not in _REPLACED:
            raise TypeError(f"onnx2onnx_flow() got an unexpected keyword argument '{keyword}'")
        elif value:
            raise ConfigError(f"{keyword}={value!r} is not supported any more; {_REPLACED[keyword]} instead.")
        warnings.warn(f"{keyword} is deprecated; use kneronnxopt.optimize", DeprecationWarning, stacklevel=2)
    return kneronnxopt.optimize(
        m, opt_matmul=opt_matmul, duplicate_shared_weights=2 if duplicate_shared_weights else 0, fuse_bn=fuse_bn
    )
