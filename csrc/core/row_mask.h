// Which rows of a segment take part in a search: all of them, or those whose bit is set.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernel_table.h"

namespace adanns {

class RowMask {
   public:
    RowMask() = default;  // all rows
    // Bit `row % 64` of words[row / 64]; one word more than the rows need can be read.
    RowMask(const uint64_t* words, int64_t rows) : words_(words), count_(count(0, rows)) {}

    bool all() const { return words_ == nullptr; }
    int64_t count() const { return count_; }
    bool holds(int64_t row) const { return words_[row >> 6] >> (row & 63) & 1; }

    // Of rows [begin, end).
    int64_t count(int64_t begin, int64_t end) const {
        int64_t sum = 0;
        for (int64_t row = begin; row < end; row += 64) sum += __builtin_popcountll(bits(row, end));
        return sum;
    }

    // The first row of [row, end) that takes part; `end` where none does.
    int64_t next(int64_t row, int64_t end) const {
        for (; row < end; row += 64)
            if (const uint64_t found = bits(row, end)) return row + __builtin_ctzll(found);
        return end;
    }

    // Of the blocks that start at `row`: the first one with a row that takes part, and all that follow it without a
    // gap, `most` rows at most.
    struct Run {
        int64_t begin, end;
    };
    Run next_blocks(int64_t row, int64_t end, int64_t most) const {
        const int64_t begin = row + (next(row, end) - row) / kBlockRows * kBlockRows;
        int64_t to = begin;
        while (to < end && to - begin < most && bits(to, std::min(end, to + kBlockRows)) != 0) to += kBlockRows;
        return {std::min(begin, end), std::min(to, end)};
    }

   private:
    // Rows [row, row + 64), the first one lowest; none from `end` on.
    uint64_t bits(int64_t row, int64_t end) const {
        const int64_t word = row >> 6, shift = row & 63, count = end - row;
        uint64_t found = words_[word] >> shift;
        if (shift > 0) found |= words_[word + 1] << (64 - shift);
        return count < 64 ? found & ((uint64_t{1} << count) - 1) : found;
    }

    const uint64_t* words_ = nullptr;
    int64_t count_ = 0;
};

}  // namespace adanns
