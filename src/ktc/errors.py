"""Every exception that a caller of ktc can catch."""

from __future__ import annotations

__all__ = ["ConfigError", "FormatError", "KtcError", "ModelError", "UnsupportedError"]


class KtcError(Exception):
    """Base of all errors that ktc raises on purpose."""


class ModelError(KtcError, ValueError):
    """A model file, graph or input array is not what it has to be."""


class UnsupportedError(KtcError):
    """The request is well formed, but this version of ktc cannot fulfil it."""


class ConfigError(KtcError, ValueError):
    """An argument or a configuration file has a value that is not allowed."""


class FormatError(KtcError, ValueError):
    """A BIE or NEF file is damaged or is not of our format."""
