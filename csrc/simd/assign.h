// Nearest centroid of each row: k-means assignment. Lanes run over centroids, so there is no horizontal sum.
#pragma once

#include "vec.h"

namespace {

#if defined(ADANNS_512)
constexpr int kAssignRows = 8, kAssignBlocks = 2;  // 16 sums of 32 registers
#elif defined(ADANNS_256)
constexpr int kAssignRows = 4, kAssignBlocks = 1;  // 8 sums of 16 registers
#else
constexpr int kAssignRows = 2, kAssignBlocks = 1;
#endif
constexpr int kBlockVectors = 16 / kLanes;

struct Nearest {
    VecF key;
    VecI index;
};

template <int Rows, int Blocks>
ADANNS_INLINE void assign_tile(const float* rows, int64_t stride, const float* blocks, const float* half_norms,
                               int dims, int32_t first, Nearest (*nearest)[kBlockVectors]) {
    VecF sums[Rows][Blocks][kBlockVectors] = {};
    for (int dim = 0; dim < dims; dim++) {
        VecF centroid[Blocks][kBlockVectors];
        for (int b = 0; b < Blocks; b++)
            for (int v = 0; v < kBlockVectors; v++)
                centroid[b][v] = load(blocks + ((int64_t)b * dims + dim) * 16 + v * kLanes);
        for (int r = 0; r < Rows; r++) {
            const VecF x = splat(rows[r * stride + dim]);
            for (int b = 0; b < Blocks; b++)
                for (int v = 0; v < kBlockVectors; v++) sums[r][b][v] += x * centroid[b][v];
        }
    }
    for (int r = 0; r < Rows; r++)
        for (int b = 0; b < Blocks; b++)
            for (int v = 0; v < kBlockVectors; v++) {
                const VecF key = load(half_norms + 16 * b + v * kLanes) - sums[r][b][v];
                const VecI index = lane_numbers() + splat_int(first + 16 * b + v * kLanes);
                Nearest& best = nearest[r][v];
                best.index = key < best.key ? index : best.index;
                best.key = smaller(key, best.key);
            }
}

template <int Rows>
ADANNS_INLINE void assign_row_tile(const float* rows, int64_t stride, const float* blocks, const float* half_norms,
                                   int64_t block_count, int dims, int32_t first, float* best_keys, int32_t* best) {
    Nearest nearest[Rows][kBlockVectors];
    for (int r = 0; r < Rows; r++)
        for (int v = 0; v < kBlockVectors; v++) nearest[r][v] = {splat(best_keys[r]), splat_int(best[r])};
    int64_t b = 0;
    for (; b + kAssignBlocks <= block_count; b += kAssignBlocks)
        assign_tile<Rows, kAssignBlocks>(rows, stride, blocks + b * dims * 16, half_norms + b * 16, dims,
                                         first + (int32_t)(16 * b), nearest);
    for (; b < block_count; b++)
        assign_tile<Rows, 1>(rows, stride, blocks + b * dims * 16, half_norms + b * 16, dims, first + (int32_t)(16 * b),
                             nearest);
    for (int r = 0; r < Rows; r++)
        for (int v = 0; v < kBlockVectors; v++)
            for (int lane = 0; lane < kLanes; lane++) {
                const float key = nearest[r][v].key[lane];
                const int32_t index = nearest[r][v].index[lane];
                if (key > best_keys[r] || (key == best_keys[r] && index >= best[r])) continue;
                best_keys[r] = key;
                best[r] = index;
            }
}

void assign_rows(const float* rows, int64_t stride, int64_t row_count, const float* centroid_blocks,
                 const float* half_norms, int64_t block_count, int dims, int32_t first_centroid, float* best_keys,
                 int32_t* best) {
    int64_t r = 0;
    for (; r + kAssignRows <= row_count; r += kAssignRows)
        assign_row_tile<kAssignRows>(rows + r * stride, stride, centroid_blocks, half_norms, block_count, dims,
                                     first_centroid, best_keys + r, best + r);
    for (; r < row_count; r++)
        assign_row_tile<1>(rows + r * stride, stride, centroid_blocks, half_norms, block_count, dims, first_centroid,
                           best_keys + r, best + r);
}

}  // namespace
