// Products of rows with a matrix, the same to the bit for any number of threads.
#pragma once

#include <cstdint>
#include <vector>

namespace adanns {

// A matrix as the kernels that run over columns take it: [block of 16 columns][dim][16], filled up with zeros. Element
// (dim, column) is read at values[dim * dim_stride + column * column_stride].
std::vector<float> column_blocks(const float* values, int64_t dims, int64_t columns, int64_t dim_stride,
                                 int64_t column_stride);

// out[r][c] = rows[r] . column c of a matrix in such blocks, by a single thread; each sum runs over dims in order.
void multiply_blocks(const float* rows, int64_t row_count, const std::vector<float>& blocks, int dims, int columns,
                     float* out);

// out (row_count, columns) = rows (row_count, dims) . matrix (dims, columns), all row-major and contiguous; each sum
// runs over dims in order.
void multiply(const float* rows, int64_t row_count, int dims, const float* matrix, int columns, int threads,
              float* out);

}  // namespace adanns
