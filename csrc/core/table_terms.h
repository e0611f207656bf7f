// Row terms of table codes, of the rows as they decode: made from the codes where a search first needs them, so that
// opening an index reads none.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "span.h"

namespace adanns {

struct IndexView;

// One float per row and rung. Rows are taken in chunks, each made once, by whichever thread comes first.
class TableTerms {
   public:
    // zero_rows ascend: those rows were zero before they were coded, and have no direction under cosine whatever they
    // decode to. Nothing is read of the view's codes yet; it must be the same one in all later calls.
    TableTerms(const IndexView& view, Span<const int64_t> zero_rows);

    // The terms of one rung (its place among the rungs), of which those of rows [begin, end) can be read, in whole
    // vectors.
    const float* of_rows(const IndexView& view, std::size_t rung, int64_t begin, int64_t end);

   private:
    void make(const IndexView& view, int64_t chunk);

    static constexpr std::size_t kLocks = 16;

    int64_t rows_, stride_, chunks_;
    Span<const int64_t> zero_rows_;
    std::vector<float> squares_;  // of the codebooks' entries
    // Not initialised: pages that no search needs take no memory.
    std::unique_ptr<float[]> values_;
    std::unique_ptr<std::atomic<bool>[]> made_;
    std::array<std::mutex, kLocks> locks_;
};

}  // namespace adanns
