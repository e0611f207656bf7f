// Which memory may a CUDA thread touch, and has another touched it with no barrier between the two?
//
// Two accesses to one element, one of them a write, need an order: the same thread; the same warp with a __syncwarp
// between; the same block with a __syncthreads between; another launch. Anything else is a race, whatever order the
// threads happened to run in. Atomics do not race with atomics. Warp shuffles and votes order no memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace emulator {

enum class Access { read, write, atomic };

// Who accesses, and after how many barriers.
struct Moment {
    uint32_t launch = 0, block = 0;
    uint32_t block_barriers = 0, warp_barriers = 0;
    int32_t thread = 0;

    int32_t warp() const { return thread / 32; }
};

// The accesses of one kind to one element in one launch, as far as a later one can race with them.
class History {
   public:
    void add(const Moment& moment);
    // Is any of them not ordered before `moment`?
    bool races_with(const Moment& moment) const {
        if (launch_ != moment.launch) return false;
        if (several_blocks_ || block_ != moment.block) return true;
        if (block_barriers_ != moment.block_barriers) return false;
        if (warp_ != moment.warp()) return true;
        return warp_barriers_ == moment.warp_barriers && thread_ != moment.thread;
    }
    std::string who() const;

   private:
    static constexpr int32_t kSeveral = -1;
    uint32_t launch_ = 0, block_ = 0, block_barriers_ = 0, warp_barriers_ = 0;
    int32_t warp_ = 0, thread_ = 0;
    bool several_blocks_ = false;
};

// `bytes` bytes in elements that are initialised and race as one.
class Region {
   public:
    Region(const char* name, char* first, std::size_t bytes, int element_bytes, bool writable, bool initialised);

    bool holds(const void* address) const { return address >= first_ && address < first_ + bytes_; }
    char* first() const { return first_; }
    std::size_t bytes() const { return bytes_; }
    // What is wrong with the access, or nothing.
    std::string check(const char* address, std::size_t bytes, Access access, const Moment& moment);

   private:
    struct Element {
        History reads, writes, atomics;
        bool initialised = false;
    };

    std::string where(const char* address) const;

    const char* name_;
    char* first_;
    std::size_t bytes_;
    std::size_t element_bytes_;
    bool writable_;
    std::vector<Element> elements_;  // of writable memory only: nothing races on what nobody writes
};

// The memory that kernels see: what a test lent them, and the shared memory of the block that runs.
class Memory {
   public:
    Memory();
    ~Memory();

    void lend(char* first, std::size_t bytes, int element_bytes, bool writable, bool initialised);
    void take_back(const char* first);

    void start_block(std::size_t shared_bytes);
    // The array number `call` of this block; nullptr and an error where the threads do not agree, or launch_bytes
    // do not hold it.
    char* shared_array(std::size_t call, std::size_t bytes, int element_bytes, std::string& error);

    std::string check(const void* address, std::size_t bytes, Access access, const Moment& moment);

   private:
    static constexpr std::size_t kArenaBytes = 8 << 20;
    static constexpr std::size_t kGapBytes = 16 << 10;  // between shared arrays, so that an index too far is noticed

    std::map<const char*, Region> lent_;
    Region* last_lent_ = nullptr;
    char* arena_;
    std::vector<Region> shared_;
    std::size_t arena_used_ = 0, shared_used_ = 0, shared_bytes_ = 0;
};

}  // namespace emulator
