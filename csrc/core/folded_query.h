// Turns queries into what the kernels take: per-dimension scales folded in, zeros outside the prefix, int8 for codes.
#pragma once

#include <cstdint>
#include <vector>

#include "index_view.h"
#include "kernel_table.h"

namespace adanns {

// The dims [from, to) as the stretches of planes that hold them.
struct Stretch {
    const PlaneView* plane;
    int64_t first_element;  // in a row of the plane; a multiple of 16, so that loads stay inside the row
    int from, to;           // dims of the vector that count
    int padded_dims;        // elements to read, a multiple of 16
    int64_t query_offset;   // where this stretch starts in the folded query
};

struct DimRange {
    int from = 0, to = 0;
    std::vector<Stretch> stretches;
    int64_t folded_dims = 0;  // floats of one folded query
};

DimRange range_of(const IndexView& view, int from, int to);

// Writes `folded_dims` floats: query * scale inside the range, 0 around it. Returns what the int8 offsets add to every
// dot.
float fold_query(const DimRange& range, const float* query, float* folded);

// dots[q][r] = rows [first_row, first_row + row_count) . folded queries, over all stretches.
void dot_range(const DimRange& range, int64_t first_row, int64_t row_count, const float* folded, int64_t folded_stride,
               int query_count, float* dots, int64_t dots_stride);

// Copies what a range reads of some rows to where dot_copied finds it.
void copy_range(const DimRange& range, const uint32_t* rows, int64_t row_count, std::vector<uint8_t>& copy);

// As dot_range, of copied rows: the same bits.
void dot_copied(const DimRange& range, const std::vector<uint8_t>& copy, int64_t row_count, const float* folded,
                int64_t folded_stride, int query_count, float* dots, int64_t dots_stride);

// dots[i] += rows[i] . folded query.
void gather_range(const DimRange& range, const uint32_t* rows, int64_t row_count, const float* folded, float* dots);

// An int8 query for code blocks, and the key form that undoes its scale. `codes` holds coded_bytes(prefix) bytes.
struct CodedQuery {
    float m, c;
};
inline int coded_groups(int prefix_dims) { return (prefix_dims + kGroupDims - 1) / kGroupDims; }
inline int64_t coded_bytes(int prefix_dims) { return int64_t{kGroupDims} * coded_groups(prefix_dims); }
CodedQuery code_query(const CodeView& code, Metric metric, int prefix_dims, const float* query, int8_t* codes);

// How a dot becomes a key under a metric; `normalised` when the rows already are, at the dims of the dot.
KeyForm key_form(Metric metric, bool normalised);

// The multiplier of a dot in its key: -2 for l2, else -1.
inline float key_multiplier(Metric metric) { return metric == Metric::l2 ? -2.0f : -1.0f; }

}  // namespace adanns
