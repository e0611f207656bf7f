#include "search.h"

#include <functional>
#include <mutex>

namespace adanns {

SearchTotals search(Segments segments, const SearchPlan& plan, const Queries& queries, const Queries& routing,
                    const SearchOutput& output) {
    const RerankPlan rerank_plan(segments, plan.scan_dims, plan.scan, plan.stages);
    ScanRequest request;
    request.dims = plan.scan_dims;
    request.kind = plan.scan;
    request.keep = plan.stages.empty() ? plan.k : plan.stages.front().keep;
    request.probe_count = plan.probe_count;
    request.routing_dims = plan.routing_dims;
    request.threads = plan.threads;

    SearchTotals totals{0, std::vector<int64_t>(plan.stages.size())};
    std::mutex mutex;
    const auto finish = [&](ScanTile& tile, const int64_t* order) {
        static thread_local std::vector<int64_t> rescored;
        rescored.assign(plan.stages.size(), 0);
        for (int64_t slot = 0; slot < tile.count; slot++) {
            const int64_t q = order[slot];
            output.counts[q] =
                static_cast<int32_t>(rerank(segments, rerank_plan, queries.at(q), tile.rotated_query(slot),
                                            tile.shortlists[static_cast<std::size_t>(slot)], plan.k,
                                            output.distances + q * plan.k, output.ids + q * plan.k, rescored.data()));
        }
        const std::lock_guard<std::mutex> lock(mutex);
        for (std::size_t stage = 0; stage < rescored.size(); stage++) totals.rescored[stage] += rescored[stage];
    };
    totals.scanned = scan_batch(segments, request, queries, routing, std::ref(finish));
    return totals;
}

}  // namespace adanns
