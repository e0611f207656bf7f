#include "block.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace emulator {
namespace {

#ifdef EMULATOR_UNWATCHED
constexpr bool kWatched = false;  // sanitizers watch instead; the few accesses seen here would be taken out of context
#else
constexpr bool kWatched = true;
#endif

constexpr uint64_t kGiveWayOneIn = 32;  // accesses, in a random order

uint64_t splitmix(uint64_t& state) {  // Steele, Lea and Flood: Fast splittable pseudorandom number generators
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

uint64_t volume(Size3 size) { return uint64_t{size.x} * size.y * size.z; }

Size3 unravel(uint64_t number, Size3 size) {
    return {static_cast<unsigned>(number % size.x), static_cast<unsigned>(number / size.x % size.y),
            static_cast<unsigned>(number / size.x / size.y)};
}

std::string text(Size3 size) {
    return "(" + std::to_string(size.x) + ", " + std::to_string(size.y) + ", " + std::to_string(size.z) + ")";
}

std::string text(Site site) {
    if (site.file == nullptr) return "unknown place";
    const char* name = std::strrchr(site.file, '/');
    return std::string(name == nullptr ? site.file : name + 1) + ":" + std::to_string(site.line);
}

// A machine address as addr2line takes it.
std::string code_place(const void* code) {
    Dl_info info;
    if (dladdr(code, &info) == 0) return "unknown code";
    char offset[32];
    std::snprintf(offset, sizeof offset, "0x%tx",
                  static_cast<const char*>(code) - 1 - static_cast<char*>(info.dli_fbase));
    return std::string("addr2line -Cie ") + info.dli_fname + " " + offset;
}

}  // namespace

Engine& Engine::get() {
    static Engine engine;
    return engine;
}

std::string Engine::launch(Size3 grid, Size3 block, std::size_t shared_bytes, void (*kernel)(const void*),
                           const void* arguments) {
    if (volume(block) == 0 || volume(block) > 1024 || block.z > 64) return "bad block size " + text(block);
    if (volume(block) % kWarp != 0) return "block size " + text(block) + " is no multiple of a warp";
    if (volume(grid) == 0 || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
        return "bad grid size " + text(grid);
    if (shared_bytes > kMostShared) return std::to_string(shared_bytes) + " bytes of shared memory are too many";
    kernel_ = kernel;
    arguments_ = arguments;
    grid_size_ = grid;
    block_size_ = block;
    launch_++;
    error_.clear();
    random_ = seed;
    stacks_.reserve(static_cast<int>(volume(block)));
    const auto blocks = static_cast<uint32_t>(volume(grid));
    // A step with no common divisor visits every block once, in an order that looks random.
    uint64_t step = order == Order::random ? splitmix(random_) % blocks | 1 : 1;
    const auto divides = [&](uint64_t a, uint64_t b) {
        while (b != 0) std::swap(a %= b, b);
        return a != 1;
    };
    while (divides(step, blocks)) step += 2;
    for (uint64_t i = 0; i < blocks && error_.empty(); i++) {
        block_ = static_cast<uint32_t>(order == Order::reverse ? blocks - 1 - i : i * step % blocks);
        block_index_ = unravel(block_, grid);
        run_block(shared_bytes);
    }
    return error_;
}

void Engine::run_block(std::size_t shared_bytes) {
    const auto count = static_cast<int>(volume(block_size_));
    memory.start_block(shared_bytes);
    threads_.clear();
    threads_.resize(static_cast<std::size_t>(count));
    ready_.clear();
    warp_barriers_.assign(static_cast<std::size_t>(count / kWarp), 0);
    block_barriers_ = 0;
    waiting_ = 0;
    for (int i = 0; i < count; i++) {
        Thread& thread = threads_[static_cast<std::size_t>(i)];
        thread.number = i;
        thread.fiber.start(stacks_.bottom(i), thread_main);
        ready_.push_back(i);
    }
    while (!ready_.empty() && error_.empty()) {
        current_ = &next_ready();
        switch_fiber(main_, current_->fiber, false);
        current_ = nullptr;
    }
    if (error_.empty()) error_ = stuck_threads();
}

Engine::Thread& Engine::next_ready() {
    std::size_t at = 0;
    if (order == Order::reverse) at = ready_.size() - 1;
    if (order == Order::random) at = splitmix(random_) % ready_.size();
    const int number = ready_[at];
    ready_.erase(ready_.begin() + static_cast<std::ptrdiff_t>(at));
    return threads_[static_cast<std::size_t>(number)];
}

void Engine::thread_main() {
    Engine& engine = get();
    entered_fiber(engine.main_);
    engine.kernel_(engine.arguments_);
    Thread& thread = *engine.current_;
    if (!thread.copies.empty()) engine.fail("a thread ended with copies that it never waited for", {});
    thread.state = State::ended;
    switch_fiber(thread.fiber, engine.main_, true);
    __builtin_unreachable();
}

void Engine::wait(State state) {
    Thread& thread = *current_;
    thread.state = state;
    switch_fiber(thread.fiber, main_, false);
}

void Engine::release(Thread& thread) {
    thread.state = State::ready;
    if (&thread != current_) ready_.push_back(thread.number);
}

void Engine::give_way() {
    ready_.push_back(current_->number);
    wait(State::ready);
}

Size3 Engine::thread_index() const { return unravel(static_cast<uint64_t>(current_->number), block_size_); }

Size3 Engine::block_index() const { return block_index_; }
Size3 Engine::block_size() const { return block_size_; }
Size3 Engine::grid_size() const { return grid_size_; }

Moment Engine::moment() const {
    return {launch_, block_, block_barriers_, warp_barriers_[static_cast<std::size_t>(current_->number / kWarp)],
            current_->number};
}

std::string Engine::place(const Thread& thread, Site site) const {
    return "thread " + std::to_string(thread.number) + " of block " + text(block_index_) + " at " + text(site);
}

void Engine::fail(const std::string& what, Site site) {
    error_ = what + "; " + place(*current_, site);
    switch_fiber(current_->fiber, main_, true);
    __builtin_unreachable();
}

std::string Engine::stuck_threads() const {
    int ended = 0, stuck = 0;
    const Thread* one = nullptr;
    for (const Thread& thread : threads_) {
        if (thread.state == State::ended) ended++;
        if (thread.state != State::at_barrier && thread.state != State::at_warp) continue;
        stuck++;
        one = &thread;
    }
    if (stuck == 0) return "";
    return "divergence: " + std::to_string(stuck) + " threads wait for ever at " + one->operation + " and elsewhere, " +
           std::to_string(ended) + " have ended; " + place(*one, one->site);
}

void Engine::must_be_where(const Thread& other, const char* operation, Site site) {
    if (other.operation == operation && other.site.line == site.line && std::strcmp(other.site.file, site.file) == 0)
        return;
    fail(std::string("divergence: at ") + operation + " while another waits at " + other.operation + ", " +
             place(other, other.site),
         site);
}

int Engine::barrier(int predicate, Vote vote, Site site) {
    static const char* const name = "__syncthreads";
    for (const Thread& other : threads_)
        if (other.state == State::at_barrier) {
            must_be_where(other, name, site);
            break;
        }
    Thread& thread = *current_;
    thread.operation = name;
    thread.site = site;
    thread.predicate = predicate != 0;
    if (++waiting_ == static_cast<int>(threads_.size())) {
        complete_barrier(vote);
    } else {
        wait(State::at_barrier);
    }
    return thread.result;
}

void Engine::complete_barrier(Vote vote) {
    int count = 0;
    for (const Thread& thread : threads_) count += thread.predicate;
    const int size = static_cast<int>(threads_.size());
    const int result = vote == Vote::any ? count > 0 : vote == Vote::all ? count == size : count;
    waiting_ = 0;
    block_barriers_++;
    for (Thread& thread : threads_) {
        thread.result = result;
        release(thread);
    }
}

uint64_t Engine::warp_operation(const char* name, WarpOperation operation, unsigned mask, uint64_t given, int argument,
                                Site site) {
    if (mask != kWholeWarp) fail(std::string(name) + ": kernels name whole warps only", site);
    Thread& thread = *current_;
    Thread* warp = &threads_[static_cast<std::size_t>(thread.number / kWarp * kWarp)];
    Exchange* lanes[kWarp];
    int arrived = 1;
    for (int i = 0; i < kWarp; i++) {
        lanes[i] = &warp[i].exchange;
        if (warp[i].state != State::at_warp) continue;
        if (arrived == 1) must_be_where(warp[i], name, site);
        arrived++;
    }
    thread.operation = name;
    thread.site = site;
    thread.exchange = {given, 0, argument};
    if (arrived < kWarp) {
        wait(State::at_warp);
        return thread.exchange.got;
    }
    watching_ = false;
    operation(lanes);
    watching_ = true;
    for (int i = 0; i < kWarp; i++) release(warp[i]);
    return thread.exchange.got;
}

void Engine::warp_barrier(Site site) {
    // The last lane to arrive counts, once for all.
    const auto count = [](Exchange* const*) {
        Engine& engine = get();
        engine.warp_barriers_[static_cast<std::size_t>(engine.current_->number / kWarp)]++;
    };
    warp_operation("__syncwarp", count, kWholeWarp, 0, 0, site);
}

void* Engine::shared_array(std::size_t bytes, int element_bytes, Site site) {
    std::string error;
    void* array = memory.shared_array(current_->shared_arrays++, bytes, std::min(element_bytes, 4), error);
    if (!error.empty()) fail(error, site);
    return array;
}

void Engine::access(const void* address, std::size_t bytes, Access kind, std::size_t alignment, const void* code) {
    if (!kWatched || current_ == nullptr || !watching_ || stacks_.holds(address)) return;
    std::string wrong;
    if (reinterpret_cast<uintptr_t>(address) % alignment != 0)
        wrong = "misaligned access of " + std::to_string(bytes) + " bytes";
    else
        wrong = memory.check(address, bytes, kind, moment());
    if (!wrong.empty()) fail(wrong + " (" + code_place(code) + ")", {});
    if (order == Order::random && splitmix(random_) % kGiveWayOneIn == 0) give_way();
}

void Engine::must_be_aligned(const void* address, std::size_t alignment, Site site) {
    if (reinterpret_cast<uintptr_t>(address) % alignment != 0)
        fail("misaligned vector: its address is no multiple of " + std::to_string(alignment), site);
}

void Engine::copy_later(void* to, const void* from, std::size_t bytes, std::size_t zeros, Site site) {
    if (bytes != 4 && bytes != 8 && bytes != 16) fail("asynchronous copies are of 4, 8 or 16 bytes", site);
    if (zeros > bytes) fail("an asynchronous copy has more zeros than bytes", site);
    if (zeros < bytes) access(from, bytes - zeros, Access::read, bytes, __builtin_return_address(0));
    current_->copies.push_back({to, from, bytes, zeros, current_->copy_group});
}

void Engine::commit_copies() { current_->copy_group++; }

void Engine::wait_for_copies(unsigned groups_left, Site) {
    Thread& thread = *current_;
    std::vector<Copy> later;
    for (const Copy& copy : thread.copies) {
        if (copy.group + groups_left >= thread.copy_group) {
            later.push_back(copy);
            continue;
        }
        access(copy.to, copy.bytes, Access::write, copy.bytes, __builtin_return_address(0));
        std::memcpy(copy.to, copy.from, copy.bytes - copy.zeros);
        std::memset(static_cast<char*>(copy.to) + copy.bytes - copy.zeros, 0, copy.zeros);
    }
    thread.copies.swap(later);
}

}  // namespace emulator
