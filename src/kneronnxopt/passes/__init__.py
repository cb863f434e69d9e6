"""The passes: one rewrite, or one tight family, a module. ``Pass`` and ``NodePass`` are for passes of your own."""

from kneronnxopt.passes._base import NodePass, Pass

__all__ = ["NodePass", "Pass"]
