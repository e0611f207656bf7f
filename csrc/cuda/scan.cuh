// How does a block scan rows for a few queries? Warps of 32 rows at a time; scores never leave registers.
//
// Eight lanes share eight rows: each lane loads the same 16 bytes of each of them, eight loads in flight, 128 bytes of
// a row at once. The eight partial sums are then added up crosswise in seven shuffles, after which every lane holds the
// whole sum of one row: lane i that of row i.
#pragma once

#include "cuda/candidates.cuh"
#include "cuda/rows.cuh"
#include "cuda/search.h"

namespace adanns::cuda {

constexpr int kScanThreads = 256;
constexpr int kScanTile = 4;    // queries of a block where there are several
constexpr int kSharedRows = 8;  // rows that as many lanes share
constexpr int kInFlight = 4;    // loads of a lane at once; more would cost registers, hence warps

// Blocks that a multiprocessor runs at once, so that no architecture spills. They have 32 KB of loads in flight, which
// keeps the memory busy well below full occupancy.
constexpr int kScanBlocks = 2;

struct ScanArguments {
    Planes planes;
    KeyTerms by;
    Queries queries;
    int dims, keep;
    Candidate* out;  // each query's part of each piece of work: `keep` candidates
};

struct ScanShared {
    Shortlists shortlists;
    float* folded;  // (queries, folded_dims)
    float* constants;
    int64_t* parts;  // where what is found goes, per query

    __host__ __device__ ScanShared(SharedMemory& memory, int queries, int keep, int folded_dims)
        : shortlists(memory, queries, keep, kScanThreads) {
        folded = memory.take<float>(static_cast<std::size_t>(queries) * static_cast<std::size_t>(folded_dims));
        constants = memory.take<float>(static_cast<std::size_t>(queries));
        parts = memory.take<int64_t>(static_cast<std::size_t>(queries));
    }
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

// dots[q] = row (first + lane) . query q over the first `dims` dims; rows beyond `last` are taken for zeros.
template <int kQueries>
__device__ __forceinline__ void dots_of_warp(const Planes& planes, int dims, int64_t first, int64_t last,
                                             const float* folded, int folded_dims, float (&dots)[kQueries]) {
    const int lane = static_cast<int>(threadIdx.x % kWarp), part = lane % kSharedRows;
    const int group_first = lane / kSharedRows * kSharedRows;
    const int left = last - first < kWarp ? static_cast<int>(last - first) - group_first : kSharedRows;
    float sums[kSharedRows][kQueries] = {};
    for (int i = 0; i < planes.count; i++) {
        const Plane& plane = planes.plane[i];
        const Stretch stretch(plane, 0, dims);
        with_rows(plane, [&](const auto* elements) {
            using T = std::remove_cv_t<std::remove_pointer_t<decltype(elements)>>;
            constexpr int kElements = Loaded<T>::kElements;
            const T* row_part = elements + (first + group_first) * plane.stride + part * kElements;
#pragma unroll 1
            for (int at = part * kElements; at < stretch.elements; at += kSharedRows * kElements) {
                const T* row = row_part;
                row_part += kSharedRows * kElements;
#pragma unroll
                for (int row_first = 0; row_first < kSharedRows; row_first += kInFlight) {
                    uint4 loaded[kInFlight];
#pragma unroll
                    for (int r = 0; r < kInFlight; r++) {
                        loaded[r] = row_first + r <= left ? load16(row) : make_uint4(0, 0, 0, 0);
                        row += plane.stride;
                    }
#pragma unroll 1  // unrolled, it spills
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
        });
        folded += stretch.elements;
    }
    add_crosswise(sums);
#pragma unroll
    for (int q = 0; q < kQueries; q++) dots[q] = sums[0][q];
}

// Rows [begin, end) against queries number numbers[0 .. count); writes the nearest of number i to out + parts[i] *
// keep.
template <int kQueries>
__device__ void scan_block(const ScanArguments& arguments, int count, const int (&numbers)[kQueries],
                           const int64_t (&parts)[kQueries], int64_t begin, int64_t end) {
    const Planes& planes = arguments.planes;
    const int folded_dims = folded_size(planes, 0, arguments.dims), keep = arguments.keep;
    SharedMemory memory = SharedMemory::of_block();
    ScanShared shared(memory, kQueries, keep, folded_dims);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
    static_assert(kQueries <= kScanThreads / kWarp, "a warp makes the constant of one query");

    shared.shortlists.clear();
#pragma unroll
    for (int q = 0; q < kQueries; q++) {
        const float* query = arguments.queries.rows + numbers[q] * arguments.queries.stride;
        fold_query(planes, 0, arguments.dims, query, shared.folded + q * folded_dims);
        if (warp != q) continue;
        const float constant = folded_constant(planes, 0, arguments.dims, query);
        if (lane != 0) continue;
        shared.constants[q] = constant;
        shared.parts[q] = parts[q];
    }
    __syncthreads();

    for (int64_t first = begin; first < end; first += kScanThreads) {
        const int64_t of_warp = first + warp * kWarp, row = of_warp + lane;
        bool full = false;
        if (of_warp < end) {
            float dots[kQueries];
            dots_of_warp(planes, arguments.dims, of_warp, end - 1, shared.folded, folded_dims, dots);
            const int64_t real = row < end ? row : end - 1;
#pragma unroll
            for (int q = 0; q < kQueries; q++) {
                if (q >= count) break;
                const float key = key_of(arguments.by, dots[q] + shared.constants[q], real);
                full |= shared.shortlists.offer(q, row < end, candidate(key, static_cast<uint32_t>(real)));
            }
        }
        shared.shortlists.make_room(full);
    }
    shared.shortlists.finish();
    for (int q = 0; q < count; q++)
        for (int i = thread; i < keep; i += kScanThreads)
            arguments.out[shared.parts[q] * keep + i] =
                shared.shortlists.candidates[q * shared.shortlists.capacity + i];
}

// Queries that a block takes together: several where there are, and where they leave room for two blocks to run at
// once.
inline int scan_tile(const Planes& planes, int dims, int keep, int queries) {
    constexpr std::size_t kRoomy = 48 << 10;
    const std::size_t bytes = shared_size<ScanShared>(kScanTile, keep, folded_size(planes, 0, dims));
    return queries > 1 && bytes <= kRoomy ? kScanTile : 1;
}

}  // namespace adanns::cuda
