#include "rerank.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

#include "distances.h"
#include "segment_groups.h"
#include "table_query.h"

namespace adanns {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What is known of each candidate: the dot of the scanned prefix and the dot of the bands read since.
struct Candidates {
    int64_t count = 0;
    std::vector<float> keys, scan_dots, band_dots, spare;
    std::vector<uint32_t> rows, positions, spare_rows;
    std::vector<uint32_t> rows_of_segment;  // as its own arrays number them

    void resize(int64_t size) {
        count = size;
        const auto room = static_cast<std::size_t>(size + kBlockRows);  // kernels write whole vectors
        for (auto* floats : {&keys, &scan_dots, &band_dots, &spare}) floats->resize(room);
        for (auto* numbers : {&rows, &positions, &spare_rows}) numbers->resize(room);
    }

    void keep_best(int64_t keep) {
        if (count <= keep) return;
        std::iota(positions.begin(), positions.begin() + count, 0u);
        kernels().select_smallest(keys.data(), positions.data(), count, keep);
        for (auto* floats : {&scan_dots, &band_dots}) {
            for (int64_t i = 0; i < keep; i++) spare[index(i)] = (*floats)[positions[index(i)]];
            floats->swap(spare);
        }
        for (int64_t i = 0; i < keep; i++) spare_rows[index(i)] = rows[positions[index(i)]];
        rows.swap(spare_rows);
        count = keep;
    }

    static std::size_t index(int64_t i) { return static_cast<std::size_t>(i); }
};

template <class Work>
void by_segment(Segments segments, Candidates& candidates, Work work) {
    by_segment(segments, candidates.rows.data(), candidates.count, candidates.rows_of_segment, work);
}

// The dot products behind the scan's keys, so that later stages add to them. Both keys and terms are kept in float, so
// this is exact to rounding.
void recover_dots(Segments segments, const RerankPlan& plan, Candidates& candidates) {
    by_segment(segments, candidates, [&](const Group& group) {
        const float* terms = group.view.terms.at(plan.scan_dims);
        const float* keys = candidates.keys.data() + group.begin;
        float* dots = candidates.scan_dots.data() + group.begin;
        for (int64_t i = 0; i < group.count; i++) {
            float dot = -keys[i];
            if (group.view.metric == Metric::l2) dot = 0.5f * (dot + terms[group.rows[i]]);
            if (group.view.metric == Metric::cosine) {
                const float term = terms[group.rows[i]];
                dot = term > 0 ? dot / term : 0.0f;
            }
            dots[i] = dot;
        }
    });
}

void score(Segments segments, int dims, Candidates& candidates) {
    by_segment(segments, candidates, [&](const Group& group) {
        const float* terms = group.view.terms.at(dims);
        for (int64_t i = 0; i < group.count; i++) {
            const auto at = static_cast<std::size_t>(group.begin + i);
            const float dot = candidates.scan_dots[at] + candidates.band_dots[at];
            float key = -dot;
            if (group.view.metric == Metric::l2) key = terms[group.rows[i]] - 2.0f * dot;
            if (group.view.metric == Metric::cosine) key = -dot * terms[group.rows[i]];
            candidates.keys[at] = std::min(kInfinity, key);  // where sums went beyond float, NaN becomes infinity
        }
    });
}

int64_t write_nearest(Segments segments, int dims, const float* query, Candidates& candidates, int64_t k,
                      float* distances, int64_t* ids) {
    static thread_local std::vector<std::pair<float, int64_t>> order;
    candidates.keep_best(k);
    order.clear();
    const double norm = squared_norm(query, dims);
    by_segment(segments, candidates, [&](const Group& group) {
        for (int64_t i = 0; i < group.count; i++) __builtin_prefetch(&group.view.ids[group.rows[i]]);
        for (int64_t i = 0; i < group.count; i++) {
            const float key = candidates.keys[static_cast<std::size_t>(group.begin + i)];
            const float distance = distance_of(group.view.metric, key, norm);
            if (distance < kInfinity) order.emplace_back(distance, group.view.ids[group.rows[i]]);
        }
    });
    std::sort(order.begin(), order.end());
    const auto found = static_cast<int64_t>(order.size());
    for (int64_t i = 0; i < found; i++) std::tie(distances[i], ids[i]) = order[static_cast<std::size_t>(i)];
    std::fill(distances + found, distances + k, kInfinity);
    std::fill(ids + found, ids + k, int64_t{-1});
    return found;
}

// Asks for the terms of all candidates at once: each is a cache line of its own.
void prefetch_terms(Segments segments, int dims, Candidates& candidates) {
    by_segment(segments, candidates, [&](const Group& group) {
        const float* terms = group.view.terms.at(dims);
        if (terms == nullptr) return;
        for (int64_t i = 0; i < group.count; i++) __builtin_prefetch(terms + group.rows[i]);
    });
}

}  // namespace

