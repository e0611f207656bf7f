// All rows within a radius, for a batch of queries: route -> scan -> everything that is near enough.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "batch.h"

namespace adanns {

struct RangePlan {
    float radius = 0;                  // a distance: rows at it belong
    int dims = 0;                      // prefix at which rows are measured
    ScanKind scan = ScanKind::planes;  // or tables, where codes are all there is
    int probe_count = 0;
    int routing_dims = 0;
    int threads = 1;
};

// (distance, id), ascending.
using Found = std::vector<std::pair<float, int64_t>>;

// found[q]: the rows of the probed lists (all rows where there is no routing) within the radius of query q. Returns how
// many rows took part, summed over queries.
int64_t range_search(Segments segments, const RangePlan& plan, const Queries& queries, const Queries& routing,
                     std::vector<Found>& found);

}  // namespace adanns
