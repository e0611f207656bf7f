#include "table_terms.h"

#include <algorithm>
#include <cmath>

#include "norms.h"
#include "table_query.h"

namespace adanns {
namespace {

constexpr int64_t kChunkRows = 1024;  // a few lists: what is made and not needed costs less than a finer count would

// Of segment after segment, the squared length of every entry.
std::vector<float> entry_squares(const TableCodeView& code) {
    const int entries = code.entries();
    std::vector<float> squares;
    int64_t begin = 0;
    for (const int64_t end : code.segment_ends) {
        // Entries are columns of blocks, as multiply_rows takes them; with one row of ones it adds their squares.
        std::vector<float> squared(code.codebooks.begin() + begin * entries, code.codebooks.begin() + end * entries);
        for (float& value : squared) value *= value;
        const std::vector<float> ones(static_cast<std::size_t>(end - begin), 1.0f);
        squares.resize(squares.size() + static_cast<std::size_t>(entries));
        kernels().multiply_rows(ones.data(), end - begin, 1, squared.data(), end - begin, entries,
                                squares.data() + squares.size() - static_cast<std::size_t>(entries), entries);
        begin = end;
    }
    return squares;
}

// |centroid + entry|^2 = |centroid|^2 + 2 centroid . entry + |entry|^2: the last two as tables, the first per rung.
void add_centroid(const TableCodeView& code, const std::vector<float>& squares, int64_t list,
                  std::vector<float>& tables, std::vector<float>& squared_prefixes) {
    const float* centroid = code.centroids + list * code.centroid_stride;
    float_tables(code, code.rungs.back().segments, centroid, 1, tables);
    for (std::size_t i = 0; i < tables.size(); i++) tables[i] = 2 * tables[i] + squares[i];
    for (std::size_t rung = 0; rung < code.rungs.size(); rung++)
        squared_prefixes[rung] =
            static_cast<float>(squared_norm(centroid, rotated_dims(code, code.rungs[rung].segments)));
}

std::size_t entry_of(const TableCodeView& code, const uint8_t* codes, std::size_t segment) {
    if (code.bits == 8) return codes[segment * kBlockRows];
    return codes[segment / 2 * kBlockRows] >> segment % 2 * 4 & 15;
}

}  // namespace

TableTerms::TableTerms(const IndexView& view, Span<const int64_t> zero_rows)
    : rows_(view.rows),
      stride_(view.rows + kBlockRows),
      chunks_((view.rows + kChunkRows - 1) / kChunkRows),
      zero_rows_(zero_rows),
      squares_(entry_squares(*view.table_code)),
      values_(new float[view.table_code->rungs.size() * static_cast<std::size_t>(stride_)]),
      made_(new std::atomic<bool>[static_cast<std::size_t>(chunks_)]) {
    for (int64_t chunk = 0; chunk < chunks_; chunk++) made_[static_cast<std::size_t>(chunk)] = false;
    for (std::size_t rung = 0; rung < view.table_code->rungs.size(); rung++)
        std::fill_n(values_.get() + static_cast<int64_t>(rung) * stride_ + rows_, kBlockRows, 0.0f);
}

const float* TableTerms::of_rows(const IndexView& view, std::size_t rung, int64_t begin, int64_t end) {
    const int64_t read = std::min(rows_, end + kBlockRows - 1);  // kernels read whole vectors
    for (int64_t chunk = begin / kChunkRows; chunk * kChunkRows < read; chunk++) {
        std::atomic<bool>& made = made_[static_cast<std::size_t>(chunk)];
        if (made.load(std::memory_order_acquire)) continue;
        const std::lock_guard<std::mutex> lock(locks_[static_cast<std::size_t>(chunk) % kLocks]);
        if (made.load(std::memory_order_relaxed)) continue;
        make(view, chunk);
        made.store(true, std::memory_order_release);
    }
    return values_.get() + static_cast<int64_t>(rung) * stride_;
}

void TableTerms::make(const IndexView& view, int64_t chunk) {
    const TableCodeView& code = *view.table_code;
    const auto entries = static_cast<std::size_t>(code.entries());
    std::vector<float> tables = squares_, squared_prefixes(code.rungs.size());
    const int64_t first = chunk * kChunkRows, last = std::min(rows_, first + kChunkRows);
    int32_t list = list_of(view, static_cast<uint32_t>(first));
    if (code.centroids != nullptr) add_centroid(code, squares_, list, tables, squared_prefixes);
    for (int64_t row = first; row < last; row++) {
        if (view.lists && row == view.lists->offsets[static_cast<std::size_t>(list) + 1]) {
            list = list_of(view, static_cast<uint32_t>(row));  // not the next one where that is empty
            if (code.centroids != nullptr) add_centroid(code, squares_, list, tables, squared_prefixes);
        }
        const uint8_t* codes = codes_of(view, row, list);
        float sum = 0;
        float* to = values_.get() + row;
        for (std::size_t rung = 0, segment = 0; rung < code.rungs.size(); rung++, to += stride_) {
            for (; segment < static_cast<std::size_t>(code.rungs[rung].segments); segment++)
                sum += tables[segment * entries + entry_of(code, codes, segment)];
            const float square = std::max(0.0f, sum + squared_prefixes[rung]);
            *to = view.metric == Metric::l2 ? square : square > 0 ? 1 / std::sqrt(square) : 0.0f;
        }
    }
    if (view.metric != Metric::cosine) return;
    const int64_t* zero = std::lower_bound(zero_rows_.begin(), zero_rows_.end(), first);
    for (; zero != zero_rows_.end() && *zero < last; zero++)
        for (std::size_t rung = 0; rung < code.rungs.size(); rung++)
            values_[rung * static_cast<std::size_t>(stride_) + static_cast<std::size_t>(*zero)] = 0;
}

}  // namespace adanns
