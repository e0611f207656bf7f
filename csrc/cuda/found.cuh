// How do scans find the nearest rows without sorting while they scan?
//
// A sample of the rows bounds the key of the keep-th nearest; the scan then appends what is within the bound to a list
// of the query, whose nearest are selected at the end. Where a list overflows, since the sample was unlike the rest, a
// slower scan, which needs no bound, does that query again.
#pragma once

#include "cuda/candidates.cuh"
#include "cuda/search.h"

namespace adanns::cuda {

constexpr float kNoBound = 3.402823466e+38f;  // of keys that are numbers; infinity is no row's

// What the threads before this one add up to, and all of them. By all threads of a block; `sums`: one per warp.
struct Sums {
    int before, all;
};

inline __device__ Sums sums_of(int value, int* sums) {
    const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
    int sum = value;
    for (int distance = 1; distance < kWarp; distance *= 2) {
        const int other = __shfl_up_sync(kWholeWarp, sum, static_cast<unsigned>(distance));
        if (lane >= distance) sum += other;
    }
    if (lane == kWarp - 1) sums[warp] = sum;
    __syncthreads();
    int before = 0, all = 0;
    for (int w = 0; w < static_cast<int>(blockDim.x) / kWarp; w++) {
        if (w < warp) before += sums[w];
        all += sums[w];
    }
    __syncthreads();
    return {before + sum - value, all};
}

// Shared memory of smallest_of_rank.
struct RankShared {
    static constexpr int kBins = 256;  // one per thread
    int *sums, *bins, *chosen;
    uint32_t* ends;

    __host__ __device__ explicit RankShared(SharedMemory& memory)
        : sums(memory.take<int>(kBins / kWarp)),
          bins(memory.take<int>(kBins)),
          chosen(memory.take<int>(2)),
          ends(memory.take<uint32_t>(2)) {}
};

// The rank-th smallest, from 1, of 32-bit numbers; each(visit) calls visit(number) for this thread's share of them. By
// the 256 threads of a block. Digits of 8 bits are counted from where the numbers begin to differ.
template <class Each>
__device__ uint32_t smallest_of_rank(int rank, const RankShared& shared, Each each) {
    const int thread = static_cast<int>(threadIdx.x);
    if (thread == 0) shared.ends[0] = ~0u, shared.ends[1] = 0;
    __syncthreads();
    uint32_t least = ~0u, most = 0;
    each([&](uint32_t number) {
        least = number < least ? number : least;
        most = number > most ? number : most;
    });
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        const uint32_t other_least = __shfl_xor_sync(kWholeWarp, least, distance);
        const uint32_t other_most = __shfl_xor_sync(kWholeWarp, most, distance);
        least = other_least < least ? other_least : least;
        most = other_most > most ? other_most : most;
    }
    if (thread % kWarp == 0) {
        atomicMin(&shared.ends[0], least);
        atomicMax(&shared.ends[1], most);
    }
    __syncthreads();
    least = shared.ends[0];
    most = shared.ends[1];
    uint32_t found = 0;  // less `least`; its first `known` bits
    int known = __clz(static_cast<int>(most - least));
    while (known < 32) {
        const int next = known + 8 < 32 ? known + 8 : 32;
        shared.bins[thread] = 0;
        __syncthreads();
        each([&](uint32_t number) {
            const uint32_t offset = number - least;
            if (known > 0 && (offset ^ found) >> (32 - known) != 0) return;  // other digits before this one
            atomicAdd(&shared.bins[offset >> (32 - next) & ((1u << (next - known)) - 1)], 1);
        });
        __syncthreads();
        const int count = shared.bins[thread], before = sums_of(count, shared.sums).before;
        if (before < rank && rank <= before + count) shared.chosen[0] = thread, shared.chosen[1] = before;
        __syncthreads();
        found |= static_cast<uint32_t>(shared.chosen[0]) << (32 - next);
        rank -= shared.chosen[1];
        known = next;
    }
    return least + found;
}

// A key that the keep-th nearest row does not exceed, where `keys` (ordered bits, in shared memory) are of `count`
// different rows.
inline __device__ float bound_of(const uint32_t* keys, int count, int keep, const RankShared& shared) {
    if (count < keep) return kNoBound;  // the same for all threads
    const uint32_t found = smallest_of_rank(keep, shared, [&](auto visit) {
        for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) visit(keys[i]);
    });
    return fminf(kNoBound, key_of_bits(found));
}

// Appends what is within the bound. By whole warps: one ballot where no lane has any.
__device__ __forceinline__ void collect(const Found& found, int query, float bound, bool valid, float key,
                                        uint32_t row) {
    const bool good = valid && key <= bound;
    const unsigned lanes = __ballot_sync(kWholeWarp, good);
    if (lanes == 0) return;
    const int at = count_lanes(lanes, &found.counts[query]) + lanes_before(lanes);
    if (good && at < found.capacity) found.candidates[int64_t{query} * found.capacity + at] = candidate(key, row);
}

inline __device__ bool overflowed(const Found& found, int query) { return found.counts[query] > found.capacity; }

// Launches of found.cu.
void clear(const Found& found, int queries, cudaStream_t stream);  // no minima, no bounds, nothing found
void bound_by_minima(const Found& found, int queries, int keep, cudaStream_t stream);
void select_nearest(const Found& found, int queries, int keep, Candidate* out, cudaStream_t stream);

// The nearest `keep` of the `splits` shortlists that stand in an overflowed query's list.
void merge_overflowed(const Found& found, int queries, int splits, int keep, Candidate* out, cudaStream_t stream);

}  // namespace adanns::cuda
