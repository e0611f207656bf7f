// Norms of prefixes, as stored rows and queries share them.
#pragma once

#include <cstdint>

namespace adanns {

// In double: the square of a large or a small float is none.
inline double squared_norm(const float* values, int64_t count) {
    double sums[4] = {};  // four chains hide the latency of an addition
    int64_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (int j = 0; j < 4; j++) sums[j] += static_cast<double>(values[i + j]) * values[i + j];
    for (; i < count; i++) sums[0] += static_cast<double>(values[i]) * values[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

}  // namespace adanns
