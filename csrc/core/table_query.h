// A query against table codes: the dot products of its segments with every entry of their codebooks.
#pragma once

#include <cstdint>
#include <vector>

#include "folded_query.h"
#include "index_view.h"

namespace adanns {

// Bytes of the rounded tables of one query.
int64_t table_bytes(const TableCodeView& code, int segments);

// Bytes of each row that hold the codes of the first `segments`.
inline int code_bytes(const TableCodeView& code, int segments) { return (segments * code.bits + 7) / 8; }

// The prefix of a query as its tables are made from it.
inline int rotated_dims(const TableCodeView& code, int segments) {
    return code.segment_ends[static_cast<std::size_t>(segments - 1)];
}

// The queries order[0 .. count) as the scan takes them: rotated, rotated_dims apart; rounded tables, table_bytes apart;
// and per query the key form that undoes the rounding. None of them depends on the others.
void table_queries(const TableCodeView& code, Metric metric, int segments, const float* queries, int64_t query_stride,
                   const int64_t* order, int64_t count, float* rotated, uint8_t* tables, float* m, float* c);

// Keys of rows in any order from float tables: of the stored codes, without rounding the query.
void table_keys_of(const IndexView& view, int prefix_dims, const float* rotated, const uint32_t* rows, int64_t count,
                   float* keys);

// dots[i] = the rotated query . the centroid of list lists[i], as far as the first `segments` go.
void centroid_dots(const TableCodeView& code, int segments, const float* rotated, const int32_t* lists, int64_t count,
                   float* dots);

// The view's row terms of its decoded rows. zero_rows ascend: those rows were zero before they were coded, and have no
// direction under cosine whatever they decode to.
void make_table_terms(IndexView& view, Span<const int64_t> zero_rows, int threads);

}  // namespace adanns
