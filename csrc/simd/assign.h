// Nearest centroid of each row: k-means assignment.
#pragma once

#include "products.h"

namespace {

struct Nearest {
    VecF key;
    VecI index;
};

template <int Rows, int Blocks>
ADANNS_INLINE void assign_tile(const float* rows, int64_t stride, const float* blocks, const float* half_norms,
                               int dims, int32_t first, Nearest (*nearest)[kBlockVectors]) {
    const Products<Rows, Blocks> products = block_products<Rows, Blocks>(rows, stride, blocks, dims);
    for (int r = 0; r < Rows; r++)
        for (int b = 0; b < Blocks; b++)
            for (int v = 0; v < kBlockVectors; v++) {
                const VecF key = load(half_norms + 16 * b + v * kLanes) - products.sums[r][b][v];
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
    for (; b + kProductBlocks <= block_count; b += kProductBlocks)
        assign_tile<Rows, kProductBlocks>(rows, stride, blocks + b * dims * 16, half_norms + b * 16, dims,
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
    for (; r + kProductRows <= row_count; r += kProductRows)
        assign_row_tile<kProductRows>(rows + r * stride, stride, centroid_blocks, half_norms, block_count, dims,
                                      first_centroid, best_keys + r, best + r);
    for (; r < row_count; r++)
        assign_row_tile<1>(rows + r * stride, stride, centroid_blocks, half_norms, block_count, dims, first_centroid,
                           best_keys + r, best + r);
}

}  // namespace
