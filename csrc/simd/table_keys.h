// Scan of table codes: the entries that a row's codes name add up to its dot product, which becomes a key.
#pragma once

#include "keys.h"
#include "lookup.h"

namespace {

// Queries whose tables are looked up together, and sums that stay in registers.
#if defined(ADANNS_512)
constexpr int kTableQueries = 4, kTableSums = 8;
#elif defined(ADANNS_256)
constexpr int kTableQueries = 2, kTableSums = 4;
#else
constexpr int kTableQueries = 1, kTableSums = 1;
#endif

template <KeyForm Form>
ADANNS_INLINE void store_block_keys(const BlockSums& sums, float m, float c, const float* terms, float* keys) {
    for (int i = 0; i < BlockSums::kVectors; i++)
        store_as(keys + kLanes * i, key_of<Form>(to_float(sums.v[i]), splat(m), splat(c), terms + kLanes * i));
}

template <int Blocks, int Queries, KeyForm Form>
ADANNS_INLINE void nibble_tile(const uint8_t* blocks, int64_t block_bytes, int bytes, const uint8_t* const* tables,
                               const float* m, const float* c, const float* terms, float* keys, int64_t keys_stride) {
    NibbleSums sums[Blocks][Queries] = {};
    const auto step = [&](int byte, int some) __attribute__((always_inline)) {
        for (int b = 0; b < Blocks; b++) {
            const NibbleCodes codes = load_nibbles(blocks + b * block_bytes + 16 * byte, some);
            for (int q = 0; q < Queries; q++) sums[b][q].add(codes, nibble_tables_at(tables[q], byte));
        }
    };
    int byte = 0;
    for (; byte + kNibbleBytes <= bytes; byte += kNibbleBytes) step(byte, kNibbleBytes);
    if (byte < bytes) step(byte, bytes - byte);
    for (int b = 0; b < Blocks; b++)
        for (int q = 0; q < Queries; q++)
            store_block_keys<Form>(sums[b][q].by_row(), m[q], c[q], terms + 16 * b, keys + q * keys_stride + 16 * b);
}

// What is left over goes in tiles of half as many blocks: several sums at once hide the latency of an addition.
template <int Blocks, int Queries, KeyForm Form>
ADANNS_INLINE void nibble_tiles(const uint8_t* blocks, int64_t block_bytes, int64_t block_count, int bytes,
                                const uint8_t* const* tables, const float* m, const float* c, const float* terms,
                                float* keys, int64_t keys_stride) {
    int64_t b = 0;
    for (; b + Blocks <= block_count; b += Blocks)
        nibble_tile<Blocks, Queries, Form>(blocks + b * block_bytes, block_bytes, bytes, tables, m, c, terms + 16 * b,
                                           keys + 16 * b, keys_stride);
    if constexpr (Blocks > 1)
        nibble_tiles<Blocks / 2, Queries, Form>(blocks + b * block_bytes, block_bytes, block_count - b, bytes, tables,
                                                m, c, terms + 16 * b, keys + 16 * b, keys_stride);
}

template <KeyForm Form>
struct Nibbles {
    template <int Queries>
    static __attribute__((noinline)) void keys(const uint8_t* blocks, int64_t block_bytes, int64_t block_count,
                                               int bytes, const uint8_t* const* tables, const float* m, const float* c,
                                               const float* terms, float* to, int64_t keys_stride) {
        nibble_tiles<kTableSums / Queries, Queries, Form>(blocks, block_bytes, block_count, bytes, tables, m, c, terms,
                                                          to, keys_stride);
    }
};

// `Groups` of kByteBlocks blocks; the last group may lack blocks: it looks up its first one again in their place.
template <int Groups, int Queries, KeyForm Form>
ADANNS_INLINE void byte_tile(const uint8_t* blocks, int64_t block_bytes, int64_t block_count, int bytes,
                             const uint8_t* const* tables, const float* m, const float* c, const float* terms,
                             float* keys, int64_t keys_stride) {
    ByteSums sums[Groups][Queries] = {};
    const uint8_t* at[Groups][kByteBlocks];
    for (int b = 0; b < Groups * kByteBlocks; b++)
        at[b / kByteBlocks][b % kByteBlocks] = blocks + (b < block_count ? b : 0) * block_bytes;
    for (int byte = 0; byte < bytes; byte++) {
        ByteCodes codes[Groups];
        for (int g = 0; g < Groups; g++) codes[g] = load_bytes(at[g], 16 * byte);
        for (int q = 0; q < Queries; q++) {
            const ByteTable table(tables[q] + 256 * byte);
            for (int g = 0; g < Groups; g++) sums[g][q].add(codes[g], table);
        }
    }
    for (int g = 0; g < Groups; g++)
        for (int q = 0; q < Queries; q++) {
            BlockSums rows[kByteBlocks];
            sums[g][q].by_row(rows);
            for (int b = g * kByteBlocks; b < (g + 1) * kByteBlocks && b < block_count; b++)
                store_block_keys<Form>(rows[b - g * kByteBlocks], m[q], c[q], terms + 16 * b,
                                       keys + q * keys_stride + 16 * b);
        }
}

template <KeyForm Form>
struct Bytes {
    template <int Queries>
    static __attribute__((noinline)) void keys(const uint8_t* blocks, int64_t block_bytes, int64_t block_count,
                                               int bytes, const uint8_t* const* tables, const float* m, const float* c,
                                               const float* terms, float* to, int64_t keys_stride) {
        constexpr int kGroups = kTableQueries / Queries, kTile = kGroups * kByteBlocks;
        int64_t b = 0;
        for (; b + kTile <= block_count; b += kTile)
            byte_tile<kGroups, Queries, Form>(blocks + b * block_bytes, block_bytes, kTile, bytes, tables, m, c,
                                              terms + 16 * b, to + 16 * b, keys_stride);
        for (; b < block_count; b += kByteBlocks)
            byte_tile<1, Queries, Form>(blocks + b * block_bytes, block_bytes, block_count - b, bytes, tables, m, c,
                                        terms + 16 * b, to + 16 * b, keys_stride);
    }
};

// As many queries at a time as there are registers for, then half as many.
template <class Codes, int Queries>
ADANNS_INLINE void table_keys_as(const uint8_t* blocks, int64_t block_bytes, int64_t block_count, int bytes,
                                 const uint8_t* const* tables, int query_count, const float* m, const float* c,
                                 const float* terms, float* keys, int64_t keys_stride) {
    int q = 0;
    for (; q + Queries <= query_count; q += Queries)
        Codes::template keys<Queries>(blocks, block_bytes, block_count, bytes, tables + q, m + q, c + q, terms,
                                      keys + q * keys_stride, keys_stride);
    if constexpr (Queries > 1)
        table_keys_as<Codes, Queries / 2>(blocks, block_bytes, block_count, bytes, tables + q, query_count - q, m + q,
                                          c + q, terms, keys + q * keys_stride, keys_stride);
}

template <template <KeyForm> class Codes>
void table_keys(const uint8_t* blocks, int64_t block_bytes, int64_t block_count, int bytes,
                const uint8_t* const* tables, int query_count, KeyForm form, const float* m, const float* c,
                const float* terms, float* keys, int64_t keys_stride) {
    switch (form) {
        case KeyForm::plain:
            return table_keys_as<Codes<KeyForm::plain>, kTableQueries>(blocks, block_bytes, block_count, bytes, tables,
                                                                       query_count, m, c, keys, keys, keys_stride);
        case KeyForm::add:
            return table_keys_as<Codes<KeyForm::add>, kTableQueries>(blocks, block_bytes, block_count, bytes, tables,
                                                                     query_count, m, c, terms, keys, keys_stride);
        case KeyForm::multiply:
            return table_keys_as<Codes<KeyForm::multiply>, kTableQueries>(
                blocks, block_bytes, block_count, bytes, tables, query_count, m, c, terms, keys, keys_stride);
    }
}

}  // namespace
