#include "search.h"

#include <algorithm>
#include <numeric>

#include "route.h"
#include "scan.h"
#include "thread_pool.h"

namespace adanns {
namespace {

constexpr int64_t kMinRowsPerTask = 1 << 14;  // below this a thread costs more than it saves

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Batch {
    const IndexView& view;
    const SearchPlan& plan;
    const float* queries;
    int64_t query_stride;
    ScanPlan scan;
    RerankPlan rerank;
    std::vector<int64_t> order;  // queries by nearest list, so that a tile's queries share lists
    std::vector<int32_t> probes;
    const SearchOutput& output;

    SearchTotals no_totals() const { return {0, std::vector<int64_t>(plan.stages.size())}; }

    void finish(ScanTile& tile, int64_t first, SearchTotals& totals) const {
        for (int64_t slot = 0; slot < tile.count; slot++) {
            const int64_t q = order[static_cast<std::size_t>(first + slot)];
            output.counts[q] = static_cast<int32_t>(
                adanns::rerank(view, rerank, queries + q * query_stride, tile.rotated_query(slot),
                               tile.shortlists[static_cast<std::size_t>(slot)], plan.k, output.distances + q * plan.k,
                               output.ids + q * plan.k, totals.rescored.data()));
        }
    }
};

ScanTile& thread_tile() {
    static thread_local ScanTile tile;
    return tile;
}

std::vector<ScanSlot> all_slots(int64_t count) {
    std::vector<ScanSlot> slots;
    for (int32_t slot = 0; slot < count; slot++) slots.push_back({slot, 0.0f});
    return slots;
}

// Few queries over many rows: threads share the rows, and their shortlists are merged in row order.
SearchTotals search_split_rows(const Batch& batch, int64_t query_count, int64_t pieces) {
    const IndexView& view = batch.view;
    const int64_t piece_rows = divide_up(divide_up(view.rows, pieces), kBlockRows) * kBlockRows;
    std::vector<ScanTile> tiles(static_cast<std::size_t>(pieces));
    const std::vector<ScanSlot> slots = all_slots(query_count);
    parallel_for(pieces, batch.plan.threads, [&](int64_t piece) {
        ScanTile& tile = tiles[static_cast<std::size_t>(piece)];
        tile.prepare(view, batch.scan, batch.queries, batch.query_stride, batch.order.data(), query_count);
        const int64_t begin = std::min(piece * piece_rows, view.rows), end = std::min(begin + piece_rows, view.rows);
        if (begin < end) scan_rows(view, batch.scan, tile, slots, begin, end, begin / kBlockRows);
    });
    for (int64_t slot = 0; slot < query_count; slot++)
        for (std::size_t piece = 1; piece < tiles.size(); piece++) {
            const auto at = static_cast<std::size_t>(slot);
            tiles[0].shortlists[at].merge(tiles[piece].shortlists[at]);
        }
    SearchTotals totals = batch.no_totals();
    totals.scanned = query_count * view.rows;
    batch.finish(tiles[0], 0, totals);
    return totals;
}

}  // namespace

SearchTotals search(const IndexView& view, const SearchPlan& plan, const float* queries, int64_t query_stride,
                    const float* routing_queries, int64_t routing_stride, int64_t query_count,
                    const SearchOutput& output) {
    const int64_t keep = plan.stages.empty() ? plan.k : plan.stages.front().keep;
    Batch batch{view,
                plan,
                queries,
                query_stride,
                ScanPlan(view, plan.scan_dims, plan.scan, keep),
                RerankPlan(view, plan.scan_dims, plan.scan, plan.stages),
                {},
                {},
                output};
    batch.order.resize(static_cast<std::size_t>(query_count));
    std::iota(batch.order.begin(), batch.order.end(), int64_t{0});
    const bool routed = plan.probe_count > 0;
    const int64_t probe_count = plan.probe_count;

    if (routed) {
        batch.probes.resize(static_cast<std::size_t>(query_count * probe_count));
        nearest_lists(view, routing_queries, routing_stride, query_count, plan.routing_dims, plan.probe_count,
                      plan.threads, batch.probes.data());
        std::stable_sort(batch.order.begin(), batch.order.end(), [&](int64_t a, int64_t b) {
            return batch.probes[static_cast<std::size_t>(a * probe_count)] <
                   batch.probes[static_cast<std::size_t>(b * probe_count)];
        });
    }
    const int64_t pieces = std::min<int64_t>(plan.threads, view.rows / kMinRowsPerTask);
    if (!routed && query_count < plan.threads && pieces > 1) return search_split_rows(batch, query_count, pieces);

    const int64_t tile_queries = std::min(batch.scan.tile_queries, divide_up(query_count, plan.threads));
    const int64_t tiles = divide_up(query_count, std::max<int64_t>(1, tile_queries));
    std::vector<SearchTotals> per_tile(static_cast<std::size_t>(tiles), batch.no_totals());
    parallel_for(tiles, plan.threads, [&](int64_t t) {
        ScanTile& tile = thread_tile();
        SearchTotals& totals = per_tile[static_cast<std::size_t>(t)];
        const int64_t first = t * tile_queries, count = std::min(tile_queries, query_count - first);
        const int64_t* order = batch.order.data() + first;
        tile.prepare(view, batch.scan, queries, query_stride, order, count);
        if (routed) {
            static thread_local std::vector<int32_t> probes;
            probes.resize(static_cast<std::size_t>(count * probe_count));
            for (int64_t slot = 0; slot < count; slot++)
                std::copy_n(batch.probes.begin() + order[slot] * probe_count, probe_count,
                            probes.begin() + slot * probe_count);
            tile.add_centroids(view, batch.scan, probes.data(), plan.probe_count);
            totals.scanned = scan_lists(view, batch.scan, tile, probes.data(), plan.probe_count);
        } else {
            scan_rows(view, batch.scan, tile, all_slots(count), 0, view.rows, 0);
            totals.scanned = count * view.rows;
        }
        batch.finish(tile, first, totals);
    });
    SearchTotals all = batch.no_totals();
    for (const SearchTotals& totals : per_tile) {
        all.scanned += totals.scanned;
        for (std::size_t stage = 0; stage < all.rescored.size(); stage++) all.rescored[stage] += totals.rescored[stage];
    }
    return all;
}

}  // namespace adanns
