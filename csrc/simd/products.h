// Dot products of rows with blocks of 16 columns stored [block][dim][16]. Lanes run over columns, so there is no
// horizontal sum; a sum runs over dims in order, whatever the tile, so it does not depend on the rows around.
#pragma once

#include "vec.h"

namespace {

#if defined(ADANNS_512)
constexpr int kProductRows = 8, kProductBlocks = 2;  // 16 sums of 32 registers
#elif defined(ADANNS_256)
constexpr int kProductRows = 4, kProductBlocks = 1;  // 8 sums of 16 registers
#else
constexpr int kProductRows = 2, kProductBlocks = 1;
#endif
constexpr int kBlockVectors = 16 / kLanes;

template <int Rows, int Blocks>
struct Products {
    VecF sums[Rows][Blocks][kBlockVectors];
};

template <int Rows, int Blocks>
ADANNS_INLINE Products<Rows, Blocks> block_products(const float* rows, int64_t stride, const float* blocks, int dims) {
    Products<Rows, Blocks> products;
    for (int r = 0; r < Rows; r++)
        for (int b = 0; b < Blocks; b++)
            for (int v = 0; v < kBlockVectors; v++) products.sums[r][b][v] = VecF{};
    for (int dim = 0; dim < dims; dim++) {
        VecF column[Blocks][kBlockVectors];
        for (int b = 0; b < Blocks; b++)
            for (int v = 0; v < kBlockVectors; v++)
                column[b][v] = load(blocks + ((int64_t)b * dims + dim) * 16 + v * kLanes);
        for (int r = 0; r < Rows; r++) {
            const VecF x = splat(rows[r * stride + dim]);
            for (int b = 0; b < Blocks; b++)
                for (int v = 0; v < kBlockVectors; v++) products.sums[r][b][v] += x * column[b][v];
        }
    }
    return products;
}

template <int Rows, int Blocks>
ADANNS_INLINE void multiply_tile(const float* rows, int64_t stride, const float* blocks, int dims, int columns,
                                 float* out, int64_t out_stride) {
    const Products<Rows, Blocks> products = block_products<Rows, Blocks>(rows, stride, blocks, dims);
    for (int r = 0; r < Rows; r++) {
        float* to = out + r * out_stride;
        if (columns >= 16 * Blocks)
            memcpy(to, products.sums[r], sizeof products.sums[r]);
        else
            memcpy(to, products.sums[r], (size_t)columns * sizeof(float));
    }
}

// A single row has as many sums under way as a tile of rows; what is left over goes in tiles of half as many blocks.
template <int Rows, int Blocks>
ADANNS_INLINE void multiply_row_tile(const float* rows, int64_t stride, const float* blocks, int dims, int columns,
                                     float* out, int64_t out_stride) {
    int first = 0;
    for (; first + 16 * (Blocks - 1) < columns; first += 16 * Blocks)
        multiply_tile<Rows, Blocks>(rows, stride, blocks + (int64_t)first * dims, dims, columns - first, out + first,
                                    out_stride);
    if constexpr (Blocks > 1)
        multiply_row_tile<Rows, Blocks / 2>(rows, stride, blocks + (int64_t)first * dims, dims, columns - first,
                                            out + first, out_stride);
}

void multiply_rows(const float* rows, int64_t stride, int64_t row_count, const float* blocks, int dims, int columns,
                   float* out, int64_t out_stride) {
    int64_t r = 0;
    for (; r + kProductRows <= row_count; r += kProductRows)
        multiply_row_tile<kProductRows, kProductBlocks>(rows + r * stride, stride, blocks, dims, columns,
                                                        out + r * out_stride, out_stride);
    for (; r < row_count; r++)
        multiply_row_tile<1, 8 * kProductBlocks / 2>(rows + r * stride, stride, blocks, dims, columns,
                                                     out + r * out_stride, out_stride);
}

}  // namespace
