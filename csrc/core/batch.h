// Scan all segments for a batch of queries, tile by tile: route -> scan, and what follows is the caller's.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "scan_tile.h"

namespace adanns {

struct Queries {
    const float* rows = nullptr;
    int64_t stride = 0, count = 0;

    const float* at(int64_t q) const { return rows + q * stride; }
};

struct ScanRequest {
    int dims = 0;
    ScanKind kind = ScanKind::planes;
    int64_t keep = 0;                   // candidates per query
    const float* thresholds = nullptr;  // per query: instead of `keep`, all candidates with keys below
    int64_t most_queries = 1 << 30;     // in a tile
    int probe_count = 0;                // lists per query; 0 scans all rows
    int routing_dims = 0;               // prefix of the centroids that is compared
    int threads = 1;
};

// Candidates of the tile's queries order[0 .. tile.count) are in tile.shortlists, in the order of segments. Called from
// several threads at once.
using Finish = std::function<void(ScanTile& tile, const int64_t* order)>;

// `routing` may be the queries themselves. Returns how many rows took part, summed over queries. What `finish` gets
// does not depend on `threads` nor on how queries are batched.
int64_t scan_batch(Segments segments, const ScanRequest& request, const Queries& queries, const Queries& routing,
                   const Finish& finish);

}  // namespace adanns
