// Which instruction-set levels this build and machine offer.
#pragma once

#include <vector>

#include "kernel_table.h"

namespace adanns {

// From the plainest to the widest; the last is the default.
std::vector<const KernelTable*> available_kernels();

}  // namespace adanns
