// The two steps of k-means: nearest centroid of each row, and the sums that make the next centroids.
#pragma once

#include <cstdint>

namespace adanns {

// rows: float32 (row_count, dims), `stride` apart; centroids: float32 (count, dims), contiguous. Ties go to the smaller
// index. distances, where given, are squared L2. With `by_dot` the nearest is that of the largest inner product.
void assign(const float* rows, int64_t stride, int64_t row_count, const float* centroids, int64_t count, int dims,
            bool by_dot, int threads, int32_t* nearest, float* distances);

// sums[c] = sum of the rows assigned to c; counts[c] = how many. The order of additions does not depend on `threads`.
void sum_clusters(const float* rows, int64_t stride, int64_t row_count, const int32_t* nearest, int64_t count, int dims,
                  int threads, float* sums, int64_t* counts);

}  // namespace adanns
