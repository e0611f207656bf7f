#include "scan.h"

#include <algorithm>
#include <cstring>

#include "visits.h"

namespace adanns {
namespace {

constexpr int64_t kPrefetchBytes = 2048;  // of the next list; the hardware goes on from there

// Kernels take neighbouring queries; those of a list are copied together once, unless they are neighbours already.
template <class T>
const T* together(const std::vector<T>& all, int64_t each, const std::vector<ScanSlot>& slots, std::vector<T>& group) {
    const auto count = static_cast<int64_t>(slots.size());
    if (slots.back().slot - slots.front().slot == count - 1) return all.data() + slots.front().slot * each;
    group.resize(static_cast<std::size_t>(count * each));
    T* to = group.data();
    for (const ScanSlot& slot : slots) {
        std::memcpy(to, all.data() + slot.slot * each, static_cast<std::size_t>(each) * sizeof(T));
        to += each;
    }
    return group.data();
}

// Up to kMaxQueryTile queries, as the kernels take them.
struct QueryTile {
    int count;
    float m[kMaxQueryTile], c[kMaxQueryTile];
    const uint8_t* codes[kMaxQueryTile];
};

QueryTile query_tile(const ScanPlan& plan, const ScanTile& tile, const std::vector<ScanSlot>& slots,
                     std::size_t first) {
    QueryTile queries;
    queries.count = static_cast<int>(std::min<std::size_t>(kMaxQueryTile, slots.size() - first));
    for (int q = 0; q < queries.count; q++) {
        const ScanSlot& of = slots[first + static_cast<std::size_t>(q)];
        queries.m[q] = tile.m[static_cast<std::size_t>(of.slot)];
        queries.c[q] = tile.c[static_cast<std::size_t>(of.slot)] + of.c;
        queries.codes[q] = tile.codes.data() + of.slot * plan.query_bytes;
    }
    return queries;
}

Shortlist& shortlist_of(ScanTile& tile, const std::vector<ScanSlot>& slots, std::size_t first, int q) {
    return tile.shortlists[static_cast<std::size_t>(slots[first + static_cast<std::size_t>(q)].slot)];
}

int64_t blocks_of(int64_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }

// Blocks of the codes that a plan scans.
struct Blocks {
    const uint8_t* first = nullptr;
    int64_t bytes = 0;

