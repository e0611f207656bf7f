// Scan rows at a prefix for a tile of queries, from planes or codes, into one shortlist per query.
#pragma once

#include <cstdint>

#include "scan_tile.h"

namespace adanns {

// One query of a tile that a scan is for, and what its key constant gains in this list (codes of residuals).
struct ScanSlot {
    int32_t slot;
    float c;
};

// Rows [begin, end) that take part, for some of the tile's queries; first_block is the code block that holds row
// `begin`.
void scan_rows(const SegmentView& segment, const ScanPlan& plan, ScanTile& tile, const std::vector<ScanSlot>& slots,
               int64_t begin, int64_t end, int64_t first_block);

// Each list of every segment once for all queries of the tile that probe it; a query's nearest list first, since it
// makes its threshold. plans[s] is of segments[s], probes[slot * probe_count + i] as nearest_lists gives them. Returns
// how many rows took part, summed over queries.
int64_t scan_lists(Segments segments, const std::vector<ScanPlan>& plans, ScanTile& tile, const int32_t* probes,
                   int probe_count);

}  // namespace adanns
