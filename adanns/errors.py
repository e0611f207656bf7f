"""The errors that have a name of their own; everything else is a ValueError or TypeError that says what came."""

from __future__ import annotations


class NotBuiltError(RuntimeError):
    """An index was searched or saved before it was built."""


class DuplicateIdError(ValueError):
    """Two rows were given the same id."""


class UnknownIdError(LookupError):
    """An id that is not in the index was to be removed."""


class CorruptIndexError(ValueError):
    """A saved index does not hold what its header says."""


class IncompatibleVersionError(ValueError):
    """A saved index was written in a format that this version does not read."""


class IndexLockedError(RuntimeError):
    """Another process is saving to the same folder."""


class NoTwinError(ValueError):
    """An index of one library that the other has no equal of."""
