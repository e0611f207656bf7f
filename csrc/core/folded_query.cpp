#include "folded_query.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace adanns {
namespace {

constexpr int kPad = 16;
constexpr int64_t kCopyAhead = 8;  // rows that are prefetched

// Calls a kernel member with the plane's own element type.
template <class Call>
void with_rows(const PlaneView& plane, Call call) {
    switch (plane.type) {
        case ScalarType::float32: return call(static_cast<const float*>(plane.rows));
        case ScalarType::float16: return call(static_cast<const uint16_t*>(plane.rows));
        case ScalarType::int8: return call(static_cast<const int8_t*>(plane.rows));
    }
}

constexpr auto dot_rows_of(const KernelTable& table, const float*) { return table.dot_rows_f32; }
constexpr auto dot_rows_of(const KernelTable& table, const uint16_t*) { return table.dot_rows_f16; }
constexpr auto dot_rows_of(const KernelTable& table, const int8_t*) { return table.dot_rows_i8; }
constexpr auto dot_gather_of(const KernelTable& table, const float*) { return table.dot_gather_f32; }
constexpr auto dot_gather_of(const KernelTable& table, const uint16_t*) { return table.dot_gather_f16; }
constexpr auto dot_gather_of(const KernelTable& table, const int8_t*) { return table.dot_gather_i8; }

}  // namespace

DimRange range_of(const IndexView& view, int from, int to) {
    DimRange range;
    range.from = from;
    range.to = to;
    for (const PlaneView& plane : view.planes) {
        const int first = std::max(from, plane.first_dim), last = std::min(to, plane.first_dim + plane.dims);
        if (first >= last) continue;
        const int start = (first - plane.first_dim) / kPad * kPad;
        const int padded = (last - plane.first_dim - start + kPad - 1) / kPad * kPad;
        range.stretches.push_back({&plane, start, first, last, padded, range.folded_dims});
        range.folded_dims += padded;
    }
    return range;
}

float fold_query(const DimRange& range, const float* query, float* folded) {
    double constant = 0;
    for (const Stretch& stretch : range.stretches) {
        float* to = folded + stretch.query_offset;
        const int first_dim = stretch.plane->first_dim + static_cast<int>(stretch.first_element);
        std::memset(to, 0, static_cast<std::size_t>(stretch.padded_dims) * sizeof(float));
        if (stretch.plane->type != ScalarType::int8) {
            std::copy(query + stretch.from, query + stretch.to, to + (stretch.from - first_dim));
            continue;
        }
        for (int dim = stretch.from; dim < stretch.to; dim++) {
            const auto in_plane = static_cast<std::size_t>(dim - stretch.plane->first_dim);
            to[dim - first_dim] = query[dim] * stretch.plane->scales[in_plane];
            constant += static_cast<double>(query[dim]) * stretch.plane->offsets[in_plane];
        }
    }
    return static_cast<float>(constant);
}

void dot_range(const DimRange& range, int64_t first_row, int64_t row_count, const float* folded, int64_t folded_stride,
               int query_count, float* dots, int64_t dots_stride) {
    bool accumulate = false;
    for (const Stretch& stretch : range.stretches) {
        with_rows(*stretch.plane, [&](const auto* rows) {
            const int64_t stride = stretch.plane->stride;
            dot_rows_of(kernels(), rows)(rows + first_row * stride + stretch.first_element, stride, row_count,
                                         folded + stretch.query_offset, folded_stride, query_count, stretch.padded_dims,
                                         accumulate, dots, dots_stride);
        });
        accumulate = true;
    }
}

void copy_range(const DimRange& range, const uint32_t* rows, int64_t row_count, std::vector<uint8_t>& copy) {
    copy.resize(static_cast<std::size_t>(range.folded_dims * row_count) * sizeof(float));  // of the widest type
    uint8_t* to = copy.data();
    for (const Stretch& stretch : range.stretches) {
        with_rows(*stretch.plane, [&](const auto* plane_rows) {
            const auto* from = plane_rows + stretch.first_element;
            const auto bytes = static_cast<std::size_t>(stretch.padded_dims) * sizeof(*from);
            const auto prefetch = [&](int64_t i) {
                const auto* row = reinterpret_cast<const uint8_t*>(from + rows[i] * stretch.plane->stride);
                for (std::size_t byte = 0; byte < bytes; byte += 64) __builtin_prefetch(row + byte);
            };
            for (int64_t i = 0; i < std::min(kCopyAhead, row_count); i++) prefetch(i);
            for (int64_t i = 0; i < row_count; i++, to += bytes) {
                if (i + kCopyAhead < row_count) prefetch(i + kCopyAhead);
                std::memcpy(to, from + rows[i] * stretch.plane->stride, bytes);
            }
        });
    }
}

void dot_copied(const DimRange& range, const std::vector<uint8_t>& copy, int64_t row_count, const float* folded,
                int64_t folded_stride, int query_count, float* dots, int64_t dots_stride) {
    const uint8_t* from = copy.data();
    bool accumulate = false;
    for (const Stretch& stretch : range.stretches) {
        with_rows(*stretch.plane, [&](const auto* typed) {
            const auto* rows = reinterpret_cast<decltype(typed)>(from);
            dot_rows_of(kernels(), rows)(rows, stretch.padded_dims, row_count, folded + stretch.query_offset,
                                         folded_stride, query_count, stretch.padded_dims, accumulate, dots,
                                         dots_stride);
            from += static_cast<std::size_t>(row_count * stretch.padded_dims) * sizeof(*rows);
        });
        accumulate = true;
    }
}

void gather_range(const DimRange& range, const uint32_t* rows, int64_t row_count, const float* folded, float* dots) {
    for (const Stretch& stretch : range.stretches) {
        with_rows(*stretch.plane, [&](const auto* plane_rows) {
            dot_gather_of(kernels(), plane_rows)(plane_rows + stretch.first_element, stretch.plane->stride, rows,
                                                 row_count, folded + stretch.query_offset, stretch.padded_dims, dots);
        });
    }
}

CodedQuery code_query(const CodeView& code, Metric metric, int prefix_dims, const float* query, int8_t* codes) {
    std::memset(codes, 0, static_cast<std::size_t>(coded_bytes(prefix_dims)));
    float largest = 0;
    for (int dim = 0; dim < prefix_dims; dim++)
        largest = std::max(largest, std::abs(query[dim] * code.scales[static_cast<std::size_t>(dim)]));
    double constant = 0;
    for (int dim = 0; dim < prefix_dims; dim++)
        constant += static_cast<double>(query[dim]) * code.offsets[static_cast<std::size_t>(dim)];
    const float step = largest / 127.0f, per_step = largest > 0 ? 127.0f / largest : 0.0f;
    for (int dim = 0; dim < prefix_dims; dim++) {
        const float steps = query[dim] * code.scales[static_cast<std::size_t>(dim)] * per_step;
        // Adding 1.5 * 2^23 rounds to nearest even without a call; |steps| <= 127 up to rounding.
        codes[dim] = static_cast<int8_t>(static_cast<int>(steps + 0x1.8p23f - 0x1.8p23f));
    }
    const float m = key_multiplier(metric);
    return {m * step, m * static_cast<float>(constant)};
}

KeyForm key_form(Metric metric, bool normalised) {
    switch (metric) {
        case Metric::l2: return KeyForm::add;
        case Metric::inner_product: return KeyForm::plain;
        case Metric::cosine: return normalised ? KeyForm::plain : KeyForm::multiply;
    }
    return KeyForm::plain;
}

}  // namespace adanns