    Blocks(const IndexView& view, const ScanPlan& plan, int64_t block) {
        if (plan.kind == ScanKind::planes) return;
        bytes = plan.kind == ScanKind::code ? view.code->block_bytes : view.table_code->block_bytes;
        first = (plan.kind == ScanKind::code ? view.code->blocks : view.table_code->blocks) + block * bytes;
    }
};

// What the scan keys of all rows need beside their dots, of which those of rows [begin, end) can be read; nullptr where
// that is nothing.
const float* terms_of(const IndexView& view, const ScanPlan& plan, int64_t begin, int64_t end) {
    if (plan.form == KeyForm::plain) return nullptr;
    if (plan.kind == ScanKind::tables) return view.table_code->terms_of(view, plan.dims, begin, end);
    return view.terms.at(plan.dims);
}

// Rows of planes of which few take part: those are copied together and compared as if they were all there is.
void scan_copied(const SegmentView& segment, const ScanPlan& plan, ScanTile& tile, const std::vector<ScanSlot>& slots,
                 int64_t begin, int64_t end) {
    const int64_t stride = plan.chunk_rows;
    const float* all_terms = terms_of(*segment.view, plan, begin, end);
    const float* folded = together(tile.folded, plan.range.folded_dims, slots, tile.group_folded);
    for (int64_t row = begin; row < end;) {
        row = segment.mask.write(row, end, stride, tile.copied);
        const auto rows = static_cast<int64_t>(tile.copied.size());
        if (rows == 0) break;
        tile.row_terms.clear();
        if (all_terms != nullptr)
            for (const uint32_t number : tile.copied) tile.row_terms.push_back(all_terms[number]);
        copy_range(plan.range, tile.copied.data(), rows, tile.copied_rows);
        for (uint32_t& number : tile.copied) number += static_cast<uint32_t>(segment.first_row);
        for (std::size_t first = 0; first < slots.size(); first += kMaxQueryTile) {
            const QueryTile queries = query_tile(plan, tile, slots, first);
            float* keys = tile.keys.data();
            dot_copied(plan.range, tile.copied_rows, rows,
                       folded + static_cast<int64_t>(first) * plan.range.folded_dims, plan.range.folded_dims,
                       queries.count, keys, stride);
            for (int q = 0; q < queries.count; q++, keys += stride) {
                kernels().finish_keys(keys, rows, plan.form, queries.m[q], queries.c[q], tile.row_terms.data());
                shortlist_of(tile, slots, first, q).offer(keys, rows, tile.copied.data());
            }
        }
    }
}

}  // namespace

void scan_rows(const SegmentView& segment, const ScanPlan& plan, ScanTile& tile, const std::vector<ScanSlot>& slots,
               int64_t begin, int64_t end, int64_t first_block) {
    const IndexView& view = *segment.view;
    const int64_t stride = plan.chunk_rows;
    tile.keys.resize(static_cast<std::size_t>(kMaxQueryTile * stride));
    const bool sparse = segment.sparse();
    if (sparse && plan.kind == ScanKind::planes) return scan_copied(segment, plan, tile, slots, begin, end);
    float* keys = tile.keys.data();
    const float* all_terms = terms_of(view, plan, begin, end);
    const float* folded = nullptr;
    const uint8_t* codes = nullptr;
    if (plan.kind == ScanKind::planes) folded = together(tile.folded, plan.range.folded_dims, slots, tile.group_folded);
    if (plan.kind == ScanKind::code) codes = together(tile.codes, plan.query_bytes, slots, tile.group_codes);
    const bool ratios = plan.kind == ScanKind::code && plan.form == KeyForm::multiply;
    if (ratios) tile.row_terms.resize(static_cast<std::size_t>(stride));

    const uint8_t* codes_end = Blocks(view, plan, first_block + blocks_of(end - begin)).first;

    for (int64_t row = begin, rows; row < end; row += rows) {
        rows = std::min(stride, end - row);
        if (sparse) {
            const RowMask::Run run = segment.mask.next_blocks(row, end, stride);
            row = run.begin;
            rows = run.end - run.begin;
            if (rows == 0) break;
        }
        const int64_t block_count = blocks_of(rows);
        const Blocks blocks(view, plan, first_block + (row - begin) / kBlockRows);
        const float* terms = all_terms == nullptr ? nullptr : all_terms + row;
        if (ratios) {
            view.terms.norm_ratios(plan.dims, view.code->dims, row, row + rows, tile.row_terms.data());
            terms = tile.row_terms.data();
        }
        for (std::size_t first = 0; first < slots.size(); first += kMaxQueryTile) {
            const QueryTile queries = query_tile(plan, tile, slots, first);
            const auto at = static_cast<int64_t>(first);
            switch (plan.kind) {
                case ScanKind::planes:
                    dot_range(plan.range, row, rows, folded + at * plan.range.folded_dims, plan.range.folded_dims,
                              queries.count, keys, stride);
                    for (int q = 0; q < queries.count; q++)
                        kernels().finish_keys(keys + q * stride, rows, plan.form, queries.m[q], queries.c[q], terms);
                    break;
                case ScanKind::code:
                    kernels().block_keys(blocks.first, blocks.bytes, block_count,
                                         reinterpret_cast<const int8_t*>(codes + at * plan.query_bytes),
                                         plan.query_bytes, queries.count, coded_groups(plan.dims), plan.form, queries.m,
                                         queries.c, terms, keys, stride);
                    break;
                case ScanKind::tables:
                    const auto kernel = view.table_code->bits == 8 ? kernels().byte_keys : kernels().nibble_keys;
                    kernel({blocks.first, blocks.bytes, block_count, codes_end,
                            code_bytes(*view.table_code, plan.segments), terms},
                           {queries.codes, queries.count, queries.m, queries.c, keys, stride}, plan.form);
                    break;
            }
            const auto number = static_cast<uint32_t>(segment.first_row + row);
            for (int q = 0; q < queries.count; q++)
                shortlist_of(tile, slots, first, q).offer(keys + q * stride, rows, number, segment.mask, row);
        }
    }
}

int64_t scan_lists(Segments segments, const std::vector<ScanPlan>& plans, ScanTile& tile, const int32_t* probes,
                   int probe_count) {
    static thread_local std::vector<Visit> visits;
    plan_visits(probes, tile.count, probe_count, segments[0].view->lists->count(), visits);

    static thread_local std::vector<ScanSlot> slots;
    const float m = key_multiplier(segments[0].view->metric);
    int64_t scanned = 0;
    for (std::size_t s = 0; s < segments.size(); s++) {
        const SegmentView& segment = segments[s];
        const IndexView& view = *segment.view;
        const Span<const int64_t> offsets = view.lists->offsets;
        for (std::size_t i = 0, next; i < visits.size(); i = next) {
            for (next = i;
                 next < visits.size() && visits[next].list == visits[i].list && visits[next].later == visits[i].later;)
                next++;
            const auto list = static_cast<std::size_t>(visits[i].list);
            if (plans[s].kind != ScanKind::planes && next < visits.size()) {
                const Blocks ahead(view, plans[s], view.block_offsets[static_cast<std::size_t>(visits[next].list)]);
                for (int64_t byte = 0; byte < kPrefetchBytes; byte += 64) __builtin_prefetch(ahead.first + byte);
            }
            const int64_t rows = segment.rows(offsets[list], offsets[list + 1]);
            if (rows == 0) continue;
            slots.clear();
            for (std::size_t v = i; v < next; v++) {
                const auto probe = static_cast<std::size_t>(int64_t{visits[v].slot} * probe_count + visits[v].probe);
                slots.push_back({visits[v].slot, tile.list_dots.empty() ? 0.0f : m * tile.list_dots[probe]});
            }
            scan_rows(segment, plans[s], tile, slots, offsets[list], offsets[list + 1], view.block_offsets[list]);
            scanned += static_cast<int64_t>(slots.size()) * rows;
        }
    }
    return scanned;
}

}  // namespace adanns
