// The stages of a search on a GPU. All pointers are the device's; work is queued on `stream` and not waited for.
//
// A stage writes shortlists: candidates, nearest first, kNoCandidate behind the last. Workspace is memory that a stage
// may use until its work on the stream is done. Arguments are checked by the caller.
#pragma once

#include <cstdint>

#include "cuda/planes.h"

namespace adanns::cuda {

inline __host__ __device__ constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

constexpr int kMaxKeep = 1024;  // candidates of a shortlist
constexpr int kMaxStages = 8;   // of a rerank

struct Queries {
    const float* rows;
    int64_t stride;
    int count;
};

// What scans found for each query, in any order, and the bounds by which they chose (found.cuh). Workspace.
struct Found {
    Candidate* candidates;  // (queries, capacity)
    int32_t* counts;        // how many came, also those beyond the capacity
    float* bounds;
    uint32_t* minima;  // (queries, groups): bits of the smallest key of each group of a sample
    int capacity, groups;
};

// Room for what is found of a shortlist of `keep`.
int capacity_for(int keep);

// Which rows bound the others: eight neighbouring ones every `spacing`. No groups: too few rows to need it.
struct Sample {
    int groups = 0;
    int64_t spacing = 0;
};
Sample sample_for(int64_t rows, int keep);

// The `keep` nearest of all rows at the first `dims` dims, by keys to rounding. found: of capacity_for and sample_for.
// out: (queries, keep).
void scan_all(const Planes& planes, const KeyTerms& by, const Queries& queries, int64_t rows, int dims, int keep,
              int multiprocessors, const Found& found, Candidate* out, cudaStream_t stream);

// The same for many queries, on tensor cores: queries and float32 are rounded to float16, so that keys are near, and
// what is returned must be measured again. halves: halves_for(...) bytes.
bool fits_tensor_cores(const Planes& planes, int dims);
int64_t halves_for(const Planes& planes, int dims, int queries);
void scan_tiles(const Planes& planes, const KeyTerms& by, const Queries& queries, int64_t rows, int dims, int keep,
                int multiprocessors, void* halves, const Found& found, Candidate* out, cudaStream_t stream);

// Rows [offsets[l], offsets[l + 1]) are those of list l; probes: (queries, probes) lists, -1 for none.
struct Lists {
    const int64_t* offsets;
    int count;
    const int32_t* probes;
    int probe_count;
    int64_t probe_stride;  // from query to query; 0: all probe the same
};

// Shortlists of centroids as probes; -1 behind the last.
void name_lists(const Candidate* nearest, int64_t count, int32_t* probes, cudaStream_t stream);

// Numbers that ordering the visits of lists takes.
inline int64_t list_numbers(int lists, int queries, int probes) {
    return 3 * int64_t{lists} + 2 + 2 * int64_t{queries} * probes;
}

// The `keep` nearest rows of the lists that each query probes. numbers: list_numbers(...) of them. out: (queries,
// keep).
void scan_lists(const Planes& planes, const KeyTerms& by, const Queries& queries, const Lists& lists, int dims,
                int keep, int32_t* numbers, const Found& found, Candidate* out, cudaStream_t stream);

// The same for many queries, on tensor cores, where lists are probed by several of them each: keys are near, as those
// of scan_tiles. rows: of all lists. halves: halves_for(...) bytes. found: of capacity_for, and list_tile_groups(keep)
// groups, no fewer than probes.
int list_tile_groups(int keep);
void scan_list_tiles(const Planes& planes, const KeyTerms& by, const Queries& queries, const Lists& lists, int64_t rows,
                     int dims, int keep, int32_t* numbers, void* halves, const Found& found, Candidate* out,
                     cudaStream_t stream);

// Codes of a prefix (core/index_view.h), interleaved for warps: [block of 32 rows][word][32 rows], each word four 8-bit
// or eight 4-bit codes, the first lowest. Each list starts a new block. Codebooks as a saved index holds them: segment
// after segment, each [entry][dim].
struct TableCode {
    int bits;
    const uint32_t* words;
    int64_t row_words;             // of a row; those of a prefix are its first ones
    const int64_t* block_offsets;  // per list
    const int32_t* segment_ends;
    const float* codebooks;
    const float* centroids;  // (lists, centroid_stride), of residual codes; or none
    int64_t centroid_stride;
};

// Segments whose tables fit beside a shortlist of `keep`.
int most_segments(int bits, int keep);

// As scan_lists, of the first `segments` of the codes of the probed lists; where there are no lists, one of all rows.
// rotated: queries as segments see them. found: of capacity_for, and table_groups(keep) groups.
int table_groups(int keep);
// out: (queries, rotated_dims), each query's first `dims` dims times the rotation (rotated_dims, dims).
void rotate(const Queries& queries, int dims, const float* rotation, int rotated_dims, float* out, cudaStream_t stream);
void scan_tables(const TableCode& code, const KeyTerms& by, const Queries& rotated, const Lists& lists, int segments,
                 int keep, int splits, const Found& found, Candidate* out, cudaStream_t stream);

// One stage of a rerank: the nearest `keep` so far are measured at `dims`.
struct RerankStage {
    int dims, keep;
    bool exact;          // measure the scanned dims anew too: the scan's keys were of codes
    const float* terms;  // of the rung `dims`
};

struct RerankPlan {
    Metric metric;
    int scan_dims;
    const float* scan_terms;
    RerankStage stages[kMaxStages];
    int stage_count;
};

// What a search ends with.
struct Nearest {
    float* distances;   // (queries, k)
    int64_t* ids;       // (queries, k)
    int32_t* counts;    // per query, how many are real
    int32_t* rescored;  // (queries, stages): candidates that each stage measured
};

// Reranks shortlists (queries, shortlisted) and writes the `k` nearest: distances ascend, equal ones by id; +inf and -1
// where there are fewer. Each stage adds its own band of dims to what is known.
void rerank(const Planes& planes, const RerankPlan& plan, const Queries& queries, const Candidate* shortlists,
            int shortlisted, const int64_t* ids, int k, const Nearest& nearest, cudaStream_t stream);

// The nearest centroid of each row, and its squared distance.
struct Assigned {
    int32_t* clusters;
    float* distances;
    unsigned long long* sums;  // (clusters, dims), signed: of rows times sum_scale, added to what is there; or none
};

// centroids: (clusters, dims). halved: the same in float16, divided by a power of two, and terms: their squared
// lengths, divided likewise, by which the nearest is found; how far it is is measured in float32. halves:
// halves_for(...) bytes, of rows rounded up to kAssignedTogether; nearest: one per row.
constexpr int kAssignedTogether = 128;
void assign(const Queries& rows, int dims, const float* centroids, int clusters, const Planes& halved,
            const float* terms, void* halves, Candidate* nearest, double sum_scale, const Assigned& out,
            cudaStream_t stream);

}  // namespace adanns::cuda
