// The best rows seen so far for one query: an unordered buffer behind a threshold.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernel_table.h"
#include "row_mask.h"

namespace adanns {

// Keeps the `keep` smallest keys of all that are offered; of equal keys the ones offered first. What is kept depends on
// the order of offers only, not on how they are cut into calls.
class Shortlist {
   public:
    void reset(int64_t keep) {
        keep_ = keep;
        count_ = 0;
        threshold_ = std::numeric_limits<float>::infinity();
    }

    // Keeps every row with a key below `threshold`, however many there are.
    void keep_all_below(float threshold) {
        reset(std::numeric_limits<int64_t>::max() / 2);
        threshold_ = threshold;
    }

    // Rows first_row ... first_row + count - 1, with their keys; those of them that the mask holds, in which they start
    // at mask_row.
    void offer(const float* keys, int64_t count, uint32_t first_row, const RowMask& mask, int64_t mask_row) {
        count_ += collect(keys, count, first_row, mask, mask_row);
        cut_if_long();
    }

    // Any rows, with their keys.
    void offer(const float* keys, int64_t count, const uint32_t* rows);

    void merge(const Shortlist& later) {
        reserve(count_ + later.count_);
        std::copy(later.keys_.begin(), later.keys_.begin() + later.count_, keys_.begin() + count_);
        std::copy(later.rows_.begin(), later.rows_.begin() + later.count_, rows_.begin() + count_);
        count_ += later.count_;
    }

    void cut() {
        if (count_ <= keep_) return;
        threshold_ = kernels().select_smallest(keys_.data(), rows_.data(), count_, keep_);
        count_ = keep_;
    }

    int64_t count() const { return count_; }
    float* keys() { return keys_.data(); }
    uint32_t* rows() { return rows_.data(); }

   private:
    // Writes what is below the threshold after what there is; returns how many.
    int64_t collect(const float* keys, int64_t count, uint32_t first_row, const RowMask& mask, int64_t mask_row) {
        reserve(count_ + count);
        return kernels().collect_below(keys, count, threshold_, first_row, mask.words(), mask_row,
                                       keys_.data() + count_, rows_.data() + count_);
    }

    void cut_if_long() {
        // The first cut comes early, since it makes the threshold; later ones wait until they pay.
        const int64_t slack =
            threshold_ == std::numeric_limits<float>::infinity() ? 32 : std::max<int64_t>(keep_ / 2, 128);
        if (count_ > keep_ + slack) cut();
    }

    void reserve(int64_t count) {
        const auto room = static_cast<std::size_t>(count + kBlockRows);  // kernels write whole vectors
        if (keys_.size() >= room) return;
        keys_.resize(room + room / 2);
        rows_.resize(room + room / 2);
    }

    int64_t keep_ = 0, count_ = 0;
    float threshold_ = std::numeric_limits<float>::infinity();
    std::vector<float> keys_;
    std::vector<uint32_t> rows_;
};

}  // namespace adanns
