#include "scan_tile.h"

#include <algorithm>

namespace adanns {
namespace {

constexpr int64_t kChunkBytes = 24 << 10;  // half of a common first-level cache; the other half is for queries and keys
constexpr int64_t kMaxChunkRows = 512;
constexpr int64_t kMaxTileQueries = 1024;       // more share each row read; fewer keep shortlists in the second level
constexpr int64_t kTileTableBytes = 512 << 10;  // of tables, which every list's scan reads: a part of that level too

int64_t row_bytes(const IndexView& view, const ScanPlan& plan) {
    if (plan.kind == ScanKind::code) return coded_bytes(plan.dims);
    if (plan.kind == ScanKind::tables) return code_bytes(*view.table_code, plan.segments);
    int64_t bytes = 0;
    for (const Stretch& stretch : plan.range.stretches)
        bytes += stretch.padded_dims * (stretch.plane->type == ScalarType::float32   ? 4
                                        : stretch.plane->type == ScalarType::float16 ? 2
                                                                                     : 1);
    return bytes;
}

}  // namespace

ScanPlan::ScanPlan(const IndexView& view, int dims, ScanKind kind, int64_t keep)
    : dims(dims),
      kind(kind),
      keep(keep),
      form(key_form(view.metric, kind == ScanKind::code && dims == view.code->dims)),
      range(kind == ScanKind::planes ? range_of(view, 0, dims) : DimRange{}),
      segments(kind == ScanKind::tables ? view.table_code->segments_of(dims) : 0),
      query_bytes(kind == ScanKind::tables ? table_bytes(*view.table_code, segments) : coded_bytes(dims)) {
    const int64_t in_cache = kChunkBytes / row_bytes(view, *this) / kBlockRows * kBlockRows;
    chunk_rows = std::min(kMaxChunkRows, std::max<int64_t>(kBlockRows, in_cache));
    tile_queries = kMaxTileQueries;
    if (kind == ScanKind::tables)
        tile_queries = std::min(tile_queries, std::max<int64_t>(kMaxQueryTile, kTileTableBytes / query_bytes));
}

void ScanTile::prepare(const IndexView& view, const ScanPlan& plan, const float* queries, int64_t query_stride,
                       const int64_t* order, int64_t tile_count) {
    count = tile_count;
    const auto size = static_cast<std::size_t>(count);
    m.resize(size);
    c.resize(size);
    if (shortlists.size() < size) shortlists.resize(size);
    for (std::size_t slot = 0; slot < size; slot++) shortlists[slot].reset(plan.keep);
    rotated.clear();
    if (plan.kind != ScanKind::planes) codes.resize(size * static_cast<std::size_t>(plan.query_bytes));
    if (plan.kind == ScanKind::tables) {
        rotated.resize(size * static_cast<std::size_t>(rotated_dims(*view.table_code, plan.segments)));
        table_queries(*view.table_code, view.metric, plan.segments, queries, query_stride, order, count, rotated.data(),
                      codes.data(), m.data(), c.data());
        return;
    }
    const int64_t floats = plan.range.folded_dims;
    folded.resize(size * static_cast<std::size_t>(floats));
    for (int64_t slot = 0; slot < count; slot++) {
        const auto at = static_cast<std::size_t>(slot);
        const float* query = queries + order[slot] * query_stride;
        if (plan.kind == ScanKind::code) {
            auto* to = reinterpret_cast<int8_t*>(codes.data() + slot * plan.query_bytes);
            const CodedQuery coded = code_query(*view.code, view.metric, plan.dims, query, to);
            m[at] = coded.m;
            c[at] = coded.c;
        } else {
            m[at] = key_multiplier(view.metric);
            c[at] = m[at] * fold_query(plan.range, query, folded.data() + slot * floats);
        }
    }
}

const float* ScanTile::rotated_query(int64_t slot) const {
    const int64_t dims = count > 0 ? static_cast<int64_t>(rotated.size()) / count : 0;
    return dims > 0 ? rotated.data() + slot * dims : nullptr;
}

void ScanTile::add_centroids(const IndexView& view, const ScanPlan& plan, const int32_t* probes, int probe_count) {
    list_dots.clear();
    if (plan.kind != ScanKind::tables || view.table_code->centroids == nullptr) return;
    list_dots.resize(static_cast<std::size_t>(count * probe_count));
    for (int64_t slot = 0; slot < count; slot++)
        centroid_dots(*view.table_code, plan.segments, rotated_query(slot), probes + slot * probe_count, probe_count,
                      list_dots.data() + slot * probe_count);
}

}  // namespace adanns
