// Which rows of a segment take part in a search: all of them, or those whose bit is set.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernel_table.h"

namespace adanns {

class RowMask {
   public:
    RowMask() = default;  // all rows
    // Bit `row % 64` of words[row / 64]; one word more than the rows need can be read.
    RowMask(const uint64_t* words, int64_t rows) : words_(words) {
        count_ = count(0, rows);
        rows_ = rows;
    }

    bool all() const { return words_ == nullptr; }
    int64_t count() const { return count_; }
    const uint64_t* words() const { return words_; }  // nullptr: all rows

    // Of rows [begin, end).
    int64_t count(int64_t begin, int64_t end) const {
        if (begin == 0 && end == rows_) return count_;
        int64_t sum = 0;
        for (int64_t row = begin; row < end; row += 64) sum += ones(bits(row, end));
        return sum;
    }

    // The first row of [row, end) that takes part; `end` where none does.
    int64_t next(int64_t row, int64_t end) const {
        for (; row < end; row += 64)
            if (const uint64_t found = bits(row, end)) return row + __builtin_ctzll(found);
        return end;
    }

    // Writes up to `most` numbers of rows of [row, end) that take part to `rows`; returns where to go on.
    int64_t write(int64_t row, int64_t end, int64_t most, std::vector<uint32_t>& rows) const {
        rows.clear();
        for (; row < end; row += 64)
            for (uint64_t found = bits(row, end); found != 0; found &= found - 1) {
                const int64_t at = row + __builtin_ctzll(found);
                rows.push_back(static_cast<uint32_t>(at));
                if (static_cast<int64_t>(rows.size()) == most) return at + 1;
            }
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
    // Where a processor's own instruction cannot be counted on, the compiler would call a function for it.
    static int64_t ones(uint64_t word) {
        word -= word >> 1 & 0x5555555555555555;
        word = (word & 0x3333333333333333) + (word >> 2 & 0x3333333333333333);
        return static_cast<int64_t>(((word + (word >> 4)) & 0x0f0f0f0f0f0f0f0f) * 0x0101010101010101 >> 56);
    }

    // Rows [row, row + 64), the first one lowest; none from `end` on.
    uint64_t bits(int64_t row, int64_t end) const {
        const int64_t word = row >> 6, shift = row & 63, count = end - row;
        uint64_t found = words_[word] >> shift;
        if (shift > 0) found |= words_[word + 1] << (64 - shift);
        return count < 64 ? found & ((uint64_t{1} << count) - 1) : found;
    }

    const uint64_t* words_ = nullptr;
    int64_t count_ = 0;
    int64_t rows_ = -1;  // until they are counted
};

}  // namespace adanns
