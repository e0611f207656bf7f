// Tiles of queries times tiles of rows on tensor cores; scores stay in registers, of which each lane knows whose they
// are.
//
// A tile of queries stays with its block, which copies tiles of rows to shared memory chunk by chunk, some chunks on
// their way at once (cp.async). int8 and float32 become float16 there, where they are. The warps share the products.
#pragma once

#include "cuda/matrices.cuh"
#include "cuda/scan.cuh"

namespace adanns::cuda {

constexpr int kLoadHalves = kLoadBytes / 2;
constexpr int kScoreRows = 32;  // rows of a warp of which a lane compares some at once: two of each eight
constexpr int kLaneScores = 8;  // so many

// Queries as tensor cores take them: rows of `elements` halves, all stretches one after another, the largest element in
// [1, 2).
struct HalfQueries {
    __half* rows;
    float *scales, *constants;  // dot = scale * product + constant
    int elements;
};

// `count` rows of an index, every step-th from `first` on.
struct TiledRows {
    int64_t count, step, first;
};

// Up to kChunk (of a tile) neighbouring elements of a plane, and where they are in a query.
struct Chunk {
    const unsigned char* rows;  // its first element in the first row
    uint32_t row_bytes;         // from row to row of TiledRows
    int elements, in_query;
    ScalarType type;
    float inverse;  // float32: 1 / half_scale
};

// Tiles that are built. kQueries times kRows scores, of which each of kThreads threads holds a share in registers: a
// warp kQueryMatrices matrices of 16 queries by kScoreGroups groups of 32 rows. kBlocks blocks fit a multiprocessor,
// and kStages chunks of kChunk elements their shared memory.
template <int kTileQueries, int kTileRows, int kTileQueryWarps, int kTileThreads, int kTileBlocks, int kTileChunk,
          int kTileStages>
struct Tile {
    static constexpr int kQueries = kTileQueries, kRows = kTileRows, kThreads = kTileThreads, kBlocks = kTileBlocks;
    static constexpr int kChunk = kTileChunk, kStages = kTileStages;
    static constexpr int kWarps = kThreads / kWarp, kQueryWarps = kTileQueryWarps, kRowWarps = kWarps / kQueryWarps;
    static constexpr int kWarpQueries = kQueries / kQueryWarps, kWarpRows = kRows / kRowWarps;
    static constexpr int kQueryMatrices = kWarpQueries / kSide, kScoreGroups = kWarpRows / kScoreRows;
    static constexpr int kLaneQueries = 2 * kQueryMatrices;  // that a lane holds scores of
    static constexpr bool kGathered = false;                 // neighbouring queries, or any?
    static_assert(kWarpQueries % kSide == 0 && kWarpRows % kScoreRows == 0 && kRows <= kThreads);

    // Elements of a plane that share a chunk: one of floats is half full.
    static __host__ __device__ constexpr int chunk_of(ScalarType type) {
        return type == ScalarType::float32 ? kChunk / 2 : kChunk;
    }

    // Where 16 bytes of a row of a chunk lie, in halves: shuffled, so that the same part of eight neighbouring rows
    // lies in different banks. Eight rows further parts lie alike.
    static __host__ __device__ constexpr int place(int row, int part) {
        constexpr unsigned kParts = kChunk / kLoadHalves, kRowsOfBanks = kWarp * 4 / (kChunk * 2);
        const unsigned shuffled = static_cast<unsigned>(part) ^ static_cast<unsigned>(row) / kRowsOfBanks % kParts;
        return row * kChunk + static_cast<int>(shuffled) * kLoadHalves;
    }
};

struct SmallTile : Tile<16, 256, 1, 256, 2, 64, 2> {};
struct MediumTile : Tile<128, 128, 2, 256, 2, 64, 2> {};
// Per product it copies little more than half of what MediumTile copies from the second-level cache, and its warps read
// two thirds as much from shared memory.
struct LargeTile : Tile<256, 192, 4, 384, 1, 32, 3> {};
// For the queries that probe a list.
struct ListTile : Tile<16, 128, 1, 128, 6, 64, 2> {
    static constexpr bool kGathered = true;
};

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
            *chunks++ = {static_cast<const unsigned char*>(plane.rows) + (rows.first * plane.stride + first) * bytes,
                         static_cast<uint32_t>(plane.stride * bytes * rows.step),
                         some,
                         in_query + first,
                         plane.type,
                         1.0f / plane.half_scale};
        }
        in_query += elements;
    }
}

// What is read of a query again and again: dot = scale * product + constant, by which a key begins, and its bound.
struct alignas(16) QueryTerms {
    float scale, constant, bound, unused;
};

// What a stage holds: a chunk of queries, and one of rows as they are stored, and their terms.
template <class Tile>
struct TileShared {
    __half *queries, *rows;  // (stages, queries or rows, kChunk), as place() puts them
    float* terms;            // (stages, rows)
    QueryTerms* of_queries;
    int* numbers;  // of the queries, where they are gathered
    Chunk* chunks;

