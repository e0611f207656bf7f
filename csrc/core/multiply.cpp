#include "multiply.h"

#include <algorithm>

#include "kernel_table.h"
#include "thread_pool.h"

namespace adanns {
namespace {

constexpr int64_t kRowsPerTask = 64;
constexpr int64_t kMatrixBytes = 512 << 10;  // of the matrix per pass: a part of a common second-level cache

}  // namespace

std::vector<float> column_blocks(const float* values, int64_t dims, int64_t columns, int64_t dim_stride,
                                 int64_t column_stride) {
    const int64_t blocks = (columns + kBlockRows - 1) / kBlockRows;
    std::vector<float> out(static_cast<std::size_t>(blocks * dims * kBlockRows));
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t first = block * kBlockRows, some = std::min<int64_t>(kBlockRows, columns - first);
        float* to = out.data() + first * dims;
        for (int64_t dim = 0; dim < dims; dim++, to += kBlockRows)
            for (int64_t i = 0; i < some; i++) to[i] = values[dim * dim_stride + (first + i) * column_stride];
    }
    return out;
}

void multiply_blocks(const float* rows, int64_t row_count, const std::vector<float>& blocks, int dims, int columns,
                     float* out) {
    const int64_t pass_blocks = std::max<int64_t>(2, kMatrixBytes / (int64_t{dims} * kBlockRows * 4) / 2 * 2);
    const auto step = static_cast<int>(std::min<int64_t>(columns, pass_blocks * kBlockRows));
    for (int column = 0; column < columns; column += step)
        kernels().multiply_rows(rows, dims, row_count, blocks.data() + int64_t{column} * dims, dims,
                                std::min(step, columns - column), out + column, columns);
}

void multiply(const float* rows, int64_t row_count, int dims, const float* matrix, int columns, int threads,
              float* out) {
    const std::vector<float> blocks = column_blocks(matrix, dims, columns, columns, 1);
    parallel_for((row_count + kRowsPerTask - 1) / kRowsPerTask, threads, [&](int64_t task) {
        const int64_t first = task * kRowsPerTask;
        multiply_blocks(rows + first * dims, std::min(kRowsPerTask, row_count - first), blocks, dims, columns,
                        out + first * columns);
    });
}

}  // namespace adanns
