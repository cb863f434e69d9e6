"""Templates and style sheets of the HTML pages: how they are read, and what every template can use."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from ktc.report._format import count, digits, single_line

if TYPE_CHECKING:
    from collections.abc import Callable

    import jinja2

__all__ = ["read_asset", "style_sheet", "template_environment"]


@lru_cache
def read_asset(package: str, name: str) -> str:
    """Read a file among the templates of a package."""
    return files(package).joinpath("templates", name).read_text(encoding="utf-8")


def style_sheet(package: str, name: str) -> str:
    """Return the rules that all pages share, followed by those of one page, which win."""
    return read_asset("ktc.report", "shared.css") + read_asset(package, name)


def template_environment(package: str, **filters: Callable[..., object]) -> jinja2.Environment:
    """Make an environment for the templates of a package: names are escaped, and unknown ones are an error.

    Parameters
    ----------
    package : str
        Where the templates are.
    **filters : callable
        Filters beside ``count``, ``digits`` and ``line``.
    """
    import jinja2  # here, because importing ktc must stay fast

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: read_asset(package, name)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=count, digits=digits, line=single_line, **filters)
    return environment
