"""Rows in lists, scanned by learnt codes of a prefix."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adanns.indexes.built import Built
from adanns.indexes.lists import ListsIndex, P, default_lists
from adanns.indexes.table_codes import TableCode, add_table_code, check_training_rows, code_working_bytes
from adanns.planes import PlaneBuilder
from adanns.progress import Progress


class CodedListsIndex(ListsIndex[P]):
    """Base of the indices whose lists hold learnt codes."""

    @property
    def distortion(self) -> tuple[float, ...]:
        """Mean squared distance of the training rows to their codes, per turn of the rotation."""
        return tuple(self._need_built().arrays["table_distortion"].tolist())

    @abstractmethod
    def _code(self, ladder: Sequence[int]) -> TableCode:
        """How codes of vectors with this ladder are learnt. Raises where they cannot be."""

    def _scan_dims(self, built: Built) -> int:
        return built.table_rungs[-1]

    def _check_dims(self, ladder: Sequence[int]) -> None:
        self._code(ladder)

    def _read_dims(self, ladder: Sequence[int]) -> int:
        scan_dims, cluster_dims = self._code(ladder).dims, self._parameters.cluster_dims
        return max(scan_dims, cluster_dims) if cluster_dims in ladder else scan_dims

    def _working_bytes(self, rows: int, ladder: tuple[int, ...]) -> int:
        code = self._code(ladder)
        means = 12 * code.dims * (self._parameters.lists or default_lists(rows))
        return max(super()._working_bytes(rows, ladder), code_working_bytes(rows, code) + means)  # one after the other

    def _check_rows(self, rows: int, ladder: Sequence[int]) -> None:
        check_training_rows(rows, self._code(ladder))

    def _add_codes(
        self, builder: PlaneBuilder, list_offsets: NDArray[np.int64], progress: Progress, threads: int
    ) -> None:
        add_table_code(builder, self._code(builder.ladder), list_offsets, progress, threads)
