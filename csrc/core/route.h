// Which lists are nearest to a query, judged on a prefix of the centroids.
#pragma once

#include <cstdint>

#include "index_view.h"

namespace adanns {

// probes[q * probe_count + i]: the nearest list of query q first, the others ascending by number.
void nearest_lists(const IndexView& view, const float* queries, int64_t query_stride, int64_t query_count,
                   int routing_dims, int probe_count, int threads, int32_t* probes);

}  // namespace adanns
