"""The HTML report: one page that needs no network, and a small summary for notebooks."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ktc.report._advice import advice_figures, render_advice_json
from ktc.report._breakdown import costliest, mac_use, outside_by_reason, share, time_by_bound, time_range
from ktc.report._columns import ALL_COLUMNS
from ktc.report._format import digits, megabytes, plain, roughly, single_line
from ktc.report._memory import memory
from ktc.report._roofline import roofline
from ktc.report._summary import (
    STATEMENT,
    calibration_sentence,
    cpu_sentence,
    error_sentence,
    messages,
    summary,
    tool_version,
)
from ktc.report._svg import area, bars, number
from ktc.report._templates import read_asset, style_sheet, template_environment
from ktc.report._timeline import timeline
from ktc.report._what_if import what_if

if TYPE_CHECKING:
    from collections.abc import Sequence

    import jinja2
    import markupsafe

    from ktc.advice import Advised
    from ktc.evaluator.evaluation import Evaluation
    from ktc.report._columns import Column

__all__ = ["render_html", "render_notebook"]

# Reasons are sentences; they have a table of their own.
_HTML_COLUMNS = tuple(column for column in ALL_COLUMNS if column.name != "reason")


def render_html(
    evaluation: Evaluation, advised: Advised | None = None, *, alternatives: Sequence[Evaluation] = ()
) -> str:
    """Render an evaluation as one self-contained HTML page.

    It loads nothing, is readable without JavaScript and in ``w3m``, and follows the dark mode of the
    reader's system. Names from the model are escaped, and a content security policy admits no other
    script than the page's own.

    Parameters
    ----------
    evaluation : Evaluation
        What to report.
    advised : Advised, optional
        What would help, as `ktc.advice` found it.
    alternatives : sequence of Evaluation
        The same program in other widths (`ktc.evaluator.other_widths`), which the page offers to choose.
    """
    script = read_asset("ktc.report", "report.js")
    page = _environment().get_template("report.html.j2")
    view = _view(evaluation) | {
        "advised": _advised(advised),
        "timeline": timeline(evaluation),
        "roofline": roofline(evaluation),
        "memory": memory(evaluation),
    }
    return page.render(
        view,
        sections=_sections(view),
        terms=what_if(evaluation, alternatives),
        what_if_note=_what_if_note(evaluation),
        columns=_HTML_COLUMNS,
        rows=[_row(evaluation, index) for index in range(len(evaluation.nodes))],
        style=style_sheet("ktc.report", "report.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def render_notebook(evaluation: Evaluation) -> str:
    """Render a compact summary as a fragment of HTML, for notebooks."""
    return _environment().get_template("notebook.html.j2").render(_view(evaluation, nodes_shown=5))


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return template_environment(
        "ktc.report",
        area=area,
        bars=bars,
        compact=_compact,
        megabytes=megabytes,
        number=number,
        percent=lambda part: f"{100 * part:.1f}\N{NO-BREAK SPACE}%",
        roughly=roughly,
    )


def _compact(value: object) -> markupsafe.Markup:
    """Write JSON that cannot end the script element around it."""
    from markupsafe import Markup  # a part of jinja2, see above

    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704


@dataclass(frozen=True, slots=True)
class _Segment:
    """One piece of the bar that shows what bounds the time; the bar is 1000 wide."""

    bound: str
    left: float
    width: float
    label: str


@dataclass(frozen=True, slots=True)
class _Costly:
    """One line of the table of the costliest nodes."""

    index: int
    name: str
    backend: str
    shape: str
    bound: str
    time_ms: float
    share: float
    cumulative: float
    mac_use: float | None
    outside: bool


@dataclass(slots=True)
class _CpuGroup:
    """CPU nodes of one operator that share one reason."""

    backend: str
    reason: str
    names: list[str]
    time_ms: float | None = 0.0


def _view(evaluation: Evaluation, nodes_shown: int = 10) -> dict[str, Any]:
    parts = time_by_bound(evaluation)
    return {
        "evaluation": evaluation,
        "tool": tool_version(),
        "statement": STATEMENT,
        "error": error_sentence(evaluation),
        "time_range": time_range(evaluation),
        "messages": messages(evaluation),
        "parts": parts,
        "main_part": max(parts, key=lambda part: part.time_ms, default=None),
        "segments": _segments(evaluation),
        "costly": _costly(evaluation, nodes_shown),
        "outside": outside_by_reason(evaluation),
        "calibration": calibration_sentence(evaluation),
        "cpu_time": cpu_sentence(evaluation),
        "cpu_groups": _cpu_groups(evaluation),
        "longest_ms": max((node.sync_ms for node in evaluation.nodes), default=0.0),
        "summary": summary(evaluation),
        "settings": _settings(evaluation),
        "own_figures": _own_figures(evaluation),
    }


def _advised(advised: Advised | None) -> dict[str, Any] | None:
    """Advice with its figures in words, or None if none was sought."""
    document = render_advice_json(advised)
    if document is None or advised is None:
        return None
    for entry, advice in zip(document["items"], advised.items, strict=True):
        entry["figures"] = advice_figures(advice)
        entry["text"] = single_line(advice.text)
    document["left_out"] = [single_line(sentence) for sentence in advised.left_out]
    return document


def _sections(view: dict[str, Any]) -> list[tuple[str, str]]:
    """Return target and title of every section of the page, in its order."""
    sections = [
        ("bounds", "Bounds", True),
        ("costliest", "Time per node", view["costly"]),
        ("schedule", "Schedule", view["timeline"].lanes),
        ("roofline", "Roofline", view["roofline"]),
        ("memory", "Memory", view["memory"]),
        ("calibration", "Calibration", view["calibration"]),
        ("cpu", "CPU nodes", True),
        ("advice", "What would help", view["advised"]),
        ("summary", "Summary", True),
        ("settings", "Settings", True),
        ("io", "Inputs and outputs", True),
        ("nodes", "All nodes", True),
    ]
    return [(target, title) for target, title, there in sections if there]


def _what_if_note(evaluation: Evaluation) -> str:
    note = (
        "The time of every node again, by the formula of evaluate(), with other rates and widths. "
        "The expected error says little about those that no published time has."
    )
    if evaluation.settings.compiler_tiling != "default":
        note += " The cuts of deep_search stay as they are; a search with these settings may find faster ones."
    return note


def _segments(evaluation: Evaluation) -> list[_Segment]:
    segments = []
    left = 0.0
    for part in time_by_bound(evaluation):
        width = 1000 * part.share
        if width > 0:
            label = f"{part.bound}: {digits(part.time_ms, 4)} ms, {100 * part.share:.1f} %"
            segments.append(_Segment(part.bound, left, width, label))
        left += width
    return segments


def _costly(evaluation: Evaluation, limit: int) -> list[_Costly]:
    rows = []
    cumulative = 0.0
    for index in costliest(evaluation, limit):
        node = evaluation.nodes[index]
        part = share(node.sync_ms, evaluation.time_ms)
        cumulative += part
        rows.append(
            _Costly(
                index=index,
                name=single_line(node.name),
                backend=single_line(node.backend),
                shape="x".join(map(str, node.output_shape)),
                bound=node.bound,
                time_ms=node.sync_ms,
                share=part,
                cumulative=cumulative,
                mac_use=mac_use(node, evaluation),
                outside=bool(node.outside_calibration),
            )
        )
    return rows


def _cpu_groups(evaluation: Evaluation) -> list[_CpuGroup]:
    groups: dict[tuple[str, str], _CpuGroup] = {}
    for node in evaluation.cpu_nodes:
        key = single_line(node.backend), single_line(node.reason or "No reason recorded.")
        group = groups.setdefault(key, _CpuGroup(*key, names=[]))
        group.names.append(single_line(node.name))
        group.time_ms = None if group.time_ms is None or node.cpu_ms is None else group.time_ms + node.cpu_ms
    return list(groups.values())


def _settings(evaluation: Evaluation) -> list[tuple[str, str, bool]]:
    """Return name, value, and whether it differs from the default, of every setting."""
    rows = []
    for field in fields(evaluation.settings):
        value = getattr(evaluation.settings, field.name)
        shown = "platform's own" if value is None else single_line(str(value))
        rows.append((field.name, shown, value != field.default))
    return rows


def _own_figures(evaluation: Evaluation) -> list[list[str]]:
    """Return name, value, packaged value, unit and source of every figure of the user's own."""
    return [
        [single_line(text) for text in (f.name, plain(f.value), plain(f.packaged), f.unit, f.source)]
        for f in evaluation.user_figures
    ]


def _row(evaluation: Evaluation, index: int) -> list[tuple[Column, str]]:
    node = evaluation.nodes[index]
    return [(column, column.pretty(node)) for column in _HTML_COLUMNS]
