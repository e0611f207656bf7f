// Which rows of all are nearest, for many queries?
#include <algorithm>
#include <cfloat>

#include "cuda/tiles.cuh"

namespace adanns::cuda {
namespace {

constexpr int kHalvingThreads = 128;

// One block per query, those that fill up the last tile too.
__global__ void __launch_bounds__(kHalvingThreads)
    halve_queries(Planes planes, Queries queries, int dims, HalfQueries out) {
    const int query = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
    const bool real = query < queries.count;
    const float* row = queries.rows + (real ? query : 0) * queries.stride;
    SharedMemory memory = SharedMemory::of_block();
    auto* folded = memory.take<float>(static_cast<std::size_t>(out.elements));
    auto* largest = memory.take<float>(kHalvingThreads / kWarp);
    fold_query(planes, 0, dims, row, folded);
    __syncthreads();
    for (int i = 0, first = 0; i < planes.count; i++) {
        const int elements = Stretch(planes.plane[i], 0, dims).elements;
        if (planes.plane[i].type == ScalarType::float32)
            for (int element = thread; element < elements; element += kHalvingThreads)
                folded[first + element] *= planes.plane[i].half_scale;
        first += elements;
    }
    __syncthreads();
    float most = 0.0f;
    for (int i = thread; i < out.elements; i += kHalvingThreads) most = fmaxf(most, fabsf(folded[i]));
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
        most = fmaxf(most, __shfl_xor_sync(kWholeWarp, most, distance));
    if (thread % kWarp == 0) largest[thread / kWarp] = most;
    __syncthreads();
    for (int warp = 0; warp < kHalvingThreads / kWarp; warp++) most = fmaxf(most, largest[warp]);
    // A power of two, so that scaling does not round.
    const float scale = most >= FLT_MIN ? __uint_as_float(__float_as_uint(most) & 0x7f800000u) : 1.0f;
    for (int i = thread; i < out.elements; i += kHalvingThreads)
        out.rows[int64_t{query} * out.elements + i] = __float2half_rn(real ? folded[i] / scale : 0.0f);
    const float constant = thread / kWarp == 0 ? folded_constant(planes, 0, dims, row) : 0.0f;
    if (thread != 0) return;
    out.scales[query] = scale;
    out.constants[query] = constant;
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    sample_tiles(ScanArguments arguments, HalfQueries queries, TiledRows rows, int chunks, int64_t split_rows,
                 Found found) {
    const Split split(rows, split_rows);
    if (split.count <= 0) return;
    SharedMemory memory = SharedMemory::of_block();
    const TileShared<Tile> shared = prepare_tile_of_block<Tile>(memory, arguments, queries, rows, chunks);
    const int count = arguments.queries.count;
    visit_tiles<Tile>(arguments, queries, rows, chunks, split, shared, [&](int, int query, const LaneKeys& keys) {
        const int64_t number = shared.number_of(query);
        if (number >= count) return;
        // Four lanes share 32 rows: groups of eight.
        const int64_t slot = (keys.first / kScoreRows * 4 + threadIdx.x % 4) % found.groups;
        atomicMin(&found.minima[number * found.groups + slot], ordered_bits(keys.smallest()));
    });
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    collect_tiles(ScanArguments arguments, HalfQueries queries, TiledRows rows, int chunks, int64_t split_rows,
                  Found found) {
    const Split split(rows, split_rows);
    if (split.count <= 0) return;
    SharedMemory memory = SharedMemory::of_block();
    const TileShared<Tile> shared = prepare_tile_of_block<Tile>(memory, arguments, queries, rows, chunks, found.bounds);
    visit_tiles<Tile>(arguments, queries, rows, chunks, split, shared, [&](int, int query, const LaneKeys& keys) {
        collect_keys(found, shared.number_of(query), keys);
    });
}

// visit(tile) with the tile that suits so many queries, and whose chunks of so many dims find room to be listed.
template <class Visit>
auto with_tile(const Planes& planes, int dims, int queries, Visit visit) {
    if (queries <= SmallTile::kQueries) return visit(SmallTile{});
    const std::size_t large = shared_size<TileShared<LargeTile>>(chunks_of<LargeTile>(planes, dims));
    if (queries <= MediumTile::kQueries || large > kMostShared) return visit(MediumTile{});
    return visit(LargeTile{});
}

template <class Tile>
void scan_with(const Planes& planes, const KeyTerms& by, const Queries& queries, int64_t rows, int dims, int keep,
               int multiprocessors, void* halves, const Found& found, cudaStream_t stream) {
    constexpr int64_t kRunsEach = 2;  // of the blocks that a multiprocessor holds
    const int padded = filled_up<Tile>(queries.count), chunks = chunks_of<Tile>(planes, dims);
    const ScanArguments arguments{planes, by, queries, dims, keep};
    const HalfQueries halved = halve(planes, queries, dims, padded, halves, stream);
    const std::size_t bytes = shared_size<TileShared<Tile>>(chunks);
    const int64_t tiles = padded / Tile::kQueries;
    const auto run = [&](const char* name, auto kernel, const TiledRows& tiled) {
        const int64_t row_tiles = divide_up(tiled.count, Tile::kRows);
        const int64_t blocks = kRunsEach * Tile::kBlocks * multiprocessors;
        const int64_t splits = std::min(divide_up(blocks, tiles), row_tiles);
        const int64_t split_tiles = divide_up(row_tiles, std::max<int64_t>(1, splits));
        launch(name, kernel, dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(std::max<int64_t>(1, splits))),
               dim3(Tile::kThreads), bytes, stream, arguments, halved, tiled, chunks, split_tiles * Tile::kRows, found);
    };
    if (const Sample sample = sample_for(rows, keep); sample.groups > 0) {
        const int64_t step = sample.spacing / kSharedRows;
        run("sample_tiles", sample_tiles<Tile>, {divide_up(rows, step), step, 0});
        bound_by_minima(found, queries.count, keep, stream);
    }
    run("collect_tiles", collect_tiles<Tile>, {rows, 1, 0});
}

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
    const int padded = with_tile(planes, dims, queries, [&](auto tile) { return filled_up<decltype(tile)>(queries); });
    return int64_t{padded} * (folded_size(planes, 0, dims) * int64_t{sizeof(__half)} + 2 * int64_t{sizeof(float)});
}

HalfQueries halve(const Planes& planes, const Queries& queries, int dims, int padded, void* halves,
                  cudaStream_t stream) {
    const int elements = folded_size(planes, 0, dims);
    auto* rows = static_cast<__half*>(halves);
    auto* scales = reinterpret_cast<float*>(rows + int64_t{padded} * elements);
    const HalfQueries halved{rows, scales, scales + padded, elements};
    SharedMemory memory = SharedMemory::none();
    memory.take<float>(static_cast<std::size_t>(elements));
    memory.take<float>(kHalvingThreads / kWarp);
    launch("halve_queries", halve_queries, dim3(static_cast<unsigned>(padded)), dim3(kHalvingThreads), memory.taken(),
           stream, planes, queries, dims, halved);
    return halved;
}

void scan_tiles(const Planes& planes, const KeyTerms& by, const Queries& queries, int64_t rows, int dims, int keep,
                int multiprocessors, void* halves, const Found& found, Candidate* out, cudaStream_t stream) {
    clear(found, queries.count, stream);
    with_tile(planes, dims, queries.count, [&](auto tile) {
        scan_with<decltype(tile)>(planes, by, queries, rows, dims, keep, multiprocessors, halves, found, stream);
    });
    select_nearest(found, queries.count, keep, out, stream);
    scan_again(planes, by, queries, rows, dims, keep, found, out, stream);
}

}  // namespace adanns::cuda