RerankPlan::RerankPlan(Segments all, int scan_dims, ScanKind scan, const std::vector<RerankStage>& stages)
    : scan_dims(scan_dims), scan(scan), segments(all.size()) {
    steps.reserve(stages.size());
    ranges.reserve((stages.size() + 1) * segments);
    const auto add_ranges = [&](int from, int to) {
        for (const SegmentView& segment : all) ranges.push_back(range_of(*segment.view, from, to));
    };
    add_ranges(0, scan_dims);
    int from = scan_dims;
    bool exact = scan == ScanKind::planes;
    for (const RerankStage& stage : stages) {
        // The int8 code's dot is good enough to choose by until the last stage, a table code's is not.
        const bool due = scan == ScanKind::tables || stage.dims == scan_dims || &stage == &stages.back();
        const bool restore = !exact && due;
        steps.push_back({stage.dims, stage.keep, restore});
        add_ranges(from, stage.dims);
        exact = exact || restore;
        from = stage.dims;
    }
}

int64_t rerank(Segments segments, const RerankPlan& plan, const float* query, const float* rotated,
               Shortlist& shortlist, int64_t k, float* distances, int64_t* ids, int64_t* rescored) {
    static thread_local Candidates candidates;
    static thread_local std::vector<float> folded;
    shortlist.cut();
    candidates.resize(shortlist.count());
    std::copy_n(shortlist.keys(), candidates.count, candidates.keys.begin());
    std::copy_n(shortlist.rows(), candidates.count, candidates.rows.begin());
    if (plan.steps.empty()) return write_nearest(segments, plan.scan_dims, query, candidates, k, distances, ids);

    if (segments[0].view->planes.empty()) {
        // Codes are all there is: what is returned is measured on them, not on rounded tables.
        by_segment(segments, candidates, [&](const Group& group) {
            table_keys_of(group.view, plan.scan_dims, rotated, group.rows, group.count,
                          candidates.keys.data() + group.begin);
        });
        rescored[0] += candidates.count;
        return write_nearest(segments, plan.scan_dims, query, candidates, k, distances, ids);
    }
    prefetch_terms(segments, plan.scan_dims, candidates);
    if (!plan.steps.front().exact) recover_dots(segments, plan, candidates);
    std::fill_n(candidates.band_dots.begin(), candidates.count, 0.0f);
    const auto add_ranges = [&](const DimRange* ranges, std::vector<float>& dots) {
        folded.resize(static_cast<std::size_t>(ranges[0].folded_dims));
        const float constant = fold_query(ranges[0], query, folded.data());
        by_segment(segments, candidates, [&](const Group& group) {
            gather_range(ranges[group.segment], group.rows, group.count, folded.data(), dots.data() + group.begin);
        });
        if (constant == 0.0f) return;
        for (int64_t i = 0; i < candidates.count; i++) dots[static_cast<std::size_t>(i)] += constant;
    };
    for (std::size_t i = 0; i < plan.steps.size(); i++) {
        const RerankPlan::Step& step = plan.steps[i];
        candidates.keep_best(step.keep);
        prefetch_terms(segments, step.dims, candidates);
        if (step.exact) {
            std::fill_n(candidates.scan_dots.begin(), candidates.count, 0.0f);
            add_ranges(plan.scanned(), candidates.scan_dots);
        }
        add_ranges(plan.added(i), candidates.band_dots);
        score(segments, step.dims, candidates);
        rescored[i] += candidates.count;
    }
    return write_nearest(segments, plan.steps.back().dims, query, candidates, k, distances, ids);
}

}  // namespace adanns
