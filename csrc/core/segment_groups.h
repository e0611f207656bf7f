// Candidates of all segments, segment by segment: each has its arrays, and numbers of rows of its own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "index_view.h"

namespace adanns {

// Candidates [begin, begin + count) are in one segment; `rows` are numbers of its own.
struct Group {
    const IndexView& view;
    std::size_t segment;
    int64_t begin, count;
    const uint32_t* rows;
};

// Calls work(group) for each segment that has any of `rows`, which are numbered through and come in the order of
// segments.
template <class Work>
void by_segment(Segments segments, const uint32_t* rows, int64_t count, std::vector<uint32_t>& scratch, Work work) {
    if (segments.size() == 1) return work(Group{*segments[0].view, 0, 0, count, rows});
    scratch.resize(static_cast<std::size_t>(count));
    const uint32_t* from = rows;
    for (std::size_t s = 0; s < segments.size() && from < rows + count; s++) {
        const int64_t first = segments[s].first_row, last = first + segments[s].view->rows;
        const uint32_t* to = std::partition_point(from, rows + count, [last](uint32_t row) { return row < last; });
        uint32_t* own = scratch.data() + (from - rows);
        std::transform(from, to, own, [first](uint32_t row) { return static_cast<uint32_t>(row - first); });
        if (from < to) work(Group{*segments[s].view, s, from - rows, to - from, own});
        from = to;
    }
}

}  // namespace adanns
