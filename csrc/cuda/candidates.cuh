// Candidates (planes.h) in shared memory: how a block sorts them, and how it keeps the best of any number.
#pragma once

#include "cuda/planes.h"

namespace adanns::cuda {

// Bits of a key that order as it does.
inline __device__ uint32_t ordered_bits(float key) {
    const uint32_t bits = __float_as_uint(key + 0.0f);  // -0 is 0
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

inline __device__ float key_of_bits(uint32_t ordered) {
    return __uint_as_float(ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered);
}

inline __device__ Candidate candidate(float key, uint32_t row) {
    return static_cast<Candidate>(ordered_bits(key)) << 32 | row;
}

inline __device__ float key_of(Candidate one) { return key_of_bits(static_cast<uint32_t>(one >> 32)); }

inline __device__ uint32_t row_of(Candidate one) { return static_cast<uint32_t>(one); }

inline __host__ __device__ int power_of_two(int at_least) {
    int size = 1;
    while (size < at_least) size *= 2;
    return size;
}

// Bitonic sort by all threads of a block: `size` is a power of two, less(i, j) and swap(i, j) are of positions. Ends
// with a barrier.
template <class Less, class Swap>
__device__ void block_sort(int size, Less less, Swap swap) {
    for (int run = 2; run <= size; run *= 2) {
        for (int step = run / 2; step > 0; step /= 2) {
            __syncthreads();
            for (int pair = static_cast<int>(threadIdx.x); pair < size / 2; pair += static_cast<int>(blockDim.x)) {
                const int low = pair / step * 2 * step + pair % step, high = low + step;
                const bool ascending = (low & run) == 0;
                if (ascending ? less(high, low) : less(low, high)) swap(low, high);
            }
        }
    }
    __syncthreads();
}

// Sorts the first `count` of `size` candidates, a power of two; what stands behind them becomes none.
inline __device__ void sort_candidates(Candidate* candidates, int count, int size) {
    for (int i = count + static_cast<int>(threadIdx.x); i < size; i += static_cast<int>(blockDim.x))
        candidates[i] = kNoCandidate;
    block_sort(
        size, [&](int i, int j) { return candidates[i] < candidates[j]; },
        [&](int i, int j) {
            const Candidate other = candidates[i];
            candidates[i] = candidates[j];
            candidates[j] = other;
        });
}

// Counts one more for each of `lanes`; what the count was before. By whole warps.
__device__ __forceinline__ int count_lanes(unsigned lanes, int* count) {
    int before = 0;
    if (threadIdx.x % kWarp == 0) before = atomicAdd(count, __popc(lanes));
    return __shfl_sync(kWholeWarp, before, 0);
}

// How many of `lanes` come before this one.
__device__ __forceinline__ int lanes_before(unsigned lanes) {
    return __popc(lanes & ((1u << threadIdx.x % kWarp) - 1));
}

// The shortlists of a block's queries, the `keep` nearest of each, whatever comes: candidates are appended while they
// beat a threshold, and sorted when there is no room for more, which sets the threshold anew.
struct Shortlists {
    Candidate* candidates;  // (queries, capacity)
    Candidate* thresholds;  // per query: what is not below it is not among the nearest
    int* counts;
    int queries, keep, capacity, room;

    // `room`: candidates per query that may be offered before make_room is called.
    __host__ __device__ Shortlists(SharedMemory& memory, int queries, int keep, int room)
        : queries(queries), keep(keep), capacity(power_of_two(keep + room)), room(room) {
        candidates = memory.take<Candidate>(static_cast<std::size_t>(queries) * static_cast<std::size_t>(capacity));
        thresholds = memory.take<Candidate>(static_cast<std::size_t>(queries));
        counts = memory.take<int>(static_cast<std::size_t>(queries));
    }

    // By all threads; a barrier must follow.
    __device__ void clear() {
        for (int query = static_cast<int>(threadIdx.x); query < queries; query += static_cast<int>(blockDim.x)) {
            counts[query] = 0;
            thresholds[query] = candidate(INFINITY, 0);
        }
    }

    // By whole warps: one ballot where no lane has anything good enough. True where there may be no room for as many
    // again.
    __device__ bool offer(int query, bool valid, Candidate one) {
        const bool good = valid && one < thresholds[query];
        const unsigned lanes = __ballot_sync(kWholeWarp, good);
        if (lanes == 0) return false;
        const int first = count_lanes(lanes, &counts[query]);
        if (good) candidates[query * capacity + first + lanes_before(lanes)] = one;
        return first + __popc(lanes) + room > capacity;
    }

    // By all threads, after at most `room` offers; `full`: what any of them returned to this thread. A barrier.
    __device__ void make_room(bool full) {
        if (!__syncthreads_or(full)) return;
        for (int query = 0; query < queries; query++) {
            const int count = counts[query];  // by all, before the sort's first barrier
            if (count + room > capacity) cut(query, count);
        }
        __syncthreads();
    }

    // By all threads: sorts all shortlists, the nearest first, kNoCandidate after the last. Starts and ends with a
    // barrier.
    __device__ void finish() {
        __syncthreads();
        for (int query = 0; query < queries; query++) cut(query, counts[query]);
        __syncthreads();
    }

   private:
    __device__ void cut(int query, int count) {
        Candidate* of_query = candidates + query * capacity;
        sort_candidates(of_query, count, capacity);
        if (threadIdx.x != 0) return;
        counts[query] = count < keep ? count : keep;
        if (count >= keep) thresholds[query] = of_query[keep - 1];
    }
};

}  // namespace adanns::cuda
