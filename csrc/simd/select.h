// Selection by threshold: which keys are small enough, without ordering what is not.
#pragma once

#include "vec.h"

namespace {

// Bits [bit, bit + 32) of a mask, the first one lowest.
ADANNS_INLINE uint32_t mask_bits(const uint64_t* words, int64_t bit) {
    const int64_t word = bit >> 6, shift = bit & 63;
    uint64_t bits = words[word] >> shift;
    if (shift > 32) bits |= words[word + 1] << (64 - shift);
    return (uint32_t)bits;
}

int64_t collect_below(const float* keys, int64_t count, float threshold, uint32_t first_row, const uint64_t* mask_words,
                      int64_t first_bit, float* out_keys, uint32_t* out_rows) {
    const VecF bound = splat(threshold);
    const VecI lanes = lane_numbers();
    int64_t kept = 0, i = 0;
    const auto keep_vector = [&](int64_t at) {
        const VecF v = load(keys + at);
        uint32_t mask = less_mask(v, bound);
        if (mask == 0) return;  // first: few vectors pass, and only theirs are looked up among the rows that take part
        if (mask_words != nullptr) mask &= mask_bits(mask_words, first_bit + at);
        store_compressed(out_keys + kept, v, mask);
        store_compressed(out_rows + kept, lanes + splat_int((int32_t)(first_row + (uint32_t)at)), mask);
        kept += __builtin_popcount(mask);
    };
    // Four vectors behind one branch: once the threshold is tight almost every step ends at it.
    for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
        const VecF low = smaller(smaller(load(keys + i), load(keys + i + kLanes)),
                                 smaller(load(keys + i + 2 * kLanes), load(keys + i + 3 * kLanes)));
        if (less_mask(low, bound) == 0) continue;
        for (int v = 0; v < 4; v++) keep_vector(i + v * kLanes);
    }
    for (; i + kLanes <= count; i += kLanes) keep_vector(i);
    for (; i < count; i++) {
        if (!(keys[i] < threshold)) continue;
        if (mask_words != nullptr && !(mask_bits(mask_words, first_bit + i) & 1)) continue;
        out_keys[kept] = keys[i];
        out_rows[kept++] = first_row + (uint32_t)i;
    }
    return kept;
}

// Floats as integers of the same order, and back (the mapping is its own inverse).
ADANNS_INLINE int32_t ordered(int32_t bits) { return bits ^ ((bits >> 31) & 0x7fffffff); }

ADANNS_INLINE int64_t count_at_most(const int32_t* values, int64_t count, int32_t bound) {
    VecI totals = {};
    const VecI limit = splat_int(bound);
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) totals -= (load_as<VecI>(values + i) <= limit);
    int64_t total = 0;
    for (int lane = 0; lane < kLanes; lane++) total += totals[lane];
    for (; i < count; i++) total += values[i] <= bound;
    return total;
}

// In place: floats become ordered integers; returns their least and greatest.
struct Range {
    int32_t low, high;
};

ADANNS_INLINE Range to_ordered(float* keys, int64_t count) {
    VecI lows = splat_int(INT32_MAX), highs = splat_int(INT32_MIN);
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        const VecI bits = bits_of(load(keys + i) + VecF{});  // -0 becomes 0: equal keys are equal integers
        const VecI values = bits ^ ((bits >> 31) & 0x7fffffff);
        store_as(keys + i, values);
        lows = values < lows ? values : lows;
        highs = values > highs ? values : highs;
    }
    Range range = {INT32_MAX, INT32_MIN};
    for (int lane = 0; lane < kLanes; lane++) {
        range.low = lows[lane] < range.low ? lows[lane] : range.low;
        range.high = highs[lane] > range.high ? highs[lane] : range.high;
    }
    for (; i < count; i++) {
        const float key = keys[i] + 0.0f;
        int32_t bits;
        memcpy(&bits, &key, sizeof bits);
        bits = ordered(bits);
        memcpy(keys + i, &bits, sizeof bits);
        range.low = bits < range.low ? bits : range.low;
        range.high = bits > range.high ? bits : range.high;
    }
    return range;
}

