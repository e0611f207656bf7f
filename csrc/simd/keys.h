// From dot products to keys, and the int8 block scan that produces keys directly.
#pragma once

#include "../core/kernel_table.h"
#include "vec.h"

namespace {

using adanns::KeyForm;

template <KeyForm Form>
ADANNS_INLINE VecF key_of(VecF dot, VecF m, VecF c, const float* terms) {
    if constexpr (Form == KeyForm::plain) return m * dot + c;
    if constexpr (Form == KeyForm::add) return (m * dot + c) + load(terms);
    if constexpr (Form == KeyForm::multiply) return (m * dot + c) * load(terms);
}

template <KeyForm Form>
void finish_keys_as(float* dots, int64_t count, float m, float c, const float* terms) {
    const VecF vm = splat(m), vc = splat(c);
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) store_as(dots + i, key_of<Form>(load(dots + i), vm, vc, terms + i));
    if (i == count) return;
    float last_dots[kLanes] = {}, last_terms[kLanes] = {};  // the tail through a vector: the same rounding as the rest
    for (int64_t j = i; j < count; j++) {
        last_dots[j - i] = dots[j];
        if constexpr (Form != KeyForm::plain) last_terms[j - i] = terms[j];
    }
    store_as(last_dots, key_of<Form>(load(last_dots), vm, vc, last_terms));
    for (int64_t j = i; j < count; j++) dots[j] = last_dots[j - i];
}

void finish_keys(float* dots, int64_t count, KeyForm form, float m, float c, const float* terms) {
    switch (form) {
        case KeyForm::plain: return finish_keys_as<KeyForm::plain>(dots, count, m, c, dots);
        case KeyForm::add: return finish_keys_as<KeyForm::add>(dots, count, m, c, terms);
        case KeyForm::multiply: return finish_keys_as<KeyForm::multiply>(dots, count, m, c, terms);
    }
}

// Codes are stored + 128 because VPDPBUSD wants one side unsigned; starting at -128 * sum(query) takes that back
// exactly.
ADANNS_INLINE int32_t start_of_sums(const int8_t* query, int groups) {
    int32_t sum = 0;
    for (int d = 0; d < 4 * groups; d++) sum += query[d];
    return -128 * sum;
}

template <int Blocks, int Queries, KeyForm Form>
ADANNS_INLINE void block_tile(const uint8_t* blocks, int64_t block_bytes, const int8_t* queries, int64_t query_stride,
                              int groups, const int32_t* starts, const float* m, const float* c, const float* terms,
                              float* keys, int64_t keys_stride) {
    BlockSums sums[Blocks][Queries];
    for (int b = 0; b < Blocks; b++)
        for (int q = 0; q < Queries; q++)
            for (int i = 0; i < BlockSums::kVectors; i++) sums[b][q].v[i] = splat_int(starts[q]);
    for (int g = 0; g < groups; g++)
        for (int b = 0; b < Blocks; b++)
            for (int q = 0; q < Queries; q++)
                add_byte_products(sums[b][q], blocks + b * block_bytes + 64 * g, queries + q * query_stride + 4 * g);
    for (int b = 0; b < Blocks; b++)
        for (int q = 0; q < Queries; q++)
            for (int i = 0; i < BlockSums::kVectors; i++) {
                const int row = 16 * b + kLanes * i;
                store_as(keys + q * keys_stride + row,
                         key_of<Form>(to_float(sums[b][q].v[i]), splat(m[q]), splat(c[q]), terms + row));
            }
}

template <int Blocks, int Queries, KeyForm Form>
ADANNS_INLINE void block_tiles(const uint8_t* blocks, int64_t block_bytes, int64_t block_count, const int8_t* queries,
                               int64_t query_stride, int groups, const float* m, const float* c, const float* terms,
                               float* keys, int64_t keys_stride) {
    int32_t starts[Queries];
    for (int q = 0; q < Queries; q++) starts[q] = start_of_sums(queries + q * query_stride, groups);
    int64_t b = 0;
    for (; b + Blocks <= block_count; b += Blocks)
        block_tile<Blocks, Queries, Form>(blocks + b * block_bytes, block_bytes, queries, query_stride, groups, starts,
                                          m, c, terms + 16 * b, keys + 16 * b, keys_stride);
    for (; b < block_count; b++)
        block_tile<1, Queries, Form>(blocks + b * block_bytes, block_bytes, queries, query_stride, groups, starts, m, c,
                                     terms + 16 * b, keys + 16 * b, keys_stride);
}

template <KeyForm Form>
void block_keys_as(const uint8_t* blocks, int64_t block_bytes, int64_t block_count, const int8_t* queries,
                   int64_t query_stride, int query_count, int groups, const float* m, const float* c,
                   const float* terms, float* keys, int64_t keys_stride) {
    int q = 0;
#if defined(ADANNS_512)
    // Eight queries a pass: the blocks come from the second-level cache at less than one vector a cycle.
    for (; q + 8 <= query_count; q += 8)
        block_tiles<2, 8, Form>(blocks, block_bytes, block_count, queries + q * query_stride, query_stride, groups,
                                m + q, c + q, terms, keys + q * keys_stride, keys_stride);
#endif
    for (; q + 4 <= query_count; q += 4)
        block_tiles<2, 4, Form>(blocks, block_bytes, block_count, queries + q * query_stride, query_stride, groups,
                                m + q, c + q, terms, keys + q * keys_stride, keys_stride);
    if (q + 2 <= query_count) {
        block_tiles<4, 2, Form>(blocks, block_bytes, block_count, queries + q * query_stride, query_stride, groups,
                                m + q, c + q, terms, keys + q * keys_stride, keys_stride);
        q += 2;
    }
    if (q < query_count)
        block_tiles<8, 1, Form>(blocks, block_bytes, block_count, queries + q * query_stride, query_stride, groups,
                                m + q, c + q, terms, keys + q * keys_stride, keys_stride);
}

void block_keys(const uint8_t* blocks, int64_t block_bytes, int64_t block_count, const int8_t* queries,
                int64_t query_stride, int query_count, int groups, KeyForm form, const float* m, const float* c,
                const float* terms, float* keys, int64_t keys_stride) {
    switch (form) {
        case KeyForm::plain:
            return block_keys_as<KeyForm::plain>(blocks, block_bytes, block_count, queries, query_stride, query_count,
                                                 groups, m, c, keys, keys, keys_stride);
        case KeyForm::add:
            return block_keys_as<KeyForm::add>(blocks, block_bytes, block_count, queries, query_stride, query_count,
                                               groups, m, c, terms, keys, keys_stride);
        case KeyForm::multiply:
            return block_keys_as<KeyForm::multiply>(blocks, block_bytes, block_count, queries, query_stride,
                                                    query_count, groups, m, c, terms, keys, keys_stride);
    }
}

}  // namespace
