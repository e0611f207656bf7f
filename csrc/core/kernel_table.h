// The inner loops, as a table of function pointers chosen once from CPUID (or ADANNS_ISA).
//
// Conventions shared by every kernel:
//   - rows are row-major, element (row, dim) at rows[row * stride + dim]; strides are in elements and multiples of 16;
//   - `padded_dims` is a multiple of 16; a query is zero where the row must not count (before and after its prefix),
//     so a kernel never has a remainder to treat and never reads past a row's stride;
//   - keys are smaller-is-nearer; rows are numbered by 32 bits.
// This header is included by simd/, so it holds plain types only.
#pragma once

#include <cstdint>

namespace adanns {

// How a dot product becomes a key; `m`, `c` are per query, `term` is per row.
enum class KeyForm : int {
    plain,     // m * dot + c                 inner product; cosine over rows already normalised at that prefix
    add,       // m * dot + c + term[row]     l2: term = |x|^2, m = -2
    multiply,  // (m * dot + c) * term[row]   cosine: term = 1 / |x|, m = -1
};

constexpr int kBlockRows = 16;     // rows in one int8 block: one 512-bit register of int32 sums
constexpr int kGroupDims = 4;      // dims in one step of an int8 block: what VPDPBUSD adds at once
constexpr int kMaxQueryTile = 8;   // queries one call of a scan kernel may take
constexpr int kMaxSegments = 256;  // of a table code: as many entries of at most 255 add up to less than 2^16
constexpr int kEncodeRows = 64;    // rows one call of nearest_entries encodes

// Blocks of table codes, [block][byte][16 rows], each byte one 8-bit code or two 4-bit ones, the first in the low
// nibble.
struct TableBlocks {
    const uint8_t* first;
    int64_t stride, count;  // bytes from block to block; blocks
    const uint8_t* end;  // of the blocks that this call and those to follow read in order, so that they are prefetched
    int bytes;           // of each row that are read, those of the prefix
    const float* terms;  // per row
};

// Queries against them. Tables of byte codes are uint8 [byte][256 entries]; of nibble codes [group of 4 bytes]
// [low or high nibble][byte of the group][16 entries], zero where the prefix has no code.
struct TableQueries {
    const uint8_t* const* tables;
    int count;
    const float *m, *c;
    float* keys;
    int64_t keys_stride;
};

struct KernelTable {
    const char* isa;

    // dots[q * dots_stride + r] = (accumulate ? itself : 0) + rows[r] . queries[q]; 1 <= query_count <= kMaxQueryTile.
    template <class T>
    using DotRows = void (*)(const T* rows, int64_t stride, int64_t row_count, const float* queries,
                             int64_t query_stride, int query_count, int padded_dims, bool accumulate, float* dots,
                             int64_t dots_stride);
    DotRows<float> dot_rows_f32;
    DotRows<uint16_t> dot_rows_f16;
    DotRows<int8_t> dot_rows_i8;

    // dots[i] += plane[rows[i]] . query, for rows in any order, prefetched a few rows ahead.
    template <class T>
    using DotGather = void (*)(const T* plane, int64_t stride, const uint32_t* rows, int64_t row_count,
                               const float* query, int padded_dims, float* dots);
    DotGather<float> dot_gather_f32;
    DotGather<uint16_t> dot_gather_f16;
    DotGather<int8_t> dot_gather_i8;

    // In place: dots become keys.
    void (*finish_keys)(float* dots, int64_t count, KeyForm form, float m, float c, const float* terms);

    // Keys of whole int8 blocks for several queries: the integer dot is exact, then the key form is applied.
    // blocks: uint8 (code + 128), [block][group of 4 dims][16 rows][4 dims]; block_bytes from block to block;
    // queries: int8, query_stride bytes apart, zero after the prefix; groups = dims of the prefix / 4, rounded up.
    void (*block_keys)(const uint8_t* blocks, int64_t block_bytes, int64_t block_count, const int8_t* queries,
                       int64_t query_stride, int query_count, int groups, KeyForm form, const float* m, const float* c,
                       const float* terms, float* keys, int64_t keys_stride);

    // Keys of whole blocks of table codes for several queries: the sum of the table entries that a row's codes name is
    // exact, then the key form is applied.
    using TableKeys = void (*)(const TableBlocks& blocks, const TableQueries& queries, KeyForm form);
    TableKeys nibble_keys, byte_keys;

    // Writes (key, first_row + i) for every keys[i] < threshold, in order; returns how many. Where there are mask
    // words, only of those whose bit first_bit + i is set; one word more than the bits need can be read. The outputs
    // have room for count + 16.
    int64_t (*collect_below)(const float* keys, int64_t count, float threshold, uint32_t first_row,
                             const uint64_t* mask_words, int64_t first_bit, float* out_keys, uint32_t* out_rows);

    // A bound that at least `keep` keys do not exceed: the keep-th smallest of group minima; cheap, not tight. keep <=
    // count.
    float (*bound_of_smallest)(const float* keys, int64_t count, int64_t keep, float* scratch);

    // Keeps the `keep` smallest keys (ties: the first ones), in their order; returns a bound that no kept key exceeds
    // and that every dropped key reaches. keep < count.
    float (*select_smallest)(float* keys, uint32_t* rows, int64_t count, int64_t keep);

    // Nearest centroid: minimises half_norms[c] - row . c over blocks of 16 centroids stored [block][dim][16].
    // best_keys/best are read and written, so that centroids may come in chunks; ties go to the smaller index.
    void (*assign_rows)(const float* rows, int64_t stride, int64_t row_count, const float* centroid_blocks,
                        const float* half_norms, int64_t block_count, int dims, int32_t first_centroid,
                        float* best_keys, int32_t* best);

    // out[r * out_stride + j] = rows[r] . column j, over dims in order. Columns are stored in blocks of 16 as centroids
    // are above, the last one filled up with zeros; `stride` and `dims` need not be multiples of 16.
    void (*multiply_rows)(const float* rows, int64_t stride, int64_t row_count, const float* column_blocks, int dims,
                          int columns, float* out, int64_t out_stride);

    // codes[segment][row] = the entry of each segment's codebook nearest to kEncodeRows rows, ties to the smaller
    // number. rows_by_dim: [dim][kEncodeRows]; codebooks: segment after segment, each [entry][dim]; half_norms:
    // [segment][entry].
    void (*nearest_entries)(const float* rows_by_dim, const float* codebooks, const float* half_norms,
                            const int32_t* segment_ends, int segments, int entries, uint8_t* codes);

    // Tables [segment][entry] as bytes, laid out for nibble_keys (16 entries) or byte_keys (256): the sum of entries
    // that a row's codes name is about *bias + *step * the sum of bytes.
    void (*round_tables)(const float* tables, int segments, int entries, uint8_t* rounded, float* step, float* bias);

    void (*f32_to_f16)(const float* from, uint16_t* to, int64_t count);
    void (*f16_to_f32)(const uint16_t* from, float* to, int64_t count);
};

// The table in use. Throws std::invalid_argument when ADANNS_ISA names no level of this build and machine.
const KernelTable& kernels();

}  // namespace adanns
