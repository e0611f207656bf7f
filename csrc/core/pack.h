// From vectors to an index's arrays: planes, row terms and code blocks. Build time only.
#pragma once

#include <cstdint>
#include <vector>

#include "index_view.h"

namespace adanns {

// A vector matrix as the user has it.
struct Vectors {
    const void* data;
    bool half;  // float16, else float32
    int64_t rows, dims, stride;
};

// A plane under construction.
struct MutablePlane {
    int first_dim, dims;
    ScalarType type;
    void* rows;
    int64_t stride;
};

enum class BadRow { none, not_finite, beyond_float16 };
struct PackProblem {
    BadRow kind = BadRow::none;
    int64_t row = -1;
};

// First row with a NaN or infinity; -1 where there is none.
int64_t first_not_finite(const Vectors& vectors, int threads);

// Writes vectors into float planes from row `first_row` on, dividing each by its norm where `normalise`. Where a
// problem is returned the planes hold parts of the rows and are of no use.
PackProblem pack_rows(const Vectors& vectors, bool normalise, const std::vector<MutablePlane>& planes,
                      int64_t first_row, int threads);

// The prefix of some rows as float32 (count, dims); rows == nullptr: from first_row on.
void read_prefix(const std::vector<PlaneView>& planes, const int64_t* rows, int64_t first_row, int64_t count, int dims,
                 bool normalise, int threads, float* out);

// Row terms per rung (see index_view.h), of the values as stored.
void row_terms(const std::vector<PlaneView>& planes, int64_t rows, Metric metric, Span<const int32_t> ladder,
               int64_t stride, int threads, float* terms);

// A float32 plane as int8: value = offsets[d] + scales[d] * code, code in [-127, 127]. Scales and offsets come from the
// extent of the rows where `learn`; else they are given, and what lies beyond their extent is clipped.
void quantise_plane(const float* rows, int64_t stride, int64_t row_count, int dims, int threads, int8_t* out,
                    int64_t out_stride, bool learn, float* scales, float* offsets);

// int8 code blocks of a prefix (normalised where `normalise`), lists starting new blocks; padding rows are code 0.
// Scales and offsets as above.
void encode_blocks(const std::vector<PlaneView>& planes, int dims, bool normalise, Span<const int64_t> list_offsets,
                   int threads, uint8_t* blocks, bool learn, float* scales, float* offsets);

// out[i] = rows[order[i]], of row_bytes each.
void permute_rows(const void* rows, int64_t row_bytes, const int64_t* order, int64_t count, int threads, void* out);

}  // namespace adanns