    __host__ __device__ TileShared(SharedMemory& memory, int chunks)
        : queries(memory.take<__half>(Tile::kStages * Tile::kQueries * Tile::kChunk)),
          rows(memory.take<__half>(Tile::kStages * Tile::kRows * Tile::kChunk)),
          terms(memory.take<float>(Tile::kStages * Tile::kRows)),
          of_queries(memory.take<QueryTerms>(Tile::kQueries)),
          numbers(Tile::kGathered ? memory.take<int>(Tile::kQueries) : nullptr),
          chunks(memory.take<Chunk>(static_cast<std::size_t>(chunks))) {}

    // Which of all queries is the tile's?
    __device__ __forceinline__ int number_of(int query) const {
        if constexpr (Tile::kGathered) return numbers[query];
        return static_cast<int>(blockIdx.x) * Tile::kQueries + query;
    }
};

__device__ __forceinline__ uint32_t two_halves(float low, float high) {
    return static_cast<uint32_t>(__half_as_ushort(__float2half_rn(low))) |
           static_cast<uint32_t>(__half_as_ushort(__float2half_rn(high))) << 16;
}

// Two of four codes as halves: half bits 0x6400 + u are 1024 + u, and u is a code + 128.
template <unsigned kPlaces>
__device__ __forceinline__ uint32_t two_codes(uint32_t shifted) {
    const uint32_t with_1152 = __byte_perm(shifted, 0x64646464u, kPlaces);
    const __half2 codes = __hsub2(*reinterpret_cast<const __half2*>(&with_1152), __float2half2_rn(1152.0f));
    return *reinterpret_cast<const uint32_t*>(&codes);
}

