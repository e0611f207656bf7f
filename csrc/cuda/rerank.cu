// Which candidates stay nearest as more dims are read? One block per query, one warp per candidate, all stages in one
// launch: what is known of a candidate stays in shared memory, and a stage reads its own band of the stored rows.
#include "cuda/candidates.cuh"
#include "cuda/rows.cuh"
#include "cuda/search.h"

namespace adanns::cuda {
namespace {

constexpr int kRerankThreads = 256;
constexpr int kRowsAtOnce = 4;  // candidates of a warp whose loads are in flight together

struct RerankShared {
    Candidate* order;  // key and number of a candidate, nearest first
    uint32_t* rows;
    float *scan_dots, *band_dots;
    float* distances;  // of the final order
    int64_t* ids;
    float* folded;
    float* constant;

    __host__ __device__ RerankShared(SharedMemory& memory, int size, int folded_dims) {
        const auto count = static_cast<std::size_t>(size);
        order = memory.take<Candidate>(count);
        rows = memory.take<uint32_t>(count);
        scan_dots = memory.take<float>(count);
        band_dots = memory.take<float>(count);
        distances = memory.take<float>(count);
        ids = memory.take<int64_t>(count);
        folded = memory.take<float>(static_cast<std::size_t>(folded_dims));
        constant = memory.take<float>(1);
    }
};

// dots[number] += row . query over the dims [from, to), for the candidates order[0 .. count). Ends with a barrier.
__device__ void add_range(const Planes& planes, int from, int to, const float* query, const RerankShared& shared,
                          int count, float* dots) {
    const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
    fold_query(planes, from, to, query, shared.folded);
    if (warp == 0) {
        const float constant = folded_constant(planes, from, to, query);
        if (lane == 0) *shared.constant = constant;
    }
    __syncthreads();
    for (int first = warp * kRowsAtOnce; first < count; first += kRerankThreads / kWarp * kRowsAtOnce) {
        uint32_t rows[kRowsAtOnce];
        float sums[kRowsAtOnce] = {};
#pragma unroll
        for (int r = 0; r < kRowsAtOnce; r++)
            rows[r] = shared.rows[row_of(shared.order[first + r < count ? first + r : first])];
        add_row_parts(planes, from, to, rows, shared.folded, sums);
#pragma unroll
        for (int r = 0; r < kRowsAtOnce; r++) {
            for (int distance = kWarp / 2; distance > 0; distance /= 2)
                sums[r] += __shfl_xor_sync(kWholeWarp, sums[r], distance);
            if (lane == r && first + r < count) dots[row_of(shared.order[first + r])] += sums[r] + *shared.constant;
        }
    }
    __syncthreads();
}

// The dot behind the scan's key, so that later stages add to it.
__device__ float recovered_dot(const RerankPlan& plan, float key, int64_t row) {
    if (plan.metric == Metric::l2) return 0.5f * (plan.scan_terms[row] - key);
    if (plan.metric == Metric::inner_product) return -key;
    return plan.scan_terms[row] > 0 ? -key / plan.scan_terms[row] : 0.0f;
}

// |query|^2 of a prefix, in every lane. By whole warps.
__device__ double squared_norm(const float* query, int dims) {
    double sum = 0;
    for (int dim = static_cast<int>(threadIdx.x % kWarp); dim < dims; dim += kWarp)
        sum += static_cast<double>(query[dim]) * query[dim];
    for (int distance = kWarp / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(kWholeWarp, sum, distance);
    return sum;
}

// What the query adds to every key of its own.
__device__ float distance_of(Metric metric, float key, double squared_query) {
    if (metric == Metric::l2) return fmaxf(0.0f, key + static_cast<float>(squared_query));
    if (metric == Metric::inner_product) return key;
    return squared_query > 0 ? static_cast<float>(1.0 + key / sqrt(squared_query)) : 1.0f;
}

__global__ void __launch_bounds__(kRerankThreads, 4)
    rerank_query(Planes planes, RerankPlan plan, Queries queries, const Candidate* shortlists, int shortlisted,
                 int size, int folded_dims, const int64_t* ids, int k, Nearest nearest) {
    SharedMemory memory = SharedMemory::of_block();
    RerankShared shared(memory, size, folded_dims);
    const int thread = static_cast<int>(threadIdx.x);
    const float* query = queries.rows + blockIdx.x * queries.stride;
    const Candidate* shortlist = shortlists + static_cast<int64_t>(blockIdx.x) * shortlisted;

    int own = 0;
    for (int i = thread; i < shortlisted; i += kRerankThreads) {
        const Candidate one = shortlist[i];
        if (one == kNoCandidate) continue;
        own++;
        const float key = key_of(one);
        shared.order[i] = candidate(key, static_cast<uint32_t>(i));
        shared.rows[i] = row_of(one);
        shared.scan_dots[i] = plan.stage_count == 0 ? 0.0f : recovered_dot(plan, key, row_of(one));
        shared.band_dots[i] = 0.0f;
    }
    // At most kRerankThreads threads, so the number of those with a first, a second, ... candidate adds up.
    int count = 0;
    for (int i = 0; i * kRerankThreads < shortlisted; i++) count += __syncthreads_count(own > i);
    int dims = plan.scan_dims;
    for (int s = 0; s < plan.stage_count; s++) {
        const RerankStage& stage = plan.stages[s];
        count = count < stage.keep ? count : stage.keep;
        if (thread == 0) nearest.rescored[int64_t{blockIdx.x} * plan.stage_count + s] = count;
        if (stage.exact) {
            for (int i = thread; i < count; i += kRerankThreads) shared.scan_dots[row_of(shared.order[i])] = 0.0f;
            add_range(planes, 0, plan.scan_dims, query, shared, count, shared.scan_dots);
        }
        add_range(planes, dims, stage.dims, query, shared, count, shared.band_dots);
        dims = stage.dims;
        const KeyTerms by{plan.metric, stage.terms};
        for (int i = thread; i < count; i += kRerankThreads) {
            const uint32_t number = row_of(shared.order[i]);
            const float dot = shared.scan_dots[number] + shared.band_dots[number];
            shared.order[i] = candidate(key_of(by, dot, shared.rows[number]), number);
        }
        sort_candidates(shared.order, count, power_of_two(count));
    }

    count = count < k ? count : k;
    const double squared_query = squared_norm(query, dims);
    const int sorted = power_of_two(count);
    for (int i = thread; i < sorted; i += kRerankThreads) {
        const float distance = i < count ? distance_of(plan.metric, key_of(shared.order[i]), squared_query) : INFINITY;
        const bool real = distance < INFINITY;
        shared.distances[i] = real ? distance : INFINITY;
        shared.ids[i] = real ? ids[shared.rows[row_of(shared.order[i])]] : INT64_MAX;
    }
    block_sort(
        sorted,
        [&](int i, int j) {
            const float a = shared.distances[i], b = shared.distances[j];
            return a < b || (a == b && shared.ids[i] < shared.ids[j]);
        },
        [&](int i, int j) {
            const float distance = shared.distances[i];
            shared.distances[i] = shared.distances[j];
            shared.distances[j] = distance;
            const int64_t id = shared.ids[i];
            shared.ids[i] = shared.ids[j];
            shared.ids[j] = id;
        });
    int found = 0;
    for (int i = thread; i < k; i += kRerankThreads) {
        const bool real = i < count && shared.distances[i] < INFINITY;
        nearest.distances[int64_t{blockIdx.x} * k + i] = real ? shared.distances[i] : INFINITY;
        nearest.ids[int64_t{blockIdx.x} * k + i] = real ? shared.ids[i] : -1;
        found += real;
    }
    int all = 0;  // as above
    for (int i = 0; i * kRerankThreads < k; i++) all += __syncthreads_count(found > i);
    if (thread == 0) nearest.counts[blockIdx.x] = all;
}

}  // namespace

void rerank(const Planes& planes, const RerankPlan& plan, const Queries& queries, const Candidate* shortlists,
            int shortlisted, const int64_t* ids, int k, const Nearest& nearest, cudaStream_t stream) {
    int folded_dims = 0, dims = plan.scan_dims;
    const auto reads = [&](int from, int to) {
        const int size = folded_size(planes, from, to);
        folded_dims = folded_dims < size ? size : folded_dims;
    };
    for (int s = 0; s < plan.stage_count; s++) {
        if (plan.stages[s].exact) reads(0, plan.scan_dims);
        reads(dims, plan.stages[s].dims);
        dims = plan.stages[s].dims;
    }
    const int size = power_of_two(shortlisted);
    launch("rerank_query", rerank_query, dim3(static_cast<unsigned>(queries.count)), dim3(kRerankThreads),
           shared_size<RerankShared>(size, folded_dims), stream, planes, plan, queries, shortlists, shortlisted, size,
           folded_dims, ids, k, nearest);
}

}  // namespace adanns::cuda
