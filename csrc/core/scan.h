// Scan rows at a prefix for a tile of queries, from planes or from int8 codes, into one shortlist per query.
#pragma once

#include <cstdint>
#include <vector>

#include "folded_query.h"
#include "index_view.h"
#include "shortlist.h"

namespace adanns {

// What every query of a batch scans with. Ranges point into the view, which must outlive the plan.
struct ScanPlan {
    ScanPlan(const IndexView& view, int dims, bool coded, int64_t keep);

    int dims;
    bool coded;
    int64_t keep;
    KeyForm form;
    DimRange range;      // of planes; empty when coded
    int64_t chunk_rows;  // rows scanned at a time: they stay in the first-level cache while several queries pass
};

// The queries of one tile as the scan kernels take them. Reused from tile to tile by one thread.
struct ScanTile {
    void prepare(const IndexView& view, const ScanPlan& plan, const float* queries, int64_t query_stride,
                 const int64_t* order, int64_t count);

    int64_t count = 0;
    std::vector<float> folded, m, c;
    std::vector<int8_t> codes;
    std::vector<Shortlist> shortlists;

    // Scratch of scan_rows.
    std::vector<float> keys, ratios, group_folded;
    std::vector<int8_t> group_codes;
};

// Rows [begin, end) for the tile's queries slots[0 .. slot_count); first_block is the code block that holds row
// `begin`.
void scan_rows(const IndexView& view, const ScanPlan& plan, ScanTile& tile, const int32_t* slots, int64_t slot_count,
               int64_t begin, int64_t end, int64_t first_block);

// Each list once for all queries of the tile that probe it; a query's nearest list first, since it makes its threshold.
// probes[slot * probe_count + i] as nearest_lists gives them. Returns how many rows were scanned, summed over queries.
int64_t scan_lists(const IndexView& view, const ScanPlan& plan, ScanTile& tile, const int32_t* probes, int probe_count);

}  // namespace adanns
