"""How fast could each scan be on an H100, and how fast is ours by what its kernels do?

The floor is what the work itself cannot do without, by NVIDIA's datasheet: bytes of device memory, operations. The
estimate adds what our kernels do beyond: samples that bound the rest, bytes copied from the second-level cache to
shared memory, accesses to shared memory, instructions. Both are the slowest of their parts, as if all others were
hidden behind it; neither knows of launches and latencies, which is all that a stage of few queries takes. None of it is
measured.
"""

from dataclasses import asdict, dataclass
from typing import Any

from adanns.cuda.engine import FEW_VISITS

ROWS, DIMS, LISTS = 1_281_167, 2048, 4096  # ImageNet-1K's, and the lists of a speedup run
KEEP, RERANK = 100, ((256, 100), (2048, 20))
PREFIX = 64
# NVIDIA H100 SXM datasheet: bytes and operations a second.
MEMORY, FLOAT32, TENSOR = 3.35e12, 67e12, 989e12
# mma.sync reaches 62% of the last (Luo et al. 2024, "Benchmarking and Dissecting the Nvidia Hopper GPU Architecture").
MMA_SYNC = 0.62 * TENSOR
# Nsight Compute, on an earlier kernel of ours: 134 GB in 27.3 ms kept the second-level cache 88% busy.
LEVEL2 = 5.5e12
MULTIPROCESSORS, CLOCK = 132, 1.755e9
INSTRUCTIONS = 4 * MULTIPROCESSORS * CLOCK  # of whole warps
SHARED = MULTIPROCESSORS * CLOCK  # accesses of 128 bytes, all banks once
SAMPLED = 1 + 1 / 16  # what bounds the rest is scanned twice
Amounts = dict[str, float]

RATES = {
    "float32": FLOAT32,
    "tensor": TENSOR,
    "mma.sync": MMA_SYNC,
    "level 2": LEVEL2,
    "shared": SHARED,
    "instructions": INSTRUCTIONS,
}


@dataclass(frozen=True)
class Case:
    """One stage of a search, for `queries` queries. operations: by what does them; ours: what our kernels do.

    Both by RATES. scanned: how often our kernels read the bytes.
    """

    name: str
    queries: int
    bytes: float
    operations: Amounts
    ours: Amounts
    scanned: float = 1.0

    @property
    def memory_us(self) -> float:
        """What moving the bytes takes at least."""
        return 1e6 * self.bytes / MEMORY

    @property
    def arithmetic_us(self) -> float:
        """What computing takes at least."""
        return 1e6 * sum(count / RATES[unit] for unit, count in self.operations.items())

    @property
    def floor_us(self) -> float:
        """No kernel is faster: an estimate, not a measurement."""
        return max(self.memory_us, self.arithmetic_us)

    @property
    def estimate_us(self) -> float:
        """What ours takes at least."""
        return max(self.parts_us.values())

    @property
    def bound_by(self) -> str:
        """What the estimate comes from."""
        return max(self.parts_us, key=self.parts_us.__getitem__)

    @property
    def parts_us(self) -> Amounts:
        """What each part of ours takes, by its name in RATES, or "memory"."""
        own = {unit: 1e6 * count / RATES[unit] for unit, count in self.ours.items()}
        return {"memory": self.scanned * self.memory_us, **own}

    def record(self) -> dict[str, Any]:
        """What results keep of it."""
        derived = {"floor_us": self.floor_us, "estimate_us": self.estimate_us, "bound_by": self.bound_by}
        return {**asdict(self), **derived}


def scan_all(queries: int, dims: int, element_bytes: int, ours: Amounts) -> Case:
    """All rows at a prefix, each read once and a sample before; ours: without the sample."""
    name = f"scan of all rows, {dims} dims, {'float16' if element_bytes == 2 else 'int8'}"
    operations = {"float32" if queries == 1 else "tensor": 2.0 * ROWS * dims * queries}
    with_sample = {unit: SAMPLED * count for unit, count in ours.items()}
    return Case(name, queries, ROWS * (dims * element_bytes + 4.0), operations, with_sample, SAMPLED)


# Instructions are counted in the machine code for sm_90 (nvcc 13.0), along the path where nothing is found.
def scan_rows(dims: int) -> Case:
    """All rows for one query, float16: a warp takes 32 rows, 64 elements at once."""
    return scan_all(1, dims, 2, {"instructions": ROWS / 32 * (150 + 135 * dims / 64)})


def scan_small_tiles(queries: int, dims: int) -> Case:
    """All rows for 16 queries, float16; a warp takes 32 rows."""
    ours = {"mma.sync": 2.0 * ROWS * dims * queries, "instructions": ROWS / 32 * 275 * dims / 64}
    return scan_all(queries, dims, 2, ours)


