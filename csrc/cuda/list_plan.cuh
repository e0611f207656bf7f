// In which order are lists scanned? List by list, so that their rows come from memory once for all queries that probe
// them.
#pragma once

#include "cuda/found.cuh"

namespace adanns::cuda {

// Visits, (queries, probes) numbers, in the order of lists; of list l from first_visit[l] on, in items of up to
// `most_visits` from first_item[l] on.
struct ListPlan {
    int32_t* first_visit;  // lists + 1
    int32_t* first_item;   // lists + 1
    int32_t* filled;       // lists: visits counted, then placed
    int32_t* visits;       // queries * probes
    int32_t* list_of;      // item; as many at most

    ListPlan(int32_t* numbers, int lists, int64_t visit_count)
        : first_visit(numbers),
          first_item(first_visit + lists + 1),
          filled(first_item + lists + 1),
          visits(filled + lists),
          list_of(visits + visit_count) {}
};

// What a block takes: some of the queries that probe a list.
struct ListItem {
    int list, first, visits;  // numbers [first, first + visits) of ListPlan::visits
    int64_t begin, end;       // the list's rows

    __device__ ListItem(const ListPlan& plan, const Lists& lists, int item, int most_visits)
        : list(plan.list_of[item]),
          first(plan.first_visit[list] + (item - plan.first_item[list]) * most_visits),
          begin(lists.offsets[list]),
          end(lists.offsets[list + 1]) {
        const int left = plan.first_visit[list + 1] - first;
        visits = left < most_visits ? left : most_visits;
    }
};

// Every so many of `probed` rows make a sample: so many that what is within its bound is a few times `keep`, but one in
// sixteen at least.
inline __host__ __device__ int64_t sample_step(int64_t probed, int keep) {
    constexpr int64_t kRowsPerKept = 8, kFewestSampled = 16;
    const int64_t step = probed / (kRowsPerKept * keep);
    return step < 1 ? 1 : step > kFewestSampled ? kFewestSampled : step;
}

// Items there can be: a list's visits fill whole ones but for the last.
inline int64_t most_items(int64_t visits, const Lists& lists, int most_visits) {
    return visits / most_visits + (visits < lists.count ? visits : lists.count);
}

// Launches of list_plan.cu.
void plan_visits(const ListPlan& plan, const Lists& lists, int queries, int most_visits, cudaStream_t stream);

// Overflowed queries again, by a scan that needs no bounds (list_scan.cu).
void scan_lists_again(const Planes& planes, const KeyTerms& by, const Queries& queries, const Lists& lists, int dims,
                      int keep, const Found& found, Candidate* out, cudaStream_t stream);

}  // namespace adanns::cuda
