// Dot products of float queries with rows of a plane: in order (scan) and by row number (rerank).
#pragma once

#include "vec.h"

namespace {

// Rows x queries whose sums stay in registers. Four rows: four sums reduce together and hide the 4-cycle FMA latency.
constexpr int kRowTile = 4;
#if defined(ADANNS_512)
constexpr int kQueryTile = 4;
#else
constexpr int kQueryTile = 2;  // 16 registers only
#endif

// How many rows ahead a gather asks for: enough to cover one trip to memory with rows of a few cache lines.
constexpr int kGatherAhead = 8;

template <int Queries, class T>
ADANNS_INLINE void dot_tile(const T* rows, int64_t stride, const float* queries, int64_t query_stride, int padded_dims,
                            bool accumulate, float* dots, int64_t dots_stride) {
    VecF sums[Queries][kRowTile] = {};
    for (int dim = 0; dim < padded_dims; dim += kLanes) {
        VecF row[kRowTile];
        for (int r = 0; r < kRowTile; r++) row[r] = load(rows + r * stride + dim);
        for (int q = 0; q < Queries; q++) {
            const VecF query = load(queries + q * query_stride + dim);
            for (int r = 0; r < kRowTile; r++) sums[q][r] += row[r] * query;
        }
    }
    for (int q = 0; q < Queries; q++) {
        Vec4 totals = sums_of(sums[q][0], sums[q][1], sums[q][2], sums[q][3]);
        float* to = dots + q * dots_stride;
        if (accumulate) totals += load_as<Vec4>(to);
        store_as(to, totals);
    }
}

template <int Queries, class T>
ADANNS_INLINE void dot_row_tiles(const T* rows, int64_t stride, int64_t row_count, const float* queries,
                                 int64_t query_stride, int padded_dims, bool accumulate, float* dots,
                                 int64_t dots_stride) {
    int64_t r = 0;
    for (; r + kRowTile <= row_count; r += kRowTile)
        dot_tile<Queries>(rows + r * stride, stride, queries, query_stride, padded_dims, accumulate, dots + r,
                          dots_stride);
    for (; r < row_count; r++) {  // the same order of additions as in a tile: stride 0 makes four times the same row
        float four[Queries * kRowTile];
        dot_tile<Queries>(rows + r * stride, 0, queries, query_stride, padded_dims, false, four, kRowTile);
        for (int q = 0; q < Queries; q++) {
            float& to = dots[q * dots_stride + r];
            to = accumulate ? to + four[q * kRowTile] : four[q * kRowTile];
        }
    }
}

template <class T>
void dot_rows(const T* rows, int64_t stride, int64_t row_count, const float* queries, int64_t query_stride,
              int query_count, int padded_dims, bool accumulate, float* dots, int64_t dots_stride) {
    int q = 0;
    for (; q + kQueryTile <= query_count; q += kQueryTile)
        dot_row_tiles<kQueryTile>(rows, stride, row_count, queries + q * query_stride, query_stride, padded_dims,
                                  accumulate, dots + q * dots_stride, dots_stride);
    for (; q < query_count; q++)
        dot_row_tiles<1>(rows, stride, row_count, queries + q * query_stride, query_stride, padded_dims, accumulate,
                         dots + q * dots_stride, dots_stride);
}

template <class T>
ADANNS_INLINE void prefetch_row(const T* row, int padded_dims) {
    const char* bytes = (const char*)row;
    const char* end = (const char*)(row + padded_dims);
    for (; bytes < end; bytes += 64) prefetch(bytes);
}

template <class T>
void dot_gather(const T* plane, int64_t stride, const uint32_t* rows, int64_t row_count, const float* query,
                int padded_dims, float* dots) {
    for (int64_t i = 0; i < row_count && i < kGatherAhead; i++) prefetch_row(plane + rows[i] * stride, padded_dims);
    for (int64_t i = 0; i < row_count; i += kRowTile) {
        const int64_t count = row_count - i < kRowTile ? row_count - i : kRowTile;
        for (int64_t j = i + kGatherAhead; j < i + kGatherAhead + kRowTile && j < row_count; j++)
            prefetch_row(plane + rows[j] * stride, padded_dims);
        const T* row[kRowTile];
        for (int r = 0; r < kRowTile; r++) row[r] = plane + rows[i + (r < count ? r : 0)] * stride;
        VecF sums[kRowTile] = {};
        for (int dim = 0; dim < padded_dims; dim += kLanes) {
            const VecF q = load(query + dim);
            for (int r = 0; r < kRowTile; r++) sums[r] += load(row[r] + dim) * q;
        }
        const Vec4 totals = sums_of(sums[0], sums[1], sums[2], sums[3]);
        for (int r = 0; r < count; r++) dots[i + r] += totals[r];
    }
}

}  // namespace
