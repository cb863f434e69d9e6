"""Generated pages are up to date, and what the pages show runs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from graphs import model, operators

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", ["passes", "operators"])
def test_generated_page_is_up_to_date(name):
    spec = importlib.util.spec_from_file_location(f"generate_{name}", DOCS / f"generate_{name}.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert (DOCS / f"{name}.md").read_text("utf-8") == generator.page(), f"run python docs/generate_{name}.py"


def test_every_pass_is_described():
    import kneronnxopt

    page = (DOCS / "passes.md").read_text("utf-8")
    for name in kneronnxopt.pass_names():
        section = re.search(rf"^## {name}( \*)?$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
        assert section is not None, name
        assert len(section[2]) > 60, f"{name} has no description"


def test_example_pass_runs():
    code = re.search(r"```python\n(.*?)```", (DOCS / "write_a_pass.md").read_text("utf-8"), re.DOTALL)[1]
    names = {"model": model("g (float[2] x) => (float[2] y) { a = Neg(x) b = Neg(a) y = Relu(b) }")}
    exec(compile(code, "write_a_pass.md", "exec"), names)
    assert operators(names["result"]) == {"Relu": 1}
