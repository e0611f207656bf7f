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

// Dot products of rotated queries with every entry of the first `segments` codebooks: [query][segment][entry].
void float_tables(const TableCodeView& code, int segments, const float* rotated, int64_t count,
                  std::vector<float>& tables);

// Where the codes of a row of a list start; its next byte is kBlockRows further.
const uint8_t* codes_of(const IndexView& view, int64_t row, int64_t list);

// Without a branch: where a row lies is as good as random.
int32_t list_of(const IndexView& view, uint32_t row);

}  // namespace adanns
