// Tiles of queries times tiles of rows on tensor cores; scores go from them through a few hundred bytes of shared
// memory to whoever compares them.
//
// A tile of queries stays with its block, which copies tiles of rows to shared memory chunk by chunk, some chunks on
// their way at once (cp.async). int8 and float32 become float16 there, where they are. The warps share the products.
#pragma once

#include "cuda/scan.cuh"

namespace adanns::cuda {

namespace wmma = nvcuda::wmma;

constexpr int kSide = 16;                // of a matrix that a warp multiplies at once
constexpr int kScoreStride = kSide + 8;  // so that the lanes of visit_tiles read different banks
constexpr int kLaneScores = 8;           // of a matrix of 256
constexpr int kLoadHalves = kLoadBytes / 2;

// Queries as tensor cores take them: rows of `elements` halves, all stretches one after another, the largest element in
// [1, 2).
struct HalfQueries {
    __half* rows;
    float *scales, *constants;  // dot = scale * product + constant
    int elements;
};

// Rows [0, rows) of an index, or every step-th.
struct TiledRows {
    int64_t count, step;
};

// Up to kChunk (of a tile) neighbouring elements of a plane, and where they are in a query.
struct Chunk {
    const unsigned char* rows;  // its first element in the first row
    int64_t row_bytes;
    int elements, in_query;
    ScalarType type;
    float inverse;  // float32: 1 / half_scale
};

// Tiles that are built. kQueries times kRows scores, of which each of kThreads threads holds a share in registers: a
// warp kQueryMatrices by kRowMatrices matrices. kBlocks blocks fit a multiprocessor, and kStages chunks of kChunk
// elements their shared memory.
template <int kTileQueries, int kTileRows, int kTileQueryWarps, int kTileThreads, int kTileBlocks, int kTileChunk,
          int kTileStages>
struct Tile {
    static constexpr int kQueries = kTileQueries, kRows = kTileRows, kThreads = kTileThreads, kBlocks = kTileBlocks;
    static constexpr int kChunk = kTileChunk, kStages = kTileStages;
    static constexpr int kStride = kChunk + 8;  // halves; so that neighbouring rows lie in different banks
    static constexpr int kWarps = kThreads / kWarp, kQueryWarps = kTileQueryWarps, kRowWarps = kWarps / kQueryWarps;
    static constexpr int kQueryMatrices = kQueries / kQueryWarps / kSide;
    static constexpr int kRowMatrices = kRows / kRowWarps / kSide;

    // Elements of a plane that share a chunk: one of floats is half full.
    static __host__ __device__ constexpr int chunk_of(ScalarType type) {
        return type == ScalarType::float32 ? kChunk / 2 : kChunk;
    }
};

struct SmallTile : Tile<16, 128, 1, 256, 2, 64, 3> {};
struct LargeTile : Tile<128, 64, 4, 256, 2, 64, 3> {};
// Copies half of what LargeTile copies per product, for vectors so long that the second-level cache bounds that one.
struct LargestTile : Tile<256, 128, 4, 512, 1, 32, 2> {};

// Queries with those that fill up the last tile.
template <class Tile>
int filled_up(int queries) {
    return (queries + Tile::kQueries - 1) / Tile::kQueries * Tile::kQueries;
}

template <class Tile>
int chunks_of(const Planes& planes, int dims) {
    int chunks = 0;
    for (int i = 0; i < planes.count; i++) {
        const int most = Tile::chunk_of(planes.plane[i].type);
        chunks += (Stretch(planes.plane[i], 0, dims).elements + most - 1) / most;
    }
    return chunks;
}

// By one thread.
template <class Tile>
__device__ void list_chunks(const Planes& planes, int dims, const TiledRows& rows, Chunk* chunks) {
    int in_query = 0;
    for (int i = 0; i < planes.count; i++) {
        const Plane& plane = planes.plane[i];
        const int elements = Stretch(plane, 0, dims).elements;
        const int64_t bytes = plane.type == ScalarType::int8 ? 1 : plane.type == ScalarType::float16 ? 2 : 4;
        const int most = Tile::chunk_of(plane.type);
        for (int first = 0; first < elements; first += most) {
            const int some = elements - first < most ? elements - first : most;
            *chunks++ = {static_cast<const unsigned char*>(plane.rows) + first * bytes,
                         plane.stride * bytes * rows.step,
                         some,
                         in_query + first,
                         plane.type,
                         1.0f / plane.half_scale};
        }
        in_query += elements;
    }
}

// What a stage holds: a chunk of queries, and one of rows as they are stored, and their terms.
template <class Tile>
struct TileShared {
    __half *queries, *rows;  // (stages, queries or rows, kStride)
    float* terms;            // (stages, rows)
    float *scores, *bounds, *scales, *constants;
    Chunk* chunks;

