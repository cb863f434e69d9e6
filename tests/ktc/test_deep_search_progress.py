"""The bar of deep_search: on a terminal only, and only if it lasts."""

from __future__ import annotations

import io
import time

import zoo
from ktc.evaluator import EvaluationSettings, evaluate, strips
from ktc.frontend import lower
from ktc.hardware import load_platform


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, stream, *, without_bar, lasting):
    """What three steps that last so many seconds in all write."""
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(strips, "_SECONDS_WITHOUT_BAR", without_bar)
    for step, expected in zip(strips._progress(3), range(3), strict=True):
        assert step == expected
        time.sleep(lasting / 3)
    return stream.getvalue()


def test_a_terminal_sees_a_bar_that_goes_away_again(monkeypatch):
    text = shown(monkeypatch, Terminal(), without_bar=0.05, lasting=0.6)
    assert "deep_search" in text
    assert "/3" in text
    assert text.endswith("\r")


def test_a_search_that_does_not_last_shows_nothing(monkeypatch):
    assert strips._SECONDS_WITHOUT_BAR == 2
    assert shown(monkeypatch, Terminal(), without_bar=60.0, lasting=0.3).strip() == ""


def test_without_a_terminal_nothing_is_written(monkeypatch):
    assert shown(monkeypatch, io.StringIO(), without_bar=0.01, lasting=0.3) == ""


def test_without_any_stderr_it_works(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    assert list(strips._progress(3)) == [0, 1, 2]


def test_the_search_goes_through_every_node_once(monkeypatch):
    counts = []
    monkeypatch.setattr(strips, "_progress", lambda count: counts.append(count) or range(count))
    platform = load_platform("720")
    program = lower(zoo.skeleton("squeezenet1_1_224"), platform)
    evaluate(program, platform, EvaluationSettings(compiler_tiling="deep_search"))
    assert counts == [len(program.nodes)]
