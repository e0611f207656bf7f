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
void table_keys_of(const IndexView& view, int prefix_dims, const float* query, const float* rotated,
                   const uint32_t* rows, int64_t count, float* keys);

// dots[i] = prefix of the query . the same prefix of the centroid of list lists[i].
void centroid_dots(const TableCodeView& code, int prefix_dims, const float* query, const int32_t* lists, int64_t count,
                   float* dots);

}  // namespace adanns
