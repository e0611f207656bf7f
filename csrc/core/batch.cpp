#include "batch.h"

#include <algorithm>
#include <atomic>
#include <numeric>

#include "route.h"
#include "scan.h"
#include "thread_pool.h"

namespace adanns {
namespace {

constexpr int64_t kMinRowsPerTask = 1 << 14;  // below this a thread costs more than it saves

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Batch {
    Segments segments;
    const ScanRequest& request;
    const Queries& queries;
    std::vector<ScanPlan> plans;  // one per segment; they differ in where rows are
    std::vector<int64_t> order;   // queries by nearest list, so that a tile's queries share lists
    std::vector<int32_t> probes;

    void prepare(ScanTile& tile, const int64_t* of, int64_t count) const {
        tile.prepare(*segments[0].view, plans[0], queries.rows, queries.stride, of, count);
        if (request.thresholds == nullptr) return;
        for (int64_t slot = 0; slot < count; slot++)
            tile.shortlists[static_cast<std::size_t>(slot)].keep_all_below(request.thresholds[of[slot]]);
    }

    // Rows of any segments, as they are numbered through; `begin` is a multiple of 16.
    int64_t scan(ScanTile& tile, const std::vector<ScanSlot>& slots, int64_t begin, int64_t end) const {
        int64_t scanned = 0;
        for (std::size_t s = 0; s < segments.size(); s++) {
            const int64_t first = segments[s].first_row;
            const int64_t from = std::max<int64_t>(0, begin - first);
            const int64_t to = std::min(segments[s].view->rows, end - first);
            const int64_t rows = from < to ? segments[s].rows(from, to) : 0;
            if (rows == 0) continue;
            scan_rows(segments[s], plans[s], tile, slots, from, to, from / kBlockRows);
            scanned += static_cast<int64_t>(slots.size()) * rows;
        }
        return scanned;
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
int64_t scan_split_rows(const Batch& batch, int64_t rows, int64_t pieces, const Finish& finish) {
    const int64_t piece_rows = divide_up(divide_up(rows, pieces), kBlockRows) * kBlockRows;
    std::vector<ScanTile> tiles(static_cast<std::size_t>(pieces));
    const std::vector<ScanSlot> slots = all_slots(batch.queries.count);
    std::atomic<int64_t> scanned{0};
    parallel_for(pieces, batch.request.threads, [&](int64_t piece) {
        ScanTile& tile = tiles[static_cast<std::size_t>(piece)];
        batch.prepare(tile, batch.order.data(), batch.queries.count);
        scanned += batch.scan(tile, slots, piece * piece_rows, (piece + 1) * piece_rows);
    });
    for (std::size_t slot = 0; slot < slots.size(); slot++)
        for (std::size_t piece = 1; piece < tiles.size(); piece++)
            tiles[0].shortlists[slot].merge(tiles[piece].shortlists[slot]);
    finish(tiles[0], batch.order.data());
    return scanned;
}

}  // namespace

int64_t scan_batch(Segments segments, const ScanRequest& request, const Queries& queries, const Queries& routing,
                   const Finish& finish) {
    Batch batch{segments, request, queries, {}, {}, {}};
    batch.plans.reserve(segments.size());
    for (const SegmentView& segment : segments)
        batch.plans.emplace_back(*segment.view, request.dims, request.kind, request.keep);
    batch.order.resize(static_cast<std::size_t>(queries.count));
    std::iota(batch.order.begin(), batch.order.end(), int64_t{0});
    const int64_t probe_count = request.probe_count;
    const bool routed = probe_count > 0;

    if (routed) {
        batch.probes.resize(static_cast<std::size_t>(queries.count * probe_count));
        nearest_lists(*segments[0].view, routing.rows, routing.stride, queries.count, request.routing_dims,
                      request.probe_count, request.threads, batch.probes.data());
        std::stable_sort(batch.order.begin(), batch.order.end(), [&](int64_t a, int64_t b) {
            return batch.probes[static_cast<std::size_t>(a * probe_count)] <
                   batch.probes[static_cast<std::size_t>(b * probe_count)];
        });
    }
    const int64_t rows = segments.back().first_row + segments.back().view->rows;
    const int64_t pieces = std::min<int64_t>(request.threads, rows / kMinRowsPerTask);
    if (!routed && queries.count < request.threads && pieces > 1) return scan_split_rows(batch, rows, pieces, finish);

    const int64_t tile_queries = std::min({batch.plans[0].tile_queries, request.most_queries,
                                           std::max<int64_t>(1, divide_up(queries.count, request.threads))});
    std::atomic<int64_t> scanned{0};
    parallel_for(divide_up(queries.count, tile_queries), request.threads, [&](int64_t t) {
        ScanTile& tile = thread_tile();
        const int64_t first = t * tile_queries, count = std::min(tile_queries, queries.count - first);
        const int64_t* order = batch.order.data() + first;
        batch.prepare(tile, order, count);
        if (routed) {
            static thread_local std::vector<int32_t> probes;
            probes.resize(static_cast<std::size_t>(count * probe_count));
            for (int64_t slot = 0; slot < count; slot++)
                std::copy_n(batch.probes.begin() + order[slot] * probe_count, probe_count,
                            probes.begin() + slot * probe_count);
            tile.add_centroids(*segments[0].view, batch.plans[0], probes.data(), request.probe_count);
            scanned += scan_lists(segments, batch.plans, tile, probes.data(), request.probe_count);
        } else {
            scanned += batch.scan(tile, all_slots(count), 0, rows);
        }
        finish(tile, order);
    });
    return scanned;
}

}  // namespace adanns
