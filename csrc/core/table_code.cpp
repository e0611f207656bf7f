#include "table_code.h"

#include <algorithm>
#include <vector>

#include "index_view.h"
#include "kernel_table.h"
#include "norms.h"
#include "thread_pool.h"

namespace adanns {
namespace {

constexpr int64_t kListsPerTask = 16;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

void encode_segments(const float* rows, int64_t row_count, Span<const int32_t> segment_ends, int bits,
                     const float* codebooks, int threads, uint8_t* codes) {
    const auto segments = static_cast<int64_t>(segment_ends.size());
    const int64_t entries = int64_t{1} << bits, dims = segment_ends.back();
    std::vector<float> half_norms(static_cast<std::size_t>(segments * entries));
    for (int64_t segment = 0, begin = 0; segment < segments; segment++) {
        const int64_t width = segment_ends[static_cast<std::size_t>(segment)] - begin;
        for (int64_t entry = 0; entry < entries; entry++)
            half_norms[static_cast<std::size_t>(segment * entries + entry)] =
                static_cast<float>(0.5 * squared_norm(codebooks + begin * entries + entry * width, width));
        begin += width;
    }
    parallel_for(divide_up(row_count, kEncodeRows), threads, [&](int64_t task) {
        static thread_local std::vector<float> by_dim;
        static thread_local std::vector<uint8_t> by_segment;
        by_dim.assign(static_cast<std::size_t>(dims * kEncodeRows), 0.0f);
        by_segment.resize(static_cast<std::size_t>(segments * kEncodeRows));
        const int64_t first = task * kEncodeRows, some = std::min<int64_t>(kEncodeRows, row_count - first);
        for (int64_t row = 0; row < some; row++)
            for (int64_t dim = 0; dim < dims; dim++)
                by_dim[static_cast<std::size_t>(dim * kEncodeRows + row)] = rows[(first + row) * dims + dim];
        kernels().nearest_entries(by_dim.data(), codebooks, half_norms.data(), segment_ends.data(),
                                  static_cast<int>(segments), static_cast<int>(entries), by_segment.data());
        for (int64_t row = 0; row < some; row++)
            for (int64_t segment = 0; segment < segments; segment++)
                codes[(first + row) * segments + segment] =
                    by_segment[static_cast<std::size_t>(segment * kEncodeRows + row)];
    });
}

void sum_segments(const float* rows, int64_t row_count, const uint8_t* codes, Span<const int32_t> segment_ends,
                  int bits, int threads, float* sums, int64_t* counts) {
    const auto segments = static_cast<int64_t>(segment_ends.size());
    const int64_t entries = int64_t{1} << bits, dims = segment_ends.back();
    std::fill(sums, sums + dims * entries, 0.0f);
    std::fill(counts, counts + segments * entries, int64_t{0});
    const int64_t parts = std::min<int64_t>(threads, segments), share = divide_up(segments, parts);
    parallel_for(parts, threads, [&](int64_t part) {  // each owns some segments and adds their rows in order
        const int64_t first = part * share, last = std::min(segments, first + share);
        for (int64_t row = 0; row < row_count; row++) {
            const float* from = rows + row * dims;
            for (int64_t segment = first; segment < last; segment++) {
                const int64_t begin = segment > 0 ? segment_ends[static_cast<std::size_t>(segment - 1)] : 0;
                const int64_t width = segment_ends[static_cast<std::size_t>(segment)] - begin;
                const int64_t entry = codes[row * segments + segment];
                float* to = sums + begin * entries + entry * width;
                counts[segment * entries + entry]++;
                for (int64_t dim = 0; dim < width; dim++) to[dim] += from[begin + dim];
            }
        }
    });
}

void pack_table_blocks(const uint8_t* codes, int64_t segments, int bits, Span<const int64_t> list_offsets, int threads,
                       uint8_t* blocks) {
    const std::vector<int64_t> first_blocks = block_offsets_of(list_offsets);
    const auto lists = static_cast<int64_t>(list_offsets.size()) - 1;
    const int64_t block_bytes = (segments * bits + 7) / 8 * kBlockRows;
    std::fill(blocks, blocks + first_blocks.back() * block_bytes, uint8_t{0});
    parallel_for(divide_up(lists, kListsPerTask), threads, [&](int64_t task) {
        const int64_t end = std::min(lists, (task + 1) * kListsPerTask);
        for (int64_t list = task * kListsPerTask; list < end; list++) {
            const int64_t first = list_offsets[static_cast<std::size_t>(list)];
            uint8_t* own = blocks + first_blocks[static_cast<std::size_t>(list)] * block_bytes;
            for (int64_t row = first; row < list_offsets[static_cast<std::size_t>(list + 1)]; row++) {
                uint8_t* to = own + (row - first) / kBlockRows * block_bytes + (row - first) % kBlockRows;
                const uint8_t* from = codes + row * segments;
                for (int64_t segment = 0; segment < segments; segment++) {
                    const int64_t bit = segment * bits;
                    uint8_t& byte = to[bit / 8 * kBlockRows];
                    byte = static_cast<uint8_t>(byte | from[segment] << bit % 8);
                }
            }
        }
    });
}

}  // namespace adanns
