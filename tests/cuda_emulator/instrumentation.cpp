// Which accesses do kernels make? The compiler calls one of these functions before each.
//
// Kernels are compiled with -fsanitize=thread, which makes the calls, and linked with these instead of its runtime:
// what that one asks of memory (a shadow at fixed addresses, threads of the system) does not suit CUDA threads, and it
// knows neither barriers of warps nor which memory a kernel may touch.
#include "block.h"

using emulator::Access;
using emulator::Engine;

#define ACCESS(name, kind, bytes, alignment)                                                        \
    void __tsan_##name(void* address) {                                                             \
        Engine::get().access(address, bytes, Access::kind, alignment, __builtin_return_address(0)); \
    }
#define ACCESSES(bytes)                           \
    ACCESS(read##bytes, read, bytes, bytes)       \
    ACCESS(write##bytes, write, bytes, bytes)     \
    ACCESS(unaligned_read##bytes, read, bytes, 1) \
    ACCESS(unaligned_write##bytes, write, bytes, 1)

extern "C" {
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void __tsan_read_range(void* address, unsigned long bytes) {
    Engine::get().access(address, bytes, Access::read, 1, __builtin_return_address(0));
}
void __tsan_write_range(void* address, unsigned long bytes) {
    Engine::get().access(address, bytes, Access::write, 1, __builtin_return_address(0));
}

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
}
