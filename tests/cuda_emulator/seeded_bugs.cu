// Does the emulator notice? One kernel per kind of bug, correct and broken: they differ in one place. Each thread of a
// correct one writes 1 to its element of `out`.
#include <cstring>
#include <stdexcept>
#include <string>

#include "cuda/matrices.cuh"

using namespace adanns::cuda;

float seeded_host_value = 1;

namespace {

constexpr int kThreads = 64;
constexpr int kBlocks = 3;

__device__ float* shared_floats(int count) {
    return SharedMemory::of_block().take<float>(static_cast<std::size_t>(count));
}
__device__ int out_index() { return static_cast<int>(blockIdx.x * kThreads + threadIdx.x); }

#define KERNEL(name)     \
    template <bool kBug> \
    __global__ void name([[maybe_unused]] const float* in, [[maybe_unused]] float* out, [[maybe_unused]] int* counter)

KERNEL(missing_barrier) {
    float* shared = shared_floats(kThreads);
    shared[threadIdx.x] = 1;
    if (!kBug) __syncthreads();
    out[out_index()] = shared[kThreads - 1 - threadIdx.x];
}

KERNEL(missing_barrier_before_reuse) {
    float* shared = shared_floats(kThreads);
    float sum = 0;
    for (int i = 0; i < 2; i++) {
        shared[threadIdx.x] = 0.5f;
        __syncthreads();
        sum += shared[kThreads - 1 - threadIdx.x];
        if (!kBug) __syncthreads();
    }
    out[out_index()] = sum;
}

KERNEL(missing_syncwarp) {
    float* shared = shared_floats(kThreads);
    shared[threadIdx.x] = 1;
    if (!kBug) __syncwarp();
    out[out_index()] = shared[threadIdx.x ^ 31];
}

KERNEL(syncwarp_between_warps) {
    float* shared = shared_floats(kThreads);
    shared[threadIdx.x] = 1;
    __syncwarp();
    out[out_index()] = shared[threadIdx.x ^ (kBug ? 32 : 31)];
}

KERNEL(shuffle_taken_for_a_fence) {
    float* shared = shared_floats(kThreads);
    shared[threadIdx.x] = 1;
    __shfl_xor_sync(kWholeWarp, 1, 1);
    if (!kBug) __syncwarp();
    out[out_index()] = shared[threadIdx.x ^ 31];
}

KERNEL(all_lanes_write_one_element) {
    float* shared = shared_floats(1);
    if (kBug || threadIdx.x == 0) shared[0] = 1;
    __syncthreads();
    out[out_index()] = shared[0];
}

KERNEL(counter_without_atomics) {
    if (kBug)
        *counter = *counter + 1;
    else
        atomicAdd(counter, 1);
    out[out_index()] = 1;
}

KERNEL(atomic_beside_plain_read) {
    int* shared = SharedMemory::of_block().take<int>(1);
    if (threadIdx.x == 0) *shared = 0;
    __syncthreads();
    atomicAdd(shared, 1);
    if (!kBug) __syncthreads();
    out[out_index()] = *shared > 0 ? 1 : 0;
}

KERNEL(reads_what_another_block_writes) {
    out[out_index()] = 1;
    if (kBug && blockIdx.x == 1) out[out_index()] = out[threadIdx.x];
}

KERNEL(uninitialised_shared) {
    float* shared = shared_floats(kThreads);
    if (!kBug || threadIdx.x > 0) shared[threadIdx.x] = 1;
    __syncthreads();
    out[out_index()] = shared[kThreads - 1 - threadIdx.x];
}

KERNEL(uninitialised_device) {
    if (!kBug) out[out_index()] = 0;
    out[out_index()] += 1;
}

KERNEL(missing_wait_for_copies) {
    float* shared = shared_floats(kThreads);
    __pipeline_memcpy_async(shared + threadIdx.x, in + threadIdx.x, sizeof(float));
    __pipeline_commit();
    if (!kBug) __pipeline_wait_prior(0);
    __syncthreads();
    out[out_index()] = shared[kThreads - 1 - threadIdx.x];
    if (kBug) __pipeline_wait_prior(0);
}

KERNEL(copies_left_behind) {
    float* shared = shared_floats(kThreads);
    __pipeline_memcpy_async(shared + threadIdx.x, in + threadIdx.x, sizeof(float));
    __pipeline_commit();
    if (!kBug) __pipeline_wait_prior(0);
    out[out_index()] = 1;
}

KERNEL(shared_out_of_bounds) {
    SharedMemory memory = SharedMemory::of_block();
    float* shared = memory.take<float>(kThreads);
    memory.take<float>(kThreads)[threadIdx.x] = 0;
    shared[threadIdx.x] = 1;
    __syncthreads();
    out[out_index()] = shared[threadIdx.x + (kBug ? 1 : 0)];
}

KERNEL(device_out_of_bounds) { out[out_index() + (kBug ? 1 : 0)] = in[threadIdx.x]; }

KERNEL(device_below_bounds) { out[out_index()] = in[static_cast<int>(threadIdx.x) - (kBug ? 1 : 0)]; }

KERNEL(host_memory) { out[out_index()] = kBug ? seeded_host_value : 1; }

KERNEL(writes_its_input) {
    out[out_index()] = 1;
    if (kBug) const_cast<float*>(in)[threadIdx.x] = 1;
}

KERNEL(misaligned_vector) {
    const uint4 vector = load16(in + 4 * (threadIdx.x % 8) + (kBug ? 1 : 0));
    out[out_index()] = __uint_as_float(vector.x);
}

KERNEL(misaligned_scalar) {
    const char* bytes = reinterpret_cast<const char*>(in);
    out[out_index()] = *reinterpret_cast<const float*>(bytes + (kBug ? 2 : 4)) > 0 ? 1 : 0;
}

KERNEL(barrier_for_half_the_block) {
    if (!kBug || threadIdx.x < kThreads / 2) __syncthreads();
    out[out_index()] = 1;
}

KERNEL(different_barriers) {
    if (kBug && threadIdx.x % 2 == 0) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    out[out_index()] = 1;
}

KERNEL(return_before_barrier) {
    out[out_index()] = 1;
    if (kBug && threadIdx.x == 5) return;
    __syncthreads();
}

KERNEL(shuffle_in_a_branch) {
    float value = 1;
    if (!kBug || threadIdx.x % 32 < 16) value = __shfl_xor_sync(kWholeWarp, value, 8);
    out[out_index()] = value;
}

KERNEL(partial_mask) { out[out_index()] = __shfl_xor_sync(kBug ? 0xffffu : kWholeWarp, 1.0f, 1); }

KERNEL(more_shared_than_launched) { shared_floats(kThreads + (kBug ? 1 : 0))[threadIdx.x] = out[out_index()] = 1; }

KERNEL(threads_disagree_on_an_array) {
    shared_floats(kBug && threadIdx.x == 7 ? 8 : kThreads)[threadIdx.x % 8 + threadIdx.x / 8 * 8] = 1;
    out[out_index()] = 1;
}

constexpr int kRowFloats = 4;  // of a matrix of 8 x 8 halves

// Lane i's row of four matrices of ones.
__device__ float* row_of_ones() {
    float* row = shared_floats(kThreads * kRowFloats) + threadIdx.x * kRowFloats;
    for (int i = 0; i < kRowFloats; i++) row[i] = __uint_as_float(0x3c003c00u);
    return row;
}

KERNEL(matrices_at_misaligned_rows) {
    const float* row = row_of_ones();
    __syncthreads();
    uint32_t loaded[4];
    load_matrices(loaded, reinterpret_cast<const __half*>(row + (kBug && threadIdx.x < 63 ? 1 : 0)));
    out[out_index()] = loaded[3] == 0x3c003c00u ? 1 : 0;
}

KERNEL(matrices_of_rows_that_others_write) {
    const float* row = row_of_ones();
    if (!kBug) __syncthreads();
    const int other = threadIdx.x % 2 == 0 ? 1 : -1;
    uint32_t loaded[4];
    load_matrices(loaded, reinterpret_cast<const __half*>(row + other * kRowFloats));
    out[out_index()] = loaded[0] == 0x3c003c00u ? 1 : 0;
}

KERNEL(product_in_a_branch) {
    const uint32_t ones[4] = {0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u};
    float sums[kHeldSums] = {1, 1, 1, 1};
    if (!kBug || threadIdx.x % 32 < 31) multiply(sums, ones, ones[0], ones[1]);
    out[out_index()] = sums[2] == 17 ? 1 : 0;
}

KERNEL(more_zeros_than_bytes) {
    float* shared = shared_floats(kThreads);
    __pipeline_memcpy_async(shared + threadIdx.x, in + threadIdx.x, sizeof(float), sizeof(float) * (kBug ? 2 : 1));
    __pipeline_commit();
    __pipeline_wait_prior(0);
    out[out_index()] = 1 + shared[threadIdx.x];
}

struct Case {
    const char* name;
    void (*correct)(const float*, float*, int*);
    void (*broken)(const float*, float*, int*);
    std::size_t shared_floats;
};

#define CASE(name, floats) {#name, name<false>, name<true>, floats}
const Case kCases[] = {
    CASE(missing_barrier, kThreads),
    CASE(missing_barrier_before_reuse, kThreads),
    CASE(missing_syncwarp, kThreads),
    CASE(syncwarp_between_warps, kThreads),
    CASE(shuffle_taken_for_a_fence, kThreads),
    CASE(all_lanes_write_one_element, 4),
    CASE(counter_without_atomics, 0),
    CASE(atomic_beside_plain_read, 4),
    CASE(reads_what_another_block_writes, 0),
    CASE(uninitialised_shared, kThreads),
    CASE(uninitialised_device, 0),
    CASE(missing_wait_for_copies, kThreads),
    CASE(copies_left_behind, kThreads),
    CASE(shared_out_of_bounds, 2 * kThreads),
    CASE(device_out_of_bounds, 0),
    CASE(device_below_bounds, 0),
    CASE(host_memory, 0),
    CASE(writes_its_input, 0),
    CASE(misaligned_vector, 0),
    CASE(misaligned_scalar, 0),
    CASE(barrier_for_half_the_block, 0),
    CASE(different_barriers, 0),
    CASE(return_before_barrier, 0),
    CASE(shuffle_in_a_branch, 0),
    CASE(partial_mask, 0),
    CASE(more_shared_than_launched, kThreads),
    CASE(threads_disagree_on_an_array, kThreads),
    CASE(matrices_at_misaligned_rows, kThreads* kRowFloats),
    CASE(matrices_of_rows_that_others_write, kThreads* kRowFloats),
    CASE(product_in_a_branch, 0),
    CASE(more_zeros_than_bytes, kThreads),
};

}  // namespace

extern "C" {

// Number `index` of the cases; nullptr beyond the last.
__attribute__((visibility("default"))) const char* seeded_name(int index) {
    return index < static_cast<int>(std::size(kCases)) ? kCases[index].name : nullptr;
}

// What is wrong, or nothing. in: 64 floats; out: 3 * 64; counter: one.
__attribute__((visibility("default"))) const char* seeded_run(int index, int broken, const float* in, float* out,
                                                              int* counter) {
    static std::string wrong;
    const Case& one = kCases[index];
    try {
        launch(one.name, broken != 0 ? one.broken : one.correct, dim3(kBlocks), dim3(kThreads),
               one.shared_floats * sizeof(float), nullptr, in, out, counter);
        wrong.clear();
    } catch (const std::runtime_error& error) {
        wrong = error.what();
    }
    return wrong.c_str();
}
}
