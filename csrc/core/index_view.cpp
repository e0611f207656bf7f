#include "index_view.h"

#include <algorithm>

#include "kernel_table.h"

namespace adanns {

int TableCodeView::segments_of(int prefix_dims) const {
    for (const TableRung& rung : rungs)
        if (rung.dims == prefix_dims) return rung.segments;
    return 0;
}

const float* TableCodeView::terms_of(const IndexView& view, int prefix_dims, int64_t begin, int64_t end) const {
    if (terms == nullptr) return nullptr;
    for (std::size_t rung = 0; rung < rungs.size(); rung++)
        if (rungs[rung].dims == prefix_dims) return terms->of_rows(view, rung, begin, end);
    return nullptr;
}

const float* TermsView::at(int dims) const {
    if (values == nullptr) return nullptr;
    const auto rung = std::lower_bound(ladder.begin(), ladder.end(), dims) - ladder.begin();
    return values + rung * stride;
}

void TermsView::norm_ratios(int prefix_dims, int code_dims, int64_t begin, int64_t end, float* ratios) const {
    const float* at_prefix = at(prefix_dims);
    const float* at_code = at(code_dims);
    for (int64_t row = begin; row < end; row++)
        ratios[row - begin] = at_code[row] > 0 ? at_prefix[row] / at_code[row] : 0.0f;
}

std::vector<int64_t> block_offsets_of(Span<const int64_t> list_offsets) {
    std::vector<int64_t> blocks(list_offsets.size());
    for (std::size_t list = 0; list + 1 < list_offsets.size(); list++)
        blocks[list + 1] = blocks[list] + (list_offsets[list + 1] - list_offsets[list] + kBlockRows - 1) / kBlockRows;
    return blocks;
}

}  // namespace adanns