def scan_large_tiles(queries: int, dims: int, element_bytes: int) -> Case:
    """All rows for many queries: tiles of 256 by 192, a warp 64 by 64 of them; chunks of 32 elements."""
    tile_queries, tile_rows, warp_scores, chunks = 256, 192, 64 * 64, dims // 32
    stay = chunks <= 3  # queries are copied once
    per_chunk = (214 if element_bytes == 1 else 172) if stay else 218
    copied = ROWS * dims * element_bytes * queries / tile_queries
    copied += 0 if stay else ROWS / tile_rows * queries * dims * 2.0
    ours = {
        "mma.sync": 2.0 * ROWS * dims * queries,
        "level 2": copied,
        "shared": ROWS * queries / warp_scores * dims * 2 * (64 + 64) / 128 + copied / 128,
        "instructions": ROWS * queries / warp_scores * (475 + chunks * per_chunk),
    }
    return scan_all(queries, dims, element_bytes, ours)


def scan_lists(queries: int, probes: int) -> Case:
    """The lists that queries probe, int8; a list is read once, however many probe it.

    Counts are rounded, of what blocks do before and after they scan too.
    """
    visits, list_rows = queries * probes, ROWS / LISTS
    read = min(visits * list_rows, ROWS) * (PREFIX + 4)
    operations = {"float32": 2 * visits * list_rows * PREFIX}
    if visits >= FEW_VISITS * LISTS:
        items = visits / 16 + LISTS / 2  # queries of a list, taken together
        step = min(16.0, max(1.0, probes * list_rows / (8 * KEEP)))
        per_item = 2 * (437 + 3 * 186) + list_rows / 32 * (363 + 700 / step)
        per_query = 4 * 250 + 8 * (400 + 800)  # halves; a bound, and the nearest of what was found
    else:
        items = visits
        per_item = 4 * 350 + list_rows / 32 * 350
        per_query = 8 * (2700 + 600)
    ours = {"instructions": items * per_item + queries * per_query}
    return Case(f"scan of {probes} lists, {PREFIX} dims, int8", queries, read, operations, ours)


def rerank(queries: int) -> Case:
    """Two stages, float16, whatever rows are near. Counts are rounded."""
    dims = PREFIX * RERANK[0][1] + sum(
        (to - since) * keep for (to, keep), since in zip(RERANK, (PREFIX, RERANK[0][0]), strict=True)
    )
    per_query = 22 * dims / 8 / 32 + 8 * 3000  # eight elements a lane; shortlists are sorted by eight warps
    ours = {"instructions": queries * per_query}
    flops = {"float32": 2.0 * dims * queries}
    return Case("rerank 256:100 2048:20, float16", queries, 2.0 * dims * queries, flops, ours)


def scan_codes(queries: int, bits: int, code_bytes: int) -> Case:
    """All codes; a table entry is an addition."""
    segments = 8 * code_bytes // bits
    read = ROWS * (code_bytes + 4.0) * queries  # a query's block reads them for itself
    # Of 256 entries the most in one bank, 3.5 of 32 lanes', are read one after another; 16 lie in as many banks.
    conflicts = 3.5 if bits == 8 else 1.0
    ours = {
        "shared": SAMPLED * ROWS / 32 * segments * queries * conflicts,
        "instructions": SAMPLED * ROWS / 32 * queries * (317 if bits == 8 else 475) * code_bytes / 32,
    }
    operations = {"float32": float(ROWS * segments * queries)}
    return Case(f"scan of {code_bytes}-byte codes of {bits} bits", queries, read, operations, ours, SAMPLED)


def assign(rows: int, clusters: int) -> Case:
    """k-means: every row against every centroid; `queries` are rows. Tiles of 128 by 128, a warp 64 by 32 of them."""
    flops = 2.0 * rows * clusters * PREFIX
    ours = {
        "mma.sync": flops,
        "level 2": rows / 128 * clusters * PREFIX * 2.0,
        "instructions": rows * clusters / (64 * 32) * 467,
    }
    name = f"assignment to {clusters:,} centroids, {PREFIX} dims"
    return Case(name, rows, 2.0 * rows * PREFIX * 4, {"tensor": flops}, ours)


CASES = (
    scan_rows(PREFIX),
    scan_rows(DIMS),
    scan_small_tiles(16, PREFIX),
    scan_large_tiles(1024, PREFIX, 2),
    scan_large_tiles(1024, PREFIX, 1),
    scan_large_tiles(1024, DIMS, 2),
    scan_lists(1, 16),
    scan_lists(2048, 16),
    rerank(1),
    rerank(2048),
    scan_codes(1, 8, 32),
    scan_codes(100, 8, 32),
    scan_codes(100, 4, 32),
    assign(524_288, LISTS),
)
