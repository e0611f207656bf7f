// Which rows of the lists that queries probe are nearest? Work goes list by list: a block takes a few of the queries
// that probe a list, so that rows come from memory once for all of them.
#include "cuda/list_plan.cuh"
#include "cuda/scan.cuh"

namespace adanns::cuda {
namespace {

static_assert(kScanThreads == RankShared::kBins);
constexpr int kListThreads = 128, kListBlocks = 4;  // a list has some hundred rows
constexpr int64_t kManyVisits = 512;
constexpr unsigned kListSplits = 4;
constexpr int kMostSamples = 8192;  // of the rows that a query probes

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
    int64_t fraction = sample_step(total, arguments.keep);  // but of each list the first group
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
    const ListItem of_list(plan, lists, item, kQueries);
    QueryTile<kQueries> tile;
    tile.count = of_list.visits;
#pragma unroll
    for (int q = 0; q < kQueries; q++)
        tile.numbers[q] = plan.visits[of_list.first + (q < tile.count ? q : 0)] / lists.probe_count;
    SharedMemory memory = SharedMemory::of_block();
    const ScanShared shared(memory, kQueries, folded_size(arguments.planes, 0, arguments.dims));
    fold_queries(arguments, tile, shared, found.bounds);
    const int64_t begin = of_list.begin, end = of_list.end;
    const int64_t split_rows = ((end - begin + gridDim.y - 1) / gridDim.y + kWarp - 1) / kWarp * kWarp;
    const int64_t split_begin = begin + blockIdx.y * split_rows, split_end = split_begin + split_rows;
    if (split_begin < end)
        collect_rows<kQueries>(arguments, shared, tile.count,
                               {split_begin, split_end < end ? split_end : end, kSharedRows}, found);
}

// Overflowed queries again, list after list.
__global__ void __launch_bounds__(kScanThreads, kScanBlocks)
    scan_list_again(ScanArguments arguments, Lists lists, Found found, Candidate* out) {
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

}  // namespace

void scan_lists_again(const Planes& planes, const KeyTerms& by, const Queries& queries, const Lists& lists, int dims,
                      int keep, const Found& found, Candidate* out, cudaStream_t stream) {
    launch("scan_list_again", scan_list_again, dim3(static_cast<unsigned>(queries.count)), dim3(kScanThreads),
           shared_size<AgainShared>(keep, folded_size(planes, 0, dims)), stream,
           ScanArguments{planes, by, queries, dims, keep}, lists, found, out);
}

void scan_lists(const Planes& planes, const KeyTerms& by, const Queries& queries, const Lists& lists, int dims,
                int keep, int32_t* numbers, const Found& found, Candidate* out, cudaStream_t stream) {
    const int64_t visits = int64_t{queries.count} * lists.probe_count;
    const int tile = scan_tile(planes, dims, queries.count), folded_dims = folded_size(planes, 0, dims);
    const ListPlan plan(numbers, lists.count, visits);
    plan_visits(plan, lists, queries.count, tile, stream);
    const ScanArguments arguments{planes, by, queries, dims, keep};
    launch("bound_lists", bound_lists, dim3(static_cast<unsigned>(queries.count)), dim3(kScanThreads),
           shared_size<SampleShared>(folded_dims), stream, arguments, lists, found);
    // Few items leave multiprocessors idle unless lists are split.
    const unsigned splits = visits < kManyVisits ? kListSplits : 1;
    launch("collect_list_items", tile == 1 ? collect_list_items<1> : collect_list_items<kScanTile>,
           dim3(static_cast<unsigned>(most_items(visits, lists, tile)), splits), dim3(kListThreads),
           shared_size<ScanShared>(tile, folded_dims), stream, arguments, plan, lists, found);
    select_nearest(found, queries.count, keep, out, stream);
    scan_lists_again(planes, by, queries, lists, dims, keep, found, out, stream);
}

}  // namespace adanns::cuda
