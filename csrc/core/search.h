// The pipeline of every index: route -> scan -> rerank rung by rung -> top-k, one call for a whole batch.
#pragma once

#include <cstdint>
#include <vector>

#include "batch.h"
#include "index_view.h"
#include "rerank.h"

namespace adanns {

struct SearchPlan {
    int64_t k = 0;
    int scan_dims = 0;
    ScanKind scan = ScanKind::planes;
    int probe_count = 0;   // lists per query; 0 scans all rows
    int routing_dims = 0;  // prefix of the centroids that is compared
    std::vector<RerankStage> stages;
    int threads = 1;
};

struct SearchTotals {
    int64_t scanned = 0;            // rows scanned, summed over queries
    std::vector<int64_t> rescored;  // candidates read by each stage, summed over queries
};

struct SearchOutput {
    float* distances;  // (queries, k)
    int64_t* ids;      // (queries, k)
    int32_t* counts;   // (queries,)
};

// `routing` may be the queries themselves. Results do not depend on `threads` nor on how queries are batched.
SearchTotals search(Segments segments, const SearchPlan& plan, const Queries& queries, const Queries& routing,
                    const SearchOutput& output);

}  // namespace adanns
