// Which of what scans found are the nearest?
#include "cuda/found.cuh"

namespace adanns::cuda {
namespace {

constexpr int kSelectThreads = 256;
static_assert(kSelectThreads == RankShared::kBins);
constexpr int kSelectBlocks = 6;  // of a multiprocessor at once; with registers for more it would spill

__global__ void clear_found(Found found, int queries) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < int64_t{queries} * found.groups) found.minima[i] = ~0u;
    if (i >= queries) return;
    found.counts[i] = 0;
    found.bounds[i] = kNoBound;
}

__global__ void __launch_bounds__(kSelectThreads) bound_query(Found found, int keep) {
    SharedMemory memory = SharedMemory::of_block();
    auto* keys = memory.take<uint32_t>(static_cast<std::size_t>(found.groups));
    const RankShared rank(memory);
    const uint32_t* minima = found.minima + static_cast<int64_t>(blockIdx.x) * found.groups;
    for (int i = static_cast<int>(threadIdx.x); i < found.groups; i += kSelectThreads) keys[i] = minima[i];
    __syncthreads();
    const float bound = bound_of(keys, found.groups, keep, rank);
    if (threadIdx.x == 0) found.bounds[blockIdx.x] = bound;
}

// Candidates that are copied to shared memory; more are read where they are, so that more blocks run at once: there are
// some hundred for a bound of a few times `keep`.
constexpr int kCopied = 2048;

struct SelectShared {
    Candidate *copied, *nearest;
    RankShared rank;
    int* taken;

    __host__ __device__ SelectShared(SharedMemory& memory, int keep)
        : copied(memory.take<Candidate>(kCopied)),
          nearest(memory.take<Candidate>(static_cast<std::size_t>(power_of_two(keep)))),
          rank(memory),
          taken(memory.take<int>(1)) {}
};

// The keep-th smallest of `count` > keep candidates. All differ: rows do.
__device__ Candidate last_to_keep(const Candidate* all, int count, int keep, const SelectShared& shared) {
    const auto high = [](Candidate one) { return static_cast<uint32_t>(one >> 32); };
    const auto each = [&](auto visit) {
        for (int i = static_cast<int>(threadIdx.x); i < count; i += kSelectThreads) visit(all[i]);
    };
    const uint32_t key =
        smallest_of_rank(keep, shared.rank, [&](auto visit) { each([&](Candidate one) { visit(high(one)); }); });
    int below = 0;
    each([&](Candidate one) { below += high(one) < key; });
    below = sums_of(below, shared.rank.sums).all;
    const uint32_t row = smallest_of_rank(keep - below, shared.rank, [&](auto visit) {
        each([&](Candidate one) {
            if (high(one) == key) visit(row_of(one));
        });
    });
    return static_cast<Candidate>(key) << 32 | row;
}

__global__ void __launch_bounds__(kSelectThreads, kSelectBlocks) select_query(Found found, int keep, Candidate* out) {
    const int query = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
    const int count = found.counts[query];
    if (count > found.capacity) return;  // the whole block: another kernel does it
    SharedMemory memory = SharedMemory::of_block();
    const SelectShared shared(memory, keep);
    const Candidate* all = found.candidates + int64_t{query} * found.capacity;
    if (count <= kCopied) {
        for (int i = thread; i < count; i += kSelectThreads) shared.copied[i] = all[i];
        all = shared.copied;
    }
    if (thread == 0) *shared.taken = 0;
    __syncthreads();
    const Candidate last = count > keep ? last_to_keep(all, count, keep, shared) : kNoCandidate;
    for (int i = thread; i < count; i += kSelectThreads)
        if (all[i] <= last) shared.nearest[atomicAdd(shared.taken, 1)] = all[i];
    __syncthreads();
    const int kept = count < keep ? count : keep;
    out += int64_t{query} * keep;
    for (int i = kept + thread; i < keep; i += kSelectThreads) out[i] = kNoCandidate;
    if (kept <= kSelectThreads) {  // no barriers: each finds its own place
        if (thread >= kept) return;
        const Candidate own = shared.nearest[thread];
        int place = 0;
        for (int i = 0; i < kept; i++) place += shared.nearest[i] < own;  // all differ
        out[place] = own;
        return;
    }
    sort_candidates(shared.nearest, kept, power_of_two(kept));
    for (int i = thread; i < kept; i += kSelectThreads) out[i] = shared.nearest[i];
}

__global__ void __launch_bounds__(kSelectThreads) merge_query(Found found, int parts, int keep, Candidate* out) {
    const int query = static_cast<int>(blockIdx.x);
    if (!overflowed(found, query)) return;
    SharedMemory memory = SharedMemory::of_block();
    Shortlists shortlist(memory, 1, keep, kSelectThreads);
    const Candidate* own = found.candidates + int64_t{query} * found.capacity;
    shortlist.clear();
    __syncthreads();
    for (int first = 0; first < parts * keep; first += kSelectThreads) {
        const int at = first + static_cast<int>(threadIdx.x);
        const Candidate one = at < parts * keep ? own[at] : kNoCandidate;
        shortlist.make_room(shortlist.offer(0, at < parts * keep, one));
    }
    shortlist.finish();
    for (int i = static_cast<int>(threadIdx.x); i < keep; i += kSelectThreads)
        out[int64_t{query} * keep + i] = shortlist.candidates[i];
}

dim3 of_queries(int queries) { return dim3(static_cast<unsigned>(queries)); }

}  // namespace

void clear(const Found& found, int queries, cudaStream_t stream) {
    const int64_t cleared = int64_t{queries} * (found.groups > 0 ? found.groups : 1);
    launch("clear_found", clear_found, dim3(static_cast<unsigned>(divide_up(cleared, kSelectThreads))),
           dim3(kSelectThreads), 0, stream, found, queries);
}

void bound_by_minima(const Found& found, int queries, int keep, cudaStream_t stream) {
    SharedMemory memory = SharedMemory::none();
    memory.take<uint32_t>(static_cast<std::size_t>(found.groups));
    RankShared rank(memory);
    launch("bound_query", bound_query, of_queries(queries), dim3(kSelectThreads), memory.taken(), stream, found, keep);
}

void select_nearest(const Found& found, int queries, int keep, Candidate* out, cudaStream_t stream) {
    launch("select_query", select_query, of_queries(queries), dim3(kSelectThreads), shared_size<SelectShared>(keep),
           stream, found, keep, out);
}

void merge_overflowed(const Found& found, int queries, int splits, int keep, Candidate* out, cudaStream_t stream) {
    SharedMemory memory = SharedMemory::none();
    Shortlists(memory, 1, keep, kSelectThreads);
    launch("merge_query", merge_query, of_queries(queries), dim3(kSelectThreads), memory.taken(), stream, found, splits,
           keep, out);
}

}  // namespace adanns::cuda