// Eight codes as halves.
__device__ __forceinline__ uint4 halves_of(uint32_t low_codes, uint32_t high_codes) {
    const uint32_t low = low_codes ^ 0x80808080u, high = high_codes ^ 0x80808080u;
    return make_uint4(two_codes<0x4140>(low), two_codes<0x4342>(low), two_codes<0x4140>(high), two_codes<0x4342>(high));
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
        : queries_(queries.rows + (Tile::kGathered ? 0 : int64_t{shared.number_of(0)} * queries.elements)),
          query_bytes_(static_cast<uint32_t>(queries.elements) * static_cast<uint32_t>(sizeof(__half))),
          terms_(terms == nullptr ? nullptr : terms + rows.first + split.begin * rows.step),
          step_(static_cast<uint32_t>(rows.step)),
          chunks_(chunks),
          shared_(shared),
          split_(split) {
        for (int stage = 0; stage < Tile::kStages - 1; stage++) start_next();
    }

    // Once all threads have come here, the next chunk's stage, until the next call.
    __device__ int take(int chunk) {
        __pipeline_wait_prior(Tile::kStages - 2);
        __syncthreads();
        const int stage = after(stage_);  // of which the copy began first
        start_next();                     // into the stage that was taken before this one
        const Chunk& taken = shared_.chunks[chunk];
        if (taken.type == ScalarType::int8) halve_codes(shared_.rows + rows_at(stage));
        if (taken.type == ScalarType::float32) halve_floats(shared_.rows + rows_at(stage), taken.inverse);
        return stage;
    }

    // Where a stage begins in shared.rows and shared.queries; chunks of queries that all find room stay where they are.
    __device__ int rows_at(int stage) const { return stage * Tile::kRows * Tile::kChunk; }
    __device__ int queries_at(int stage, int chunk) const {
        return (stay() ? chunk : stage) * Tile::kQueries * Tile::kChunk;
    }
    __device__ float* terms_of(int stage) const { return shared_.terms + stage * Tile::kRows; }

   private:
    __device__ static int after(int stage) { return stage + 1 == Tile::kStages ? 0 : stage + 1; }
    __device__ bool stay() const { return chunks_ <= Tile::kStages; }

    __device__ void start_next() {
        if (row_ < split_.count) {
            const Chunk& chunk = shared_.chunks[chunk_];
            const unsigned char* first = chunk.rows + (split_.begin + row_) * chunk.row_bytes;
            __half* rows = shared_.rows + rows_at(stage_);
            switch (chunk.type) {
                case ScalarType::int8: copy_rows<int8_t>(rows, first, chunk); break;
                case ScalarType::float16: copy_rows<__half>(rows, first, chunk); break;
                case ScalarType::float32: copy_rows<float>(rows, first, chunk); break;
            }
            if (!stay() || row_ == 0) copy_queries(shared_.queries + queries_at(stage_, chunk_), chunk);
            if (++chunk_ == chunks_) {
                copy_terms();  // keys are made with the last chunk
                chunk_ = 0, row_ += Tile::kRows;
            }
        }
        __pipeline_commit();
        stage_ = after(stage_);
    }

    // What a thread loads of a chunk of T: 16 bytes of `row`, and of rows a turn of all threads further each.
    template <class T>
    struct Loads {
        static constexpr int kParts = Tile::kChunk / (sizeof(T) == 1 ? kLoadBytes : kLoadHalves);  // of a row
        static constexpr int kTurn = Tile::kThreads / kParts;
        static_assert(kTurn % kColumns == 0);  // so that places of a thread's turns differ by whole rows
        const unsigned thread = opaque(threadIdx.x);
        const int row = static_cast<int>(thread / kParts), part = static_cast<int>(thread % kParts);
        const int place = Tile::place(row, part);

        // visit(row, its place).
        template <int kRows, class Visit>
        __device__ __forceinline__ void each(Visit visit) const {
#pragma unroll
            for (int first = 0; first < kRows; first += kTurn)
                if (first + kTurn <= kRows || first + row < kRows) visit(first + row, place + first * Tile::kChunk);
        }
    };

    // Rows behind the last of the split are the last again.
    template <class T>
    __device__ __forceinline__ void copy_rows(__half* to, const unsigned char* first, const Chunk& chunk) const {
        const int last = split_.count - row_ - 1;
        copy<T, Tile::kRows>(to, first, chunk.row_bytes, chunk.elements,
                             [=](int row) { return row < last ? row : last; });
    }

    __device__ __forceinline__ void copy_queries(__half* to, const Chunk& chunk) const {
        const auto* first = reinterpret_cast<const unsigned char*>(queries_ + chunk.in_query);
        const int* numbers = shared_.numbers;
        copy<__half, Tile::kQueries>(to, first, query_bytes_, chunk.elements,
                                     [=](int query) { return Tile::kGathered ? numbers[query] : query; });
    }

    // A chunk of kRows rows, zeros behind the elements. number(row): which it is, from `first` on.
    template <class T, int kRows, class Number>
    __device__ __forceinline__ static void copy(__half* to, const unsigned char* first, uint32_t row_bytes,
                                                int elements, Number number) {
        const Loads<T> loads;
        const unsigned char* from = opaque(first + loads.part * kLoadBytes);
        const std::size_t zeros = loads.part * Loaded<T>::kElements < elements ? 0 : kLoadBytes;
        loads.template each<kRows>([&](int row, int place) {
            const auto real = static_cast<uint32_t>(number(row));
            __pipeline_memcpy_async(to + place, from + uint64_t{real} * row_bytes, kLoadBytes, zeros);
        });
    }

    // NaN where there is no row: it takes no part.
    __device__ __forceinline__ void copy_terms() const {
        const int thread = static_cast<int>(threadIdx.x), row = row_ + thread;
        if (thread >= Tile::kRows) return;
        float* to = terms_of(stage_) + thread;
        if (row < split_.count && terms_ != nullptr)
            __pipeline_memcpy_async(to, terms_ + static_cast<uint64_t>(static_cast<uint32_t>(row)) * step_,
                                    sizeof(float));
        else
            *to = row < split_.count ? 0.0f : NAN;
    }

    // Elements become halves where they are, all of a row by one warp: store(row, part, what was loaded).
    template <class T, class Store>
    __device__ __forceinline__ static void halve(const __half* rows, Store store) {
        const Loads<T> loads;
        static_assert(kWarp % Loads<T>::kParts == 0 && Tile::kRows % Loads<T>::kTurn == 0);
        loads.template each<Tile::kRows>([&](int row, int place) {
            const uint4 loaded = load16(rows + place);
            __syncwarp();
            store(row, loads.part, loaded);
        });
        __syncthreads();
    }

    __device__ static void halve_codes(__half* rows) {
        halve<int8_t>(rows, [rows](int row, int part, const uint4& codes) {
            store16(rows + Tile::place(row, 2 * part), halves_of(codes.x, codes.y));
            store16(rows + Tile::place(row, 2 * part + 1), halves_of(codes.z, codes.w));
        });
    }

    // Half a chunk; what is left of the other half is not multiplied.
    __device__ static void halve_floats(__half* rows, float inverse) {
        halve<float>(rows, [rows, inverse](int row, int part, const uint4& bits) {
            const float4 floats = Loaded<float>::four(bits, 0);
            __half* to = rows + Tile::place(row, part / 2) + part % 2 * (kLoadHalves / 2);
            *reinterpret_cast<uint2*>(to) = make_uint2(two_halves(floats.x * inverse, floats.y * inverse),
                                                       two_halves(floats.z * inverse, floats.w * inverse));
        });
    }

    const __half* queries_;  // of this tile
    const uint32_t query_bytes_;
    const float* terms_;  // of the split
    const uint32_t step_;
    const int chunks_;
    const TileShared<Tile>& shared_;
    const Split& split_;
    int row_ = 0, chunk_ = 0, stage_ = 0;  // what is started next
};

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

// sums += the products of a chunk, of whose queries and rows this lane names the 16 bytes at `query` and `row` first.
template <class Tile, int kVectorMatrices>
__device__ __forceinline__ void multiply_chunk(float (&sums)[Tile::kQueryMatrices][kVectorMatrices][kHeldSums],
                                               const TileShared<Tile>& shared, int query, int row, int depth) {
#pragma unroll
    for (int k = 0; k < Tile::kChunk; k += kSide) {
        if (k >= depth) break;
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
                                 tiles.rows_at(stage) + row_place, Tile::chunk_of(shared.chunks[chunk].type));
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
