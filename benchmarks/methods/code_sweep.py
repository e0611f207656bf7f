"""Which codes are built and how they are searched: sizes, prefixes, probes; the same for our methods and FAISS's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.methods.base import Sweep

BITS = (8, 4)
FEWEST_DIMS, MOST_DIMS = 64, 256
QUICK_PROBES = (1, 8, 64)
# Codes alone soon find what they can; the shortlists of a rerank are worth more steps.
PROBES_ALONE = (4, 16, 64)
PROBES_RERANKED = (2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class CodeSweep:
    """What is swept at every size of a code.

    sizes: bytes of a code; ids, centroids and whatever a rerank reads come on top.
    shortlist: rows that a rerank compares at all dims. training_rows: for rotations and codebooks. rotations: turns of
        the rotation; FAISS's start from a random one and get more of them.
    """

    lists: Sweep
    ladder: tuple[int, ...]
    sizes: tuple[int, ...]
    probes_alone: tuple[int, ...]
    probes_reranked: tuple[int, ...]
    shortlist: int = 100
    training_rows: int = 65_536
    rotations: int = 10
    faiss_rotations: int = 25

    @staticmethod
    def of(rows: int, ladder: tuple[int, ...], sizes: Sequence[int], seed: int, quick: bool) -> "CodeSweep":
        """As many lists as our IVF gets for so many rows."""
        lists = Sweep.of(rows, ladder, seed, quick)
        alone, reranked = (QUICK_PROBES, QUICK_PROBES) if quick else (PROBES_ALONE, PROBES_RERANKED)
        return CodeSweep(
            lists=lists,
            ladder=ladder,
            sizes=tuple(sizes),
            probes_alone=tuple(count for count in alone if count <= lists.lists),
            probes_reranked=tuple(count for count in reranked if count <= lists.lists),
        )

    @property
    def seed(self) -> int:
        """Of everything drawn at random."""
        return self.lists.seed

    @property
    def rerank(self) -> list[tuple[int, int]]:
        """The rerank that all methods share: straight to all dims."""
        return [(self.ladder[-1], self.shortlist)]

    @property
    def reduced_dims(self) -> int:
        """Dims that PCA brings all dims down to, where no prefix is used; a power of two."""
        return 1 << (min(MOST_DIMS, self.ladder[-1]).bit_length() - 1)

    def for_all_dims(self) -> "CodeSweep":
        """Where no prefix is used: a quarter of the lists, as IVF on the rigid twin gets in `speedup`."""
        return replace(self, lists=self.lists.for_rigid_twin(self.ladder[-1]))

    def prefixes(self, size: int, bits: int) -> list[int]:
        """Prefixes worth coding in `size` bytes, the last the most accurate: 4 and 8 dims a byte, of 4 bits also 2.

        From 64 to 256 dims: fewer find less at every size, more add next to nothing (measured on glyphs and icons).
        """
        possible = [dims for dims in self.ladder if fits(dims, size, bits)]
        wanted = {min(MOST_DIMS, max(FEWEST_DIMS, each * size)) for each in ((2, 4, 8) if bits == 4 else (4, 8))}
        return [dims for dims in possible if dims in wanted] or possible[-1:]


def segments_of(size: int, bits: int) -> int:
    """Segments of a code of `size` bytes."""
    return size * 8 // bits


def fits(dims: int, size: int, bits: int) -> bool:
    """Whether equal segments of a code fill so many dims."""
    return dims >= segments_of(size, bits) and dims % segments_of(size, bits) == 0
