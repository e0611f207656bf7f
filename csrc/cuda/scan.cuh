// How does a block scan rows for a few queries? Warps of 32 rows at a time; scores never leave registers.
//
// Eight lanes share eight rows: each lane loads the same 16 bytes of each of them, eight loads in flight, 128 bytes of
// a row at once. The eight partial sums are then added up crosswise in seven shuffles, after which every lane holds the
// whole sum of one row: lane i that of row i.
#pragma once

#include "cuda/found.cuh"
#include "cuda/rows.cuh"

namespace adanns::cuda {

constexpr int kScanThreads = 256;
constexpr int kScanTile = 4;    // queries of a block where there are several
constexpr int kSharedRows = 8;  // rows that as many lanes share
constexpr int kInFlight = 4;    // loads of a lane at once; more would cost registers, hence warps

// Blocks of 256 threads that a multiprocessor runs at once, so that no architecture spills. They have 32 KB of loads in
// flight, which keeps the memory busy well below full occupancy.
constexpr int kScanBlocks = 2;

struct ScanArguments {
    Planes planes;
    KeyTerms by;
    Queries queries;
    int dims, keep;
};

struct ScanShared {
    float* folded;  // (queries, folded_dims)
    float *constants, *bounds;
    int* numbers;
    int folded_dims;

    __host__ __device__ ScanShared(SharedMemory& memory, int queries, int folded_dims) : folded_dims(folded_dims) {
        folded = memory.take<float>(static_cast<std::size_t>(queries) * static_cast<std::size_t>(folded_dims));
        constants = memory.take<float>(static_cast<std::size_t>(queries));
        bounds = memory.take<float>(static_cast<std::size_t>(queries));
        numbers = memory.take<int>(static_cast<std::size_t>(queries));
    }
};

// The queries that a block takes together.
template <int kQueries>
struct QueryTile {
    int count;
    int numbers[kQueries];
};

// Groups of eight neighbouring rows in [begin, end), `spacing` rows apart; 8: all of them.
struct RowGroups {
    int64_t begin, end, spacing;

    __host__ __device__ int64_t count() const { return divide_up(end - begin, spacing); }
};

// Of lane i's eight sums, sum r is a part of row r's: leaves in lane i the whole sum of row i % 8, as sums[0].
template <int kHalf = kSharedRows / 2, int kQueries>
__device__ __forceinline__ void add_crosswise(float (&sums)[kSharedRows][kQueries]) {
    const bool upper = threadIdx.x & static_cast<unsigned>(kHalf);
#pragma unroll
    for (int r = 0; r < kHalf; r++) {
#pragma unroll
        for (int q = 0; q < kQueries; q++) {
            const float given = upper ? sums[r][q] : sums[r + kHalf][q];
            const float kept = upper ? sums[r + kHalf][q] : sums[r][q];
            sums[r][q] = kept + __shfl_xor_sync(kWholeWarp, given, kHalf);
        }
    }
    if constexpr (kHalf > 1) add_crosswise<kHalf / 2>(sums);
}

// sums[r][q] += this lane's part of row r of eight . query q, over one plane: kBytes at once of each row, eight lanes
// side by side. `row`: the first row's first element, `left`: the last of the rows that there are.
template <class T, int kBytes, int kQueries>
__device__ __forceinline__ void add_plane(const T* row, int64_t stride, int elements, int left, const float* folded,
                                          int folded_dims, float (&sums)[kSharedRows][kQueries]) {
    constexpr int kElements = kBytes / static_cast<int>(sizeof(T));
    [[maybe_unused]] constexpr int kUnrolled = kQueries == 1 ? kElements / 4 : 1;  // more would spill
    const int part = static_cast<int>(threadIdx.x % kSharedRows);
    row += part * kElements;
#pragma unroll 1
    for (int at = part * kElements; at < elements; at += kSharedRows * kElements) {
        const T* part_of_row = row;
        row += kSharedRows * kElements;
#pragma unroll
        for (int row_first = 0; row_first < kSharedRows; row_first += kInFlight) {
            uint4 loaded[kInFlight];
#pragma unroll
            for (int r = 0; r < kInFlight; r++) {
                loaded[r] = row_first + r <= left ? load<kBytes>(part_of_row) : make_uint4(0, 0, 0, 0);
                part_of_row += stride;
            }
#pragma unroll kUnrolled
            for (int four = 0; four < kElements / 4; four++) {
#pragma unroll
                for (int q = 0; q < kQueries; q++) {
                    const float4 of_query = load_floats(folded + q * folded_dims + at + 4 * four);
#pragma unroll
                    for (int r = 0; r < kInFlight; r++)
                        sums[row_first + r][q] =
                            multiply_add(Loaded<T>::four(loaded[r], four), of_query, sums[row_first + r][q]);
                }
            }
        }
    }
}

// dots[q] = row (group_row + lane % 8) . query q over the first `dims` dims; rows beyond `last` are taken for zeros.
template <int kQueries>
__device__ __forceinline__ void dots_of_warp(const ScanArguments& arguments, const ScanShared& shared,
                                             int64_t group_row, int64_t last, float (&dots)[kQueries]) {
    const int left = last - group_row < kSharedRows ? static_cast<int>(last - group_row) : kSharedRows;
    const float* folded = shared.folded;
    float sums[kSharedRows][kQueries] = {};
    for (int i = 0; i < arguments.planes.count; i++) {
        const Plane& plane = arguments.planes.plane[i];
        const Stretch stretch(plane, 0, arguments.dims);
        with_rows(plane, [&](const auto* elements) {
            using T = std::remove_cv_t<std::remove_pointer_t<decltype(elements)>>;
            const T* row = elements + group_row * plane.stride;
            if constexpr (sizeof(T) == 1) {  // of 64 codes each lane takes eight, so that none is idle
                if (stretch.elements <= kSharedRows * kLoadBytes / 2)
                    return add_plane<T, kLoadBytes / 2>(row, plane.stride, stretch.elements, left, folded,
                                                        shared.folded_dims, sums);
            }
            add_plane<T, kLoadBytes>(row, plane.stride, stretch.elements, left, folded, shared.folded_dims, sums);
        });
        folded += stretch.elements;
    }
    add_crosswise(sums);
#pragma unroll
    for (int q = 0; q < kQueries; q++) dots[q] = sums[0][q];
}

// Fills `shared`. By all threads, with a barrier.
template <int kQueries>
__device__ void fold_queries(const ScanArguments& arguments, const QueryTile<kQueries>& tile, const ScanShared& shared,
                             const float* bounds = nullptr) {
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
    for (int q = 0; q < kQueries; q++) {
        const float* query = arguments.queries.rows + tile.numbers[q] * arguments.queries.stride;
        fold_query(arguments.planes, 0, arguments.dims, query, shared.folded + q * shared.folded_dims);
        if (warp != q) continue;
        const float constant = folded_constant(arguments.planes, 0, arguments.dims, query);
        if (threadIdx.x % kWarp != 0) continue;
        shared.constants[q] = constant;
        shared.numbers[q] = tile.numbers[q];
        if (bounds != nullptr) shared.bounds[q] = bounds[tile.numbers[q]];
    }
    __syncthreads();
}

// Warp `warp` of `warps` takes its share of the groups; sink(q, valid, key, row, group) is called by whole warps.
template <int kQueries, class Sink>
__device__ void visit_rows(const ScanArguments& arguments, const ScanShared& shared, int queries, const RowGroups& rows,
                           int warp, int warps, Sink sink) {
    constexpr int kGroups = kWarp / kSharedRows;
    const int lane = static_cast<int>(threadIdx.x % kWarp);
    const int64_t groups = rows.count();
    for (int64_t first = int64_t{warp} * kGroups; first < groups; first += int64_t{warps} * kGroups) {
        const int64_t group = first + lane / kSharedRows, group_row = rows.begin + group * rows.spacing;
        const int64_t row = group_row + lane % kSharedRows;
        float dots[kQueries];
        dots_of_warp(arguments, shared, group_row, rows.end - 1, dots);
        const bool valid = row < rows.end;
        const int64_t real = valid ? row : rows.end - 1;
#pragma unroll
        for (int q = 0; q < kQueries; q++) {
            if (q >= queries) break;
            sink(q, valid, key_of(arguments.by, dots[q] + shared.constants[q], real), real, group);
        }
    }
}

// What is within the bounds of rows, for `queries` queries. Bounds and numbers stay in shared memory: in registers they
// would spill.
template <int kQueries>
__device__ void collect_rows(const ScanArguments& arguments, const ScanShared& shared, int queries,
                             const RowGroups& rows, const Found& found) {
    visit_rows<kQueries>(arguments, shared, queries, rows, static_cast<int>(threadIdx.x) / kWarp,
                         static_cast<int>(blockDim.x) / kWarp, [&](int q, bool valid, float key, int64_t row, int64_t) {
                             collect(found, shared.numbers[q], shared.bounds[q], valid, key,
                                     static_cast<uint32_t>(row));
                         });
}

// Of a query that is scanned again, without bounds.
struct AgainShared {
    Shortlists shortlist;
    ScanShared scan;

