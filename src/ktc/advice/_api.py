"""The public function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ktc.errors import ConfigError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import onnx

    from ktc.advice._advice import Advice, Advised

__all__ = ["advise", "advise_with_remarks"]


def advise(
    model: onnx.ModelProto | str | os.PathLike[str],
    platform: str | int,
    *,
    threshold: float = 0.01,
    candidates: int | None = None,
    optimizer: bool = True,
    ip_config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    **settings: Any,
) -> list[Advice]:
    """Find changes that make a model faster or take nodes off the CPU.

    Each change is really made, to a copy without weights, and the changed model is evaluated; nothing is judged by
    a rule of thumb. Both figures of an advice are estimates with the error that the report states.

    Parameters
    ----------
    model : onnx.ModelProto or path
        The model; it is not changed.
    platform : str or int
        ``"520"``, ``"720"``, ``"530"``, ``"630"`` or ``"730"``.
    threshold : float
        Part of the time that a change has to gain to be reported; one that makes CPU nodes fewer always is.
    candidates : int, optional
        At most so many changes are evaluated; the most promising first. By default 40, fewer for large models.
    optimizer : bool
        Also try ``kneronnxopt.optimize`` and its options.
    ip_config : path or mapping, optional
        Figures of the platform in place of the packaged ones, as in ``ModelConfig.evaluate``; by default what the
        environment variable ``KTC_IP_CONFIG`` names, if it is set. Code and commands of advice on settings have it.
    **settings
        The arguments of ``ModelConfig.evaluate`` that are in force: ``compiler_tiling`` and so on; ``input_fmt``.

    Returns
    -------
    list of Advice
        The largest gain first.

    Raises
    ------
    ConfigError
        An argument has a value that is not allowed.
    ModelError
        The model cannot be read, or has an input whose shape is not known.
    """
    found = advise_with_remarks(
        model,
        platform,
        threshold=threshold,
        candidates=candidates,
        optimizer=optimizer,
        ip_config=ip_config,
        **settings,
    )
    return list(found.items)


def advise_with_remarks(
    model: onnx.ModelProto | str | os.PathLike[str],
    platform: str | int,
    *,
    threshold: float = 0.01,
    candidates: int | None = None,
    optimizer: bool = True,
    ip_config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    **settings: Any,
) -> Advised:
    """Find the same as `advise`, with what was not tried."""
    import dataclasses
    import os

    from ktc._models import given_model
    from ktc.advice._search import FULL, find_advice
    from ktc.evaluator import EvaluationSettings, check_settings
    from ktc.hardware.user_config import configured_platform

    known = {field.name for field in dataclasses.fields(EvaluationSettings)}
    if unknown := sorted(settings.keys() - known):
        raise ConfigError(f"{unknown[0]!r} is not a setting; there are {', '.join(sorted(known))}.")
    number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if not number or not 0 <= threshold < 1:
        raise ConfigError(f"threshold={threshold!r} is not a part of the time; give a number from 0 to below 1.")
    whole = isinstance(candidates, int) and not isinstance(candidates, bool)
    if candidates is not None and (not whole or candidates < 1):
        raise ConfigError(f"candidates={candidates!r} is not a number of evaluations; give a positive integer.")
    chip = configured_platform(platform, ip_config)
    chosen = EvaluationSettings(**settings)
    check_settings(chosen, chip)
    path = Path(model) if isinstance(model, str | os.PathLike) else Path("model.onnx")
    loaded = given_model(model, "model")
    budget = dataclasses.replace(FULL, optimizer=optimizer)
    if candidates is not None:
        budget = dataclasses.replace(budget, candidates=candidates, nodes=2**62)
    return find_advice(loaded, chip, chosen, path=path, budget=budget, threshold=threshold, ip_config=ip_config)
