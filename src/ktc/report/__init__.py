"""Reports of an evaluation: text, HTML, JSON, CSV, and the description of inputs and outputs."""

from __future__ import annotations

from ktc.report._csv import render_csv
from ktc.report._evaluation_report import EvaluationReport
from ktc.report._html import render_html
from ktc.report._ioinfo import render_ioinfo, render_ioinfo_csv
from ktc.report._json import render_json, schema
from ktc.report._text import render_text
from ktc.report._write import write_report

__all__ = [
    "EvaluationReport",
    "render_csv",
    "render_html",
    "render_ioinfo",
    "render_ioinfo_csv",
    "render_json",
    "render_text",
    "schema",
    "write_report",
]
