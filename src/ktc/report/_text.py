"""The text report: what ``ModelConfig.evaluate`` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktc.report._advice import advice_section
from ktc.report._columns import DOCUMENTED_COLUMNS
from ktc.report._format import digits, single_line
from ktc.report._summary import STATEMENT, cpu_sentence, error_sentence, messages, summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ktc.advice import Advised
    from ktc.evaluator.evaluation import Evaluation

__all__ = ["render_text"]


def render_text(evaluation: Evaluation, advised: Advised | None = None) -> str:
    """Render an evaluation as text with the documented keys, for people and for regular expressions.

    Warnings, then ``[Evaluation Result]``, then the ``kdp<platform>/...`` lines, then ``[What would help]``
    if advice was sought, then the node table, which ``csv.reader(lines, skipinitialspace=True)`` reads. Every
    entry is one line, whatever the names in the model contain.
    """
    sections = (
        [f"***** Warning: {line}" for line in messages(evaluation)],
        ["[Evaluation Result]", *_result(evaluation)],
        [f"{field.key(evaluation.platform)}: {field.text}" for field in summary(evaluation) if field.evaluator],
        [
            f"expected error of this estimate = {error_sentence(evaluation)}",
            *([f"CPU nodes = {cpu_sentence(evaluation)}"] if evaluation.cpu_nodes else ()),
            STATEMENT,
        ],
        advice_section(advised) if advised is not None else [],
        list(_table(evaluation)),
    )
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _result(evaluation: Evaluation) -> Iterator[str]:
    yield f"model = {single_line(evaluation.model_name)}"
    yield f"estimate FPS float = {digits(evaluation.fps)}"
    yield f"total time = {digits(evaluation.time_ms)} ms"
    yield f"total theoretical convolution time = {digits(evaluation.theoretical_conv_ms)} ms"
    yield f"average DRAM bandwidth = {digits(evaluation.average_dram_bandwidth)} GB/s"
    yield f"MAC efficiency to total time = {digits(100 * evaluation.mac_efficiency)} %"
    yield f"MAC idle time = {digits(evaluation.mac_idle_ms)} ms"
    yield f"MAC running time = {digits(evaluation.mac_running_ms)} ms"


def _table(evaluation: Evaluation) -> Iterator[str]:
    yield _row(("", *(column.name for column in DOCUMENTED_COLUMNS)))
    for index, node in enumerate(evaluation.nodes):
        yield _row((str(index), *(column.plain(node) for column in DOCUMENTED_COLUMNS)))


def _row(cells: Iterable[str]) -> str:
    return ", ".join(map(_cell, cells))


def _cell(text: str) -> str:
    if "," in text or '"' in text or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text
