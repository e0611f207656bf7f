#include "rerank.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

#include "norms.h"
#include "table_query.h"

namespace adanns {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What is known of each candidate: the dot of the scanned prefix and the dot of the bands read since.
struct Candidates {
    int64_t count = 0;
    std::vector<float> keys, scan_dots, band_dots, spare;
    std::vector<uint32_t> rows, positions, spare_rows;

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

// The dot products behind the scan's keys, so that later stages add to them. Both keys and terms are kept in float, so
// this is exact to rounding.
void recover_dots(const IndexView& view, const RerankPlan& plan, Candidates& candidates) {
    const float* terms = view.terms.at(plan.scan_dims);
    for (int64_t i = 0; i < candidates.count; i++) {
        const auto at = static_cast<std::size_t>(i);
        const uint32_t row = candidates.rows[at];
        float dot = -candidates.keys[at];
        if (view.metric == Metric::l2) dot = 0.5f * (dot + terms[row]);
        if (view.metric == Metric::cosine) dot = terms[row] > 0 ? dot / terms[row] : 0.0f;
        candidates.scan_dots[at] = dot;
    }
}

void score(const IndexView& view, int dims, Candidates& candidates) {
    const float* terms = view.terms.at(dims);
    for (int64_t i = 0; i < candidates.count; i++) {
        const auto at = static_cast<std::size_t>(i);
        const float dot = candidates.scan_dots[at] + candidates.band_dots[at];
        float key = -dot;
        if (view.metric == Metric::l2) key = terms[candidates.rows[at]] - 2.0f * dot;
        if (view.metric == Metric::cosine) key = -dot * terms[candidates.rows[at]];
        candidates.keys[at] = std::min(kInfinity, key);  // where sums went beyond float, NaN becomes infinity
    }
}

// What the query adds to every key of its own: |q|^2 under l2, the factor 1 / |q| under cosine.
float distance_of(Metric metric, float key, double squared_query_norm) {
    switch (metric) {
        case Metric::l2: return std::max(0.0f, key + static_cast<float>(squared_query_norm));
        case Metric::inner_product: return key;
        case Metric::cosine:
            return squared_query_norm > 0 ? static_cast<float>(1.0 + key / std::sqrt(squared_query_norm)) : 1.0f;
    }
    return key;
}

int64_t write_nearest(const IndexView& view, int dims, const float* query, Candidates& candidates, int64_t k,
                      float* distances, int64_t* ids) {
    static thread_local std::vector<std::pair<float, int64_t>> order;
    candidates.keep_best(k);
    for (int64_t i = 0; i < candidates.count; i++)
        __builtin_prefetch(&view.ids[candidates.rows[static_cast<std::size_t>(i)]]);
    order.clear();
    const double norm = squared_norm(query, dims);
    for (int64_t i = 0; i < candidates.count; i++) {
        const auto at = static_cast<std::size_t>(i);
        const float distance = distance_of(view.metric, candidates.keys[at], norm);
        if (distance < kInfinity) order.emplace_back(distance, view.ids[candidates.rows[at]]);
    }
    std::sort(order.begin(), order.end());
    const auto found = static_cast<int64_t>(order.size());
    for (int64_t i = 0; i < found; i++) std::tie(distances[i], ids[i]) = order[static_cast<std::size_t>(i)];
    std::fill(distances + found, distances + k, kInfinity);
    std::fill(ids + found, ids + k, int64_t{-1});
    return found;
}

// Asks for the terms of all candidates at once: each is a cache line of its own.
void prefetch_terms(const IndexView& view, int dims, const Candidates& candidates) {
    const float* terms = view.terms.at(dims);
    if (terms == nullptr) return;
    for (int64_t i = 0; i < candidates.count; i++)
        __builtin_prefetch(terms + candidates.rows[static_cast<std::size_t>(i)]);
}

}  // namespace

RerankPlan::RerankPlan(const IndexView& view, int scan_dims, ScanKind scan, const std::vector<RerankStage>& stages)
    : scan_dims(scan_dims), scan(scan), scanned(range_of(view, 0, scan_dims)) {
    int from = scan_dims;
    bool exact = scan == ScanKind::planes;
    for (const RerankStage& stage : stages) {
        // The int8 code's dot is good enough to choose by until the last stage, a table code's is not.
        const bool due = scan == ScanKind::tables || stage.dims == scan_dims || &stage == &stages.back();
        const bool restore = !exact && due;
        steps.push_back({stage.dims, stage.keep, range_of(view, from, stage.dims), restore});
        exact = exact || restore;
        from = stage.dims;
    }
}

int64_t rerank(const IndexView& view, const RerankPlan& plan, const float* query, const float* rotated,
               Shortlist& shortlist, int64_t k, float* distances, int64_t* ids, int64_t* rescored) {
    static thread_local Candidates candidates;
    static thread_local std::vector<float> folded;
    shortlist.cut();
    candidates.resize(shortlist.count());
    std::copy_n(shortlist.keys(), candidates.count, candidates.keys.begin());
    std::copy_n(shortlist.rows(), candidates.count, candidates.rows.begin());
    if (plan.steps.empty()) return write_nearest(view, plan.scan_dims, query, candidates, k, distances, ids);

    if (view.planes.empty()) {  // codes are all there is: what is returned is measured on them, not on rounded tables
        table_keys_of(view, plan.scan_dims, rotated, candidates.rows.data(), candidates.count, candidates.keys.data());
        rescored[0] += candidates.count;
        return write_nearest(view, plan.scan_dims, query, candidates, k, distances, ids);
    }
    prefetch_terms(view, plan.scan_dims, candidates);
    if (!plan.steps.front().exact) recover_dots(view, plan, candidates);
    std::fill_n(candidates.band_dots.begin(), candidates.count, 0.0f);
    const auto add_range = [&](const DimRange& range, std::vector<float>& dots) {
        folded.resize(static_cast<std::size_t>(range.folded_dims));
        const float constant = fold_query(range, query, folded.data());
        gather_range(range, candidates.rows.data(), candidates.count, folded.data(), dots.data());
        if (constant == 0.0f) return;
        for (int64_t i = 0; i < candidates.count; i++) dots[static_cast<std::size_t>(i)] += constant;
    };
    for (std::size_t i = 0; i < plan.steps.size(); i++) {
        const RerankPlan::Step& step = plan.steps[i];
        candidates.keep_best(step.keep);
        prefetch_terms(view, step.dims, candidates);
        if (step.exact) {
            std::fill_n(candidates.scan_dots.begin(), candidates.count, 0.0f);
            add_range(plan.scanned, candidates.scan_dots);
        }
        add_range(step.added, candidates.band_dots);
        score(view, step.dims, candidates);
        rescored[i] += candidates.count;
    }
    return write_nearest(view, plan.steps.back().dims, query, candidates, k, distances, ids);
}

}  // namespace adanns
