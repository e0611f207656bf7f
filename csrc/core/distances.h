// From keys, which rank rows for one query, to the distances that a search returns.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "index_view.h"
#include "norms.h"

namespace adanns {

// What the query adds to every key of its own: |q|^2 under l2, the factor 1 / |q| under cosine.
inline float distance_of(Metric metric, float key, double squared_query_norm) {
    switch (metric) {
        case Metric::l2: return std::max(0.0f, key + static_cast<float>(squared_query_norm));
        case Metric::inner_product: return key;
        case Metric::cosine:
            return squared_query_norm > 0 ? static_cast<float>(1.0 + key / std::sqrt(squared_query_norm)) : 1.0f;
    }
    return key;
}

// A key that no row within `radius` reaches; a few beyond may stay below it, as sums are rounded.
inline float key_above(Metric metric, float radius, double squared_query_norm) {
    constexpr double kRounding = 1e-6;  // some units of the last place of what is added
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    double key = radius;
    if (metric == Metric::l2) key += kRounding * (std::abs(key) + squared_query_norm) - squared_query_norm;
    if (metric == Metric::cosine) {
        if (squared_query_norm == 0) return radius >= 1 ? kInfinity : -kInfinity;
        key = std::sqrt(squared_query_norm) * (key - 1 + kRounding * (std::abs(key) + 1));
    }
    return std::nextafter(static_cast<float>(key), kInfinity);
}

}  // namespace adanns
