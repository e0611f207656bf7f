#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if !defined(__x86_64__)
#error "the emulator switches stacks in x86-64 assembly"
#endif

// Present where the kernels are built with AddressSanitizer; this file never is.
extern "C" {
__attribute__((weak)) void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, std::size_t size);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom, std::size_t* size);
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void* address, std::size_t size);
void emulator_switch_stack(void** save, void* resume);
}

// The System V ABI asks a function to keep rbx, rbp and r12 to r15: all that has to be saved besides the stack pointer.
asm(R"(
.text
.type emulator_switch_stack, @function
.globl emulator_switch_stack
.hidden emulator_switch_stack
emulator_switch_stack:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
.size emulator_switch_stack, . - emulator_switch_stack
)");

namespace emulator {
namespace {
constexpr int kSavedRegisters = 6;
}

Stacks::~Stacks() {
    if (memory_ != nullptr) munmap(memory_, bytes_);
}

void Stacks::reserve(int count) {
    const std::size_t bytes = static_cast<std::size_t>(count) * kBytes;
    if (bytes > bytes_) {
        if (memory_ != nullptr) munmap(memory_, bytes_);
        void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        memory_ = static_cast<char*>(memory);
        bytes_ = bytes;
    }
    // Frames of a thread that was abandoned where it stood leave poison behind.
    if (__asan_unpoison_memory_region != nullptr) __asan_unpoison_memory_region(memory_, bytes);
}

void Fiber::start(char* stack_bottom, void (*entry)()) {
    bottom = stack_bottom;
    bytes = Stacks::kBytes;
    fake_stack = nullptr;
    auto* top = reinterpret_cast<std::uintptr_t*>(stack_bottom + Stacks::kBytes);
    *--top = 0;  // a function starts 8 bytes off a multiple of 16, below the address it would return to
    *--top = reinterpret_cast<std::uintptr_t>(entry);
    for (int i = 0; i < kSavedRegisters; i++) *--top = 0;
    stack_pointer = top;
}

void switch_fiber(Fiber& from, Fiber& to, bool from_ends) {
    if (__sanitizer_start_switch_fiber != nullptr)
        __sanitizer_start_switch_fiber(from_ends ? nullptr : &from.fake_stack, to.bottom, to.bytes);
    emulator_switch_stack(&from.stack_pointer, to.stack_pointer);
    if (__sanitizer_finish_switch_fiber != nullptr) __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
}

void entered_fiber(Fiber& came_from) {
    if (__sanitizer_finish_switch_fiber != nullptr)
        __sanitizer_finish_switch_fiber(nullptr, &came_from.bottom, &came_from.bytes);
}

}  // namespace emulator
