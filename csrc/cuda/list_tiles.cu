// Which rows of the lists that queries probe are nearest, for many queries? On tensor cores: a block takes up to
// sixteen of the queries that probe a list.
#include <algorithm>

#include "cuda/list_plan.cuh"
#include "cuda/tiles.cuh"

namespace adanns::cuda {
namespace {

// The queries and rows that a block takes.
struct ListBlock {
    TileShared<ListTile> shared;
    ListItem of_list;
    TiledRows rows;
    Split split;

    // step: 1, or every step-th row of the list. `bounds`: none for a sample.
    __device__ ListBlock(SharedMemory& memory, const ScanArguments& arguments, const ListPlan& plan, const Lists& lists,
                         const HalfQueries& queries, int chunks, int64_t step, const float* bounds)
        : shared(memory, chunks),
          of_list(plan, lists, static_cast<int>(blockIdx.x), ListTile::kQueries),
          rows{divide_up(of_list.end - of_list.begin, step), step, of_list.begin},
          split(rows, divide_up(rows.count, gridDim.y)) {
        if (split.count <= 0) return;
        const int thread = static_cast<int>(threadIdx.x);
        if (thread < ListTile::kQueries) shared.numbers[thread] = visit_of(plan, thread) / lists.probe_count;
        __syncthreads();
        prepare_tile(shared, arguments, queries, rows, of_list.visits, bounds);
    }

    // Of those that only fill up the tile the first visit.
    __device__ int visit_of(const ListPlan& plan, int query) const {
        return plan.visits[of_list.first + (query < of_list.visits ? query : 0)];
    }
};

__global__ void __launch_bounds__(ListTile::kThreads, ListTile::kBlocks)
    sample_list_tiles(ScanArguments arguments, ListPlan plan, Lists lists, HalfQueries queries, int chunks,
                      int64_t step, int of_probe, Found found) {
    if (static_cast<int>(blockIdx.x) >= plan.first_item[lists.count]) return;  // the grid is an upper bound
    SharedMemory memory = SharedMemory::of_block();
    const ListBlock block(memory, arguments, plan, lists, queries, chunks, step, nullptr);
    if (block.split.count <= 0) return;
    visit_tiles<ListTile>(
        arguments, queries, block.rows, chunks, block.split, block.shared, [&](int, int query, const LaneKeys& keys) {
            if (query >= block.of_list.visits) return;
            const int visit = block.visit_of(plan, query);
            uint32_t* minima =
                found.minima + int64_t{visit / lists.probe_count} * found.groups + visit % lists.probe_count * of_probe;
            const auto first = static_cast<int>(keys.first - block.rows.first);
#pragma unroll
            for (int i = 0; i < kLaneScores; i++)
                if (keys.of(i) < INFINITY)  // not NaN, where there is no row
                    atomicMin(&minima[(first + row_of_score(i)) & (of_probe - 1)], ordered_bits(keys.of(i)));
        });
}

__global__ void __launch_bounds__(ListTile::kThreads, ListTile::kBlocks)
    collect_list_tiles(ScanArguments arguments, ListPlan plan, Lists lists, HalfQueries queries, int chunks,
                       Found found) {
    if (static_cast<int>(blockIdx.x) >= plan.first_item[lists.count]) return;
    SharedMemory memory = SharedMemory::of_block();
    const ListBlock block(memory, arguments, plan, lists, queries, chunks, 1, found.bounds);
    if (block.split.count <= 0) return;
    visit_tiles<ListTile>(
        arguments, queries, block.rows, chunks, block.split, block.shared,
        [&](int, int query, const LaneKeys& keys) { collect_keys(found, block.shared.number_of(query), keys); });
}

}  // namespace

// Of a query's sample; each of its probes has the same power of two of them.
int list_tile_groups(int keep) { return keep <= 128 ? 1024 : 2048; }

void scan_list_tiles(const Planes& planes, const KeyTerms& by, const Queries& queries, const Lists& lists, int64_t rows,
                     int dims, int keep, int32_t* numbers, void* halves, const Found& found, Candidate* out,
                     cudaStream_t stream) {
    constexpr int64_t kItems = 2048, kMostSplits = 16;  // that keep a device busy
    const int64_t visits = int64_t{queries.count} * lists.probe_count;
    const ListPlan plan(numbers, lists.count, visits);
    const int chunks = chunks_of<ListTile>(planes, dims);
    const ScanArguments arguments{planes, by, queries, dims, keep};
    clear(found, queries.count, stream);
    const HalfQueries halved = halve(planes, queries, dims, queries.count, halves, stream);
    plan_visits(plan, lists, queries.count, ListTile::kQueries, stream);
    const int64_t most = most_items(visits, lists, ListTile::kQueries);
    const std::size_t bytes = shared_size<TileShared<ListTile>>(chunks);
    const auto grid = [&](int64_t splits) { return dim3(static_cast<unsigned>(most), static_cast<unsigned>(splits)); };
    const int64_t splits =
        std::clamp<int64_t>(kItems / std::max<int64_t>(1, visits / ListTile::kQueries), 1, kMostSplits);
    const int64_t probed = rows / std::max(1, lists.count) * lists.probe_count;  // by a query, about
    const int64_t step = sample_step(probed, keep);
    const int of_probe = power_of_two(found.groups / lists.probe_count / 2 + 1);  // no more than a probe's share
    launch("sample_list_tiles", sample_list_tiles, grid(std::max<int64_t>(1, splits / step)), dim3(ListTile::kThreads),
           bytes, stream, arguments, plan, lists, halved, chunks, step, of_probe, found);
    bound_by_minima(found, queries.count, keep, stream);
    launch("collect_list_tiles", collect_list_tiles, grid(splits), dim3(ListTile::kThreads), bytes, stream, arguments,
           plan, lists, halved, chunks, found);
    select_nearest(found, queries.count, keep, out, stream);
    scan_lists_again(planes, by, queries, lists, dims, keep, found, out, stream);
}

}  // namespace adanns::cuda
