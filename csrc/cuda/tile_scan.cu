// Which rows of all are nearest, for many queries?
#include <algorithm>
#include <cfloat>

#include "cuda/tiles.cuh"

namespace adanns::cuda {
namespace {

// One block per query, those that fill up the last tile too.
__global__ void __launch_bounds__(kTileThreads)
    halve_queries(Planes planes, Queries queries, int dims, HalfQueries out) {
    const int query = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
    const bool real = query < queries.count;
    const float* row = queries.rows + (real ? query : 0) * queries.stride;
    SharedMemory memory = SharedMemory::of_block();
    auto* folded = memory.take<float>(static_cast<std::size_t>(out.elements));
    auto* largest = memory.take<float>(kTileWarps);
    fold_query(planes, 0, dims, row, folded);
    __syncthreads();
    for (int i = 0, first = 0; i < planes.count; i++) {
        const int elements = Stretch(planes.plane[i], 0, dims).elements;
        if (planes.plane[i].type == ScalarType::float32)
            for (int element = thread; element < elements; element += kTileThreads)
                folded[first + element] *= planes.plane[i].half_scale;
        first += elements;
    }
    __syncthreads();
    float most = 0.0f;
    for (int i = thread; i < out.elements; i += kTileThreads) most = fmaxf(most, fabsf(folded[i]));
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
        most = fmaxf(most, __shfl_xor_sync(kWholeWarp, most, distance));
    if (thread % kWarp == 0) largest[thread / kWarp] = most;
    __syncthreads();
    for (int warp = 0; warp < kTileWarps; warp++) most = fmaxf(most, largest[warp]);
    // A power of two, so that scaling does not round.
    const float scale = most >= FLT_MIN ? __uint_as_float(__float_as_uint(most) & 0x7f800000u) : 1.0f;
    for (int i = thread; i < out.elements; i += kTileThreads)
        out.rows[int64_t{query} * out.elements + i] = __float2half_rn(real ? folded[i] / scale : 0.0f);
    const float constant = thread / kWarp == 0 ? folded_constant(planes, 0, dims, row) : 0.0f;
    if (thread != 0) return;
    out.scales[query] = scale;
    out.constants[query] = constant;
}

__device__ __forceinline__ float smallest_of(const float (&keys)[kLaneScores]) {
    float smallest = INFINITY;  // not that of NaN, where sums went beyond float
#pragma unroll
    for (int i = 0; i < kLaneScores; i++) smallest = fminf(smallest, keys[i]);
    return smallest;
}

template <int kQueries>
__global__ void __launch_bounds__(kTileThreads, 2)
    sample_tiles(ScanArguments arguments, HalfQueries queries, TiledRows rows, int chunks, int64_t split_rows,
                 Found found) {
    const Split split(rows, split_rows);
    if (split.count <= 0) return;
    SharedMemory memory = SharedMemory::of_block();
    const TileShared shared = prepare_tile<kQueries>(memory, arguments, queries, rows, chunks, found.bounds);
    const int count = arguments.queries.count;
    visit_tiles<kQueries>(arguments, queries, rows, chunks, split, shared,
                          [&](int query, const float (&keys)[kLaneScores], int64_t first) {
                              const int64_t number = static_cast<int64_t>(blockIdx.x) * kQueries + query;
                              if (number >= count) return;
                              // Four rows here, four there: two groups of a sixteenth.
                              const int64_t slot = (first / kSide * 2 + first / 4 % 2) % found.groups;
                              atomicMin(&found.minima[number * found.groups + slot], ordered_bits(smallest_of(keys)));
                          });
}

template <int kQueries>
__global__ void __launch_bounds__(kTileThreads, 2)
    collect_tiles(ScanArguments arguments, HalfQueries queries, TiledRows rows, int chunks, int64_t split_rows,
                  Found found) {
    const Split split(rows, split_rows);
    if (split.count <= 0) return;
    SharedMemory memory = SharedMemory::of_block();
    const TileShared shared = prepare_tile<kQueries>(memory, arguments, queries, rows, chunks, found.bounds);
    visit_tiles<kQueries>(arguments, queries, rows, chunks, split, shared,
                          [&](int query, const float (&keys)[kLaneScores], int64_t first) {
                              const float bound = shared.bounds[query];
                              const bool any = smallest_of(keys) <= bound;
                              if (!__any_sync(kWholeWarp, any) || !any) return;
                              const int64_t number = static_cast<int64_t>(blockIdx.x) * kQueries + query;
                              int good = 0;
#pragma unroll
                              for (int i = 0; i < kLaneScores; i++) good += keys[i] <= bound;
                              int at = atomicAdd(&found.counts[number], good);
                              Candidate* list = found.candidates + number * found.capacity;
#pragma unroll
                              for (int i = 0; i < kLaneScores; i++) {
                                  if (!(keys[i] <= bound)) continue;
                                  const auto row = static_cast<uint32_t>(first + i + (i >= 4 ? 4 : 0));
                                  if (at < found.capacity) list[at] = candidate(keys[i], row);
                                  at++;
                              }
                          });
}

int tile_of(int queries) { return queries > kSmallTile ? kLargeTile : kSmallTile; }
int padded_to_tile(int queries) { return (queries + tile_of(queries) - 1) / tile_of(queries) * tile_of(queries); }

}  // namespace

bool fits_tensor_cores(const Planes& planes, int dims) {
    for (int i = 0; i < planes.count; i++) {
        const Plane& plane = planes.plane[i];
        if (Stretch(plane, 0, dims).elements > 0 && plane.type == ScalarType::float32 && plane.half_scale == 0)
            return false;
    }
    return true;
}

int64_t halves_for(const Planes& planes, int dims, int queries) {
    return int64_t{padded_to_tile(queries)} *
           (folded_size(planes, 0, dims) * int64_t{sizeof(__half)} + 2 * int64_t{sizeof(float)});
}

HalfQueries halve(const Planes& planes, const Queries& queries, int dims, int padded, void* halves,
                  cudaStream_t stream) {
    const int elements = folded_size(planes, 0, dims);
    auto* rows = static_cast<__half*>(halves);
    auto* scales = reinterpret_cast<float*>(rows + int64_t{padded} * elements);
    const HalfQueries halved{rows, scales, scales + padded, elements};
    SharedMemory memory = SharedMemory::none();
    memory.take<float>(static_cast<std::size_t>(elements));
    memory.take<float>(kTileWarps);
    launch("halve_queries", halve_queries, dim3(static_cast<unsigned>(padded)), dim3(kTileThreads), memory.taken(),
           stream, planes, queries, dims, halved);
    return halved;
}

void scan_tiles(const Planes& planes, const KeyTerms& by, const Queries& queries, int64_t rows, int dims, int keep,
                int multiprocessors, void* halves, const Found& found, Candidate* out, cudaStream_t stream) {
    constexpr int64_t kBlocksEach = 4;
    const int tile = tile_of(queries.count), padded = padded_to_tile(queries.count);
    const int chunks = chunks_of(planes, dims);
    const ScanArguments arguments{planes, by, queries, dims, keep};
    const HalfQueries halved = halve(planes, queries, dims, padded, halves, stream);

    const std::size_t bytes = shared_size<TileShared>(tile, rows_of_tile(tile), chunks);
    const int64_t tiles = padded / tile;
    const auto run = [&](const char* name, auto kernel, const TiledRows& tiled) {
        const int64_t tile_rows = rows_of_tile(tile), row_tiles = (tiled.count + tile_rows - 1) / tile_rows;
        const int64_t splits = std::min((kBlocksEach * multiprocessors + tiles - 1) / tiles, row_tiles);
        const int64_t split_tiles = (row_tiles + splits - 1) / std::max<int64_t>(1, splits);
        launch(name, kernel, dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(std::max<int64_t>(1, splits))),
               dim3(kTileThreads), bytes, stream, arguments, halved, tiled, chunks, split_tiles * tile_rows, found);
    };
    clear(found, queries.count, stream);
    if (const Sample sample = sample_for(rows, keep); sample.groups > 0) {
        const int64_t step = sample.spacing / kSharedRows;
        run("sample_tiles", tile == kSmallTile ? sample_tiles<kSmallTile> : sample_tiles<kLargeTile>,
            {(rows + step - 1) / step, step});
        bound_by_minima(found, queries.count, keep, stream);
    }
    run("collect_tiles", tile == kSmallTile ? collect_tiles<kSmallTile> : collect_tiles<kLargeTile>, {rows, 1});
    select_nearest(found, queries.count, keep, out, stream);
    scan_again(planes, by, queries, rows, dims, keep, found, out, stream);
}

}  // namespace adanns::cuda
