#include "index_view.h"

#include <algorithm>

#include "kernel_table.h"

namespace adanns {

const float* TermsView::at(int dims) const {
    if (values == nullptr) return nullptr;
    const auto rung = std::lower_bound(ladder.begin(), ladder.end(), dims) - ladder.begin();
    return values + rung * stride;
}

std::vector<int64_t> block_offsets_of(Span<const int64_t> list_offsets) {
    std::vector<int64_t> blocks(list_offsets.size());
    for (std::size_t list = 0; list + 1 < list_offsets.size(); list++)
        blocks[list + 1] = blocks[list] + (list_offsets[list + 1] - list_offsets[list] + kBlockRows - 1) / kBlockRows;
    return blocks;
}

}  // namespace adanns
