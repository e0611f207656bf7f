// The stages of a search on a GPU. All pointers are the device's; work is queued on `stream` and not waited for.
//
// A stage writes shortlists: candidates, nearest first, kNoCandidate behind the last. A workspace is memory that a
// stage may use until its work on the stream is done; its size is given beside it. Arguments are checked by the caller.
#pragma once

#include <cstdint>

#include "cuda/planes.h"

namespace adanns::cuda {

constexpr int kMaxKeep = 1024;     // candidates of a shortlist
constexpr int kMaxStages = 8;      // of a rerank
constexpr int kMaxSplits = 65535;  // CUDA's own bound of a grid

struct Queries {
    const float* rows;
    int64_t stride;
    int count;
};

// Splits of the rows that keep all multiprocessors busy with `queries` queries.
int splits_for(int64_t rows, int queries, int multiprocessors);

// The `keep` nearest of all rows at the first `dims` dims. workspace: (queries, splits, keep); out: (queries, keep).
void scan_all(const Planes& planes, const KeyTerms& by, const Queries& queries, int64_t rows, int dims, int keep,
              int splits, Candidate* workspace, Candidate* out, cudaStream_t stream);

// Rows [offsets[l], offsets[l + 1]) are those of list l; probes: (queries, probes) lists, -1 for none.
struct Lists {
    const int64_t* offsets;
    int count;
    const int32_t* probes;
    int probe_count;
};

struct ListWorkspace {
    Candidate* parts;  // (queries, probes, splits, keep)
    int32_t* numbers;  // list_numbers(...) of them
};
inline int64_t list_numbers(int lists, int queries, int probes) {
    return 3 * int64_t{lists} + 2 + int64_t{queries} * probes;
}

// The `keep` nearest rows of the lists that each query probes; each list is cut into `splits`. out: (queries, keep).
void scan_lists(const Planes& planes, const KeyTerms& by, const Queries& queries, const Lists& lists, int dims,
                int keep, int splits, const ListWorkspace& workspace, Candidate* out, cudaStream_t stream);

// The `keep` nearest of per_query candidates of each query. out: (queries, keep).
void merge(const Candidate* candidates, int64_t per_query, int queries, int keep, Candidate* out, cudaStream_t stream);

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
// rotated: queries as segments see them. workspace: (queries, splits, keep).
void scan_tables(const TableCode& code, const KeyTerms& by, const Queries& rotated, const Lists& lists, int segments,
                 int keep, int splits, Candidate* workspace, Candidate* out, cudaStream_t stream);

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

// Reranks shortlists (queries, shortlisted) and writes the `k` nearest: distances ascend, equal ones by id; +inf and -1
// where there are fewer. Each stage adds its own band of dims to what is known.
void rerank(const Planes& planes, const RerankPlan& plan, const Queries& queries, const Candidate* shortlists,
            int shortlisted, const int64_t* ids, int k, float* distances, int64_t* nearest_ids, cudaStream_t stream);

}  // namespace adanns::cuda
