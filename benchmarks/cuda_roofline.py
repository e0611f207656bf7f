"""How fast could each scan be? The bytes and operations that it cannot do without, on an H100, at ImageNet-1K's size."""

from dataclasses import dataclass

ROWS, DIMS, LISTS = 1_281_167, 2048, 4096  # ImageNet-1K's, and the lists of a speedup run
KEEP, RERANK = 100, ((256, 100), (2048, 20))
PREFIX = 64
# NVIDIA H100 SXM datasheet: bytes and operations a second. Kernels use mma.sync, which reaches some 62% of the last.
MEMORY, FLOAT32, TENSOR = 3.35e12, 67e12, 989e12
Operations = dict[str, float]


@dataclass(frozen=True)
class Case:
    """One stage of a search, for `queries` queries. operations: by what does them."""

    name: str
    queries: int
    bytes: float
    operations: Operations

    @property
    def memory_us(self) -> float:
        """What moving the bytes takes at least."""
        return 1e6 * self.bytes / MEMORY

    @property
    def arithmetic_us(self) -> float:
        """What computing takes at least."""
        peaks = {"float32": FLOAT32, "tensor": TENSOR}
        return 1e6 * sum(count / peaks[unit] for unit, count in self.operations.items())

    @property
    def floor_us(self) -> float:
        """No kernel is faster: an estimate, not a measurement."""
        return max(self.memory_us, self.arithmetic_us)


def scan_all(queries: int, dims: int, element_bytes: int, unit: str) -> Case:
    """All rows at a prefix; each is read once."""
    name = f"scan of all rows, {dims} dims, {'float16' if element_bytes == 2 else 'int8'}"
    return Case(name, queries, ROWS * (dims * element_bytes + 4), {unit: 2.0 * ROWS * dims * queries})


def scan_lists(queries: int, probes: int) -> Case:
    """The lists that queries probe, int8; a list is read once, however many probe it."""
    visited = queries * probes * ROWS / LISTS
    read = min(visited, ROWS) * (PREFIX + 4)
    return Case(f"scan of {probes} lists, {PREFIX} dims, int8", queries, read, {"float32": 2 * visited * PREFIX})


def rerank(queries: int) -> Case:
    """Two stages, float16, whatever rows are near."""
    dims = PREFIX * RERANK[0][1] + sum(
        (to - since) * keep for (to, keep), since in zip(RERANK, (PREFIX, RERANK[0][0]), strict=True)
    )
    return Case("rerank 256:100 2048:20, float16", queries, 2.0 * dims * queries, {"float32": 2.0 * dims * queries})


def scan_codes(queries: int, bits: int, code_bytes: int) -> Case:
    """All codes; a table entry is an addition."""
    segments = 8 * code_bytes // bits
    read = ROWS * (code_bytes + 4) * queries  # a query's block reads them for itself
    return Case(
        f"scan of {code_bytes}-byte codes of {bits} bits", queries, read, {"float32": float(ROWS * segments * queries)}
    )


def assign(rows: int, clusters: int) -> Case:
    """k-means: every row against every centroid; `queries` are rows."""
    return Case(
        f"assignment to {clusters:,} centroids, {PREFIX} dims",
        rows,
        2.0 * rows * PREFIX * 4,
        {"tensor": 2.0 * rows * clusters * PREFIX},
    )


CASES = (
    scan_all(1, PREFIX, 2, "float32"),
    scan_all(1, DIMS, 2, "float32"),
    scan_all(16, PREFIX, 2, "tensor"),
    scan_all(1024, PREFIX, 2, "tensor"),
    scan_all(1024, PREFIX, 1, "tensor"),
    scan_all(1024, DIMS, 2, "tensor"),
    scan_lists(1, 16),
    scan_lists(2048, 16),
    rerank(1),
    rerank(2048),
    scan_codes(1, 8, 32),
    scan_codes(100, 8, 32),
    scan_codes(100, 4, 32),
    assign(524_288, LISTS),
)
