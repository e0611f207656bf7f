// Which queries probe which list? Four small kernels sort visits by list.
#include "cuda/list_plan.cuh"

namespace adanns::cuda {
namespace {

constexpr int kThreads = 256, kPlanThreads = 1024;

__global__ void clear_counts(ListPlan plan, int lists) {
    const int list = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (list < lists) plan.filled[list] = 0;
}

__global__ void count_visits(ListPlan plan, const int32_t* probes, int64_t count) {
    const int64_t visit = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (visit < count && probes[visit] >= 0) atomicAdd(&plan.filled[probes[visit]], 1);
}

// One block: where each list's visits and items begin.
__global__ void __launch_bounds__(kPlanThreads) place_lists(ListPlan plan, int lists, int most_visits) {
    SharedMemory memory = SharedMemory::of_block();
    int* sums = memory.take<int>(kPlanThreads / kWarp);
    int visits = 0, items = 0;
    for (int first = 0; first < lists; first += kPlanThreads) {
        const int list = first + static_cast<int>(threadIdx.x);
        const int count = list < lists ? plan.filled[list] : 0;
        const Sums visit = sums_of(count, sums), item = sums_of((count + most_visits - 1) / most_visits, sums);
        if (list < lists) {
            plan.first_visit[list] = visits + visit.before;
            plan.first_item[list] = items + item.before;
            plan.filled[list] = 0;
        }
        visits += visit.all;
        items += item.all;
    }
    if (threadIdx.x == 0) {
        plan.first_visit[lists] = visits;
        plan.first_item[lists] = items;
    }
}

// Puts visits in their places. Which of a list's comes first changes nothing: queries do not see each other.
__global__ void place_visits(ListPlan plan, const int32_t* probes, int64_t count, int most_visits) {
    const int64_t visit = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (visit >= count || probes[visit] < 0) return;
    const int32_t list = probes[visit];
    const int before = atomicAdd(&plan.filled[list], 1);
    plan.visits[plan.first_visit[list] + before] = static_cast<int32_t>(visit);
    if (before % most_visits == 0) plan.list_of[plan.first_item[list] + before / most_visits] = list;
}

__global__ void name_list(const Candidate* nearest, int64_t count, int32_t* probes) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < count) probes[i] = nearest[i] == kNoCandidate ? -1 : static_cast<int32_t>(row_of(nearest[i]));
}

unsigned blocks_of(int64_t count) { return static_cast<unsigned>(divide_up(count, kThreads)); }

std::size_t shared_plan_bytes() {
    SharedMemory memory = SharedMemory::none();
    memory.take<int>(kPlanThreads / kWarp);
    return memory.taken();
}

}  // namespace

void name_lists(const Candidate* nearest, int64_t count, int32_t* probes, cudaStream_t stream) {
    launch("name_list", name_list, dim3(blocks_of(count)), dim3(kThreads), 0, stream, nearest, count, probes);
}

void plan_visits(const ListPlan& plan, const Lists& lists, int queries, int most_visits, cudaStream_t stream) {
    const int64_t visits = int64_t{queries} * lists.probe_count;
    const dim3 small(kThreads), by_list(blocks_of(lists.count)), by_visit(blocks_of(visits));
    launch("clear_counts", clear_counts, by_list, small, 0, stream, plan, lists.count);
    launch("count_visits", count_visits, by_visit, small, 0, stream, plan, lists.probes, visits);
    launch("place_lists", place_lists, dim3(1), dim3(kPlanThreads), shared_plan_bytes(), stream, plan, lists.count,
           most_visits);
    launch("place_visits", place_visits, by_visit, small, 0, stream, plan, lists.probes, visits, most_visits);
}

}  // namespace adanns::cuda
