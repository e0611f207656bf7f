// Which coded rows are nearest? A block makes one query's tables in shared memory, then adds up the entries that rows
// name, a row per lane.
#include "cuda/candidates.cuh"
#include "cuda/rows.cuh"
#include "cuda/search.h"

namespace adanns::cuda {
namespace {

constexpr int kTableThreads = 256;
constexpr int kWordBits = 32;

struct TableShared {
    Shortlists shortlist;
    float* tables;  // (segments of whole words, entries)

    __host__ __device__ TableShared(SharedMemory& memory, int keep, int table_floats)
        : shortlist(memory, 1, keep, kTableThreads),
          tables(memory.take<float>(static_cast<std::size_t>(table_floats))) {}
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
    for (int w = 0; w < words; w++) {
        const uint32_t word = codes[w * kWarp];
#pragma unroll
        for (int i = 0; i < kCodes; i++) sum += tables[i * kEntries + (word >> i * kBits & (kEntries - 1))];
        tables += kCodes * kEntries;
    }
    return sum;
}

template <int kBits>
__global__ void __launch_bounds__(kTableThreads)
    scan_table_codes(TableCode code, KeyTerms by, Queries queries, Lists lists, int segments, int words, int keep,
                     Candidate* out) {
    SharedMemory memory = SharedMemory::of_block();
    TableShared shared(memory, keep, words * (kWordBits / kBits) << kBits);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
    const int64_t split = blockIdx.x, splits = gridDim.x, number = blockIdx.y;
    const float* query = queries.rows + number * queries.stride;
    shared.shortlist.clear();
    make_tables<kBits>(code, segments, words, query, shared.tables);
    __syncthreads();

    for (int probe = 0; probe < lists.probe_count; probe++) {
        const int list = lists.probes[number * lists.probe_count + probe];
        if (list < 0) continue;
        const int64_t first_row = lists.offsets[list], rows = lists.offsets[list + 1] - first_row;
        const float of_list = centroid_dot(code, code.segment_ends[segments - 1], query, list);
        const int64_t blocks = (rows + kWarp - 1) / kWarp, split_blocks = (blocks + splits - 1) / splits;
        const int64_t begin = split * split_blocks, end = begin + split_blocks < blocks ? begin + split_blocks : blocks;
        for (int64_t first = begin; first < end; first += kTableThreads / kWarp) {
            const int64_t block = first + warp, in_list = block * kWarp + lane;
            bool full = false;
            if (block < end) {
                const uint32_t* codes = code.words + (code.block_offsets[list] + block) * code.row_words * kWarp + lane;
                const float dot = table_sum<kBits>(codes, words, shared.tables) + of_list;
                const int64_t row = first_row + (in_list < rows ? in_list : 0);
                full = shared.shortlist.offer(0, in_list < rows,
                                              candidate(key_of(by, dot, row), static_cast<uint32_t>(row)));
            }
            shared.shortlist.make_room(full);
        }
    }
    shared.shortlist.finish();
    for (int i = thread; i < keep; i += kTableThreads)
        out[(number * splits + split) * keep + i] = shared.shortlist.candidates[i];
}

// Words of a row's codes.
int words_of(int segments, int bits) { return (segments * bits + kWordBits - 1) / kWordBits; }

std::size_t table_scan_bytes(int segments, int bits, int keep) {
    return shared_size<TableShared>(keep, words_of(segments, bits) * (kWordBits / bits) << bits);
}

}  // namespace

int most_segments(int bits, int keep) {
    constexpr std::size_t kMostShared = 99 << 10;  // of a block, on the smallest device
    int segments = 0;
    while (table_scan_bytes(segments + 1, bits, keep) <= kMostShared) segments++;
    return segments;
}

void scan_tables(const TableCode& code, const KeyTerms& by, const Queries& rotated, const Lists& lists, int segments,
                 int keep, int splits, Candidate* workspace, Candidate* out, cudaStream_t stream) {
    launch("scan_table_codes", code.bits == 8 ? scan_table_codes<8> : scan_table_codes<4>,
           dim3(static_cast<unsigned>(splits), static_cast<unsigned>(rotated.count)), dim3(kTableThreads),
           table_scan_bytes(segments, code.bits, keep), stream, code, by, rotated, lists, segments,
           words_of(segments, code.bits), keep, splits == 1 ? out : workspace);
    if (splits > 1) merge(workspace, int64_t{splits} * keep, rotated.count, keep, out, stream);
}

}  // namespace adanns::cuda