    __host__ __device__ AgainShared(SharedMemory& memory, int keep, int folded_dims)
        : shortlist(memory, 1, keep, kScanThreads), scan(memory, 1, folded_dims) {}
};

// One query's rows [begin, end) into a shortlist, whatever there is; `shortlist` is cleared and what it holds counts.
inline __device__ void shortlist_rows(const ScanArguments& arguments, const ScanShared& shared, Shortlists& shortlist,
                                      int64_t begin, int64_t end) {
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
    for (int64_t first = begin; first < end; first += kScanThreads) {
        const int64_t of_warp = first + warp * kWarp, row = of_warp + lane;
        bool full = false;
        if (of_warp < end) {
            float dots[1];
            dots_of_warp(arguments, shared, of_warp + lane / kSharedRows * kSharedRows, end - 1, dots);
            const int64_t real = row < end ? row : end - 1;
            const float key = key_of(arguments.by, dots[0] + shared.constants[0], real);
            full = shortlist.offer(0, row < end, candidate(key, static_cast<uint32_t>(real)));
        }
        shortlist.make_room(full);
    }
}

// Writes the `keep` nearest. By all threads.
inline __device__ void write_shortlist(Shortlists& shortlist, Candidate* out) {
    shortlist.finish();
    for (int i = static_cast<int>(threadIdx.x); i < shortlist.keep; i += static_cast<int>(blockDim.x))
        out[i] = shortlist.candidates[i];
}

// Queries that a block takes together: several where there are, and where they leave room for two blocks to run at
// once.
inline int scan_tile(const Planes& planes, int dims, int queries) {
    constexpr std::size_t kRoomy = 48 << 10;
    const std::size_t bytes = shared_size<ScanShared>(kScanTile, folded_size(planes, 0, dims));
    return queries > 1 && bytes <= kRoomy ? kScanTile : 1;
}

// Queries whose lists overflowed, by a scan that needs no bounds (exact_scan.cu).
void scan_again(const Planes& planes, const KeyTerms& by, const Queries& queries, int64_t rows, int dims, int keep,
                const Found& found, Candidate* out, cudaStream_t stream);

}  // namespace adanns::cuda
