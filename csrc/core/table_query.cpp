#include "table_query.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "multiply.h"
#include "norms.h"

namespace adanns {
namespace {

// Dot products with every entry; tables: [query][segment][entry].
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

// Of the entries that a row's codes name.
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

// dots[i] = prefix of the query . the same prefix of the centroid of list lists[i].
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

float norm_weight(Metric metric, const TableRung& rung, const float* query) {
    switch (metric) {
        case Metric::l2: return 0.5f;
        case Metric::inner_product: return 0.0f;
        case Metric::cosine: {
            const double weight = 0.5 * std::sqrt(squared_norm(query, rung.dims)) / rung.prefix_norm;
            return static_cast<float>(std::min<double>(weight, std::numeric_limits<float>::max()));
        }
    }
    return 0.0f;
}

// The list of each row.
void lists_of(const ListsView& lists, const uint32_t* rows, int64_t count, int32_t* out) {
    for (int64_t i = 0; i < count; i++) {
        const auto after = std::upper_bound(lists.offsets.begin(), lists.offsets.end(), int64_t{rows[i]});
        out[i] = static_cast<int32_t>(after - lists.offsets.begin() - 1);
    }
}

float decoded_key(Metric metric, float dot, float squared_norm) {
    squared_norm = std::max(0.0f, squared_norm);
    switch (metric) {
        case Metric::l2: return squared_norm - 2.0f * dot;
        case Metric::inner_product: return -dot;
        case Metric::cosine: return squared_norm > 0 ? -dot / std::sqrt(squared_norm) : 0.0f;
    }
    return -dot;
}

}  // namespace

int64_t table_bytes(const TableCodeView& code, int segments) {
    return code.bits == 8 ? int64_t{256} * segments : (int64_t{segments} + 7) / 8 * 128;
}

void table_queries(const TableCodeView& code, const TableRung& rung, Metric metric, const float* queries,
                   int64_t query_stride, const int64_t* order, int64_t count, const TableQueryArrays& out) {
    static thread_local std::vector<float> prefixes, exact;
    const int dims = rotated_dims(code, rung.segments);
    const int64_t bytes = table_bytes(code, rung.segments), per_query = int64_t{rung.segments} * code.entries();
    const auto copy_prefixes = [&](int prefix_dims, float* to) {
        for (int64_t q = 0; q < count; q++)
            std::copy_n(queries + order[q] * query_stride, prefix_dims, to + q * prefix_dims);
    };
    if (code.rotation.empty()) {
        copy_prefixes(dims, out.rotated);
    } else {
        prefixes.resize(static_cast<std::size_t>(count * code.dims));
        copy_prefixes(code.dims, prefixes.data());
        multiply_blocks(prefixes.data(), count, code.rotation, code.dims, dims, out.rotated);
    }
    const float m = key_multiplier(metric);
    for (int64_t first = 0; first < count; first += kMaxQueryTile) {
        const int64_t some = std::min<int64_t>(kMaxQueryTile, count - first);
        float_tables(code, rung.segments, out.rotated + first * dims, some, exact);
        for (int64_t q = first; q < first + some; q++) {
            float* tables = exact.data() + (q - first) * per_query;
            const float weight = out.norm_weights[q] = norm_weight(metric, rung, queries + order[q] * query_stride);
            if (weight != 0)
                for (int64_t i = 0; i < per_query; i++) tables[i] -= weight * rung.squared_norms[i];
            float step, bias;
            kernels().round_tables(tables, rung.segments, code.entries(), out.tables + q * bytes, &step, &bias);
            out.m[q] = m * step;
            out.c[q] = m * bias;
        }
    }
}

void list_sums(const TableCodeView& code, const TableRung& rung, const float* query, float norm_weight,
               const int32_t* lists, int64_t count, float* sums) {
    centroid_dots(code, rung.dims, query, lists, count, sums);
    if (norm_weight == 0) return;
    for (int64_t i = 0; i < count; i++)
        sums[i] -= norm_weight * rung.list_squared_norms[static_cast<std::size_t>(lists[i])];
}

void decoded_keys(const IndexView& view, const TableRung& rung, const float* query, const float* rotated,
                  const uint32_t* rows, int64_t count, float* keys) {
    static thread_local std::vector<float> tables, dots;
    static thread_local std::vector<int32_t> lists;
    const TableCodeView& code = *view.table_code;
    float_tables(code, rung.segments, rotated, 1, tables);
    lists.assign(static_cast<std::size_t>(count), 0);
    if (view.lists) lists_of(*view.lists, rows, count, lists.data());
    dots.assign(static_cast<std::size_t>(count), 0.0f);
    if (code.centroids != nullptr) centroid_dots(code, rung.dims, query, lists.data(), count, dots.data());

    for (int64_t i = 0; i < count; i++) __builtin_prefetch(codes_of(view, rows[i], lists[static_cast<std::size_t>(i)]));
    for (int64_t i = 0; i < count; i++) {
        const auto at = static_cast<std::size_t>(i);
        const uint8_t* codes = codes_of(view, rows[i], lists[at]);
        const float dot = dots[at] + table_sum(code, rung.segments, tables.data(), codes);
        float squared = 0;
        if (rung.squared_norms != nullptr) squared = table_sum(code, rung.segments, rung.squared_norms, codes);
        if (!rung.list_squared_norms.empty()) squared += rung.list_squared_norms[static_cast<std::size_t>(lists[at])];
        const bool zero = std::binary_search(view.zero_rows.begin(), view.zero_rows.end(), int64_t{rows[i]});
        const float key = zero ? 0.0f : decoded_key(view.metric, dot, squared);
        keys[i] = std::min(std::numeric_limits<float>::infinity(), key);  // where sums went beyond float
    }
}

}  // namespace adanns
