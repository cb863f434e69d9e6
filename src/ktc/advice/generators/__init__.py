"""What may help: each generator looks at a model as it is evaluated, and proposes changes to try."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ktc.advice.generators.activations import propose_activations, propose_gates
from ktc.advice.generators.channel_moves import propose_channel_moves
from ktc.advice.generators.channels import propose_channels
from ktc.advice.generators.cuts import propose_cuts
from ktc.advice.generators.kernels import propose_kernels
from ktc.advice.generators.optimizer import propose_optimizer
from ktc.advice.generators.pools import propose_pools
from ktc.advice.generators.resizes import propose_resizes, propose_transposed
from ktc.advice.generators.settings import propose_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ktc.advice._candidate import Candidate, Situation

__all__ = ["GENERATORS", "OPTIMIZER"]

Generator: TypeAlias = "Callable[[Situation], Iterator[Candidate]]"

#: The generator that runs kneronnxopt, whose import and passes take longer than evaluations.
OPTIMIZER: Generator = propose_optimizer

#: All others.
GENERATORS: tuple[Generator, ...] = (
    propose_settings,
    propose_cuts,
    propose_resizes,
    propose_transposed,
    propose_activations,
    propose_gates,
    propose_kernels,
    propose_channels,
    propose_pools,
    propose_channel_moves,
)