    __host__ __device__ TileShared(SharedMemory& memory, int chunks)
        : queries(memory.take<__half>(Tile::kStages * Tile::kQueries * Tile::kStride)),
          rows(memory.take<__half>(Tile::kStages * Tile::kRows * Tile::kStride)),
          terms(memory.take<float>(Tile::kStages * Tile::kRows)),
          scores(memory.take<float>(Tile::kWarps * kSide * kScoreStride)),
          bounds(memory.take<float>(Tile::kQueries)),
          scales(memory.take<float>(Tile::kQueries)),
          constants(memory.take<float>(Tile::kQueries)),
          chunks(memory.take<Chunk>(static_cast<std::size_t>(chunks))) {}
};

__device__ __forceinline__ uint32_t two_halves(float low, float high) {
    return static_cast<uint32_t>(__half_as_ushort(__float2half_rn(low))) |
           static_cast<uint32_t>(__half_as_ushort(__float2half_rn(high))) << 16;
}

__device__ __forceinline__ uint4 halves_of(const uint4& codes, int half) {
    const float4 a = Loaded<int8_t>::four(codes, 2 * half), b = Loaded<int8_t>::four(codes, 2 * half + 1);
    return make_uint4(two_halves(a.x, a.y), two_halves(a.z, a.w), two_halves(b.x, b.y), two_halves(b.z, b.w));
}

// The split of the rows that a block takes: `count` rows from `begin` on.
struct Split {
    int64_t begin;
    int count;

    __device__ Split(const TiledRows& rows, int64_t split_rows) : begin(blockIdx.y * split_rows) {
        const int64_t left = rows.count - begin;
        count = static_cast<int>(left < split_rows ? left : split_rows);
    }
};

// A tile of queries against tiles of rows, chunk by chunk, kStages of them on their way or in use.
template <class Tile>
class Tiles {
   public:
    __device__ Tiles(const HalfQueries& queries, const float* terms, const TiledRows& rows, int chunks,
                     const TileShared<Tile>& shared, const Split& split)
        : queries_(queries), terms_(terms), rows_(rows), chunks_(chunks), shared_(shared), split_(split) {
        for (int stage = 0; stage < Tile::kStages - 1; stage++) start_next();
    }

    // Once all threads have come here, the next chunk's stage, until the next call.
    __device__ int take(int chunk) {
        __pipeline_wait_prior(Tile::kStages - 2);
        __syncthreads();
        const int stage = (stage_ + 1) % Tile::kStages;  // of which the copy began first
        start_next();                                    // into the stage that was taken before this one
        const Chunk& taken = shared_.chunks[chunk];
        if (taken.type == ScalarType::int8) halve_codes(rows_of(stage));
        if (taken.type == ScalarType::float32) halve_floats(rows_of(stage), taken.inverse);
        return stage;
    }

    __device__ __half* rows_of(int stage) const { return shared_.rows + stage * Tile::kRows * Tile::kStride; }
    // Of one chunk, queries stay where they are.
    __device__ __half* queries_of(int stage) const {
        return shared_.queries + (chunks_ == 1 ? 0 : stage) * Tile::kQueries * Tile::kStride;
    }
    __device__ float* terms_of(int stage) const { return shared_.terms + stage * Tile::kRows; }

   private:
    __device__ void start_next() {
        if (row_ < split_.count) {
            const Chunk& chunk = shared_.chunks[chunk_];
            switch (chunk.type) {
                case ScalarType::int8: copy_rows<int8_t>(chunk); break;
                case ScalarType::float16: copy_rows<__half>(chunk); break;
                case ScalarType::float32: copy_rows<float>(chunk); break;
            }
            if (chunks_ > 1 || row_ == 0) copy_queries(chunk);
            copy_terms();
            if (++chunk_ == chunks_) chunk_ = 0, row_ += Tile::kRows;
        }
        __pipeline_commit();
        stage_ = (stage_ + 1) % Tile::kStages;
    }

