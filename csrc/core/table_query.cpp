#include "table_query.h"

#include <algorithm>
#include <limits>

namespace adanns {
namespace {

// tables: [query][segment][entry] of `count` queries, code.dims apart.
void float_tables(const TableCodeView& code, int segments, const float* queries, int64_t count, TableScratch& scratch) {
    const KernelTable& table = kernels();
    const int entries = code.entries(), rotated_dims = code.segment_ends[static_cast<std::size_t>(segments - 1)];
    const float* rotated = queries;
    int64_t stride = code.dims;
    if (!code.rotation.empty()) {
        stride = rotated_dims;
        scratch.rotated.resize(static_cast<std::size_t>(count * stride));
        table.multiply_rows(queries, code.dims, count, code.rotation.data(), code.dims, rotated_dims,
                            scratch.rotated.data(), stride);
        rotated = scratch.rotated.data();
    }
    const int64_t per_query = int64_t{segments} * entries;
    scratch.tables.resize(static_cast<std::size_t>(count * per_query));
    for (int segment = 0, begin = 0; segment < segments; segment++) {
        const int end = code.segment_ends[static_cast<std::size_t>(segment)];
        table.multiply_rows(rotated + begin, stride, count, code.codebooks.data() + int64_t{begin} * entries,
                            end - begin, entries, scratch.tables.data() + int64_t{segment} * entries, per_query);
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
                   const int64_t* order, int64_t count, TableScratch& scratch, uint8_t* tables, float* m, float* c) {
    const int entries = code.entries();
    const int64_t bytes = table_bytes(code, segments);
    scratch.queries.resize(static_cast<std::size_t>(kMaxQueryTile * code.dims));
    for (int64_t first = 0; first < count; first += kMaxQueryTile) {
        const int64_t some = std::min<int64_t>(kMaxQueryTile, count - first);
        for (int64_t q = 0; q < some; q++)
            std::copy_n(queries + order[first + q] * query_stride, code.dims, scratch.queries.begin() + q * code.dims);
        float_tables(code, segments, scratch.queries.data(), some, scratch);
        for (int64_t q = 0; q < some; q++) {
            float step, bias;
            kernels().round_tables(scratch.tables.data() + q * segments * entries, segments, entries,
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

void table_keys_of(const IndexView& view, int prefix_dims, const float* query, const uint32_t* rows, int64_t count,
                   float* keys) {
    static thread_local TableScratch scratch;
    static thread_local std::vector<int32_t> lists;
    static thread_local std::vector<float> list_dots;
    const TableCodeView& code = *view.table_code;
    const int segments = code.segments_of(prefix_dims);
    float_tables(code, segments, query, 1, scratch);
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
        float key = m * (table_sum(code, segments, scratch.tables.data(), codes) + list_dots[at]);
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
