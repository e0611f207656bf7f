#include "range_search.h"

#include <algorithm>
#include <limits>

#include "distances.h"
#include "segment_groups.h"
#include "table_query.h"

namespace adanns {
namespace {

constexpr int64_t kTileQueries = 64;  // shortlists may hold any number of rows
constexpr int64_t kTileTables = 8;    // and all that were scanned, where the rounded tables of a scan do not measure

}  // namespace

int64_t range_search(Segments segments, const RangePlan& plan, const Queries& queries, const Queries& routing,
                     std::vector<Found>& found) {
    const Metric metric = segments[0].view->metric;
    const bool tables = plan.scan == ScanKind::tables;
    std::vector<double> norms;
    std::vector<float> thresholds;
    for (int64_t q = 0; q < queries.count; q++) {
        norms.push_back(squared_norm(queries.at(q), plan.dims));
        thresholds.push_back(tables ? std::numeric_limits<float>::infinity()
                                    : key_above(metric, plan.radius, norms.back()));
    }
    ScanRequest request;
    request.dims = plan.dims;
    request.kind = plan.scan;
    request.thresholds = thresholds.data();
    request.most_queries = tables ? kTileTables : kTileQueries;
    request.probe_count = plan.probe_count;
    request.routing_dims = plan.routing_dims;
    request.threads = plan.threads;

    found.assign(static_cast<std::size_t>(queries.count), {});
    return scan_batch(segments, request, queries, routing, [&](ScanTile& tile, const int64_t* order) {
        static thread_local std::vector<uint32_t> scratch;
        for (int64_t slot = 0; slot < tile.count; slot++) {
            Shortlist& shortlist = tile.shortlists[static_cast<std::size_t>(slot)];
            const auto q = static_cast<std::size_t>(order[slot]);
            Found& within = found[q];
            by_segment(segments, shortlist.rows(), shortlist.count(), scratch, [&](const Group& group) {
                float* keys = shortlist.keys() + group.begin;
                if (tables)
                    table_keys_of(group.view, plan.dims, tile.rotated_query(slot), group.rows, group.count, keys);
                for (int64_t i = 0; i < group.count; i++) {
                    const float distance = distance_of(metric, keys[i], norms[q]);
                    if (distance <= plan.radius && distance < std::numeric_limits<float>::infinity())
                        within.emplace_back(distance, group.view.ids[group.rows[i]]);
                }
            });
            std::sort(within.begin(), within.end());
        }
    });
}

}  // namespace adanns
