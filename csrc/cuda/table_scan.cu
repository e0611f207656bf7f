// Which coded rows are nearest? A block makes one query's tables in shared memory, then adds up the entries that rows
// name, a row per lane.
#include "cuda/found.cuh"
#include "cuda/rows.cuh"

namespace adanns::cuda {
namespace {

constexpr int kTableThreads = 256;
constexpr int kWordBits = 32;
constexpr int kWordsAtOnce = 4;  // of a row's codes, on their way at once: one after another, each would be waited for
constexpr int64_t kEverySampled = 16;  // of the blocks of 32 rows, one is sampled

struct TableShared {
    float* tables;  // (segments of whole words, entries)

    __host__ __device__ TableShared(SharedMemory& memory, int table_floats)
        : tables(memory.take<float>(static_cast<std::size_t>(table_floats))) {}
};

struct TableAgainShared {
    Shortlists shortlist;
    TableShared scan;

    __host__ __device__ TableAgainShared(SharedMemory& memory, int keep, int table_floats)
        : shortlist(memory, 1, keep, kTableThreads), scan(memory, table_floats) {}
};

// What a scan of tables is asked.
struct TableArguments {
    TableCode code;
    KeyTerms by;
    Queries queries;
    Lists lists;
    int segments, words, keep;

    __host__ __device__ int table_floats() const { return words * (kWordBits / code.bits) << code.bits; }
};

// Tables of the codes in `words`; zero where a word holds more codes than there are segments. By all threads.
template <int kBits>
__device__ void make_tables(const TableCode& code, int segments, int words, const float* query, float* tables) {
    constexpr int kEntries = 1 << kBits;
    const int count = words * (kWordBits / kBits) * kEntries;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kTableThreads) {
        const int segment = i / kEntries, entry = i % kEntries;
        float dot = 0.0f;
        if (segment < segments) {
            const int begin = segment == 0 ? 0 : code.segment_ends[segment - 1], end = code.segment_ends[segment];
            const float* values = code.codebooks + begin * kEntries + entry * (end - begin);
            for (int dim = begin; dim < end; dim++) dot = fmaf(query[dim], values[dim - begin], dot);
        }
        tables[i] = dot;
    }
}

// query . centroid as far as the segments go, in every lane. By whole warps.
__device__ float centroid_dot(const TableCode& code, int dims, const float* query, int list) {
    if (code.centroids == nullptr) return 0.0f;
    const float* centroid = code.centroids + list * code.centroid_stride;
    float sum = 0.0f;
    for (int dim = static_cast<int>(threadIdx.x % kWarp); dim < dims; dim += kWarp)
        sum = fmaf(query[dim], centroid[dim], sum);
    for (int distance = kWarp / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(kWholeWarp, sum, distance);
    return sum;
}

// The entries that one row's codes name. `codes`: the row's first word; its others are a warp of words apart.
template <int kBits>
__device__ float table_sum(const uint32_t* codes, int words, const float* tables) {
    constexpr int kEntries = 1 << kBits, kCodes = kWordBits / kBits;
    float sum = 0.0f;
#pragma unroll 1
    for (int first = 0; first < words; first += kWordsAtOnce) {
        uint32_t loaded[kWordsAtOnce];
#pragma unroll
        for (int w = 0; w < kWordsAtOnce; w++) loaded[w] = first + w < words ? codes[(first + w) * kWarp] : 0;
#pragma unroll
        for (int w = 0; w < kWordsAtOnce; w++) {
            if (first + w >= words) break;
#pragma unroll
            for (int i = 0; i < kCodes; i++) sum += tables[i * kEntries + (loaded[w] >> i * kBits & (kEntries - 1))];
            tables += kCodes * kEntries;
        }
    }
    return sum;
}

// The block's split of the 32-row blocks of every list that its query probes: visit(valid, key, row, block) by whole
// warps; after_step() by all threads after each step of the block.
template <int kBits, class Visit, class AfterStep>
__device__ void visit_codes(const TableArguments& arguments, const float* tables, int64_t every, Visit visit,
                            AfterStep after_step) {
    const TableCode& code = arguments.code;
    const Lists& lists = arguments.lists;
    const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
    const int64_t split = blockIdx.x, splits = gridDim.x, number = blockIdx.y;
    const float* query = arguments.queries.rows + number * arguments.queries.stride;
    for (int probe = 0; probe < lists.probe_count; probe++) {
        const int list = lists.probes[number * lists.probe_stride + probe];
        if (list < 0) continue;
        const int64_t first_row = lists.offsets[list], rows = lists.offsets[list + 1] - first_row;
        const int64_t list_block = code.block_offsets[list];
        const float of_list = centroid_dot(code, code.segment_ends[arguments.segments - 1], query, list);
        const int64_t blocks = (rows + kWarp - 1) / kWarp, split_blocks = (blocks + splits - 1) / splits;
        const int64_t begin = split * split_blocks, end = begin + split_blocks < blocks ? begin + split_blocks : blocks;
        const int64_t first_sampled = (begin + list_block + every - 1) / every * every - list_block;
        for (int64_t first = first_sampled; first < end; first += every * (kTableThreads / kWarp)) {
            const int64_t block = first + every * warp, in_list = block * kWarp + lane;
            bool full = false;
            if (block < end) {
                const uint32_t* codes = code.words + (list_block + block) * code.row_words * kWarp + lane;
                const float dot = table_sum<kBits>(codes, arguments.words, tables) + of_list;
                const int64_t row = first_row + (in_list < rows ? in_list : 0);
                full = visit(in_list < rows, key_of(arguments.by, dot, row), static_cast<uint32_t>(row),
                             list_block + block);
            }
            after_step(full);
        }
    }
}

template <int kBits>
__device__ TableShared tables_of_block(const TableArguments& arguments, SharedMemory& memory) {
    const TableShared shared(memory, arguments.table_floats());
    make_tables<kBits>(arguments.code, arguments.segments, arguments.words,
                       arguments.queries.rows + blockIdx.y * arguments.queries.stride, shared.tables);
    __syncthreads();
    return shared;
}

template <int kBits>
__global__ void __launch_bounds__(kTableThreads) sample_table_codes(TableArguments arguments, Found found) {
    SharedMemory memory = SharedMemory::of_block();
    const TableShared shared = tables_of_block<kBits>(arguments, memory);
    uint32_t* minima = found.minima + static_cast<int64_t>(blockIdx.y) * found.groups;
    visit_codes<kBits>(
        arguments, shared.tables, kEverySampled,
        [&](bool valid, float key, uint32_t, int64_t block) {
            const int64_t group = (block / kEverySampled * kWarp + threadIdx.x % kWarp) % found.groups;
            if (valid) atomicMin(&minima[group], ordered_bits(key));
            return false;
        },
        [](bool) {});
}

template <int kBits>
__global__ void __launch_bounds__(kTableThreads) collect_table_codes(TableArguments arguments, Found found) {
    SharedMemory memory = SharedMemory::of_block();
    const TableShared shared = tables_of_block<kBits>(arguments, memory);
    const auto query = static_cast<int>(blockIdx.y);
    const float bound = found.bounds[query];
    visit_codes<kBits>(
        arguments, shared.tables, 1,
        [&](bool valid, float key, uint32_t row, int64_t) {
            collect(found, query, bound, valid, key, row);
            return false;
        },
        [](bool) {});
}

// Overflowed queries again, a shortlist per split, which then stand in the query's list.
template <int kBits>
__global__ void __launch_bounds__(kTableThreads) scan_tables_again(TableArguments arguments, Found found) {
    const auto query = static_cast<int>(blockIdx.y);
    if (!overflowed(found, query)) return;
    SharedMemory memory = SharedMemory::of_block();
    TableAgainShared shared(memory, arguments.keep, arguments.table_floats());
    shared.shortlist.clear();
    make_tables<kBits>(arguments.code, arguments.segments, arguments.words,
                       arguments.queries.rows + query * arguments.queries.stride, shared.scan.tables);
    __syncthreads();
    visit_codes<kBits>(
        arguments, shared.scan.tables, 1,
        [&](bool valid, float key, uint32_t row, int64_t) {
            return shared.shortlist.offer(0, valid, candidate(key, row));
        },
        [&](bool full) { shared.shortlist.make_room(full); });
    shared.shortlist.finish();
    Candidate* out = found.candidates + int64_t{query} * found.capacity + int64_t{blockIdx.x} * arguments.keep;
    for (int i = static_cast<int>(threadIdx.x); i < arguments.keep; i += kTableThreads)
        out[i] = shared.shortlist.candidates[i];
}

// A block per query, a warp per rotated dim.
__global__ void __launch_bounds__(kTableThreads)
    rotate_query(Queries queries, int dims, const float* rotation, int rotated_dims, float* out) {
    SharedMemory memory = SharedMemory::of_block();
    auto* query = memory.take<float>(static_cast<std::size_t>(dims));
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp;
    for (int dim = thread; dim < dims; dim += kTableThreads)
        query[dim] = queries.rows[blockIdx.x * queries.stride + dim];
    __syncthreads();
    for (int row = thread / kWarp; row < rotated_dims; row += kTableThreads / kWarp) {
        float sum = 0.0f;
        for (int dim = lane; dim < dims; dim += kWarp) sum = fmaf(query[dim], rotation[int64_t{row} * dims + dim], sum);
        for (int distance = kWarp / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(kWholeWarp, sum, distance);
        if (lane == 0) out[int64_t{blockIdx.x} * rotated_dims + row] = sum;
    }
}

// Words of a row's codes.
int words_of(int segments, int bits) { return (segments * bits + kWordBits - 1) / kWordBits; }

TableArguments of_segments(int bits, int segments, int keep) {
    TableArguments arguments{};
    arguments.code.bits = bits;
    arguments.segments = segments;
    arguments.words = words_of(segments, bits);
    arguments.keep = keep;
    return arguments;
}

}  // namespace

int most_segments(int bits, int keep) {
    const auto bytes = [&](int segments) {
        return shared_size<TableAgainShared>(keep, of_segments(bits, segments, keep).table_floats());
    };
    int segments = 0;
    while (bytes(segments + 1) <= kMostShared) segments++;
    return segments;
}

int table_groups(int keep) { return keep <= 128 ? 1024 : 8192; }

void rotate(const Queries& queries, int dims, const float* rotation, int rotated_dims, float* out,
            cudaStream_t stream) {
    SharedMemory memory = SharedMemory::none();
    memory.take<float>(static_cast<std::size_t>(dims));
    launch("rotate_query", rotate_query, dim3(static_cast<unsigned>(queries.count)), dim3(kTableThreads),
           memory.taken(), stream, queries, dims, rotation, rotated_dims, out);
}

void scan_tables(const TableCode& code, const KeyTerms& by, const Queries& rotated, const Lists& lists, int segments,
                 int keep, int splits, const Found& found, Candidate* out, cudaStream_t stream) {
    TableArguments arguments = of_segments(code.bits, segments, keep);
    arguments.code = code;
    arguments.by = by;
    arguments.queries = rotated;
    arguments.lists = lists;
    const std::size_t bytes = shared_size<TableShared>(arguments.table_floats());
    const auto queries = static_cast<unsigned>(rotated.count);
    const dim3 grid(static_cast<unsigned>(splits), queries), block(kTableThreads);
    const bool eight = code.bits == 8;
    clear(found, rotated.count, stream);
    launch("sample_table_codes", eight ? sample_table_codes<8> : sample_table_codes<4>, grid, block, bytes, stream,
           arguments, found);
    bound_by_minima(found, rotated.count, keep, stream);
    launch("collect_table_codes", eight ? collect_table_codes<8> : collect_table_codes<4>, grid, block, bytes, stream,
           arguments, found);
    select_nearest(found, rotated.count, keep, out, stream);
    const int again_splits = splits < found.capacity / keep ? splits : found.capacity / keep;
    launch("scan_tables_again", eight ? scan_tables_again<8> : scan_tables_again<4>,
           dim3(static_cast<unsigned>(again_splits), queries), block,
           shared_size<TableAgainShared>(keep, arguments.table_floats()), stream, arguments, found);
    merge_overflowed(found, rotated.count, again_splits, keep, out, stream);
}

}  // namespace adanns::cuda
