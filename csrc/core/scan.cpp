#include "scan.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace adanns {
namespace {

constexpr int64_t kChunkBytes = 24 << 10;  // half of a common first-level cache; the other half is for queries and keys
constexpr int64_t kMaxChunkRows = 512;
constexpr int64_t kPrefetchBytes = 2048;  // of the next list; the hardware goes on from there

int64_t bytes_of(const Stretch& stretch) {
    const int64_t size = stretch.plane->type == ScalarType::float32   ? 4
                         : stretch.plane->type == ScalarType::float16 ? 2
                                                                      : 1;
    return stretch.padded_dims * size;
}

struct Visit {
    bool later;  // than the nearest lists of all queries of the tile
    int32_t list, slot;
};

// Nearest lists first, then all others; each in the order of lists, and of slots within a list.
void plan_visits(const int32_t* probes, int64_t slots, int probe_count, int64_t lists, std::vector<Visit>& visits) {
    const auto before = [](const Visit& a, const Visit& b) {
        return a.list != b.list ? a.list < b.list : a.slot < b.slot;
    };
    visits.clear();
    for (int32_t slot = 0; slot < slots; slot++) visits.push_back({false, probes[slot * probe_count], slot});
    std::sort(visits.begin(), visits.end(), before);
    const int64_t others = slots * (probe_count - 1);
    if (others * 8 < lists) {
        for (int32_t slot = 0; slot < slots; slot++)
            for (int i = 1; i < probe_count; i++) visits.push_back({true, probes[slot * probe_count + i], slot});
        std::sort(visits.begin() + slots, visits.end(), before);
        return;
    }
    // Many visits per list: count, then place.
    static thread_local std::vector<int64_t> starts;
    starts.assign(static_cast<std::size_t>(lists + 1), 0);
    for (int64_t slot = 0; slot < slots; slot++)
        for (int i = 1; i < probe_count; i++) starts[static_cast<std::size_t>(probes[slot * probe_count + i]) + 1]++;
    std::partial_sum(starts.begin(), starts.end(), starts.begin());
    visits.resize(static_cast<std::size_t>(slots + others));
    for (int32_t slot = 0; slot < slots; slot++)
        for (int i = 1; i < probe_count; i++) {
            const int32_t list = probes[slot * probe_count + i];
            visits[static_cast<std::size_t>(slots + starts[static_cast<std::size_t>(list)]++)] = {true, list, slot};
        }
}

}  // namespace

ScanPlan::ScanPlan(const IndexView& view, int dims, bool coded, int64_t keep)
    : dims(dims),
      coded(coded),
      keep(keep),
      form(key_form(view.metric, coded && dims == view.code->dims)),
      range(coded ? DimRange{} : range_of(view, 0, dims)) {
    int64_t row_bytes = coded ? coded_bytes(dims) : 0;
    for (const Stretch& stretch : range.stretches) row_bytes += bytes_of(stretch);
    chunk_rows =
        std::min(kMaxChunkRows, std::max<int64_t>(kBlockRows, kChunkBytes / row_bytes / kBlockRows * kBlockRows));
}

void ScanTile::prepare(const IndexView& view, const ScanPlan& plan, const float* queries, int64_t query_stride,
                       const int64_t* order, int64_t tile_count) {
    count = tile_count;
    const auto size = static_cast<std::size_t>(count);
    m.resize(size);
    c.resize(size);
    if (shortlists.size() < size) shortlists.resize(size);
    const int64_t bytes = coded_bytes(plan.dims), floats = plan.range.folded_dims;
    plan.coded ? codes.resize(size * static_cast<std::size_t>(bytes))
               : folded.resize(size * static_cast<std::size_t>(floats));
    for (std::size_t slot = 0; slot < size; slot++) {
        const float* query = queries + order[slot] * query_stride;
        if (plan.coded) {
            const CodedQuery coded = code_query(*view.code, view.metric, plan.dims, query,
                                                codes.data() + slot * static_cast<std::size_t>(bytes));
            m[slot] = coded.m;
            c[slot] = coded.c;
        } else {
            const float constant =
                fold_query(plan.range, query, folded.data() + slot * static_cast<std::size_t>(floats));
            m[slot] = key_multiplier(view.metric);
            c[slot] = m[slot] * constant;
        }
        shortlists[slot].reset(plan.keep);
    }
}

