// Tiles of queries times tiles of rows on tensor cores; scores stay in registers, of which each lane knows whose they
// are. A tile of queries stays with its block; the warps share the products.
#pragma once

#include "cuda/tile_copies.cuh"

namespace adanns::cuda {

// Which rows is a lane's i-th score of, after the first?
__device__ __forceinline__ int row_of_score(int i) { return i / 2 * kColumns + i % 2; }

// The first query of the tile that a lane holds scores of; the next of its kLaneQueries are kColumns further each.
template <class Tile>
__device__ __forceinline__ int first_query_of_lane() {
    const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
    return warp % Tile::kQueryWarps * Tile::kWarpQueries + lane / 4;
}

// A lane's keys of one query and kLaneScores rows (row_of_score). NaN where a row takes no part.
struct LaneKeys {
    float less[kLaneScores];  // by `constant`, so that most need no sum of their own
    float constant, bound;
    int64_t first;  // row, where all are visited

    __device__ __forceinline__ float of(int i) const { return less[i] + constant; }
    __device__ __forceinline__ float smallest() const {
        float smallest = INFINITY;  // not NaN
#pragma unroll
        for (int i = 0; i < kLaneScores; i++) smallest = fminf(smallest, less[i]);
        return smallest + constant;
    }
};

// sums += the products of a chunk, of whose queries and rows this lane names the 16 bytes at `query` and `row` first;
// elements: a multiple of kSide.
template <class Tile, int kVectorMatrices>
__device__ __forceinline__ void multiply_chunk(float (&sums)[Tile::kQueryMatrices][kVectorMatrices][kHeldSums],
                                               const TileShared<Tile>& shared, int query, int row, int elements) {
#pragma unroll
    for (int k = 0; k < Tile::kChunk; k += kSide) {
        if (k > 0 && k >= elements) break;
        // place() of the parts k / 8 further
        const __half *of_query = shared.queries + (query ^ k), *of_row = shared.rows + (row ^ k);
        uint32_t loaded[Tile::kQueryMatrices][4];
#pragma unroll
        for (int a = 0; a < Tile::kQueryMatrices; a++) load_matrices(loaded[a], of_query + a * kSide * Tile::kChunk);
#pragma unroll
        for (int b = 0; b < kVectorMatrices; b += 2) {
            uint32_t vectors[4];
            load_matrices(vectors, of_row + b * kColumns * Tile::kChunk);
#pragma unroll
            for (int a = 0; a < Tile::kQueryMatrices; a++) {
                multiply(sums[a][b], loaded[a], vectors[0], vectors[1]);
                multiply(sums[a][b + 1], loaded[a], vectors[2], vectors[3]);
            }
        }
    }
}

// What a warp's sums come to: key(query, sum, a row's term) gives keys, less by the query's constant where `lessened`.
template <class Tile, int kVectorMatrices, class Sink, class Key>
__device__ __forceinline__ void visit_sums(const float (&sums)[Tile::kQueryMatrices][kVectorMatrices][kHeldSums],
                                           const float* terms_of_rows, const QueryTerms* of_queries, int64_t first_row,
                                           Sink sink, Key key, bool lessened = false) {
    const int first_query = first_query_of_lane<Tile>();
#pragma unroll
    for (int group = 0; group < Tile::kScoreGroups; group++) {
        float terms[kLaneScores];
#pragma unroll
        for (int i = 0; i < kLaneScores; i++) terms[i] = terms_of_rows[group * kScoreRows + row_of_score(i)];
#pragma unroll
        for (int of_lane = 0; of_lane < Tile::kLaneQueries; of_lane++) {
            const int query = opaque(first_query) + of_lane * kColumns;
            const QueryTerms of_query = of_queries[query];
            LaneKeys keys;
            keys.constant = lessened ? of_query.constant : 0.0f;
            keys.bound = of_query.bound;
            keys.first = first_row + group * kScoreRows;
#pragma unroll
            for (int i = 0; i < kLaneScores; i++) {
                const int matrix = group * (kScoreRows / kColumns) + i / 2;
                keys.less[i] = key(of_query, sums[of_lane / 2][matrix][of_lane % 2 * 2 + i % 2], terms[i]);
            }
            sink(of_lane, query, keys);
        }
    }
}

// The block's tile of queries against its split of the rows: sink(which of the lane's queries, the query, keys).
template <class Tile, class Sink>
__device__ void visit_tiles(const ScanArguments& arguments, const HalfQueries& queries, const TiledRows& rows,
                            int chunks, const Split& split, const TileShared<Tile>& shared, Sink sink) {
    constexpr int kVectorMatrices = Tile::kWarpRows / kColumns;
    const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
    const int warp_query = warp % Tile::kQueryWarps * Tile::kWarpQueries;
    const int warp_row = warp / Tile::kQueryWarps * Tile::kWarpRows;
    const int query_place = opaque(Tile::place(warp_query + query_row_of_lane(lane), query_part_of_lane(lane)));
    const int row_place = opaque(Tile::place(warp_row + vector_row_of_lane(lane), vector_part_of_lane(lane)));
    Tiles<Tile> tiles(queries, arguments.by.terms, rows, chunks, shared, split);
    // Has a warp none of the last tile's rows? Of all rows that is seldom, and asked for nothing.
    const auto idle = [&](int first) { return Tile::kGathered && first + warp_row >= split.count; };

    for (int first = 0; first < split.count; first += Tile::kRows) {
        float sums[Tile::kQueryMatrices][kVectorMatrices][kHeldSums] = {};
        int stage = 0;
        for (int chunk = 0; chunk < chunks; chunk++) {
            stage = tiles.take(chunk);
            if (idle(first)) continue;
            multiply_chunk<Tile>(sums, shared, tiles.queries_at(stage, chunk) + query_place,
                                 tiles.rows_at(stage) + row_place, shared.chunks[chunk].elements);
        }
        if (idle(first)) continue;
        const float* terms = tiles.terms_of(stage) + warp_row + lane % 4 * 2;
        const int64_t lane_row = rows.first + split.begin + first + warp_row + lane % 4 * 2;
        if (arguments.by.metric == Metric::cosine)
            visit_sums<Tile>(sums, terms, shared.of_queries, lane_row, sink,
                             [](const QueryTerms& query, float sum, float term) {
                                 return fmaf(query.scale, sum, query.constant) * term;
                             });
        else
            visit_sums<Tile>(
                sums, terms, shared.of_queries, lane_row, sink,
                [](const QueryTerms& query, float sum, float term) { return fmaf(query.scale, sum, term); }, true);
    }
    __pipeline_wait_prior(0);
}

// Fills `shared`, of which the numbers are there. count: queries that do not only fill up the tile.
template <class Tile>
__device__ void prepare_tile(const TileShared<Tile>& shared, const ScanArguments& arguments, const HalfQueries& queries,
                             const TiledRows& rows, int count, const float* bounds = nullptr) {
    if (threadIdx.x == 0) list_chunks<Tile>(arguments.planes, arguments.dims, rows, shared.chunks);
    for (int i = static_cast<int>(threadIdx.x); i < Tile::kQueries; i += Tile::kThreads) {
        const int query = shared.number_of(i);
        const float bound = bounds == nullptr || i >= count ? -INFINITY : bounds[query];  // nothing is within that
        // key = scale * product + constant, and then the row's term: added, or under cosine multiplied by.
        const float sign = arguments.by.metric == Metric::l2 ? -2.0f : -1.0f;
        shared.of_queries[i] = QueryTerms{sign * queries.scales[query], sign * queries.constants[query], bound, 0.0f};
    }
    __syncthreads();
}

// The tile of neighbouring queries that the block takes.
template <class Tile>
__device__ TileShared<Tile> prepare_tile_of_block(SharedMemory& memory, const ScanArguments& arguments,
                                                  const HalfQueries& queries, const TiledRows& rows, int chunks,
                                                  const float* bounds = nullptr) {
    const TileShared<Tile> shared(memory, chunks);
    prepare_tile(shared, arguments, queries, rows, arguments.queries.count - shared.number_of(0), bounds);
    return shared;
}

// Appends to what is found of a query what is within its bound.
__device__ __forceinline__ void collect_keys(const Found& found, int64_t number, const LaneKeys& keys) {
    if (!(keys.smallest() <= keys.bound)) return;
    int good = 0;
#pragma unroll
    for (int i = 0; i < kLaneScores; i++) good += keys.of(i) <= keys.bound;
    int at = atomicAdd(&found.counts[number], good);
    Candidate* list = found.candidates + number * found.capacity;
#pragma unroll
    for (int i = 0; i < kLaneScores; i++) {
        if (!(keys.of(i) <= keys.bound)) continue;
        if (at < found.capacity) list[at] = candidate(keys.of(i), static_cast<uint32_t>(keys.first + row_of_score(i)));
        at++;
    }
}

// Queries as tensor cores take them, those that fill up the last tile too; halves: halves_for(...) bytes. A launch of
// tile_scan.cu.
HalfQueries halve(const Planes& planes, const Queries& queries, int dims, int padded, void* halves,
                  cudaStream_t stream);

}  // namespace adanns::cuda
