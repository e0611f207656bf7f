#include "memory.h"

#include <sys/mman.h>

#include <cstring>
#include <iterator>
#include <new>

extern "C" {  // present where the kernels are built with AddressSanitizer
__attribute__((weak)) void __asan_poison_memory_region(const volatile void* address, std::size_t size);
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void* address, std::size_t size);
}

namespace emulator {
namespace {

constexpr std::size_t kSharedAlignment = 16;

std::size_t rounded_up(std::size_t bytes) {
    return (bytes + kSharedAlignment - 1) / kSharedAlignment * kSharedAlignment;
}

const char* verb(Access access) {
    return access == Access::read ? "reads" : access == Access::write ? "writes" : "atomically updates";
}

}  // namespace

void History::add(const Moment& moment) {
    const bool new_launch = launch_ != moment.launch;
    if (!new_launch && block_ != moment.block) several_blocks_ = true;
    if (new_launch) several_blocks_ = false;
    const bool new_interval = new_launch || block_ != moment.block || block_barriers_ != moment.block_barriers;
    if (new_interval) {
        warp_ = moment.warp();
        thread_ = moment.thread;
    } else if (warp_ != moment.warp()) {
        warp_ = kSeveral;
    } else if (warp_barriers_ != moment.warp_barriers) {
        thread_ = moment.thread;
    } else if (thread_ != moment.thread) {
        thread_ = kSeveral;
    }
    launch_ = moment.launch;
    block_ = moment.block;
    block_barriers_ = moment.block_barriers;
    warp_barriers_ = moment.warp_barriers;
}

std::string History::who() const {
    if (several_blocks_) return "threads of several blocks";
    const std::string of_block = " of block " + std::to_string(block_);
    if (warp_ == kSeveral) return "threads of several warps" + of_block;
    return (thread_ == kSeveral ? "threads of warp " + std::to_string(warp_) : "thread " + std::to_string(thread_)) +
           of_block;
}

Region::Region(const char* name, char* first, std::size_t bytes, int element_bytes, bool writable, bool initialised)
    : name_(name),
      first_(first),
      bytes_(bytes),
      element_bytes_(static_cast<std::size_t>(element_bytes)),
      writable_(writable) {
    if (!writable) return;
    elements_.resize((bytes + element_bytes_ - 1) / element_bytes_);
    for (Element& element : elements_) element.initialised = initialised;
}

std::string Region::where(const char* address) const {
    return std::string(name_) + " byte " + std::to_string(address - first_) + " of " + std::to_string(bytes_);
}

std::string Region::check(const char* address, std::size_t bytes, Access access, const Moment& moment) {
    if (address + bytes > first_ + bytes_) return std::string("out of bounds: ") + verb(access) + " " + where(address);
    if (!writable_) return access == Access::read ? "" : "writes to read-only " + where(address);
    const auto offset = static_cast<std::size_t>(address - first_);
    for (std::size_t i = offset / element_bytes_; i * element_bytes_ < offset + bytes; i++) {
        Element& element = elements_[i];
        if (access != Access::write && !element.initialised)
            return std::string("uninitialised: ") + verb(access) + " " + where(address);
        const History* other = nullptr;
        if (element.writes.races_with(moment)) other = &element.writes;
        if (access != Access::atomic && element.atomics.races_with(moment)) other = &element.atomics;
        if (access != Access::read && element.reads.races_with(moment)) other = &element.reads;
        if (other != nullptr)
            return std::string("race: ") + verb(access) + " " + where(address) + ", which " + other->who() +
                   (other == &element.reads ? " reads" : " writes");
        element.initialised = true;
        History& own = access == Access::read    ? element.reads
                       : access == Access::write ? element.writes
                                                 : element.atomics;
        own.add(moment);
    }
    return "";
}

Memory::Memory() {
    void* arena =
        mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED) throw std::bad_alloc();
    arena_ = static_cast<char*>(arena);
}

Memory::~Memory() { munmap(arena_, kArenaBytes); }

void Memory::lend(char* first, std::size_t bytes, int element_bytes, bool writable, bool initialised) {
    take_back(first);
    lent_.emplace(first, Region("device memory", first, bytes, element_bytes, writable, initialised));
}

void Memory::take_back(const char* first) {
    lent_.erase(first);
    last_lent_ = nullptr;
}

void Memory::start_block(std::size_t shared_bytes) {
    shared_.clear();
    arena_used_ = kGapBytes;
    shared_used_ = 0;
    shared_bytes_ = shared_bytes;
    if (__asan_poison_memory_region != nullptr) __asan_poison_memory_region(arena_, kArenaBytes);
}

char* Memory::shared_array(std::size_t call, std::size_t bytes, int element_bytes, std::string& error) {
    if (call < shared_.size()) {
        if (shared_[call].bytes() != bytes) error = "threads disagree on the size of a shared array";
        return shared_[call].first();
    }
    shared_used_ += rounded_up(bytes);
    if (shared_used_ > shared_bytes_) {
        error = "shared arrays need " + std::to_string(shared_used_) + " bytes, the launch gave " +
                std::to_string(shared_bytes_);
        return nullptr;
    }
    char* first = arena_ + arena_used_;
    arena_used_ += rounded_up(bytes) + kGapBytes;
    if (arena_used_ > kArenaBytes) {
        error = "more shared arrays than the emulator has room for";
        return nullptr;
    }
    if (__asan_unpoison_memory_region != nullptr) __asan_unpoison_memory_region(first, bytes);
    std::memset(first, 0xFF, bytes);  // what reads it too early gets a NaN or a wild index
    shared_.emplace_back("shared memory", first, bytes, element_bytes, true, false);
    return first;
}

std::string Memory::check(const void* address, std::size_t bytes, Access access, const Moment& moment) {
    const auto* at = static_cast<const char*>(address);
    if (at >= arena_ && at < arena_ + kArenaBytes) {
        for (Region& array : shared_)
            if (array.holds(at)) return array.check(at, bytes, access, moment);
        return std::string("out of bounds: ") + verb(access) + " shared memory outside of its arrays";
    }
    if (last_lent_ == nullptr || !last_lent_->holds(at)) {
        auto after = lent_.upper_bound(at);
        if (after == lent_.begin() || !std::prev(after)->second.holds(at))
            return std::string("out of bounds: ") + verb(access) + " memory that is not the device's";
        last_lent_ = &std::prev(after)->second;
    }
    return last_lent_->check(at, bytes, access, moment);
}

}  // namespace emulator
