#include "shortlist.h"

namespace adanns {

void Shortlist::offer(const float* keys, int64_t count, const uint32_t* rows) {
    const auto begin = static_cast<std::size_t>(count_);
    count_ += collect(keys, count, 0, RowMask(), 0);
    for (std::size_t i = begin; i < static_cast<std::size_t>(count_); i++) rows_[i] = rows[rows_[i]];
    cut_if_long();
}

}  // namespace adanns
