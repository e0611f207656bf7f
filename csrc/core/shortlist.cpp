#include "shortlist.h"

namespace adanns {

void Shortlist::offer(const float* keys, int64_t count, uint32_t first_row, const RowMask& mask, int64_t mask_row) {
    const auto begin = static_cast<std::size_t>(count_);
    const auto end = begin + static_cast<std::size_t>(collect(keys, count, first_row));
    std::size_t to = begin;
    for (std::size_t i = begin; i < end; i++) {
        keys_[to] = keys_[i];
        rows_[to] = rows_[i];
        to += mask.holds(mask_row + rows_[i] - first_row);
    }
    count_ = static_cast<int64_t>(to);
    cut_if_long();
}

void Shortlist::offer(const float* keys, int64_t count, const uint32_t* rows) {
    const auto begin = static_cast<std::size_t>(count_);
    count_ += collect(keys, count, 0);
    for (std::size_t i = begin; i < static_cast<std::size_t>(count_); i++) rows_[i] = rows[rows_[i]];
    cut_if_long();
}

}  // namespace adanns
