#include "table_query.h"

#include <algorithm>
#include <limits>

#include "multiply.h"

namespace adanns {
namespace {

// tables: [query][segment][entry].
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

// Where the codes of a row start, and how far apart its bytes are.
const uint8_t* codes_of(const IndexView& view, int64_t row, int64_t list) {
    const int64_t first = view.lists ? view.lists->offsets[static_cast<std::size_t>(list)] : 0;
    const int64_t block = view.block_offsets[static_cast<std::size_t>(list)] + (row - first) / kBlockRows;
    return view.table_code->blocks + block * view.table_code->block_bytes + (row - first) % kBlockRows;
}

float table_sum(const TableCodeView& code, int segments, const float* tables, const uint8_t* codes) {
    const int entries = code.entries();
    float sums[2] = {};
    if (code.bits == 8) {
        for (int s = 0; s < segments; s++) sums[s % 2] += tables[s * entries + codes[s * kBlockRows]];
    } else {
        for (int s = 0; s < segments; s += 2) {
            const int both = codes[s / 2 * kBlockRows];
            sums[0] += tables[s * entries + (both & 15)];
            if (s + 1 < segments) sums[1] += tables[(s + 1) * entries + (both >> 4)];
        }
    }
    return sums[0] + sums[1];
}

}  // namespace

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

void centroid_dots(const TableCodeView& code, int prefix_dims, const float* query, const int32_t* lists, int64_t count,
                   float* dots) {
    static thread_local std::vector<float> padded;
    const int padded_dims = (prefix_dims + kBlockRows - 1) / kBlockRows * kBlockRows;
    padded.assign(static_cast<std::size_t>(padded_dims), 0.0f);
    std::copy_n(query, prefix_dims, padded.begin());
    std::fill_n(dots, count, 0.0f);
    kernels().dot_gather_f32(code.centroids, code.centroid_stride, reinterpret_cast<const uint32_t*>(lists), count,
                             padded.data(), padded_dims, dots);
}

void table_keys_of(const IndexView& view, int prefix_dims, const float* query, const float* rotated,
                   const uint32_t* rows, int64_t count, float* keys) {
    static thread_local std::vector<float> tables;
    static thread_local std::vector<int32_t> lists;
    static thread_local std::vector<float> list_dots;
    const TableCodeView& code = *view.table_code;
    const int segments = code.segments_of(prefix_dims);
    float_tables(code, segments, rotated, 1, tables);
    lists.assign(static_cast<std::size_t>(count), 0);
    if (view.lists)
        for (int64_t i = 0; i < count; i++) {
            const Span<const int64_t> offsets = view.lists->offsets;
            const auto after = std::upper_bound(offsets.begin(), offsets.end(), int64_t{rows[i]});
            lists[static_cast<std::size_t>(i)] = static_cast<int32_t>(after - offsets.begin() - 1);
        }
    list_dots.assign(static_cast<std::size_t>(count), 0.0f);
    if (code.centroids != nullptr) centroid_dots(code, prefix_dims, query, lists.data(), count, list_dots.data());

    const float m = key_multiplier(view.metric);
    for (int64_t i = 0; i < count; i++) __builtin_prefetch(codes_of(view, rows[i], lists[static_cast<std::size_t>(i)]));
    for (int64_t i = 0; i < count; i++) {
        const auto at = static_cast<std::size_t>(i);
        const uint8_t* codes = codes_of(view, rows[i], lists[at]);
        float key = m * (table_sum(code, segments, tables.data(), codes) + list_dots[at]);
        if (view.metric == Metric::l2) key += view.terms.at(prefix_dims)[rows[i]];
        if (view.metric == Metric::cosine && prefix_dims != code.dims) {
            float ratio;
            view.terms.norm_ratios(prefix_dims, code.dims, rows[i], int64_t{rows[i]} + 1, &ratio);
            key *= ratio;
        }
        keys[i] = std::min(std::numeric_limits<float>::infinity(), key);  // where sums went beyond float
    }
}

}  // namespace adanns
