"""Settings of the evaluation that cost less."""

from __future__ import annotations

import dataclasses
import shlex
from typing import TYPE_CHECKING, Any

from ktc.advice._candidate import SAME_RESULTS, Candidate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktc.advice._candidate import Situation

__all__ = ["propose_settings"]

_QUANTIZED = "The results change: quantize the model this way, and check its accuracy."
_REPORT_FOLDER = "advised_report"
_CHEAPER_DATAPATHS = {"int16": ("mix balance", "mix light", "int8"), "mix balance": ("mix light", "int8")}


def propose_settings(situation: Situation) -> Iterator[Candidate]:
    """Deep search for a better tiling; narrower feature maps and weights where the platform has them."""
    settings, platform = situation.settings, situation.platform
    if settings.compiler_tiling == "default" and "deep_search" in platform.compiler_tilings:
        text = "Search for a better tiling (deep_search)."
        yield _setting(situation, text, {"compiler_tiling": "deep_search"}, exact=True)
    datapath = settings.datapath_bitwidth_mode
    for mode in _CHEAPER_DATAPATHS.get(datapath, ("int8",) if datapath != "int8" else ()):
        if mode in platform.datapath_modes:
            yield _setting(situation, f"Compute in {mode} in place of {datapath}.", {"datapath_bitwidth_mode": mode})
    weights = settings.weight_bitwidth_mode
    for mode in ("int8", "int4"):
        if mode in platform.weight_modes and weights not in (mode, "int4"):
            yield _setting(situation, f"Store weights in {mode} in place of {weights}.", {"weight_bitwidth_mode": mode})
    ends = ("model_in_bitwidth_mode", "model_out_bitwidth_mode", "cpu_node_bitwidth_mode")
    wide = {name: "int8" for name in ends if getattr(settings, name) != "int8"}
    if wide:
        which = " and ".join(name.removesuffix("_bitwidth_mode").replace("_", " ") for name in wide)
        yield _setting(situation, f"Use int8 for {which}.", wide)


def _setting(situation: Situation, text: str, values: dict[str, Any], *, exact: bool = False) -> Candidate:
    settings = dataclasses.replace(situation.settings, **values)
    arguments = {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if getattr(settings, field.name) != field.default or field.name in values
    }
    input_format = arguments.pop("input_fmt", None)
    options = {"onnx_path": str(situation.path)} | ({} if input_format is None else {"input_fmt": input_format})
    path = situation.quoted(situation.path)
    command, flag = None, situation.ip_config_flag
    if (
        path is not None
        and flag is not None
        and input_format is None
        and arguments == {"compiler_tiling": "deep_search"}
    ):
        words = ("python", "-m", "ktc.opt_and_eval", "-e", situation.platform.name)
        command = f"{shlex.join(words)} {path} --deep-search{flag}"
    shown = {"output_dir": _REPORT_FOLDER} | arguments
    if situation.ip_config is not None:
        shown["ip_config"] = situation.ip_config
    return Candidate(
        kind="settings",
        nodes=(),
        text=text,
        condition=SAME_RESULTS if exact else _QUANTIZED,
        exact=exact,
        snippet=(
            "import ktc\n\n"
            f'config = ktc.ModelConfig(32769, "0001", {situation.platform.name!r}, {_keywords(options)})\n'
            f"report = config.evaluate({_keywords(shown)})\n"
        ),
        change=lambda: (None, settings),
        time_ms=situation.evaluation.time_ms,
        command=command,
    )


def _keywords(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())