// Halves the range of values until `keep` of them lie at or below its middle: each step is one pass of compares, no
// moves. Returns a value with at least `keep` at or below it, and how many there are; more than `keep` only where
// values tie.
struct Cut {
    int32_t value;
    int64_t at_most;
};

ADANNS_INLINE Cut cut_at(const int32_t* values, int64_t count, int64_t keep, Range range) {
    int64_t low = range.low, high = range.high, at_high = count;
    while (low < high && at_high != keep) {
        const int64_t middle = low + ((high - low) >> 1);
        const int64_t at_middle = count_at_most(values, count, (int32_t)middle);
        if (at_middle >= keep) {
            high = middle;
            at_high = at_middle;
        } else {
            low = middle + 1;
        }
    }
    return {(int32_t)high, at_high};
}

ADANNS_INLINE float float_of_ordered(int32_t value) {
    const int32_t bits = ordered(value);
    float key;
    memcpy(&key, &bits, sizeof key);
    return key;
}

float bound_of_smallest(const float* keys, int64_t count, int64_t keep, float* scratch) {
    // Lane-wise minima of groups of keys: groups at least 4 per kept key, so that the bound lets little more through.
    int64_t groups = (4 * keep + kLanes - 1) / kLanes * kLanes;
    if (groups < 128) groups = 128;
    if (groups > count) groups = count;
    memcpy(scratch, keys, (size_t)groups * sizeof(float));
    for (int64_t start = groups; start < count; start += groups) {
        const int64_t width = count - start < groups ? count - start : groups;
        int64_t i = 0;
        for (; i + kLanes <= width; i += kLanes)
            store_as(scratch + i, smaller(load(scratch + i), load(keys + start + i)));
        for (; i < width; i++) scratch[i] = keys[start + i] < scratch[i] ? keys[start + i] : scratch[i];
    }
    const Range range = to_ordered(scratch, groups);
    return float_of_ordered(cut_at((const int32_t*)(const void*)scratch, groups, keep, range).value);
}

float select_smallest(float* keys, uint32_t* rows, int64_t count, int64_t keep) {
    const Range range = to_ordered(keys, count);
    int32_t* values = (int32_t*)(void*)keys;
    const Cut cut = cut_at(values, count, keep, range);
    int64_t kept = 0;
    if (cut.at_most == keep) {
        const VecI limit = splat_int(cut.value);
        int64_t i = 0;
        for (; i + kLanes <= count; i += kLanes) {
            const VecI v = load_as<VecI>(values + i);
            // Integers of the same order compare as integers; the mask comes from the sign of the comparison.
            const uint32_t mask = at_most_mask(v, limit);
            const VecI row = load_as<VecI>(rows + i);
            const VecI bits = v ^ ((v >> 31) & 0x7fffffff);
            store_compressed(keys + kept, floats_of(bits), mask);
            store_compressed(rows + kept, row, mask);
            kept += __builtin_popcount(mask);
        }
        for (; i < count; i++) {
            if (values[i] > cut.value) continue;
            rows[kept] = rows[i];
            keys[kept++] = float_of_ordered(values[i]);
        }
        return float_of_ordered(cut.value);
    }
    int64_t ties = keep - (cut.at_most - [&] {  // how many of those equal to the cut stay: the first ones
                       int64_t equal = 0;
                       for (int64_t i = 0; i < count; i++) equal += values[i] == cut.value;
                       return equal;
                   }());
    for (int64_t i = 0; i < count; i++) {
        if (values[i] > cut.value || (values[i] == cut.value && ties-- <= 0)) continue;
        rows[kept] = rows[i];
        keys[kept++] = float_of_ordered(values[i]);
    }
    return float_of_ordered(cut.value);
}

}  // namespace
