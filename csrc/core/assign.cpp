#include "assign.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "kernel_table.h"
#include "multiply.h"
#include "norms.h"
#include "thread_pool.h"

namespace adanns {
namespace {

constexpr int64_t kRowsPerTask = 1024;
constexpr int64_t kCentroidBytes = 256 << 10;  // of centroids per pass: a part of a common second-level cache

}  // namespace

void assign(const float* rows, int64_t stride, int64_t row_count, const float* centroids, int64_t count, int dims,
            bool by_dot, int threads, int32_t* nearest, float* distances) {
    const int64_t blocks = (count + kBlockRows - 1) / kBlockRows;
    const std::vector<float> blocked = column_blocks(centroids, dims, count, 1, dims);
    std::vector<float> half_norms(static_cast<std::size_t>(blocks * kBlockRows),
                                  std::numeric_limits<float>::infinity());
    for (int64_t c = 0; c < count; c++)
        half_norms[static_cast<std::size_t>(c)] =
            by_dot ? 0.0f : static_cast<float>(0.5 * squared_norm(centroids + c * dims, dims));
    const int64_t step = std::max<int64_t>(2, kCentroidBytes / (int64_t{dims} * kBlockRows * 4) / 2 * 2);
    parallel_for((row_count + kRowsPerTask - 1) / kRowsPerTask, threads, [&](int64_t task) {
        const int64_t first = task * kRowsPerTask, some = std::min(kRowsPerTask, row_count - first);
        static thread_local std::vector<float> best;
        best.assign(static_cast<std::size_t>(some), std::numeric_limits<float>::infinity());
        std::fill(nearest + first, nearest + first + some, 0);
        for (int64_t block = 0; block < blocks; block += step)
            kernels().assign_rows(rows + first * stride, stride, some, blocked.data() + block * dims * kBlockRows,
                                  half_norms.data() + block * kBlockRows, std::min(step, blocks - block), dims,
                                  static_cast<int32_t>(block * kBlockRows), best.data(), nearest + first);
        if (distances == nullptr) return;
        for (int64_t i = 0; i < some; i++) {
            // From the differences, not from the key: near a centroid the key has lost its digits.
            const float* row = rows + (first + i) * stride;
            const float* centroid = centroids + int64_t{nearest[first + i]} * dims;
            float sum = 0;
            for (int dim = 0; dim < dims; dim++) sum += (row[dim] - centroid[dim]) * (row[dim] - centroid[dim]);
            distances[first + i] = sum;
        }
    });
}

void sum_clusters(const float* rows, int64_t stride, int64_t row_count, const int32_t* nearest, int64_t count, int dims,
                  int threads, float* sums, int64_t* counts) {
    std::fill(sums, sums + count * dims, 0.0f);
    std::fill(counts, counts + count, int64_t{0});
    const int64_t parts = std::min<int64_t>(threads, count);
    const int64_t share = (count + parts - 1) / parts;  // each part owns some clusters and adds their rows in order
    parallel_for(parts, threads, [&](int64_t part) {
        const int64_t begin = part * share, end = std::min(count, begin + share);
        for (int64_t row = 0; row < row_count; row++) {
            const int64_t c = nearest[row];
            if (c < begin || c >= end) continue;
            counts[c]++;
            const float* from = rows + row * stride;
            float* to = sums + c * dims;
            for (int dim = 0; dim < dims; dim++) to[dim] += from[dim];
        }
    });
}

}  // namespace adanns