    // 16 bytes a thread and turn. A row of the copy is kStride halves long, whatever its elements.
    template <class T>
    __device__ __forceinline__ void copy_rows(const Chunk& chunk) const {
        constexpr int kElements = Loaded<T>::kElements, kParts = parts_of<T>();
        const int thread = static_cast<int>(threadIdx.x), part = thread % kParts;
        if (!has_load<T>(thread)) return;
        const bool inside = part * kElements < chunk.elements;
        const int first = row_ + thread / kParts;
        const unsigned char* from = chunk.rows + (split_.begin + first) * chunk.row_bytes + part * kLoadBytes;
        __half* to = rows_of(stage_) + thread / kParts * Tile::kStride + part * kLoadHalves;
#pragma unroll
        for (int i = 0; i < loads_of<T>(); i++) {
            constexpr int kRows = Tile::kThreads / kParts;  // of one turn
            if (inside && first + i * kRows < split_.count)
                __pipeline_memcpy_async(to + i * kRows * Tile::kStride, from + i * kRows * chunk.row_bytes, kLoadBytes);
            else
                store16(to + i * kRows * Tile::kStride, make_uint4(0, 0, 0, 0));
        }
    }

    __device__ __forceinline__ void copy_queries(const Chunk& chunk) const {
        constexpr int kParts = Tile::kChunk / kLoadHalves, kRows = Tile::kThreads / kParts;  // of one turn
        const int thread = static_cast<int>(threadIdx.x), part = thread % kParts;
        const bool inside = part * kLoadHalves < chunk.elements;
        const int64_t first = static_cast<int64_t>(blockIdx.x) * Tile::kQueries + thread / kParts;
        const __half* from = queries_.rows + first * queries_.elements + chunk.in_query + part * kLoadHalves;
        __half* to = queries_of(stage_) + thread / kParts * Tile::kStride + part * kLoadHalves;
#pragma unroll
        for (int row = 0; row < Tile::kQueries; row += kRows) {
            if (row + thread / kParts >= Tile::kQueries) break;
            if (inside)
                __pipeline_memcpy_async(to + row * Tile::kStride, from + row * queries_.elements, kLoadBytes);
            else
                store16(to + row * Tile::kStride, make_uint4(0, 0, 0, 0));
        }
    }

    __device__ __forceinline__ void copy_terms() const {
        const int thread = static_cast<int>(threadIdx.x), row = row_ + thread;
        if (chunk_ != chunks_ - 1 || thread >= Tile::kRows) return;  // keys are made with the last chunk
        float* to = terms_of(stage_) + thread;
        if (row < split_.count && terms_ != nullptr)
            __pipeline_memcpy_async(to, terms_ + (split_.begin + row) * rows_.step, sizeof(float));
        else
            *to = 0.0f;
    }

    // Loads of a row of a chunk.
    template <class T>
    __host__ __device__ static constexpr int parts_of() {
        return sizeof(T) == 1 ? Tile::kChunk / kLoadBytes : Tile::kChunk / kLoadHalves;
    }

    // Loads of one thread; some threads have none where a chunk is less than a load for each.
    template <class T>
    __host__ __device__ static constexpr int loads_of() {
        return (Tile::kRows * parts_of<T>() + Tile::kThreads - 1) / Tile::kThreads;
    }
    template <class T>
    __device__ __forceinline__ static bool has_load(int thread) {
        return Tile::kRows * parts_of<T>() >= Tile::kThreads || thread < Tile::kRows * parts_of<T>();
    }

