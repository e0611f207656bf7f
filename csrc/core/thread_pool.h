// Runs numbered tasks on a bounded number of threads that outlive the call.
#pragma once

#include <cstdint>
#include <functional>

namespace adanns {

// Calls task(0) ... task(count - 1), each once, on at most `threads` threads, the caller's among them. Tasks are handed
// out in order; which thread runs which is not defined, so results must not depend on it. The first exception is
// rethrown.
void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& task);

}  // namespace adanns
