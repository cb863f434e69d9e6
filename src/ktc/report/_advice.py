"""Advice as text and as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ktc.report._format import digits, roughly, single_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktc.advice import Advice, Advised

__all__ = ["NOTHING_HELPS", "advice_figures", "advice_section", "render_advice", "render_advice_json"]

NOTHING_HELPS = "None of the changes that were tried saves enough time, or a CPU node."
_HOW = "The code for each stands in model_fx_report.html and model_fx_report.json; python -m ktc.advise prints it."


def advice_figures(advice: Advice) -> str:
    """Return what an advice brings, in one line."""
    change = 100 * advice.gain
    compared = f"{digits(abs(change), 3)} % {'less' if change >= 0 else 'more'}"
    figures = f"{digits(advice.time_before_ms, 4)} -> {digits(advice.time_after_ms, 4)} ms ({compared}), "
    figures += f"{digits(advice.fps_before, 4)} -> {digits(advice.fps_after, 4)} fps"
    if advice.cpu_nodes_before:
        figures += f", CPU nodes {advice.cpu_nodes_before} -> {advice.cpu_nodes_after}"
        if advice.cpu_ms_before is not None and advice.cpu_ms_after is not None:
            figures += (
                f" (very roughly {roughly(advice.cpu_ms_before)} -> {roughly(advice.cpu_ms_after)} ms on the CPU)"
            )
    if change < 0:
        figures += " (the time before leaves out what the CPU does)"
    return figures


def advice_section(advised: Advised) -> list[str]:
    """Return the section of the text report: a line for each advice, and what the figures are."""
    lines = ["[What would help]"]
    for number, advice in enumerate(advised.items, 1):
        lines.append(f"{number}. {single_line(advice.text)} {advice_figures(advice)}. {advice.condition}")
    lines += [advised.items[0].statement, _HOW] if advised.items else [NOTHING_HELPS]
    return [*lines, *map(single_line, advised.left_out)]


def render_advice(advised: Advised) -> str:
    """Render all advice as text, each with the code that makes the change."""
    lines: list[str] = []
    for number, advice in enumerate(advised.items, 1):
        lines += [f"{number}. {single_line(advice.text)}", f"   {advice_figures(advice)}", f"   {advice.condition}", ""]
        lines += _code(advice)
        lines.append("")
    lines += [advised.items[0].statement] if advised.items else [NOTHING_HELPS]
    lines += map(single_line, advised.left_out)
    return "\n".join(lines) + "\n"


def _code(advice: Advice) -> Iterator[str]:
    if advice.command is not None:
        yield f"       {advice.command}"
        return
    for line in advice.snippet.splitlines():
        yield f"       {line}".rstrip()


def render_advice_json(advised: Advised | None) -> dict[str, Any] | None:
    """Return all advice as plain values, or None if none was sought."""
    if advised is None:
        return None
    return {
        "statement": advised.items[0].statement if advised.items else NOTHING_HELPS,
        "tried": advised.tried,
        "left_out": list(advised.left_out),
        "items": [advice.to_dict() for advice in advised.items],
    }
