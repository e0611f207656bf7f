// Which centroid is nearest to each row, how far is it, and what do the rows of each cluster add up to?
#include "cuda/tiles.cuh"

namespace adanns::cuda {
namespace {

using Rows = MediumTile;  // its queries are the rows to assign
constexpr int kAssignThreads = 256;

__global__ void __launch_bounds__(Rows::kThreads, Rows::kBlocks)
    nearest_centroids(ScanArguments arguments, HalfQueries rows, TiledRows centroids, int chunks, Candidate* nearest) {
    const Split split(centroids, centroids.count);
    SharedMemory memory = SharedMemory::of_block();
    auto* best = memory.take<Candidate>(Rows::kQueries);
    const TileShared<Rows> shared = prepare_tile_of_block<Rows>(memory, arguments, rows, centroids, chunks);
    for (int i = static_cast<int>(threadIdx.x); i < Rows::kQueries; i += Rows::kThreads) best[i] = kNoCandidate;
    // Of what this lane has seen of each of its rows; the first centroid where all sums went beyond float.
    float smallest[Rows::kLaneQueries];
    uint32_t of_smallest[Rows::kLaneQueries];
#pragma unroll
    for (int i = 0; i < Rows::kLaneQueries; i++) smallest[i] = INFINITY, of_smallest[i] = 0;
    visit_tiles<Rows>(arguments, rows, centroids, chunks, split, shared, [&](int of_lane, int, const LaneKeys& keys) {
        const float here = keys.smallest();
        if (here >= smallest[of_lane]) return;  // of equal centroids the first
        smallest[of_lane] = here;
        int at = 0;
#pragma unroll
        for (int i = kLaneScores - 1; i >= 0; i--)
            if (keys.of(i) == here) at = row_of_score(i);
        of_smallest[of_lane] = static_cast<uint32_t>(keys.first + at);
    });
    __syncthreads();
#pragma unroll
    for (int i = 0; i < Rows::kLaneQueries; i++)
        atomicMin(&best[first_query_of_lane<Rows>() + i * kColumns], candidate(smallest[i], of_smallest[i]));
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < Rows::kQueries; i += Rows::kThreads) {
        const int row = static_cast<int>(blockIdx.x) * Rows::kQueries + i;
        if (row < arguments.queries.count) nearest[row] = best[i];
    }
}

// A warp per row. Sums are whole numbers, so that they do not depend on the order in which rows are added.
__global__ void __launch_bounds__(kAssignThreads)
    add_rows(Queries rows, int dims, const float* centroids, const Candidate* nearest, double sum_scale, Assigned out) {
    const int64_t row = (static_cast<int64_t>(blockIdx.x) * kAssignThreads + threadIdx.x) / kWarp;
    if (row >= rows.count) return;  // whole warps
    const uint32_t cluster = row_of(nearest[row]);
    const float* values = rows.rows + row * rows.stride;
    const float* centroid = centroids + cluster * int64_t{dims};
    float square = 0.0f;
    for (int dim = static_cast<int>(threadIdx.x % kWarp); dim < dims; dim += kWarp) {
        const float difference = values[dim] - centroid[dim];
        square = fmaf(difference, difference, square);
        if (out.sums == nullptr) continue;
        const auto whole = static_cast<long long>(values[dim] * sum_scale);
        atomicAdd(&out.sums[cluster * int64_t{dims} + dim], static_cast<unsigned long long>(whole));
    }
    for (int distance = kWarp / 2; distance > 0; distance /= 2) square += __shfl_xor_sync(kWholeWarp, square, distance);
    if (threadIdx.x % kWarp != 0) return;
    out.clusters[row] = static_cast<int32_t>(cluster);
    out.distances[row] = square;
}

}  // namespace

void assign(const Queries& rows, int dims, const float* centroids, int clusters, const Planes& halved,
            const float* terms, void* halves, Candidate* nearest, double sum_scale, const Assigned& out,
            cudaStream_t stream) {
    static_assert(Rows::kQueries == kAssignedTogether);
    const ScanArguments arguments{halved, {Metric::l2, terms}, rows, dims, 1};
    const int padded = filled_up<Rows>(rows.count), chunks = chunks_of<Rows>(halved, dims);
    const HalfQueries half_rows = halve(halved, rows, dims, padded, halves, stream);
    SharedMemory memory = SharedMemory::none();
    memory.take<Candidate>(Rows::kQueries);
    TileShared<Rows>(memory, chunks);
    launch("nearest_centroids", nearest_centroids, dim3(static_cast<unsigned>(padded / Rows::kQueries)),
           dim3(Rows::kThreads), memory.taken(), stream, arguments, half_rows, TiledRows{clusters, 1, 0}, chunks,
           nearest);
    const auto blocks = static_cast<unsigned>(divide_up(int64_t{rows.count} * kWarp, kAssignThreads));
    launch("add_rows", add_rows, dim3(blocks), dim3(kAssignThreads), 0, stream, rows, dims, centroids, nearest,
           sum_scale, out);
}

}  // namespace adanns::cuda