    // Elements become halves where they are: store(row of halves, part, what was loaded).
    template <class T, class Store>
    __device__ __forceinline__ void halve(__half* rows, Store store) const {
        constexpr int kParts = parts_of<T>(), kLoads = loads_of<T>();
        const int thread = static_cast<int>(threadIdx.x);
        uint4 loaded[kLoads];
        if (has_load<T>(thread)) {
#pragma unroll
            for (int i = 0; i < kLoads; i++) {
                const int load = i * Tile::kThreads + thread;
                loaded[i] = load16(rows + load / kParts * Tile::kStride + load % kParts * kLoadHalves);
            }
        }
        __syncthreads();
        if (has_load<T>(thread)) {
#pragma unroll
            for (int i = 0; i < kLoads; i++) {
                const int load = i * Tile::kThreads + thread;
                store(rows + load / kParts * Tile::kStride, load % kParts, loaded[i]);
            }
        }
        __syncthreads();
    }

    __device__ void halve_codes(__half* rows) const {
        halve<int8_t>(rows, [](__half* row, int part, const uint4& codes) {
            store16(row + part * kLoadBytes, halves_of(codes, 0));
            store16(row + part * kLoadBytes + kLoadHalves, halves_of(codes, 1));
        });
    }

    // Half a chunk; what is left of the other half is not multiplied.
    __device__ void halve_floats(__half* rows, float inverse) const {
        halve<float>(rows, [inverse](__half* row, int part, const uint4& bits) {
            const float4 floats = Loaded<float>::four(bits, 0);
            *reinterpret_cast<uint2*>(row + part * 4) = make_uint2(two_halves(floats.x * inverse, floats.y * inverse),
                                                                   two_halves(floats.z * inverse, floats.w * inverse));
        });
    }