void scan_rows(const IndexView& view, const ScanPlan& plan, ScanTile& tile, const int32_t* slots, int64_t slot_count,
               int64_t begin, int64_t end, int64_t first_block) {
    const int64_t stride = plan.chunk_rows, bytes = coded_bytes(plan.dims), floats = plan.range.folded_dims;
    tile.keys.resize(static_cast<std::size_t>(kMaxQueryTile * stride));
    float* keys = tile.keys.data();
    const float* all_terms = plan.form == KeyForm::plain ? nullptr : view.terms.at(plan.dims);

    // Kernels take neighbouring queries; those of a list are copied together once, unless they are neighbours already.
    const bool together = slots[slot_count - 1] - slots[0] == slot_count - 1;
    const int8_t* codes = tile.codes.data() + slots[0] * bytes;
    const float* folded = tile.folded.data() + slots[0] * floats;
    if (!together && plan.coded) {
        tile.group_codes.resize(static_cast<std::size_t>(slot_count * bytes));
        for (int64_t i = 0; i < slot_count; i++)
            std::memcpy(tile.group_codes.data() + i * bytes, tile.codes.data() + slots[i] * bytes,
                        static_cast<std::size_t>(bytes));
        codes = tile.group_codes.data();
    } else if (!together) {
        tile.group_folded.resize(static_cast<std::size_t>(slot_count * floats));
        for (int64_t i = 0; i < slot_count; i++)
            std::copy_n(tile.folded.data() + slots[i] * floats, floats, tile.group_folded.data() + i * floats);
        folded = tile.group_folded.data();
    }

    for (int64_t row = begin; row < end; row += stride) {
        const int64_t rows = std::min(stride, end - row);
        const float* terms = all_terms == nullptr ? nullptr : all_terms + row;
        if (plan.coded && plan.form == KeyForm::multiply) {
            tile.ratios.resize(static_cast<std::size_t>(kMaxChunkRows));
            view.terms.norm_ratios(plan.dims, view.code->dims, row, row + rows, tile.ratios.data());
            terms = tile.ratios.data();
        }
        for (int64_t first = 0; first < slot_count; first += kMaxQueryTile) {
            const int queries = static_cast<int>(std::min<int64_t>(kMaxQueryTile, slot_count - first));
            float m[kMaxQueryTile], c[kMaxQueryTile];
            for (int q = 0; q < queries; q++) {
                m[q] = tile.m[static_cast<std::size_t>(slots[first + q])];
                c[q] = tile.c[static_cast<std::size_t>(slots[first + q])];
            }
            if (plan.coded) {
                const int64_t block = first_block + (row - begin) / kBlockRows;
                kernels().block_keys(view.code->blocks + block * view.code->block_bytes, view.code->block_bytes,
                                     (rows + kBlockRows - 1) / kBlockRows, codes + first * bytes, bytes, queries,
                                     coded_groups(plan.dims), plan.form, m, c, terms, keys, stride);
            } else {
                dot_range(plan.range, row, rows, folded + first * floats, floats, queries, keys, stride);
                for (int q = 0; q < queries; q++)
                    kernels().finish_keys(keys + q * stride, rows, plan.form, m[q], c[q], terms);
            }
            for (int q = 0; q < queries; q++)
                tile.shortlists[static_cast<std::size_t>(slots[first + q])].offer(keys + q * stride, rows,
                                                                                  static_cast<uint32_t>(row));
        }
    }
}

int64_t scan_lists(const IndexView& view, const ScanPlan& plan, ScanTile& tile, const int32_t* probes,
                   int probe_count) {
    static thread_local std::vector<Visit> visits;
    plan_visits(probes, tile.count, probe_count, view.lists->count(), visits);

    static thread_local std::vector<int32_t> slots;
    const Span<const int64_t> offsets = view.lists->offsets;
    int64_t scanned = 0;
    for (std::size_t i = 0, next; i < visits.size(); i = next) {
        slots.clear();
        for (next = i;
             next < visits.size() && visits[next].list == visits[i].list && visits[next].later == visits[i].later;
             next++)
            slots.push_back(visits[next].slot);
        const auto list = static_cast<std::size_t>(visits[i].list);
        if (plan.coded && next < visits.size()) {
            const int64_t block = view.block_offsets[static_cast<std::size_t>(visits[next].list)];
            const uint8_t* ahead = view.code->blocks + block * view.code->block_bytes;
            for (int64_t byte = 0; byte < kPrefetchBytes; byte += 64) __builtin_prefetch(ahead + byte);
        }
        if (offsets[list] == offsets[list + 1]) continue;
        const auto count = static_cast<int64_t>(slots.size());
        scan_rows(view, plan, tile, slots.data(), count, offsets[list], offsets[list + 1], view.block_offsets[list]);
        scanned += count * (offsets[list + 1] - offsets[list]);
    }
    return scanned;
}

}  // namespace adanns
