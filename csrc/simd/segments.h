// Segments of table codes: the nearest entry of each codebook, and a query's tables rounded to bytes.
#pragma once

#include "../core/kernel_table.h"
#include "vec.h"

namespace {

using adanns::kEncodeRows;

typedef uint8_t VecU8 __attribute__((vector_size(kLanes)));

ADANNS_INLINE VecU8 to_bytes(VecI v) { return __builtin_convertvector(v, VecU8); }

// Entries and vectors of rows at once: as many keys as hide each other's latency and stay in registers.
#if defined(ADANNS_512)
constexpr int kEntriesAtOnce = 4, kRowVectors = 4;
#else
constexpr int kEntriesAtOnce = 4, kRowVectors = 2;
#endif

// The nearest entry of one segment to kRowVectors vectors of rows.
ADANNS_INLINE void nearest_entry(const float* rows, int width, const float* codebook, const float* half_norms,
                                 int entries, uint8_t* codes) {
    VecF least[kRowVectors];
    VecI nearest[kRowVectors];
    for (int v = 0; v < kRowVectors; v++) {
        least[v] = splat(__builtin_inff());
        nearest[v] = VecI{};
    }
    for (int first = 0; first < entries; first += kEntriesAtOnce) {
        const float* entry = codebook + first * width;
        VecF keys[kEntriesAtOnce][kRowVectors];
        for (int j = 0; j < kEntriesAtOnce; j++)
            for (int v = 0; v < kRowVectors; v++) keys[j][v] = splat(half_norms[first + j]);
        for (int d = 0; d < width; d++)
            for (int v = 0; v < kRowVectors; v++) {
                const VecF row = load(rows + d * kEncodeRows + v * kLanes);
                for (int j = 0; j < kEntriesAtOnce; j++) keys[j][v] -= row * splat(entry[j * width + d]);
            }
        for (int j = 0; j < kEntriesAtOnce; j++)
            for (int v = 0; v < kRowVectors; v++) {
                nearest[v] = keys[j][v] < least[v] ? splat_int(first + j) : nearest[v];
                least[v] = smaller(keys[j][v], least[v]);
            }
    }
    for (int v = 0; v < kRowVectors; v++) store_as(codes + v * kLanes, to_bytes(nearest[v]));
}

void nearest_entries(const float* rows_by_dim, const float* codebooks, const float* half_norms,
                     const int32_t* segment_ends, int segments, int entries, uint8_t* codes) {
    for (int s = 0, begin = 0; s < segments; begin = segment_ends[s++]) {
        const int width = segment_ends[s] - begin;
        const float* rows = rows_by_dim + (int64_t)begin * kEncodeRows;
        for (int first = 0; first < kEncodeRows; first += kRowVectors * kLanes)
            nearest_entry(rows + first, width, codebooks, half_norms, entries, codes + s * kEncodeRows + first);
        codebooks += (int64_t)entries * width;
        half_norms += entries;
    }
}

// Beyond this a sum over kMaxSegments tables could leave float's range. A NaN, where products already did, counts as
// it.
constexpr float kLargestEntry = 0x1p115f;

ADANNS_INLINE VecF within_range(VecF v) {
    const VecF low = splat(-kLargestEntry);
    return smaller(v > low ? v : low, splat(kLargestEntry));
}

void round_tables(const float* tables, int segments, int entries, uint8_t* rounded, float* step, float* bias) {
    float lows[adanns::kMaxSegments], widest = 0;
    double sum_of_lows = 0;
    for (int s = 0; s < segments; s++) {
        VecF low = splat(__builtin_inff()), high = splat(-__builtin_inff());
        for (int j = 0; j < entries; j += kLanes) {
            const VecF v = within_range(load(tables + s * entries + j));
            low = smaller(low, v);
            high = v > high ? v : high;
        }
        const float least = smallest_of(low), most = -smallest_of(-high);
        lows[s] = least;
        sum_of_lows += least;
        widest = most - least > widest ? most - least : widest;
    }
    *step = widest / 255;
    *bias = (float)sum_of_lows;
    const float steps = *step > 0 ? 255 / widest : 0;
    const bool nibbles = entries == 16;
    if (nibbles) memset(rounded, 0, (size_t)(segments + 7) / 8 * 128);
    for (int s = 0; s < segments; s++) {
        uint8_t* to = nibbles ? rounded + s / 8 * 128 + s % 2 * 64 + s / 2 % 4 * 16 : rounded + s * entries;
        for (int j = 0; j < entries; j += kLanes) {
            const VecF in_steps = (within_range(load(tables + s * entries + j)) - splat(lows[s])) * splat(steps);
            store_as(to + j, to_bytes(__builtin_convertvector(in_steps + 0.5f, VecI)));
        }
    }
}

}  // namespace
