// Matrices of a warp, as tensor cores take them from shared memory and give them back: who holds what (PTX ISA, matrix
// fragments of mma.m16n8k16).
//
// Lane i holds, of 8 x 8 halves, the elements 2 (i % 4) and 2 (i % 4) + 1 of row i / 4; of 16 x 8 sums, the same
// columns of rows i / 4 and i / 4 + 8. So it knows whose score each of its sums is, and they need not go through shared
// memory.
#pragma once

#include "cuda/device.h"

namespace adanns::cuda {

constexpr int kSide = 16;     // rows and depth of a matrix of queries, and rows of a pair of matrices of vectors
constexpr int kColumns = 8;   // vectors of a matrix of sums
constexpr int kHeldSums = 4;  // of a matrix, by each lane: two columns of row i / 4, and two of row i / 4 + 8

// Which row of 16, and which half of its 16 elements, a lane names for load_matrices, so that multiply() takes what is
// loaded as 16 queries...
__device__ __forceinline__ int query_row_of_lane(int lane) { return lane % kSide; }
__device__ __forceinline__ int query_part_of_lane(int lane) { return lane / kSide; }
// ... or as 8 vectors (its numbers 0 and 1) and 8 more (2 and 3).
__device__ __forceinline__ int vector_row_of_lane(int lane) { return lane / kSide * kColumns + lane % kColumns; }
__device__ __forceinline__ int vector_part_of_lane(int lane) { return lane / kColumns % 2; }

#ifdef __CUDACC__

// Four matrices of 8 x 8 halves: lanes 8 m to 8 m + 7 name the rows of matrix m, 16 aligned bytes of shared memory
// each.
__device__ __forceinline__ void load_matrices(uint32_t (&loaded)[4], const __half* row) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(loaded[0]), "=r"(loaded[1]), "=r"(loaded[2]), "=r"(loaded[3])
                 : "r"(address)
                 : "memory");
}

// sums += queries x vectors: 16 queries, 8 vectors, 16 elements of each.
__device__ __forceinline__ void multiply(float (&sums)[kHeldSums], const uint32_t (&queries)[4], uint32_t vectors_low,
                                         uint32_t vectors_high) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(queries[0]), "r"(queries[1]), "r"(queries[2]), "r"(queries[3]), "r"(vectors_low), "r"(vectors_high));
}

#else

__device__ __forceinline__ void load_matrices(uint32_t (&loaded)[4], const __half* row, EMULATOR_SITE) {
    emulator::load_matrices(loaded, load16(row), file, line);
}

__device__ __forceinline__ void multiply(float (&sums)[kHeldSums], const uint32_t (&queries)[4], uint32_t vectors_low,
                                         uint32_t vectors_high, EMULATOR_SITE) {
    emulator::multiply_matrices(sums, queries, vectors_low, vectors_high, file, line);
}

#endif

}  // namespace adanns::cuda
