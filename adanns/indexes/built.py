"""Arrays and the engine's view of them, made once: what an index is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adanns import _core
from adanns.arrays import Arrays
from adanns.indexes.table_codes import table_code_tuple
from adanns.ladder import Band, plan_planes
from adanns.parameters import IndexParameters
from adanns.planes import plane_tuples


@dataclass(frozen=True, eq=False)
class Built:
    """Rows as one build, addition or merge left them: never changed, and compared by identity."""

    arrays: Arrays
    ladder: tuple[int, ...]
    code_dims: int  # prefix of the int8 codes; 0 where there are none
    table_rungs: tuple[int, ...]  # prefixes that the table code can be searched at
    lists: int  # 0 where rows are not in lists
    centroid_dims: int
    view: _core.IndexView

    @property
    def rows(self) -> int:
        """Vectors held."""
        return len(self.arrays["ids"])

    @property
    def dims(self) -> int:
        """Dimensions of a whole vector."""
        return self.ladder[-1]

    @property
    def measured_dims(self) -> int:
        """The most dims that a distance can be measured at."""
        return self.table_rungs[-1] if self.codes_alone else self.dims

    @property
    def codes_alone(self) -> bool:
        """Whether there are no planes."""
        return "plane_0" not in self.arrays

    def scan_of(self, dims: int) -> Literal["planes", "code", "tables"]:
        """What a scan at a prefix reads."""
        if dims in self.table_rungs:
            return "tables"
        if self.codes_alone:
            raise ValueError(f"scan_dims={dims}: this index keeps codes alone, and can scan at {self.table_rungs} dims")
        return "code" if dims <= self.code_dims else "planes"

    @cached_property
    def largest_id(self) -> int:
        """Of all rows, removed ones among them; -1 where there is none."""
        return int(self.arrays["ids"].max(initial=-1))

    @cached_property
    def _order(self) -> NDArray[np.int64] | None:
        """Rows by id; None where they are stored so."""
        ids = self.arrays["ids"]
        return None if (ids[1:] > ids[:-1]).all() else np.argsort(ids)

    @cached_property
    def _sorted_ids(self) -> NDArray[np.int64]:
        ids: NDArray[np.int64] = self.arrays["ids"]
        return ids if self._order is None else ids[self._order]

    def rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each id, removed or not; -1 where there is none."""
        if not self.rows:
            return np.full(len(ids), -1, np.int64)
        places = np.minimum(np.searchsorted(self._sorted_ids, ids), self.rows - 1)
        rows = places if self._order is None else self._order[places]
        return np.where(self._sorted_ids[places] == ids, rows, -1)


def bands_of(parameters: IndexParameters) -> tuple[Band, ...]:
    """The planes of a built index with these parameters."""
    if parameters.ladder is None:
        raise ValueError("the parameters of a built index name its ladder")
    return plan_planes(parameters.ladder, parameters.precision) if parameters.precision is not None else ()


def bundle(parameters: IndexParameters, arrays: Arrays) -> Built:
    """The views of an index's arrays, made once."""
    bands, ladder = bands_of(parameters), parameters.ladder or ()
    for number, band in enumerate(bands):
        if arrays[f"plane_{number}"].dtype != band.type:
            raise ValueError(f"plane_{number} is of {arrays[f'plane_{number}'].dtype}, not {band.type}")
    code = lists = table_code = None
    if "code_blocks" in arrays:
        code = (len(arrays["code_scales"]), arrays["code_blocks"], arrays["code_scales"], arrays["code_offsets"])
    table_rungs: tuple[int, ...] = ()
    if "table_blocks" in arrays:
        table_code = table_code_tuple(arrays)
        table_rungs = tuple(arrays["table_rungs"][:, 0].tolist())
    centroid_dims = len(arrays["centroid_scales"]) if "centroid_scales" in arrays else 0
    if "list_offsets" in arrays:
        centroid_code = (
            centroid_dims,
            arrays["centroid_blocks"],
            arrays["centroid_scales"],
            arrays["centroid_offsets"],
        )
        lists = (arrays["list_offsets"], centroid_code, arrays["centroid_ladder"], arrays.get("centroid_terms"))
    view = _core.IndexView(
        metric=parameters.metric,
        ladder=np.array(ladder, np.int32),
        planes=plane_tuples(bands, arrays),
        terms=arrays.get("terms"),
        ids=arrays["ids"],
        code=code,
        lists=lists,
        table_code=table_code,
        zero_rows=arrays.get("zero_rows"),
    )
    count = len(arrays["list_offsets"]) - 1 if lists is not None else 0
    return Built(arrays, ladder, code[0] if code is not None else 0, table_rungs, count, centroid_dims, view)
