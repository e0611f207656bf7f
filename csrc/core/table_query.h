// A query against table codes: what each entry of their codebooks adds to a row's key.
//
// Rows rank by their distance to the query as they are decoded, x^: keys are key_multiplier(metric) times
//     q . x^ - norm_weight * |x^|^2,
// a sum over segments and lists. Under l2 that is |q - x^|^2 - |q|^2; under cosine half of |q / |q| - x^ / n|^2, n the
// length that prefixes have, up to what is the same for all rows. Among short codes that ranks much better than q . x^
// does, since decoded rows are shorter the less their codes tell of them.
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

// Queries of a tile as the scan takes them.
struct TableQueryArrays {
    float* rotated;       // rotated_dims apart
    uint8_t* tables;      // rounded; table_bytes apart
    float *m, *c;         // the key form that undoes the rounding
    float* norm_weights;  // of |x^|^2 beside the dot product
};

// The queries order[0 .. count), none of which depends on the others.
void table_queries(const TableCodeView& code, const TableRung& rung, Metric metric, const float* queries,
                   int64_t query_stride, const int64_t* order, int64_t count, const TableQueryArrays& out);

// sums[i] = what list lists[i] adds to the sum of a query's entries; codes are of residuals.
void list_sums(const TableCodeView& code, const TableRung& rung, const float* query, float norm_weight,
               const int32_t* lists, int64_t count, float* sums);

// Keys of rows in any order for `rerank`, from float tables: of distances to the decoded rows, as they would be of
// stored ones.
void decoded_keys(const IndexView& view, const TableRung& rung, const float* query, const float* rotated,
                  const uint32_t* rows, int64_t count, float* keys);

}  // namespace adanns
