// How does one block run? Its threads are fibers that run until they wait, in an order that the test chooses.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fiber.h"
#include "memory.h"

namespace emulator {

struct Size3 {
    unsigned x = 1, y = 1, z = 1;
};

struct Site {  // of a call in the kernel's source
    const char* file;
    int line;
};

enum class Order { forward, reverse, random };
enum class Vote { none, any, all, count };

constexpr int kWarp = 32;
constexpr unsigned kWholeWarp = 0xffffffffu;
constexpr std::size_t kMostShared = 99 << 10;  // what a block can have on every architecture that we build for

// What one lane gives to a warp's operation and gets from it.
struct Exchange {
    uint64_t given, got;
    int argument;
};
// Fills in `got` of 32 lanes.
using WarpOperation = void (*)(Exchange* const* lanes);

class Engine {
   public:
    static Engine& get();

    // Runs all blocks of a launch; what is wrong, or nothing.
    std::string launch(Size3 grid, Size3 block, std::size_t shared_bytes, void (*kernel)(const void*),
                       const void* arguments);

    // From inside a kernel. Nothing here is inline: it would be watched as the kernel's own accesses are.
    Size3 thread_index() const;
    Size3 block_index() const;
    Size3 block_size() const;
    Size3 grid_size() const;
    int barrier(int predicate, Vote vote, Site site);
    void warp_barrier(Site site);
    uint64_t warp_operation(const char* name, WarpOperation operation, unsigned mask, uint64_t given, int argument,
                            Site site);
    void* shared_array(std::size_t bytes, int element_bytes, Site site);
    void access(const void* address, std::size_t bytes, Access kind, std::size_t alignment, const void* code);
    void must_be_aligned(const void* address, std::size_t alignment, Site site);
    void copy_later(void* to, const void* from, std::size_t bytes, std::size_t zeros, Site site);
    void commit_copies();
    void wait_for_copies(unsigned groups_left, Site site);

    Memory memory;
    Order order = Order::forward;
    uint64_t seed = 0;

   private:
    enum class State { ready, at_barrier, at_warp, ended };
    struct Copy {
        void* to;
        const void* from;
        std::size_t bytes, zeros;
        unsigned group;
    };
    struct Thread {
        Fiber fiber;
        int number = 0;
        State state = State::ready;
        Site site{};
        const char* operation = nullptr;
        Exchange exchange{};
        int predicate = 0, result = 0;
        std::size_t shared_arrays = 0;
        unsigned copy_group = 0;
        std::vector<Copy> copies;
    };

    static void thread_main();
    [[noreturn]] void fail(const std::string& what, Site site);
    void run_block(std::size_t shared_bytes);
    Thread& next_ready();
    void wait(State state);
    void give_way();
    void complete_barrier(Vote vote);
    void release(Thread& thread);
    std::string stuck_threads() const;
    std::string place(const Thread& thread, Site site) const;
    Moment moment() const;
    void must_be_where(const Thread& other, const char* operation, Site site);

    void (*kernel_)(const void*) = nullptr;
    const void* arguments_ = nullptr;
    Size3 grid_size_, block_size_, block_index_;
    std::vector<Thread> threads_;
    std::vector<int> ready_;
    std::vector<uint32_t> warp_barriers_;
    uint32_t launch_ = 0, block_ = 0, block_barriers_ = 0;
    int waiting_ = 0;
    uint64_t random_ = 1;
    Stacks stacks_;
    Fiber main_;
    Thread* current_ = nullptr;
    bool watching_ = true;  // off while a warp's operation moves values between lanes
    std::string error_;
};

}  // namespace emulator
