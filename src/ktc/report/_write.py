"""Write every form of the report into one folder."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ktc._files import write_files
from ktc.report._csv import render_csv
from ktc.report._evaluation_report import EvaluationReport
from ktc.report._html import render_html
from ktc.report._ioinfo import render_ioinfo, render_ioinfo_csv
from ktc.report._json import render_json
from ktc.report._summary import HTML_NAME
from ktc.report._text import render_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktc.advice import Advised
    from ktc.evaluator.evaluation import Evaluation

__all__ = ["write_report"]

logger = logging.getLogger(__name__)


def write_report(
    evaluation: Evaluation,
    output_dir: str | Path,
    *,
    io_csv: bool = False,
    advised: Advised | None = None,
    alternatives: Sequence[Evaluation] = (),
) -> EvaluationReport:
    """Write the report of an evaluation, and return it as text.

    Parameters
    ----------
    evaluation : Evaluation
        What to report.
    output_dir : str or Path
        Folder for ``model_fx_report.html``, ``.json``, ``.csv`` and ``ioinfo.json``; created if need be.
    io_csv : bool
        Also write ``ioinfo.csv``, which the tools around some platforms read.
    advised : Advised, optional
        What would help, as `ktc.advice` found it.
    alternatives : sequence of Evaluation
        The same program in other widths (`ktc.evaluator.other_widths`), which the HTML page offers to choose.

    Returns
    -------
    EvaluationReport
        The text report, with the evaluation and the paths of the files.

    Raises
    ------
    ConfigError
        The folder cannot be written to. No partial or temporary file stays behind.
    """
    contents = {
        HTML_NAME: render_html(evaluation, advised, alternatives=alternatives),
        "model_fx_report.json": _json_text(render_json(evaluation, advised)),
        "model_fx_report.csv": render_csv(evaluation),
        "ioinfo.json": _json_text(render_ioinfo(evaluation)),
    }
    if io_csv:
        contents["ioinfo.csv"] = render_ioinfo_csv(evaluation)
    files = write_files(Path(output_dir), contents)
    logger.info("Wrote %s", ", ".join(map(str, files)))
    return EvaluationReport(render_text(evaluation, advised), evaluation, files, advised)


def _json_text(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
