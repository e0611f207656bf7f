// Which rows of the lists that queries probe are nearest? Work goes list by list: a block takes a few of the queries
// that probe a list, so that rows come from memory once for all of them.
#include "cuda/scan.cuh"

namespace adanns::cuda {
namespace {

constexpr int kPlanThreads = 1024;
static_assert(kScanThreads == RankShared::kBins);
constexpr int kListThreads = 128, kListBlocks = 4;  // a list has some hundred rows
constexpr int64_t kManyVisits = 512;
constexpr unsigned kListSplits = 4;
// Of the rows that a query probes, one in kFewestSampled at least bounds the others, and at most kMostSamples.
constexpr int kMostSamples = 8192, kRowsPerKept = 8, kFewestSampled = 16;

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

// Puts visits in their places. Which of a list's comes first changes nothing: queries do not see each other.
__global__ void place_visits(ListPlan plan, const int32_t* probes, int64_t count) {
    const int64_t visit = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (visit >= count || probes[visit] < 0) return;
    const int32_t list = probes[visit];
    plan.visits[plan.first_visit[list] + atomicAdd(&plan.filled[list], 1)] = static_cast<int32_t>(visit);
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

struct SampleShared {
    ScanShared scan;
    uint32_t* keys;
    RankShared rank;
    int* count;

    __host__ __device__ SampleShared(SharedMemory& memory, int folded_dims)
        : scan(memory, 1, folded_dims),
          keys(memory.take<uint32_t>(kMostSamples)),
          rank(memory),
          count(memory.take<int>(1)) {}
};

// A bound for each query, from a sample of the rows that it probes.
__global__ void __launch_bounds__(kScanThreads, kScanBlocks)
    bound_lists(ScanArguments arguments, Lists lists, Found found) {
    const int query = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
    const int32_t* probes = lists.probes + int64_t{query} * lists.probe_count;
    SharedMemory memory = SharedMemory::of_block();
    const SampleShared shared(memory, folded_size(arguments.planes, 0, arguments.dims));
    if (thread == 0) *shared.count = 0;
    fold_queries<1>(arguments, {1, {query}}, shared.scan);
    const auto rows_of = [&](int probe) {
        const int list = probes[probe];
        return list < 0 ? RowGroups{0, 0, kSharedRows}
                        : RowGroups{lists.offsets[list], lists.offsets[list + 1], kSharedRows};
    };
    int own = 0;  // lists are shorter than 2^31 / probes rows: rows are numbered by 32 bits
    for (int probe = thread; probe < lists.probe_count; probe += kScanThreads) {
        const RowGroups rows = rows_of(probe);
        own += static_cast<int>(rows.end - rows.begin);
    }
    const int64_t total = sums_of(own, shared.rank.sums).all;
    // As many as make what is within the bound a few times `keep`, but of each list the first group.
    int64_t fraction = total / (kRowsPerKept * int64_t{arguments.keep});
    fraction = fraction < 1 ? 1 : fraction > kFewestSampled ? kFewestSampled : fraction;
    while (total / fraction + int64_t{kSharedRows} * lists.probe_count > kMostSamples && fraction < total)
        fraction *= 2;
    for (int probe = thread / kWarp; probe < lists.probe_count; probe += kScanThreads / kWarp) {
        RowGroups rows = rows_of(probe);
        rows.spacing = kSharedRows * fraction;
        visit_rows<1>(arguments, shared.scan, 1, rows, 0, 1, [&](int, bool valid, float key, int64_t, int64_t) {
            const unsigned votes = __ballot_sync(kWholeWarp, valid);
            const int at = count_lanes(votes, shared.count) + lanes_before(votes);
            if (valid && at < kMostSamples) shared.keys[at] = ordered_bits(key);
        });
    }
    __syncthreads();
    const int count = *shared.count < kMostSamples ? *shared.count : kMostSamples;
    const float bound = bound_of(shared.keys, count, arguments.keep, shared.rank);
    if (thread != 0) return;
    found.bounds[query] = bound;
    found.counts[query] = 0;
}

template <int kQueries>
__global__ void __launch_bounds__(kListThreads, kListBlocks)
    collect_list_items(ScanArguments arguments, ListPlan plan, Lists lists, Found found) {
    const int item = static_cast<int>(blockIdx.x);
    if (item >= plan.first_item[lists.count]) return;  // the whole block: the grid is an upper bound
    const int list = list_of(plan.first_item, lists.count, item);
    const int first = plan.first_visit[list] + (item - plan.first_item[list]) * kQueries;
    const int left = plan.first_visit[list + 1] - first;
    QueryTile<kQueries> tile;
    tile.count = left < kQueries ? left : kQueries;
#pragma unroll
    for (int q = 0; q < kQueries; q++) tile.numbers[q] = plan.visits[q < left ? first + q : first] / lists.probe_count;
    SharedMemory memory = SharedMemory::of_block();
    const ScanShared shared(memory, kQueries, folded_size(arguments.planes, 0, arguments.dims));
    fold_queries(arguments, tile, shared, found.bounds);
    const int64_t begin = lists.offsets[list], end = lists.offsets[list + 1];
    const int64_t split_rows = ((end - begin + gridDim.y - 1) / gridDim.y + kWarp - 1) / kWarp * kWarp;
    const int64_t split_begin = begin + blockIdx.y * split_rows, split_end = split_begin + split_rows;
    if (split_begin < end)
        collect_rows<kQueries>(arguments, shared, tile.count,
                               {split_begin, split_end < end ? split_end : end, kSharedRows}, found);
}

// Overflowed queries again, list after list.
__global__ void __launch_bounds__(kScanThreads, kScanBlocks)
    scan_lists_again(ScanArguments arguments, Lists lists, Found found, Candidate* out) {
    const int query = static_cast<int>(blockIdx.x);
    if (!overflowed(found, query)) return;
    SharedMemory memory = SharedMemory::of_block();
    AgainShared shared(memory, arguments.keep, folded_size(arguments.planes, 0, arguments.dims));
    shared.shortlist.clear();
    fold_queries<1>(arguments, {1, {query}}, shared.scan);
    for (int probe = 0; probe < lists.probe_count; probe++) {
        const int list = lists.probes[int64_t{query} * lists.probe_count + probe];
        if (list >= 0)
            shortlist_rows(arguments, shared.scan, shared.shortlist, lists.offsets[list], lists.offsets[list + 1]);
    }
    write_shortlist(shared.shortlist, out + int64_t{query} * arguments.keep);
}

__global__ void name_list(const Candidate* nearest, int64_t count, int32_t* probes) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < count) probes[i] = nearest[i] == kNoCandidate ? -1 : static_cast<int32_t>(row_of(nearest[i]));
}

std::size_t shared_plan_bytes() {
    SharedMemory memory = SharedMemory::none();
    memory.take<int>(kPlanThreads / kWarp);
    return memory.taken();
}

unsigned blocks_of(int64_t count, int threads) { return static_cast<unsigned>((count + threads - 1) / threads); }

}  // namespace

