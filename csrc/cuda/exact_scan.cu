// Which rows of all are nearest? For few queries the rows are split between blocks and what they find is merged.
#include <algorithm>

#include "cuda/scan.cuh"

namespace adanns::cuda {
namespace {

template <int kQueries>
__global__ void __launch_bounds__(kScanThreads, kScanBlocks)
    scan_all_rows(ScanArguments arguments, int64_t rows, int64_t split_rows) {
    const int64_t split = blockIdx.x, splits = gridDim.x;
    const int first = static_cast<int>(blockIdx.y) * kQueries;
    const int left = arguments.queries.count - first;
    int numbers[kQueries];
    int64_t parts[kQueries];
#pragma unroll
    for (int q = 0; q < kQueries; q++) {
        numbers[q] = q < left ? first + q : first;
        parts[q] = numbers[q] * splits + split;
    }
    const int64_t begin = split * split_rows, end = begin + split_rows;
    scan_block(arguments, left < kQueries ? left : kQueries, numbers, parts, begin, end < rows ? end : rows);
}

// What several blocks found for one query: its own block takes them 256 at a time.
__global__ void __launch_bounds__(kScanThreads)
    merge_candidates(const Candidate* candidates, int64_t per_query, int keep, Candidate* out) {
    SharedMemory memory = SharedMemory::of_block();
    Shortlists shortlist(memory, 1, keep, kScanThreads);
    const Candidate* own = candidates + blockIdx.x * per_query;
    shortlist.clear();
    __syncthreads();
    for (int64_t first = 0; first < per_query; first += kScanThreads) {
        const int64_t at = first + threadIdx.x;
        const Candidate one = at < per_query ? own[at] : kNoCandidate;
        shortlist.make_room(shortlist.offer(0, at < per_query, one));
    }
    shortlist.finish();
    for (int i = static_cast<int>(threadIdx.x); i < keep; i += kScanThreads)
        out[static_cast<int64_t>(blockIdx.x) * keep + i] = shortlist.candidates[i];
}

}  // namespace

int splits_for(int64_t rows, int queries, int multiprocessors) {
    constexpr int64_t kBlocksEach = 4, kFewestRows = 1024;  // fewer rows than that do not pay for folding the query
    const int64_t tiles = (queries + kScanTile - 1) / kScanTile;
    const int64_t wanted = (kBlocksEach * multiprocessors + tiles - 1) / tiles;
    return static_cast<int>(std::clamp<int64_t>(std::min(wanted, rows / kFewestRows), 1, kMaxSplits));
}

void merge(const Candidate* candidates, int64_t per_query, int queries, int keep, Candidate* out, cudaStream_t stream) {
    SharedMemory memory = SharedMemory::none();
    Shortlists(memory, 1, keep, kScanThreads);
    launch("merge_candidates", merge_candidates, dim3(static_cast<unsigned>(queries)), dim3(kScanThreads),
           memory.taken(), stream, candidates, per_query, keep, out);
}

void scan_all(const Planes& planes, const KeyTerms& by, const Queries& queries, int64_t rows, int dims, int keep,
              int splits, Candidate* workspace, Candidate* out, cudaStream_t stream) {
    const int tile = scan_tile(planes, dims, keep, queries.count);
    const ScanArguments arguments{planes, by, queries, dims, keep, splits == 1 ? out : workspace};
    const dim3 grid(static_cast<unsigned>(splits), static_cast<unsigned>((queries.count + tile - 1) / tile));
    const std::size_t bytes = shared_size<ScanShared>(tile, keep, folded_size(planes, 0, dims));
    launch("scan_all_rows", tile == 1 ? scan_all_rows<1> : scan_all_rows<kScanTile>, grid, dim3(kScanThreads), bytes,
           stream, arguments, rows, (rows + splits - 1) / splits);
    if (splits > 1) merge(workspace, int64_t{splits} * keep, queries.count, keep, out, stream);
}

}  // namespace adanns::cuda
