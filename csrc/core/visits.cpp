#include "visits.h"

#include <algorithm>
#include <numeric>

namespace adanns {

void plan_visits(const int32_t* probes, int64_t slots, int probe_count, int64_t lists, std::vector<Visit>& visits) {
    const auto before = [](const Visit& a, const Visit& b) {
        return a.list != b.list ? a.list < b.list : a.slot < b.slot;
    };
    visits.clear();
    for (int32_t slot = 0; slot < slots; slot++) visits.push_back({false, probes[slot * probe_count], slot, 0});
    std::sort(visits.begin(), visits.end(), before);
    const int64_t others = slots * (probe_count - 1);
    if (others * 8 < lists) {
        for (int32_t slot = 0; slot < slots; slot++)
            for (int i = 1; i < probe_count; i++) visits.push_back({true, probes[slot * probe_count + i], slot, i});
        std::sort(visits.begin() + slots, visits.end(), before);
        return;
    }
    // Many visits per list: count, then place.
    static thread_local std::vector<int64_t> starts;
    starts.assign(static_cast<std::size_t>(lists + 1), 0);
    for (int64_t slot = 0; slot < slots; slot++)
        for (int i = 1; i < probe_count; i++) starts[static_cast<std::size_t>(probes[slot * probe_count + i]) + 1]++;
    std::partial_sum(starts.begin(), starts.end(), starts.begin());
    visits.resize(static_cast<std::size_t>(slots + others));
    for (int32_t slot = 0; slot < slots; slot++)
        for (int i = 1; i < probe_count; i++) {
            const int32_t list = probes[slot * probe_count + i];
            visits[static_cast<std::size_t>(slots + starts[static_cast<std::size_t>(list)]++)] = {true, list, slot, i};
        }
}

}  // namespace adanns
