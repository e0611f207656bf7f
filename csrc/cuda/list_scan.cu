// Which rows of the lists that queries probe are nearest? Work goes list by list: a block takes a few of the queries
// that probe a list, so that rows come from memory once for all of them.
#include "cuda/scan.cuh"

namespace adanns::cuda {
namespace {

constexpr int kPlanThreads = 1024;

// Visits, (queries, probes) numbers, in the order of lists; of list l from first_visit[l] on, in items of up to
// `tile` visits from first_item[l] on.
struct ListPlan {
    int32_t* first_visit;  // lists + 1
    int32_t* first_item;   // lists + 1
    int32_t* filled;       // lists: visits counted, then placed
    int32_t* visits;       // queries * probes

    ListPlan(int32_t* numbers, int lists)
        : first_visit(numbers),
          first_item(first_visit + lists + 1),
          filled(first_item + lists + 1),
          visits(filled + lists) {}
};

__global__ void clear_counts(ListPlan plan, int lists) {
    const int list = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (list < lists) plan.filled[list] = 0;
}

__global__ void count_visits(ListPlan plan, const int32_t* probes, int64_t count) {
    const int64_t visit = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (visit < count && probes[visit] >= 0) atomicAdd(&plan.filled[probes[visit]], 1);
}

struct Sums {
    int before, all;
};

// What the threads before this one add up to, and all of them. By all threads of a block; `sums`: one per warp.
__device__ Sums sums_of(int value, int* sums) {
    const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
    int sum = value;
    for (int distance = 1; distance < kWarp; distance *= 2) {
        const int other = __shfl_up_sync(kWholeWarp, sum, static_cast<unsigned>(distance));
        if (lane >= distance) sum += other;
    }
    if (lane == kWarp - 1) sums[warp] = sum;
    __syncthreads();
    int before = 0, all = 0;
    for (int w = 0; w < static_cast<int>(blockDim.x) / kWarp; w++) {
        if (w < warp) before += sums[w];
        all += sums[w];
    }
    __syncthreads();
    return {before + sum - value, all};
}

// One block: where each list's visits and items begin.
__global__ void __launch_bounds__(kPlanThreads) place_lists(ListPlan plan, int lists, int tile) {
    SharedMemory memory = SharedMemory::of_block();
    int* sums = memory.take<int>(kPlanThreads / kWarp);
    int visits = 0, items = 0;
    for (int first = 0; first < lists; first += kPlanThreads) {
        const int list = first + static_cast<int>(threadIdx.x);
        const int count = list < lists ? plan.filled[list] : 0;
        const Sums visit = sums_of(count, sums), item = sums_of((count + tile - 1) / tile, sums);
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

// Puts visits in their places. Which of a list's comes first changes nothing: queries do not see each other. A visit of
// no list finds nothing.
__global__ void place_visits(ListPlan plan, const int32_t* probes, int64_t count, int64_t candidates,
                             Candidate* parts) {
    const int64_t visit = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (visit >= count) return;
    const int32_t list = probes[visit];
    if (list >= 0) {
        plan.visits[plan.first_visit[list] + atomicAdd(&plan.filled[list], 1)] = static_cast<int32_t>(visit);
    } else {
        for (int64_t i = 0; i < candidates; i++) parts[visit * candidates + i] = kNoCandidate;
    }
}

// The list of an item: the last one that does not begin after it and is not empty.
__device__ int list_of(const int32_t* first_item, int lists, int item) {
    int low = 0, high = lists;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (first_item[middle] <= item)
            low = middle;
        else
            high = middle;
    }
    return low;
}

template <int kQueries>
__global__ void __launch_bounds__(kScanThreads, kScanBlocks)
    scan_list_items(ScanArguments arguments, ListPlan plan, const int64_t* offsets, int lists, int probes) {
    const int item = static_cast<int>(blockIdx.x);
    if (item >= plan.first_item[lists]) return;  // the whole block: the grid is an upper bound
    const int64_t split = blockIdx.y, splits = gridDim.y;
    const int list = list_of(plan.first_item, lists, item);
    const int first = plan.first_visit[list] + (item - plan.first_item[list]) * kQueries;
    const int left = plan.first_visit[list + 1] - first;
    int numbers[kQueries];
    int64_t parts[kQueries];
#pragma unroll
    for (int q = 0; q < kQueries; q++) {
        const int visit = plan.visits[q < left ? first + q : first];
        numbers[q] = visit / probes;
        parts[q] = visit * splits + split;
    }
    const int64_t list_end = offsets[list + 1], list_rows = list_end - offsets[list];
    const int64_t split_rows = (list_rows + splits - 1) / splits;
    const int64_t begin = offsets[list] + split * split_rows, end = begin + split_rows;
    scan_block(arguments, left < kQueries ? left : kQueries, numbers, parts, begin, end < list_end ? end : list_end);
}

unsigned blocks_of(int64_t count, int threads) { return static_cast<unsigned>((count + threads - 1) / threads); }

}  // namespace

void scan_lists(const Planes& planes, const KeyTerms& by, const Queries& queries, const Lists& lists, int dims,
                int keep, int splits, const ListWorkspace& workspace, Candidate* out, cudaStream_t stream) {
    const int64_t visits = int64_t{queries.count} * lists.probe_count;
    const int tile = scan_tile(planes, dims, keep, queries.count);
    const ListPlan plan(workspace.numbers, lists.count);
    const dim3 small(kScanThreads);
    launch("clear_counts", clear_counts, dim3(blocks_of(lists.count, kScanThreads)), small, 0, stream, plan,
           lists.count);
    launch("count_visits", count_visits, dim3(blocks_of(visits, kScanThreads)), small, 0, stream, plan, lists.probes,
           visits);
    launch("place_lists", place_lists, dim3(1), dim3(kPlanThreads), kPlanThreads / kWarp * sizeof(int), stream, plan,
           lists.count, tile);
    launch("place_visits", place_visits, dim3(blocks_of(visits, kScanThreads)), small, 0, stream, plan, lists.probes,
           visits, int64_t{splits} * keep, workspace.parts);

    const ScanArguments arguments{planes, by, queries, dims, keep, workspace.parts};
    // A list's visits fill whole items but for the last.
    const int64_t most_items = visits / tile + (visits < lists.count ? visits : lists.count);
    const std::size_t bytes = shared_size<ScanShared>(tile, keep, folded_size(planes, 0, dims));
    launch("scan_list_items", tile == 1 ? scan_list_items<1> : scan_list_items<kScanTile>,
           dim3(static_cast<unsigned>(most_items), static_cast<unsigned>(splits)), dim3(kScanThreads), bytes, stream,
           arguments, plan, lists.offsets, lists.count, lists.probe_count);
    merge(workspace.parts, int64_t{lists.probe_count} * splits * keep, queries.count, keep, out, stream);
}

}  // namespace adanns::cuda
