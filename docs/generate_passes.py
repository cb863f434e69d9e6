"""Write docs/passes.md from the docstrings of the passes.

python docs/generate_passes.py
"""

from __future__ import annotations

import inspect
from pathlib import Path

from kneronnxopt.passes._base import FixedPoint, Pass
from kneronnxopt.pipeline import build_pipeline, every_option

HEAD = """\
# The passes of kneronnxopt

Generated from the docstrings by `python docs/generate_passes.py`; in the order in which they run. Those marked with a
star act only on request; the option is named. Skip any of them with `skipped_optimizers=["name"]` or `--skip name`.
[How to write a pass](write_a_pass.md) of your own.
"""

QUANTISED = "Stays where the result is quantised soon after, for the last bits decide ties there.\n\n"


def page() -> str:
    """The whole page."""
    always = {pass_.name for pass_ in passes(default=True)}
    seen: dict[str, Pass] = {}
    for pass_ in passes(default=False):
        seen.setdefault(pass_.name, pass_)
    parts = [HEAD]
    for name, pass_ in seen.items():
        text = inspect.getdoc(type(pass_)) or ""
        description = text.partition("\nParameters\n")[0].strip()
        operators = ", ".join(getattr(pass_, "op_types", ()))
        looks_at = f"Looks at: {operators}\n\n" if operators and operators != "*" else ""
        star = "" if name in always else " *"
        looks_at += QUANTISED if getattr(pass_, "rounds_otherwise", False) else ""
        parts.append(f"## {name}{star}\n\n{looks_at}```text\n{description}\n```\n")
    return "\n".join(parts)


def passes(*, default: bool) -> list[Pass]:
    """All passes of the pipeline, those of the fixed point included."""
    from kneronnxopt.pipeline import Options

    result: list[Pass] = []
    for pass_ in build_pipeline(Options() if default else every_option()):
        if isinstance(pass_, FixedPoint):
            result += pass_.passes
        elif isinstance(pass_, Pass):
            result.append(pass_)
    return result


if __name__ == "__main__":
    Path(__file__).with_name("passes.md").write_text(page(), "utf-8")
