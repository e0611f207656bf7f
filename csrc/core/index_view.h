// Views of one index's arrays: what every stage reads and none owns.
//
// Conventions, stated once:
//   - row-major: element (row, dim) of a plane is at rows[row * stride + dim]; strides are in elements, multiples of
//   16;
//   - distances and keys ascend: smaller is nearer; ids are int64; sizes are in rows, not bytes;
//   - a prefix of p dimensions is dims [0, p); a rung is a prefix length that is on the ladder;
//   - row terms, one float per row and rung: l2 |x_p|^2, cosine 1 / |x_p| (0 for a zero prefix), inner product none.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "row_mask.h"
#include "span.h"
#include "table_terms.h"

namespace adanns {

enum class Metric { l2, inner_product, cosine };
enum class ScalarType { float32, float16, int8 };
enum class ScanKind { planes, code, tables };  // what a scan reads: planes, the int8 code, the table code

// One band or a few neighbouring ones: dims [first_dim, first_dim + dims) of every row.
struct PlaneView {
    int first_dim = 0;
    int dims = 0;
    ScalarType type = ScalarType::float32;
    const void* rows = nullptr;
    int64_t stride = 0;
    Span<const float> scales, offsets;  // int8 only: value = offsets[d] + scales[d] * code
};

// int8 codes of a prefix in blocks of 16 rows x 4 dims (layout: kernel_table.h). Under cosine the coded prefix is
// normalised.
struct CodeView {
    int dims = 0;
    const uint8_t* blocks = nullptr;
    int64_t block_bytes = 0;
    Span<const float> scales, offsets;
};

// A prefix of a code: searching `dims` takes the first `segments`.
struct TableRung {
    int dims, segments;
};

// Codes of a prefix, normalised under cosine: its dims, rotated, are cut into segments, and a row names one entry of
// each segment's codebook. Where there are centroids, codes are of what is left after that of the row's list is taken
// off. The rotation keeps lengths, so a row is decoded, as far as a search needs it, where its segments are.
struct TableCodeView {
    int dims = 0;
    int bits = 0;  // of a code: 4 or 8
    std::vector<TableRung> rungs;
    Span<const int32_t> segment_ends;  // in rotated dims
    const uint8_t* blocks = nullptr;   // layout: kernel_table.h
    int64_t block_bytes = 0;
    // Made with the view, as multiply_rows takes columns: a column per rotated dim, and per entry segment by segment.
    std::vector<float> rotation;  // empty: none
    std::vector<float> codebooks;
    const float* centroids = nullptr;  // (lists, rotated dims), or none; the stride is a multiple of 16
    int64_t centroid_stride = 0;
    std::vector<float> padded_centroids;  // what `centroids` points to where it could not be taken as it came
    // Row terms of the decoded rows, not of those that were coded: ranking by them finds more. None where the metric
    // has none.
    std::shared_ptr<TableTerms> terms;

    int entries() const { return 1 << bits; }
    int segments_of(int prefix_dims) const;  // 0 where the prefix is no rung

    // Of the rung `prefix_dims`, with those of rows [begin, end) made; nullptr where there are none.
    const float* terms_of(const IndexView& view, int prefix_dims, int64_t begin, int64_t end) const;
};

// One row of `count` terms per rung; `stride` leaves room for reads of whole vectors at the end.
struct TermsView {
    Span<const int32_t> ladder;
    const float* values = nullptr;
    int64_t stride = 0;

    const float* at(int dims) const;  // of the rung `dims`; nullptr where the metric has no terms

    // Under cosine a code's dot at fewer dims is of rows normalised at all of the code's: writes the factors
    // |x_code| / |x_prefix| of rows [begin, end) that mend that.
    void norm_ratios(int prefix_dims, int code_dims, int64_t begin, int64_t end, float* ratios) const;
};

// Rows in stored order: list l holds rows [offsets[l], offsets[l + 1]) and code blocks from block_offsets[l] on.
struct ListsView {
    Span<const int64_t> offsets;
    CodeView centroids;
    TermsView centroid_terms;

    int64_t count() const { return static_cast<int64_t>(offsets.size()) - 1; }
};

struct IndexView {
    Metric metric = Metric::l2;
    int64_t rows = 0;
    int dims = 0;
    std::vector<PlaneView> planes;
    TermsView terms;
    Span<const int64_t> ids;
    std::optional<CodeView> code;
    std::optional<TableCodeView> table_code;
    std::optional<ListsView> lists;
    std::vector<int64_t> block_offsets;  // first code block of each list (one list of all rows where there are none)
};

// A part of an index that one build, addition or merge made, and which of its rows take part in a search. The segments
// of an index share all that was learnt (scales, codebooks, centroids), so that a query is prepared once for all of
// them and keys compare.
struct SegmentView {
    const IndexView* view = nullptr;
    RowMask mask;
    int64_t first_row = 0;  // candidates are numbered through all segments; a multiple of 16

    // Whether so few rows take part that a scan had better look for them than look at all.
    bool sparse() const { return !mask.all() && mask.count() * kSparseShare <= view->rows; }
    int64_t rows() const { return mask.all() ? view->rows : mask.count(); }
    int64_t rows(int64_t begin, int64_t end) const { return mask.all() ? end - begin : mask.count(begin, end); }

    static constexpr int64_t kSparseShare = 2;
};
using Segments = Span<const SegmentView>;  // all that one search sees, at least one

// Blocks do not straddle lists: each list starts a new one.
std::vector<int64_t> block_offsets_of(Span<const int64_t> list_offsets);

}  // namespace adanns
