// What may a test set? The order of threads, and which of its arrays are the device's memory.
#include "block.h"

using emulator::Engine;
using emulator::Order;

extern "C" {

// order: 0 forward, 1 reverse, 2 random.
__attribute__((visibility("default"))) void emulator_set_order(int order, unsigned long seed) {
    Engine::get().order = static_cast<Order>(order);
    Engine::get().seed = seed;
}

__attribute__((visibility("default"))) void emulator_lend(void* first, unsigned long bytes, int element_bytes,
                                                          int writable, int initialised) {
    Engine::get().memory.lend(static_cast<char*>(first), bytes, element_bytes, writable != 0, initialised != 0);
}

__attribute__((visibility("default"))) void emulator_take_back(const void* first) {
    Engine::get().memory.take_back(static_cast<const char*>(first));
}
}
