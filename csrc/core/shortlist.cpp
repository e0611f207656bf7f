#include "shortlist.h"

namespace adanns {

void Shortlist::offer(const float* keys, int64_t count, uint32_t first_row, const RowMask& mask, int64_t mask_row) {
    const int64_t collected = collect(keys, count, first_row), in_mask = mask_row - first_row;
    float* kept_keys = keys_.data() + count_;
    uint32_t* kept_rows = rows_.data() + count_;
    int64_t kept = 0;
    for (int64_t i = 0; i < collected; i++) {  // without a branch: which rows are left out is as good as random
        const uint32_t row = kept_rows[i];
        kept_keys[kept] = kept_keys[i];
        kept_rows[kept] = row;
        kept += mask.holds(in_mask + row);
    }
    count_ += kept;
    cut_if_long();
}

void Shortlist::offer(const float* keys, int64_t count, const uint32_t* rows) {
    const auto begin = static_cast<std::size_t>(count_);
    count_ += collect(keys, count, 0);
    for (std::size_t i = begin; i < static_cast<std::size_t>(count_); i++) rows_[i] = rows[rows_[i]];
    cut_if_long();
}

}  // namespace adanns
