#include "route.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "folded_query.h"
#include "kernel_table.h"
#include "thread_pool.h"

namespace adanns {
namespace {

constexpr int64_t kQueriesPerTask = 64;

struct Scratch {
    std::vector<int8_t> codes;
    std::vector<float> keys, bounds, kept_keys;
    std::vector<uint32_t> kept;
};

// Writes the lists of the `probe_count` smallest keys.
void pick_lists(float* keys, int64_t lists, int probe_count, Scratch& scratch, int32_t* probes) {
    const KernelTable& table = kernels();
    int64_t count = lists;
    if (probe_count < lists) {
        const float bound = table.bound_of_smallest(keys, lists, probe_count, scratch.bounds.data());
        const float above = std::nextafter(bound, std::numeric_limits<float>::infinity());
        count = table.collect_below(keys, lists, above, 0, nullptr, 0, scratch.kept_keys.data(), scratch.kept.data());
        if (count < probe_count) {  // too many went beyond float: infinite or NaN, they count as equally far
            const float far = std::numeric_limits<float>::max();
            std::transform(keys, keys + lists, keys, [far](float key) { return std::min(far, key); });
            return pick_lists(keys, lists, probe_count, scratch, probes);
        }
        if (count > probe_count)
            table.select_smallest(scratch.kept_keys.data(), scratch.kept.data(), count, probe_count);
        count = probe_count;
    } else {
        for (int64_t list = 0; list < lists; list++) {
            scratch.kept_keys[static_cast<std::size_t>(list)] = keys[list];
            scratch.kept[static_cast<std::size_t>(list)] = static_cast<uint32_t>(list);
        }
    }
    const auto nearest =
        std::min_element(scratch.kept_keys.begin(), scratch.kept_keys.begin() + count) - scratch.kept_keys.begin();
    std::copy(scratch.kept.begin(), scratch.kept.begin() + count, probes);
    std::rotate(probes, probes + nearest, probes + nearest + 1);
}

}  // namespace

void nearest_lists(const IndexView& view, const float* queries, int64_t query_stride, int64_t query_count,
                   int routing_dims, int probe_count, int threads, int32_t* probes) {
    const ListsView& lists = *view.lists;
    const CodeView& centroids = lists.centroids;
    const bool normalised = routing_dims == centroids.dims;
    const KeyForm form = key_form(view.metric, normalised);
    const int64_t count = lists.count(), blocks = (count + kBlockRows - 1) / kBlockRows, padded = blocks * kBlockRows;
    const int64_t bytes = coded_bytes(routing_dims);

    std::vector<float> ratios;
    const float* terms = lists.centroid_terms.at(routing_dims);
    if (form == KeyForm::multiply) {
        ratios.resize(static_cast<std::size_t>(padded));
        lists.centroid_terms.norm_ratios(routing_dims, centroids.dims, 0, count, ratios.data());
        terms = ratios.data();
    }

    const int64_t tasks = (query_count + kQueriesPerTask - 1) / kQueriesPerTask;
    parallel_for(tasks, threads, [&](int64_t task) {
        static thread_local Scratch scratch;
        scratch.codes.resize(static_cast<std::size_t>(kMaxQueryTile * bytes));
        scratch.keys.resize(static_cast<std::size_t>(kMaxQueryTile * padded));
        for (auto* keys : {&scratch.bounds, &scratch.kept_keys})
            keys->resize(static_cast<std::size_t>(padded + kBlockRows));
        scratch.kept.resize(static_cast<std::size_t>(padded + kBlockRows));
        const int64_t end = std::min(query_count, (task + 1) * kQueriesPerTask);
        for (int64_t first = task * kQueriesPerTask; first < end; first += kMaxQueryTile) {
            const int tile = static_cast<int>(std::min<int64_t>(kMaxQueryTile, end - first));
            float m[kMaxQueryTile], c[kMaxQueryTile];
            for (int q = 0; q < tile; q++) {
                const CodedQuery coded =
                    code_query(centroids, view.metric, routing_dims, queries + (first + q) * query_stride,
                               scratch.codes.data() + q * bytes);
                m[q] = coded.m;
                c[q] = coded.c;
            }
            kernels().block_keys(centroids.blocks, centroids.block_bytes, blocks, scratch.codes.data(), bytes, tile,
                                 coded_groups(routing_dims), form, m, c, terms, scratch.keys.data(), padded);
            for (int q = 0; q < tile; q++)
                pick_lists(scratch.keys.data() + q * padded, count, probe_count, scratch,
                           probes + (first + q) * probe_count);
        }
    });
}

}  // namespace adanns
