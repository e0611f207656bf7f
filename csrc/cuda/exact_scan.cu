// Which rows of all are nearest, for a few queries? The rows are split between blocks.
#include <algorithm>

#include "cuda/scan.cuh"

namespace adanns::cuda {
namespace {

template <int kQueries>
__device__ QueryTile<kQueries> tile_of_block(int queries) {
    const int first = static_cast<int>(blockIdx.y) * kQueries, left = queries - first;
    QueryTile<kQueries> tile;
    tile.count = left < kQueries ? left : kQueries;
#pragma unroll
    for (int q = 0; q < kQueries; q++) tile.numbers[q] = q < left ? first + q : first;
    return tile;
}

// Of several queries, one block at a time: with fewer registers sm_120 spills.
template <int kQueries>
__global__ void __launch_bounds__(kScanThreads, kQueries == 1 ? kScanBlocks : 1)
    sample_rows(ScanArguments arguments, int64_t rows, int64_t spacing, int64_t split_groups, Found found) {
    const QueryTile<kQueries> tile = tile_of_block<kQueries>(arguments.queries.count);
    SharedMemory memory = SharedMemory::of_block();
    const ScanShared shared(memory, kQueries, folded_size(arguments.planes, 0, arguments.dims));
    fold_queries(arguments, tile, shared);
    const int64_t first_group = blockIdx.x * split_groups, begin = first_group * spacing;
    const int64_t end = begin + split_groups * spacing;
    if (begin >= rows) return;
    visit_rows<kQueries>(
        arguments, shared, tile.count, {begin, end < rows ? end : rows, spacing}, static_cast<int>(threadIdx.x) / kWarp,
        kScanThreads / kWarp, [&](int q, bool valid, float key, int64_t, int64_t group) {
            float nearest = valid ? key : INFINITY;
            for (int distance = kSharedRows / 2; distance > 0; distance /= 2)
                nearest = fminf(nearest, __shfl_xor_sync(kWholeWarp, nearest, distance));
            if (threadIdx.x % kSharedRows != 0) return;
            const int64_t slot = (first_group + group) % found.groups;
            atomicMin(&found.minima[int64_t{shared.numbers[q]} * found.groups + slot], ordered_bits(nearest));
        });
}

template <int kQueries>
__global__ void __launch_bounds__(kScanThreads, kScanBlocks)
    collect_all_rows(ScanArguments arguments, int64_t rows, int64_t split_rows, Found found) {
    const QueryTile<kQueries> tile = tile_of_block<kQueries>(arguments.queries.count);
    const int64_t begin = blockIdx.x * split_rows, end = begin + split_rows;
    if (begin >= rows) return;
    SharedMemory memory = SharedMemory::of_block();
    const ScanShared shared(memory, kQueries, folded_size(arguments.planes, 0, arguments.dims));
    fold_queries(arguments, tile, shared, found.bounds);
    collect_rows<kQueries>(arguments, shared, tile.count, {begin, end < rows ? end : rows, kSharedRows}, found);
}

// Overflowed queries again, a shortlist per split, which then stand in the query's list.
__global__ void __launch_bounds__(kScanThreads, kScanBlocks)
    scan_all_again(ScanArguments arguments, int64_t rows, int64_t split_rows, Found found) {
    const int query = static_cast<int>(blockIdx.y);
    if (!overflowed(found, query)) return;
    SharedMemory memory = SharedMemory::of_block();
    AgainShared shared(memory, arguments.keep, folded_size(arguments.planes, 0, arguments.dims));
    shared.shortlist.clear();
    fold_queries<1>(arguments, {1, {query}}, shared.scan);
    const int64_t begin = blockIdx.x * split_rows, end = begin + split_rows;
    shortlist_rows(arguments, shared.scan, shared.shortlist, begin, end < rows ? end : rows);
    write_shortlist(shared.shortlist, found.candidates + int64_t{query} * found.capacity +
                                          static_cast<int64_t>(blockIdx.x) * arguments.keep);
}

}  // namespace

int capacity_for(int keep) { return keep <= 16 ? 2048 : keep <= 64 ? 4096 : 8192; }

// A 16th of the rows; more for a long shortlist, of which 32 times as many would not fit the list.
Sample sample_for(int64_t rows, int keep) {
    if (rows <= capacity_for(keep)) return {};
    constexpr int64_t kFraction = 16, kWithinBound = 4096, kMostGroups = 8192;
    const int64_t sampled = std::max({rows / kFraction, rows * keep / kWithinBound, 4 * int64_t{keep} * kSharedRows});
    const int64_t spacing = std::max<int64_t>(kSharedRows, rows * kSharedRows / sampled);
    return {static_cast<int>(std::min(kMostGroups, divide_up(rows, spacing))), spacing};
}

void scan_again(const Planes& planes, const KeyTerms& by, const Queries& queries, int64_t rows, int dims, int keep,
                const Found& found, Candidate* out, cudaStream_t stream) {
    if (rows <= found.capacity) return;  // nothing can overflow
    constexpr int64_t kMostBlocks = 1024;
    const int64_t splits = std::clamp<int64_t>(kMostBlocks / queries.count, 1, found.capacity / keep);
    const std::size_t bytes = shared_size<AgainShared>(keep, folded_size(planes, 0, dims));
    launch("scan_all_again", scan_all_again, dim3(static_cast<unsigned>(splits), static_cast<unsigned>(queries.count)),
           dim3(kScanThreads), bytes, stream, ScanArguments{planes, by, queries, dims, keep}, rows,
           divide_up(rows, splits), found);
    merge_overflowed(found, queries.count, static_cast<int>(splits), keep, out, stream);
}

void scan_all(const Planes& planes, const KeyTerms& by, const Queries& queries, int64_t rows, int dims, int keep,
              int multiprocessors, const Found& found, Candidate* out, cudaStream_t stream) {
    constexpr int64_t kBlocksEach = 8, kFewestRows = 256;
    const int tile = scan_tile(planes, dims, queries.count);
    const ScanArguments arguments{planes, by, queries, dims, keep};
    const int64_t tiles = divide_up(queries.count, tile);
    const std::size_t bytes = shared_size<ScanShared>(tile, folded_size(planes, 0, dims));
    const auto grid_of = [&](int64_t visited) {
        const int64_t splits = std::min(divide_up(kBlocksEach * multiprocessors, tiles), visited / kFewestRows);
        return dim3(static_cast<unsigned>(std::max<int64_t>(1, splits)), static_cast<unsigned>(tiles));
    };
    clear(found, queries.count, stream);
    if (const Sample sample = sample_for(rows, keep); sample.groups > 0) {
        const int64_t groups = divide_up(rows, sample.spacing);
        const dim3 grid = grid_of(groups * kSharedRows);
        launch("sample_rows", tile == 1 ? sample_rows<1> : sample_rows<kScanTile>, grid, dim3(kScanThreads), bytes,
               stream, arguments, rows, sample.spacing, divide_up(groups, grid.x), found);
        bound_by_minima(found, queries.count, keep, stream);
    }
    const dim3 grid = grid_of(rows);
    launch("collect_all_rows", tile == 1 ? collect_all_rows<1> : collect_all_rows<kScanTile>, grid, dim3(kScanThreads),
           bytes, stream, arguments, rows, divide_up(rows, grid.x), found);
    select_nearest(found, queries.count, keep, out, stream);
    scan_again(planes, by, queries, rows, dims, keep, found, out, stream);
}

}  // namespace adanns::cuda
