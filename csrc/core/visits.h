// In which order a tile's queries visit the lists that they probe.
#pragma once

#include <cstdint>
#include <vector>

namespace adanns {

struct Visit {
    bool later;  // than the nearest lists of all queries of the tile
    int32_t list, slot, probe;
};

// Nearest lists first, then all others; each in the order of lists, and of slots within a list. probes[slot *
// probe_count
// + i] as nearest_lists gives them.
void plan_visits(const int32_t* probes, int64_t slots, int probe_count, int64_t lists, std::vector<Visit>& visits);

}  // namespace adanns
