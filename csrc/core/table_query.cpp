#include "table_query.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "multiply.h"

namespace adanns {
namespace {

constexpr int64_t kCodesAhead = 16;  // rows whose codes and terms are prefetched

// Four sums hide the latency of an addition.
float table_sum(const TableCodeView& code, int segments, const float* tables, const uint8_t* codes) {
    float sums[4] = {};
    int s = 0;
    if (code.bits == 8) {
        for (; s + 4 <= segments; s += 4, codes += 4 * kBlockRows, tables += 4 * 256)
            for (int i = 0; i < 4; i++) sums[i] += tables[i * 256 + codes[i * kBlockRows]];
        for (; s < segments; s++, codes += kBlockRows, tables += 256) sums[0] += tables[*codes];
    } else {
        for (; s + 4 <= segments; s += 4, codes += 2 * kBlockRows, tables += 4 * 16) {
            sums[0] += tables[codes[0] & 15];
            sums[1] += tables[16 + (codes[0] >> 4)];
            sums[2] += tables[32 + (codes[kBlockRows] & 15)];
            sums[3] += tables[48 + (codes[kBlockRows] >> 4)];
        }
        for (; s < segments; s++, tables += 16) {
            sums[0] += tables[*codes >> s % 2 * 4 & 15];
            codes += s % 2 * kBlockRows;
        }
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

}  // namespace

void float_tables(const TableCodeView& code, int segments, const float* rotated, int64_t count,
                  std::vector<float>& tables) {
    const int entries = code.entries();
    const int64_t stride = rotated_dims(code, segments), per_query = int64_t{segments} * entries;
    tables.resize(static_cast<std::size_t>(count * per_query));
    for (int segment = 0, begin = 0; segment < segments; segment++) {
        const int end = code.segment_ends[static_cast<std::size_t>(segment)];
        kernels().multiply_rows(rotated + begin, stride, count, code.codebooks.data() + int64_t{begin} * entries,
                                end - begin, entries, tables.data() + int64_t{segment} * entries, per_query);
        begin = end;
    }
}

const uint8_t* codes_of(const IndexView& view, int64_t row, int64_t list) {
    const int64_t first = view.lists ? view.lists->offsets[static_cast<std::size_t>(list)] : 0;
    const int64_t block = view.block_offsets[static_cast<std::size_t>(list)] + (row - first) / kBlockRows;
    return view.table_code->blocks + block * view.table_code->block_bytes + (row - first) % kBlockRows;
}

int32_t list_of(const IndexView& view, uint32_t row) {
    if (!view.lists) return 0;
    const int64_t* first = view.lists->offsets.begin();
    for (auto count = view.lists->count(); count > 1;) {
        const int64_t half = count / 2;
        first += first[half] <= row ? half : 0;
        count -= half;
    }
    return static_cast<int32_t>(first - view.lists->offsets.begin());
}

int64_t table_bytes(const TableCodeView& code, int segments) {
    return code.bits == 8 ? int64_t{256} * segments : (int64_t{segments} + 7) / 8 * 128;
}

void table_queries(const TableCodeView& code, Metric metric, int segments, const float* queries, int64_t query_stride,
                   const int64_t* order, int64_t count, float* rotated, uint8_t* tables, float* m, float* c) {
    static thread_local std::vector<float> prefixes, exact;
    const int entries = code.entries(), dims = rotated_dims(code, segments);
    const int64_t bytes = table_bytes(code, segments);
    const auto copy_prefixes = [&](int prefix_dims, float* to) {
        for (int64_t q = 0; q < count; q++)
            std::copy_n(queries + order[q] * query_stride, prefix_dims, to + q * prefix_dims);
    };
    if (code.rotation.empty()) {
        copy_prefixes(dims, rotated);
    } else {
        prefixes.resize(static_cast<std::size_t>(count * code.dims));
        copy_prefixes(code.dims, prefixes.data());
        multiply_blocks(prefixes.data(), count, code.rotation, code.dims, dims, rotated);
    }
    for (int64_t first = 0; first < count; first += kMaxQueryTile) {
        const int64_t some = std::min<int64_t>(kMaxQueryTile, count - first);
        float_tables(code, segments, rotated + first * dims, some, exact);
        for (int64_t q = 0; q < some; q++) {
            float step, bias;
            kernels().round_tables(exact.data() + q * segments * entries, segments, entries,
                                   tables + (first + q) * bytes, &step, &bias);
            m[first + q] = key_multiplier(metric) * step;
            c[first + q] = key_multiplier(metric) * bias;
        }
    }
}

void centroid_dots(const TableCodeView& code, int segments, const float* rotated, const int32_t* lists, int64_t count,
                   float* dots) {
    static thread_local std::vector<float> padded;
    const int dims = rotated_dims(code, segments), padded_dims = (dims + kBlockRows - 1) / kBlockRows * kBlockRows;
    padded.assign(static_cast<std::size_t>(padded_dims), 0.0f);
    std::copy_n(rotated, dims, padded.begin());
    std::fill_n(dots, count, 0.0f);
    kernels().dot_gather_f32(code.centroids, code.centroid_stride, reinterpret_cast<const uint32_t*>(lists), count,
                             padded.data(), padded_dims, dots);
}

void table_keys_of(const IndexView& view, int prefix_dims, const float* rotated, const uint32_t* rows, int64_t count,
                   float* keys) {
    static thread_local std::vector<float> tables, list_dots;
    static thread_local std::vector<int32_t> lists;
    const TableCodeView& code = *view.table_code;
    const int segments = code.segments_of(prefix_dims);
    float_tables(code, segments, rotated, 1, tables);
    lists.resize(static_cast<std::size_t>(count));
    for (int64_t i = 0; i < count; i++) lists[static_cast<std::size_t>(i)] = list_of(view, rows[i]);
    list_dots.assign(static_cast<std::size_t>(count), 0.0f);
    if (code.centroids != nullptr) centroid_dots(code, segments, rotated, lists.data(), count, list_dots.data());

    const float m = key_multiplier(view.metric);
    const float* terms = nullptr;
    if (code.terms != nullptr)
        for (int64_t i = 0; i < count; i++) terms = code.terms_of(view, prefix_dims, rows[i], int64_t{rows[i]} + 1);
    const int64_t bytes = int64_t{code_bytes(code, segments)} * kBlockRows;
    const auto prefetch = [&](int64_t i) {
        const uint8_t* codes = codes_of(view, rows[i], lists[static_cast<std::size_t>(i)]);
        for (int64_t byte = 0; byte < bytes; byte += 64) __builtin_prefetch(codes + byte);
        if (terms != nullptr) __builtin_prefetch(terms + rows[i]);
    };
    for (int64_t i = 0; i < std::min(count, kCodesAhead); i++) prefetch(i);
    for (int64_t i = 0; i < count; i++) {
        if (i + kCodesAhead < count) prefetch(i + kCodesAhead);
        const auto at = static_cast<std::size_t>(i);
        const uint8_t* codes = codes_of(view, rows[i], lists[at]);
        float key = m * (table_sum(code, segments, tables.data(), codes) + list_dots[at]);
        if (view.metric == Metric::l2) key += terms[rows[i]];
        if (view.metric == Metric::cosine) key *= terms[rows[i]];
        keys[i] = std::min(std::numeric_limits<float>::infinity(), key);  // where sums went beyond float
    }
}

}  // namespace adanns