void name_lists(const Candidate* nearest, int64_t count, int32_t* probes, cudaStream_t stream) {
    launch("name_list", name_list, dim3(blocks_of(count, kScanThreads)), dim3(kScanThreads), 0, stream, nearest, count,
           probes);
}

void scan_lists(const Planes& planes, const KeyTerms& by, const Queries& queries, const Lists& lists, int dims,
                int keep, int32_t* numbers, const Found& found, Candidate* out, cudaStream_t stream) {
    const int64_t visits = int64_t{queries.count} * lists.probe_count;
    const int tile = scan_tile(planes, dims, queries.count), folded_dims = folded_size(planes, 0, dims);
    const ListPlan plan(numbers, lists.count);
    const dim3 small(kScanThreads), by_query(static_cast<unsigned>(queries.count));
    launch("clear_counts", clear_counts, dim3(blocks_of(lists.count, kScanThreads)), small, 0, stream, plan,
           lists.count);
    launch("count_visits", count_visits, dim3(blocks_of(visits, kScanThreads)), small, 0, stream, plan, lists.probes,
           visits);
    launch("place_lists", place_lists, dim3(1), dim3(kPlanThreads), shared_plan_bytes(), stream, plan, lists.count,
           tile);
    launch("place_visits", place_visits, dim3(blocks_of(visits, kScanThreads)), small, 0, stream, plan, lists.probes,
           visits);

    const ScanArguments arguments{planes, by, queries, dims, keep};
    launch("bound_lists", bound_lists, by_query, small, shared_size<SampleShared>(folded_dims), stream, arguments,
           lists, found);
    // A list's visits fill whole items but for the last; few items leave multiprocessors idle unless lists are split.
    const int64_t most_items = visits / tile + (visits < lists.count ? visits : lists.count);
    const unsigned splits = visits < kManyVisits ? kListSplits : 1;
    launch("collect_list_items", tile == 1 ? collect_list_items<1> : collect_list_items<kScanTile>,
           dim3(static_cast<unsigned>(most_items), splits), dim3(kListThreads),
           shared_size<ScanShared>(tile, folded_dims), stream, arguments, plan, lists, found);
    select_nearest(found, queries.count, keep, out, stream);
    launch("scan_lists_again", scan_lists_again, by_query, small, shared_size<AgainShared>(keep, folded_dims), stream,
           arguments, lists, found, out);
}

}  // namespace adanns::cuda
