"""``ModelConfig``: one model and its settings. It holds and delegates; the work is done elsewhere."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ktc._folders import output_folder
from ktc._models import checked_model, read_model, refuse_container
from ktc.errors import ConfigError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import onnx

    from ktc.advice import Advised
    from ktc.evaluator import Evaluation, EvaluationSettings
    from ktc.frontend import Program
    from ktc.hardware import Platform
    from ktc.report import EvaluationReport

__all__ = ["ModelConfig"]

_DEFAULT_OUTPUT = "/data1/kneron_flow"
_VERSION = re.compile(r"[0-9a-fA-F]{1,4}")


class ModelConfig:
    """One model for one platform.

    Parameters
    ----------
    id : int
        Model id, 1 or more. Up to 32768 are reserved for Kneron's own models.
    version : str
        Four hexadecimal digits, e.g. ``"8b28"``; fewer are padded with zeros on the left.
    platform : str or int
        ``"520"``, ``"720"``, ``"530"``, ``"630"`` or ``"730"``; also as a number or as ``"KL720"``.
    onnx_model : onnx.ModelProto, optional
        The model in memory.
    onnx_path : str, optional
        The model as an ONNX file.
    bie_path : str, optional
        The model as a BIE file (not available yet).
    input_fmt : str or int, optional
        Data layout of all inputs, by documented name or number; KL730 only. May be set later.
    radix_json_path, compiler_config_path : str, optional
        JSON files for batch compiling; kept for the compiler.
    debug : bool
        Keep the debug output of the compiler.

    Attributes
    ----------
    name : str
        What the report calls the model: the file's or the graph's name; may be set.

    Raises
    ------
    ConfigError
        An argument has a value that is not allowed, or not exactly one model is given.
    ModelError
        The model cannot be read or is not valid ONNX.
    UnsupportedError
        ``bie_path`` names an existing file; this version cannot read it.
    """

    def __init__(
        self,
        id: int,
        version: str,
        platform: str | int,
        onnx_model: onnx.ModelProto | None = None,
        onnx_path: str | os.PathLike[str] | None = None,
        bie_path: str | os.PathLike[str] | None = None,
        input_fmt: str | int | None = None,
        *,
        radix_json_path: str | os.PathLike[str] | None = None,
        compiler_config_path: str | os.PathLike[str] | None = None,
        debug: bool = False,
    ) -> None:
        from ktc.hardware.platform import load_platform

        self.id = _check_id(id)
        self.version = _check_version(version)
        self._platform = load_platform(platform)
        self.platform = self._platform.name
        self.input_fmt = input_fmt
        self.radix_json_path = _check_json("radix_json_path", radix_json_path)
        self.compiler_config_path = _check_json("compiler_config_path", compiler_config_path)
        self.debug = debug
        given = {"onnx_model": onnx_model, "onnx_path": onnx_path, "bie_path": bie_path}
        names = [name for name, value in given.items() if value is not None]
        if len(names) != 1:
            what = "none of them is given" if not names else " and ".join(names) + " are given"
            raise ConfigError(f"exactly one of onnx_model, onnx_path and bie_path is needed; {what}.")
        if bie_path is not None:
            refuse_container(bie_path, "BIE")
        if onnx_path is not None:
            self.onnx_model = read_model(onnx_path, "onnx_path")
        else:
            self.onnx_model = checked_model(onnx_model, "onnx_model")
        self.onnx_path = None if onnx_path is None else Path(onnx_path)
        self.name = self.onnx_path.stem if self.onnx_path is not None else self.onnx_model.graph.name or "model"

    if not TYPE_CHECKING:  # a type checker would take any name for one of an instance's

        def __getattr__(self, name: str) -> object:
            if name == "analysis":
                raise AttributeError("ModelConfig.analysis is not available yet; it follows with BIE and NEF files")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<ModelConfig id={self.id} version={self.version!r} platform={self.platform!r} name={self.name!r}>"

    @property
    def input_fmt(self) -> str | None:
        """Data layout of all inputs, or None where the toolchain decides; KL730 only."""
        return self._input_fmt

    @input_fmt.setter
    def input_fmt(self, value: str | int | None) -> None:
        from ktc.hardware.input_formats import input_format

        if value is not None and not self._platform.selectable_input_format:
            raise ConfigError(
                f"input_fmt={value!r} is only available on KL730, not on {self._platform.title}; omit it."
            )
        self._input_fmt = None if value is None else input_format(value).name

    def evaluate(
        self,
        output_dir: str | os.PathLike[str] = _DEFAULT_OUTPUT,
        datapath_bitwidth_mode: str = "int8",
        weight_bitwidth_mode: str = "int8",
        model_in_bitwidth_mode: str = "int8",
        model_out_bitwidth_mode: str = "int8",
        cpu_node_bitwidth_mode: str = "int8",
        weight_bandwidth: float | None = None,
        dma_bandwidth: float | None = None,
        compiler_tiling: str = "default",
        *,
        ip_config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        advice: bool = True,
    ) -> EvaluationReport:
        """Estimate the model's performance on the NPU, and write the report.

        Parameters
        ----------
        output_dir : path
            Folder for the report. If the documented default cannot be used, it is ``./kneron_flow``.
        datapath_bitwidth_mode : str
            ``"int8"``, ``"int16"``, ``"mix balance"`` or ``"mix light"``; KL520 only knows int8.
        weight_bitwidth_mode : str
            The same, and ``"int4"`` (not on KL520 and KL720).
        model_in_bitwidth_mode, model_out_bitwidth_mode, cpu_node_bitwidth_mode : str
            ``"int8"`` or ``"int16"``.
        weight_bandwidth, dma_bandwidth : float, optional
            GB/s in place of the platform's own.
        compiler_tiling : str
            ``"default"`` or ``"deep_search"``.
        ip_config : path or mapping, optional
            Figures of the platform in place of the packaged ones: a file or a folder with files
            ``ip_config_<platform>.json``, or figure names to values, e.g. ``{"read_bandwidth": 4.0}``. Those that are
            not given stay. Defaults to what the environment variable ``KTC_IP_CONFIG`` names, if it is set.
        advice : bool
            Also try a few changes that may help, and report those that do (keyword of ours). `ktc.advise` tries more,
            the optimizer among them.

        Returns
        -------
        EvaluationReport
            A ``str``, the text report, with ``fps``, ``time_ms``, ``cpu_nodes``, ``nodes``, ``advice``, ``files``
            and ``to_dict()``.

        Raises
        ------
        ConfigError
            An argument has a value that is not allowed here, a configuration is not valid, or the folder cannot be
            written to.
        ModelError
            The model has an input whose shape is not known.
        """
        from ktc.evaluator import check_settings, evaluate, other_widths
        from ktc.evaluator.settings import EvaluationSettings
        from ktc.frontend import lower
        from ktc.hardware.user_config import configured_platform
        from ktc.report import write_report

        platform = configured_platform(self.platform, ip_config)
        settings = EvaluationSettings(
            datapath_bitwidth_mode=datapath_bitwidth_mode,
            weight_bitwidth_mode=weight_bitwidth_mode,
            model_in_bitwidth_mode=model_in_bitwidth_mode,
            model_out_bitwidth_mode=model_out_bitwidth_mode,
            cpu_node_bitwidth_mode=cpu_node_bitwidth_mode,
            weight_bandwidth=weight_bandwidth,
            dma_bandwidth=dma_bandwidth,
            compiler_tiling=compiler_tiling,
            input_fmt=self.input_fmt,
        )
        check_settings(settings, platform)
        program = lower(self.onnx_model, platform)
        evaluation = evaluate(program, platform, settings)
        evaluation = dataclasses.replace(evaluation, model_name=self.name)
        folder = output_folder(output_dir, _DEFAULT_OUTPUT)
        advised = self._advised(platform, settings, program, evaluation, ip_config) if advice else None
        alternatives = other_widths(program, platform, settings)
        return write_report(evaluation, folder, io_csv=platform.ioinfo_csv, advised=advised, alternatives=alternatives)

    def _advised(
        self,
        platform: Platform,
        settings: EvaluationSettings,
        program: Program,
        evaluation: Evaluation,
        ip_config: str | os.PathLike[str] | Mapping[str, Any] | None,
    ) -> Advised:
        from ktc.advice._search import QUICK, find_advice

        return find_advice(
            self.onnx_model,
            platform,
            settings,
            path=self.onnx_path or "model.onnx",
            program=program,
            evaluation=evaluation,
            budget=QUICK,
            ip_config=ip_config,
        )


def _check_id(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"id={value!r} is not a model id; give a positive integer, above 32768 for your own models.")
    return value


def _check_version(value: object) -> str:
    if not isinstance(value, str) or not _VERSION.fullmatch(value):
        raise ConfigError(f'version={value!r} is not a version; give four hexadecimal digits, for example "8b28".')
    return value.lower().zfill(4)


def _check_json(argument: str, path: str | os.PathLike[str] | None) -> Path | None:
    if path is None:
        return None
    try:
        json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{argument}={path!r} is not a readable JSON file ({error}); leave it out or mend it."
        ) from error
    return Path(path)
