// Rescore a shortlist rung by rung, adding only the bands not read before, and write the nearest k.
#pragma once

#include <cstdint>
#include <vector>

#include "folded_query.h"
#include "index_view.h"
#include "shortlist.h"

namespace adanns {

struct RerankStage {
    int dims;      // prefix at which ...
    int64_t keep;  // ... the best `keep` of the stage before are rescored
};

// The stages of a batch with the dims that each adds. Ranges point into the views, which must outlive the plan.
struct RerankPlan {
    RerankPlan(Segments segments, int scan_dims, ScanKind scan, const std::vector<RerankStage>& stages);

    struct Step {
        int dims;
        int64_t keep;
        bool exact;  // from here on the coded dot of the scan is replaced by the dot of the planes
    };
    // One range per segment: of the scan's own prefix, read again where only its codes were; and of the bands between
    // the stage before and this one.
    const DimRange* scanned() const { return ranges.data(); }
    const DimRange* added(std::size_t step) const { return ranges.data() + (step + 1) * segments; }

    int scan_dims;
    ScanKind scan;
    std::size_t segments;
    std::vector<Step> steps;
    std::vector<DimRange> ranges;
};

// `rotated` is the query as the scan's tables were made from it, where codes are all there is (else not read).
// Reads `shortlist`, in the order of segments, writes k distances and ids (padded with +inf and -1), adds to
// rescored[step] the candidates each step read. Returns how many results are real.
int64_t rerank(Segments segments, const RerankPlan& plan, const float* query, const float* rotated,
               Shortlist& shortlist, int64_t k, float* distances, int64_t* ids, int64_t* rescored);

}  // namespace adanns
