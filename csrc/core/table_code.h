// Makes table codes: the nearest entry of each segment, their blocks, and the sums that make better codebooks. Build
// time only.
#pragma once

#include <cstdint>

#include "span.h"

namespace adanns {

// codes (row_count, segments): the entry of each segment's codebook nearest to rows (row_count, segment_ends.back()),
// ties to the smaller number. codebooks: segment after segment, each row-major [entry][dim of the segment], 2^bits
// entries.
void encode_segments(const float* rows, int64_t row_count, Span<const int32_t> segment_ends, int bits,
                     const float* codebooks, int threads, uint8_t* codes);

// One step of k-means in every segment: sums (laid out as codebooks) of the rows that name an entry, and counts
// (segments, entries) of them. The order of additions does not depend on `threads`.
void sum_segments(const float* rows, int64_t row_count, const uint8_t* codes, Span<const int32_t> segment_ends,
                  int bits, int threads, float* sums, int64_t* counts);

// Codes (rows, segments) as blocks of 16 rows (layout: kernel_table.h), each list starting a new one; what fills the
// last block of a list is code 0.
void pack_table_blocks(const uint8_t* codes, int64_t segments, int bits, Span<const int64_t> list_offsets, int threads,
                       uint8_t* blocks);

}  // namespace adanns
