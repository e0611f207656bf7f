// How do tiles of queries and rows come to shared memory? Chunk by chunk, some chunks on their way at once (cp.async);
// int8 and float32 become float16 there, where they are.
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

}  // namespace adanns::cuda
