"""Numbers for what values look like, by which operators of equal effect are found."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ktc.frontend.graph import Value

__all__ = ["Contents", "Looks"]


class Looks(dict[str, int]):
    """Name of a value -> a number that values of the same shape, element type and constness share.

    An omitted operand has a number of its own.  A value whose shape is not known yet is looked at when it is asked for,
    and must not change afterwards.

    Parameters
    ----------
    values : Mapping of str to Value
        The values of a graph.
    """

    def __init__(self, values: Mapping[str, Value]) -> None:
        super().__init__({"": 0})
        self.values_by_name = values
        self.numbers: dict[object, int] = {None: 0}
        numbers = self.numbers
        for name, value in values.items():
            if value.shape is not None:
                look = value.shape, value.elem_type, value.constant
                self[name] = numbers.setdefault(look, len(numbers))

    def __missing__(self, name: str) -> int:
        value = self.values_by_name[name]
        look = value.shape, value.elem_type, value.constant
        number = self[name] = self.numbers.setdefault(look, len(self.numbers))
        return number


class Contents(dict[str, int]):
    """Name of a value -> a number that values share which look the same and, if they are constants, hold the same.

    Values that are not constant have the number of their look.
    """

    def __init__(self, looks: Looks) -> None:
        super().__init__({"": looks[""]})
        self._looks = looks

    def __missing__(self, name: str) -> int:
        value, number = self._looks.values_by_name[name], self._looks[name]
        data = value.content_key() if value.constant else None
        if data is not None:
            numbers = self._looks.numbers
            number = numbers.setdefault((number, data), len(numbers))
        self[name] = number
        return number
