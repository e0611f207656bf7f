// How does one OS thread run many CUDA threads? Each has a stack of its own and runs until it waits (x86-64 only).
#pragma once

#include <cstddef>

namespace emulator {

// Stacks of the threads of a block, kept from block to block.
class Stacks {
   public:
    ~Stacks();
    void reserve(int count);
    char* bottom(int thread) const { return memory_ + static_cast<std::size_t>(thread) * kBytes; }
    bool holds(const void* address) const { return address >= memory_ && address < memory_ + bytes_; }

    static constexpr std::size_t kBytes = 256 << 10;  // AddressSanitizer's frames are large; untouched pages are free

   private:
    char* memory_ = nullptr;
    std::size_t bytes_ = 0;
};

// A point where execution stands: its stack, and what AddressSanitizer must know of it.
struct Fiber {
    void* stack_pointer = nullptr;
    const void* bottom = nullptr;
    std::size_t bytes = 0;
    void* fake_stack = nullptr;

    // The next switch to this fiber calls `entry`, which must not return.
    void start(char* stack_bottom, void (*entry)());
};

void switch_fiber(Fiber& from, Fiber& to, bool from_ends);

// The first words of every entry function: tells AddressSanitizer that the switch is done.
void entered_fiber(Fiber& came_from);

}  // namespace emulator
