// Scan of table codes: the entries that a row's codes name add up to its dot product, which becomes a key.
#pragma once

#include "keys.h"
#include "lookup.h"

namespace {

using adanns::TableBlocks;
using adanns::TableQueries;

// Queries whose tables are looked up together, and sums that stay in registers.
#if defined(ADANNS_512)
constexpr int kTableQueries = 4, kTableSums = 8;
#elif defined(ADANNS_256)
constexpr int kTableQueries = 2, kTableSums = 4;
#else
constexpr int kTableQueries = 1, kTableSums = 1;
#endif

constexpr int64_t kBytesAhead = 8192;  // of one query's scan, which outruns the hardware's prefetching

// From block `first` on.
ADANNS_INLINE TableBlocks from(const TableBlocks& blocks, int64_t first) {
    TableBlocks rest = blocks;
    rest.first += first * blocks.stride;
    rest.count -= first;
    rest.terms += 16 * first;
    return rest;
}

// How far ahead a tile of blocks prefetches, line by line as it reads; 0, its own lines, where that is beyond the end.
ADANNS_INLINE int64_t ahead_of(const TableBlocks& blocks, int tile) {
    return blocks.first + tile * blocks.stride + kBytesAhead <= blocks.end ? kBytesAhead : 0;
}

template <KeyForm Form>
ADANNS_INLINE void store_keys(const BlockSums& sums, const TableBlocks& blocks, const TableQueries& queries, int b,
                              int q, float* keys) {
    const VecF m = splat(queries.m[q]), c = splat(queries.c[q]);
    for (int row = 16 * b, i = 0; i < BlockSums::kVectors; row += kLanes, i++)
        store_as(keys + q * queries.keys_stride + row, key_of<Form>(to_float(sums.v[i]), m, c, blocks.terms + row));
}

template <KeyForm Form, int Blocks, int Queries>
ADANNS_INLINE void nibble_tile(const TableBlocks& blocks, const TableQueries& queries, float* keys) {
    NibbleSums sums[Blocks][Queries];
    for (int b = 0; b < Blocks; b++)
        for (int q = 0; q < Queries; q++) sums[b][q] = NibbleSums{};
    const int64_t ahead = ahead_of(blocks, Blocks);
    const auto step = [&](int byte, int some) __attribute__((always_inline)) {
        for (int b = 0; b < Blocks; b++) {
            const uint8_t* at = blocks.first + b * blocks.stride + 16 * byte;
            prefetch(at + ahead);
            const NibbleCodes codes = load_nibbles(at, some);
            for (int q = 0; q < Queries; q++) sums[b][q].add(codes, nibble_tables_at(queries.tables[q], byte));
        }
    };
    int byte = 0;
    for (; byte + kNibbleBytes <= blocks.bytes; byte += kNibbleBytes) step(byte, kNibbleBytes);
    if (byte < blocks.bytes) step(byte, blocks.bytes - byte);
    for (int b = 0; b < Blocks; b++)
        for (int q = 0; q < Queries; q++) store_keys<Form>(sums[b][q].by_row(), blocks, queries, b, q, keys);
}

// What is left over goes in tiles of half as many blocks: several sums at once hide the latency of an addition.
template <KeyForm Form, int Blocks, int Queries>
ADANNS_INLINE void nibble_tiles(const TableBlocks& blocks, const TableQueries& queries, float* keys) {
    int64_t b = 0;
    for (; b + Blocks <= blocks.count; b += Blocks)
        nibble_tile<Form, Blocks, Queries>(from(blocks, b), queries, keys + 16 * b);
    if constexpr (Blocks > 1) nibble_tiles<Form, Blocks / 2, Queries>(from(blocks, b), queries, keys + 16 * b);
}

struct Nibbles {
    template <KeyForm Form, int Queries>
    static __attribute__((noinline)) void keys(const TableBlocks& blocks, const TableQueries& queries) {
        nibble_tiles<Form, kTableSums / Queries, Queries>(blocks, queries, queries.keys);
    }
};

// `count` blocks, in groups of kByteBlocks; where the last one lacks blocks, it looks up the first again in their
// place.
template <KeyForm Form, int Groups, int Queries>
ADANNS_INLINE void byte_tile(const TableBlocks& blocks, int64_t count, const TableQueries& queries, float* keys) {
    ByteSums sums[Groups][Queries];
    for (int g = 0; g < Groups; g++)
        for (int q = 0; q < Queries; q++) sums[g][q] = ByteSums{};
    constexpr int kTile = Groups * kByteBlocks;
    const uint8_t* ahead = blocks.first + ahead_of(blocks, kTile);
    const uint8_t* at[Groups][kByteBlocks];
    for (int b = 0; b < kTile; b++)
        at[b / kByteBlocks][b % kByteBlocks] = blocks.first + (b < count ? b : 0) * blocks.stride;
    for (int byte = 0; byte < blocks.bytes; byte++) {
        ByteCodes codes[Groups];
        for (int g = 0; g < Groups; g++) codes[g] = load_bytes(at[g], 16 * byte);
        for (int i = 0; i < 16 * kTile; i += 64) prefetch(ahead + 16 * kTile * byte + i);
        for (int q = 0; q < Queries; q++) {
            const ByteTable table(queries.tables[q] + 256 * byte);
            for (int g = 0; g < Groups; g++) sums[g][q].add(codes[g], table);
        }
    }
    for (int g = 0; g < Groups; g++)
        for (int q = 0; q < Queries; q++) {
            BlockSums rows[kByteBlocks];
            sums[g][q].by_row(rows);
            for (int b = 0; b < kByteBlocks; b++)
                if (g * kByteBlocks + b < count)
                    store_keys<Form>(rows[b], blocks, queries, g * kByteBlocks + b, q, keys);
        }
}

struct Bytes {
    template <KeyForm Form, int Queries>
    static __attribute__((noinline)) void keys(const TableBlocks& blocks, const TableQueries& queries) {
        constexpr int kGroups = kTableQueries / Queries, kTile = kGroups * kByteBlocks;
        int64_t b = 0;
        for (; b + kTile <= blocks.count; b += kTile)
            byte_tile<Form, kGroups, Queries>(from(blocks, b), kTile, queries, queries.keys + 16 * b);
        for (; b < blocks.count; b += kByteBlocks)
            byte_tile<Form, 1, Queries>(from(blocks, b), blocks.count - b, queries, queries.keys + 16 * b);
    }
};

// As many queries at a time as there are registers for, then half as many.
template <class Codes, KeyForm Form, int Queries>
ADANNS_INLINE void table_keys_of(TableBlocks blocks, TableQueries queries) {
    for (; queries.count >= Queries; queries.count -= Queries) {
        Codes::template keys<Form, Queries>(blocks, queries);
        queries.tables += Queries;
        queries.m += Queries;
        queries.c += Queries;
        queries.keys += Queries * queries.keys_stride;
        blocks.end = blocks.first;  // prefetched already
    }
    if constexpr (Queries > 1) table_keys_of<Codes, Form, Queries / 2>(blocks, queries);
}

template <class Codes>
void table_keys(const TableBlocks& blocks, const TableQueries& queries, KeyForm form) {
    switch (form) {
        case KeyForm::plain: return table_keys_of<Codes, KeyForm::plain, kTableQueries>(blocks, queries);
        case KeyForm::add: return table_keys_of<Codes, KeyForm::add, kTableQueries>(blocks, queries);
        case KeyForm::multiply: return table_keys_of<Codes, KeyForm::multiply, kTableQueries>(blocks, queries);
    }
}

}  // namespace
