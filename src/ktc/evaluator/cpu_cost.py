"""Time of a CPU node on the chip's own host core: an order of magnitude."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ktc.frontend.program import CpuWork
    from ktc.hardware.platform import Platform

__all__ = ["cpu_time_ms"]


def cpu_time_ms(work: CpuWork, platform: Platform, bits: int) -> float:
    """Time in ms of one CPU node on one core.

    ``cycles / clock + bytes / bandwidth`` with ``cycles = MACs / rate + elements / rate + functions / rate``.  The
    rates (``cpu_...`` in ``ip_config_<platform>.json``) are of the core's type, not measured on the chip, and what the
    firmware really does is not public: expect no more than the right order of magnitude.

    Parameters
    ----------
    work : CpuWork
        What is to be done.
    platform : Platform
        The platform.
    bits : int
        Width of an element in memory.
    """
    cycles = (
        work.macs / platform.cpu_macs_per_cycle
        + work.elements / platform.cpu_elements_per_cycle
        + work.functions / platform.cpu_functions_per_cycle
    )
    return cycles / platform.cpu_frequency_mhz / 1e3 + work.moved_elements * bits / 8 / platform.cpu_bandwidth / 1e6
