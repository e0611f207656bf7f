// The queries of one tile as the scan kernels take them.
#pragma once

#include <cstdint>
#include <vector>

#include "folded_query.h"
#include "index_view.h"
#include "shortlist.h"
#include "table_query.h"

namespace adanns {

// What every query of a batch scans with. Ranges point into the view, which must outlive the plan.
struct ScanPlan {
    ScanPlan(const IndexView& view, int dims, ScanKind kind, int64_t keep);

    int dims;
    ScanKind kind;
    int64_t keep;
    KeyForm form;
    DimRange range;        // of planes; empty where codes are scanned
    int segments;          // of a table code; 0 where none is scanned
    int64_t query_bytes;   // of one query in ScanTile::codes: int8 codes or tables
    int64_t chunk_rows;    // rows scanned at a time: they stay in the first-level cache while several queries pass
    int64_t tile_queries;  // queries scanned together
};

// Reused from tile to tile by one thread.
struct ScanTile {
    void prepare(const IndexView& view, const ScanPlan& plan, const float* queries, int64_t query_stride,
                 const int64_t* order, int64_t count);

    // Where codes are of residuals: list_dots[slot * probe_count + i] for the lists that the queries probe.
    void add_centroids(const IndexView& view, const ScanPlan& plan, const int32_t* probes, int probe_count);

    // What the query's tables were made from; nullptr for other scans.
    const float* rotated_query(int64_t slot) const;

    int64_t count = 0;
    std::vector<float> folded, rotated, m, c, list_dots;
    std::vector<uint8_t> codes;
    std::vector<Shortlist> shortlists;

    // Scratch of scan_rows.
    std::vector<float> keys, row_terms, group_folded;
    std::vector<uint8_t> group_codes, copied_rows;
    std::vector<uint32_t> copied;
};

}  // namespace adanns