    const HalfQueries& queries_;
    const float* terms_;
    const TiledRows& rows_;
    const int chunks_;
    const TileShared<Tile>& shared_;
    const Split& split_;
    int row_ = 0, chunk_ = 0, stage_ = 0;  // what is started next
};

__device__ __forceinline__ float smallest_of(const float (&keys)[kLaneScores]) {
    float smallest = INFINITY;  // not that of NaN, where sums went beyond float
#pragma unroll
    for (int i = 0; i < kLaneScores; i++) smallest = fminf(smallest, keys[i]);
    return smallest;
}

// How many rows after the first of a lane's rows is the i-th? Four, and eight rows on four more.
__device__ __forceinline__ int row_of_score(int i) { return i + (i >= 4 ? 4 : 0); }

// The query of the tile that a lane sees the scores of, one for each of a warp's kQueryMatrices matrices.
template <class Tile>
__device__ __forceinline__ int query_of_lane(int matrix) {
    const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
    return (warp % Tile::kQueryWarps * Tile::kQueryMatrices + matrix) * kSide + lane / 2;
}

// The block's tile of queries against its split of the rows: sink(matrix, keys, first of their rows) takes the keys of
// kLaneScores rows (row_of_score) and the query query_of_lane(matrix); infinity where there is no row.
template <class Tile, class Sink>
__device__ void visit_tiles(const ScanArguments& arguments, const HalfQueries& queries, const TiledRows& rows,
                            int chunks, const Split& split, const TileShared<Tile>& shared, Sink sink) {
    const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
    const int warp_query = warp % Tile::kQueryWarps * Tile::kQueryMatrices * kSide;
    const int warp_row = warp / Tile::kQueryWarps * Tile::kRowMatrices * kSide;
    float* scores = shared.scores + warp * kSide * kScoreStride;
    const bool multiply = arguments.by.metric == Metric::cosine;
    Tiles<Tile> tiles(queries, arguments.by.terms, rows, chunks, shared, split);

    for (int first = 0; first < split.count; first += Tile::kRows) {
        wmma::fragment<wmma::accumulator, kSide, kSide, kSide, float> sums[Tile::kQueryMatrices][Tile::kRowMatrices];
#pragma unroll
        for (int a = 0; a < Tile::kQueryMatrices; a++)
#pragma unroll
            for (int b = 0; b < Tile::kRowMatrices; b++) wmma::fill_fragment(sums[a][b], 0.0f);
        int stage = 0;
        for (int chunk = 0; chunk < chunks; chunk++) {
            stage = tiles.take(chunk);
            const int depth = Tile::chunk_of(shared.chunks[chunk].type);
            const __half* own_rows = tiles.rows_of(stage) + warp_row * Tile::kStride;
            const __half* own_queries = tiles.queries_of(stage) + warp_query * Tile::kStride;
#pragma unroll 2  // all four spill on sm_100
            for (int k = 0; k < depth; k += kSide) {
                wmma::fragment<wmma::matrix_b, kSide, kSide, kSide, __half, wmma::col_major>
                    of_rows[Tile::kRowMatrices];
                wmma::fragment<wmma::matrix_a, kSide, kSide, kSide, __half, wmma::row_major> of_queries;
#pragma unroll
                for (int b = 0; b < Tile::kRowMatrices; b++)
                    wmma::load_matrix_sync(of_rows[b], own_rows + b * kSide * Tile::kStride + k, Tile::kStride);
#pragma unroll
                for (int a = 0; a < Tile::kQueryMatrices; a++) {
                    wmma::load_matrix_sync(of_queries, own_queries + a * kSide * Tile::kStride + k, Tile::kStride);
#pragma unroll
                    for (int b = 0; b < Tile::kRowMatrices; b++)
                        wmma::mma_sync(sums[a][b], of_queries, of_rows[b], sums[a][b]);
                }
            }
        }
        const int in_matrix = lane / 2, half = lane % 2 * 4;
        const float* terms = tiles.terms_of(stage);
#pragma unroll
        for (int a = 0; a < Tile::kQueryMatrices; a++) {
            const int query = query_of_lane<Tile>(a);
            const float scale = shared.scales[query], constant = shared.constants[query];
            const int missing = split.count - first;  // rows from here on are none
#pragma unroll
            for (int b = 0; b < Tile::kRowMatrices; b++) {
                const int in_tile = warp_row + b * kSide + half;
                wmma::store_matrix_sync(scores, sums[a][b], kScoreStride, wmma::mem_row_major);
                __syncwarp();
                float keys[kLaneScores];
#pragma unroll
                for (int i = 0; i < kLaneScores; i += 4) {
                    const float4 dots = load_floats(scores + in_matrix * kScoreStride + half + 2 * i);
                    const float4 of_rows = load_floats(terms + in_tile + 2 * i);
                    const auto key = [&](float dot, float term) {
                        const float found = fmaf(scale, dot, constant);
                        return multiply ? found * term : found + term;
                    };
                    keys[i] = key(dots.x, of_rows.x);
                    keys[i + 1] = key(dots.y, of_rows.y);
                    keys[i + 2] = key(dots.z, of_rows.z);
                    keys[i + 3] = key(dots.w, of_rows.w);
                }
                if (in_tile + kSide > missing) {  // the last tile
#pragma unroll
                    for (int i = 0; i < kLaneScores; i++)
                        if (in_tile + row_of_score(i) >= missing) keys[i] = INFINITY;
                }
                __syncwarp();  // before the next store
                sink(a, keys, split.begin + first + in_tile);
            }
        }
    }
    __pipeline_wait_prior(0);
}

template <class Tile>
__device__ TileShared<Tile> prepare_tile(SharedMemory& memory, const ScanArguments& arguments,
                                         const HalfQueries& queries, const TiledRows& rows, int chunks,
                                         const float* bounds = nullptr) {
    const TileShared<Tile> shared(memory, chunks);
    if (threadIdx.x == 0) list_chunks<Tile>(arguments.planes, arguments.dims, rows, shared.chunks);
    for (int i = static_cast<int>(threadIdx.x); i < Tile::kQueries; i += Tile::kThreads) {
        const int query = static_cast<int>(blockIdx.x) * Tile::kQueries + i;
        if (bounds != nullptr)  // nothing is within that of a query that only fills up the tile
            shared.bounds[i] = query < arguments.queries.count ? bounds[query] : -INFINITY;
        // key = scale * product + constant, and then the row's term: added, or under cosine multiplied by.
        const float sign = arguments.by.metric == Metric::l2 ? -2.0f : -1.0f;
        shared.scales[i] = sign * queries.scales[query];
        shared.constants[i] = sign * queries.constants[query];
    }
    __syncthreads();
    return shared;
}

// Queries as tensor cores take them, those that fill up the last tile too; halves: halves_for(...) bytes. A launch of
// tile_scan.cu.
HalfQueries halve(const Planes& planes, const Queries& queries, int dims, int padded, void* halves,
                  cudaStream_t stream);

}  // namespace adanns::cuda
