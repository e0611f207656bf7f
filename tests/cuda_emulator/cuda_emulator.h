// What .cu sources see in place of CUDA's headers when g++ compiles them to run on the CPU.
//
// The subset, and kernels keep to it: one dynamic shared memory, taken in pieces (csrc/cuda/device.h); __syncthreads
// and its count, and, or forms; __syncwarp, shuffles, votes and reductions of whole warps; relaxed atomics of 4 and 8
// bytes; asynchronous copies to shared memory, or of zeros; fp16 by explicit conversion; __dp4a; tensor cores through
// csrc/cuda/matrices.cuh.
// Missing on purpose: partial warp masks, __activemask, cooperative groups, __constant__ and __device__ variables,
// spinning.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "block.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict
#define __launch_bounds__(...)

// The place of a call, as default arguments of the functions that it calls.
#define EMULATOR_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

using uint3 = emulator::Size3;

struct dim3 : emulator::Size3 {
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : Size3{x, y, z} {}
};

#define threadIdx (emulator::Engine::get().thread_index())
#define blockIdx (emulator::Engine::get().block_index())
#define blockDim (emulator::Engine::get().block_size())
#define gridDim (emulator::Engine::get().grid_size())

// --- the runtime: one device ----------------------------------------------------------------------------------------
using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0;
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount };
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) { return *value = 2, cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }

// --- vectors: aligned as the device's, so that a misplaced one is noticed -------------------------------------------
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// --- blocks ---------------------------------------------------------------------------------------------------------
inline void __syncthreads(EMULATOR_SITE) { emulator::Engine::get().barrier(0, emulator::Vote::none, {file, line}); }
inline int __syncthreads_count(int predicate, EMULATOR_SITE) {
    return emulator::Engine::get().barrier(predicate, emulator::Vote::count, {file, line});
}
inline int __syncthreads_and(int predicate, EMULATOR_SITE) {
    return emulator::Engine::get().barrier(predicate, emulator::Vote::all, {file, line});
}
inline int __syncthreads_or(int predicate, EMULATOR_SITE) {
    return emulator::Engine::get().barrier(predicate, emulator::Vote::any, {file, line});
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// --- warps ----------------------------------------------------------------------------------------------------------
namespace emulator {

template <class T>
uint64_t bits_of(T value) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T>
T value_of(uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <class T>
T exchange(const char* name, WarpOperation operation, unsigned mask, T value, int argument, Site site) {
    return value_of<T>(Engine::get().warp_operation(name, operation, mask, bits_of(value), argument, site));
}

// Lane i gets what source(i, its argument) gave, its own value where that is no lane.
template <class Source>
void shuffle(Exchange* const* lanes, Source source) {
    for (int i = 0; i < kWarp; i++) {
        const int from = source(i, lanes[i]->argument);
        lanes[i]->got = lanes[from < 0 || from >= kWarp ? i : from]->given;
    }
}

template <class T, class Combine>
void reduce(Exchange* const* lanes, Combine combine) {
    T all = value_of<T>(lanes[0]->given);
    for (int i = 1; i < kWarp; i++) all = combine(all, value_of<T>(lanes[i]->given));
    for (int i = 0; i < kWarp; i++) lanes[i]->got = bits_of(all);
}

inline void ballot(Exchange* const* lanes) {
    uint64_t votes = 0;
    for (int i = 0; i < kWarp; i++) votes |= uint64_t{lanes[i]->given != 0} << i;
    for (int i = 0; i < kWarp; i++) lanes[i]->got = votes;
}

inline void match(Exchange* const* lanes) {
    for (int i = 0; i < kWarp; i++) {
        lanes[i]->got = 0;
        for (int j = 0; j < kWarp; j++) lanes[i]->got |= uint64_t{lanes[j]->given == lanes[i]->given} << j;
    }
}

}  // namespace emulator

inline void __syncwarp(EMULATOR_SITE) { emulator::Engine::get().warp_barrier({file, line}); }

#define EMULATOR_SHUFFLE(name, from)                                                             \
    template <class T>                                                                           \
    T name(unsigned mask, T value, int argument, EMULATOR_SITE) {                                \
        const auto operation = [](emulator::Exchange* const* lanes) {                            \
            emulator::shuffle(lanes, []([[maybe_unused]] int lane, int given) { return from; }); \
        };                                                                                       \
        return emulator::exchange(#name, operation, mask, value, argument, {file, line});        \
    }
EMULATOR_SHUFFLE(__shfl_sync, given & 31)
EMULATOR_SHUFFLE(__shfl_up_sync, lane - given)
EMULATOR_SHUFFLE(__shfl_down_sync, lane + given)
EMULATOR_SHUFFLE(__shfl_xor_sync, lane ^ given)

inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATOR_SITE) {
    const unsigned vote = predicate != 0;
    return emulator::exchange("__ballot_sync", emulator::ballot, mask, vote, 0, {file, line});
}
inline int __any_sync(unsigned mask, int predicate, EMULATOR_SITE) {
    const unsigned vote = predicate != 0;
    return emulator::exchange("__any_sync", emulator::ballot, mask, vote, 0, {file, line}) != 0;
}
inline int __all_sync(unsigned mask, int predicate, EMULATOR_SITE) {
    const unsigned against = predicate == 0;
    return emulator::exchange("__all_sync", emulator::ballot, mask, against, 0, {file, line}) == 0;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, EMULATOR_SITE) {
    const uint64_t bits = emulator::bits_of(value);
    return static_cast<unsigned>(emulator::exchange("__match_any_sync", emulator::match, mask, bits, 0, {file, line}));
}

#define EMULATOR_REDUCE(name, T, combination)                                      \
    inline T name(unsigned mask, T value, EMULATOR_SITE) {                         \
        const auto operation = [](emulator::Exchange* const* lanes) {              \
            emulator::reduce<T>(lanes, [](T a, T b) { return combination; });      \
        };                                                                         \
        return emulator::exchange(#name, operation, mask, value, 0, {file, line}); \
    }
EMULATOR_REDUCE(__reduce_add_sync, unsigned, a + b)
EMULATOR_REDUCE(__reduce_min_sync, unsigned, a < b ? a : b)
EMULATOR_REDUCE(__reduce_max_sync, unsigned, a > b ? a : b)
EMULATOR_REDUCE(__reduce_min_sync, int, a < b ? a : b)
EMULATOR_REDUCE(__reduce_max_sync, int, a > b ? a : b)

// --- atomics: CUDA threads of a block share one thread of the system, so they need none of the host's ----------------
namespace emulator {

template <class T, class Change>
__attribute__((noinline, no_sanitize("thread"))) T atomic(T* address, Change change) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8);
    Engine::get().access(address, sizeof(T), Access::atomic, sizeof(T), __builtin_return_address(0));
    const T before = *address;
    *address = change(before);
    return before;
}

template <class T>
using Same = std::common_type_t<T>;  // keeps a parameter out of deduction

}  // namespace emulator

#define EMULATOR_ATOMIC(name, after)                                                                                \
    template <class T>                                                                                              \
    T name(T* address, emulator::Same<T> value) {                                                                   \
        return emulator::atomic(                                                                                    \
            address, [=]([[maybe_unused]] T before) __attribute__((no_sanitize("thread"))) -> T { return after; }); \
    }
EMULATOR_ATOMIC(atomicAdd, before + value)
EMULATOR_ATOMIC(atomicMin, before < value ? before : value)
EMULATOR_ATOMIC(atomicMax, before > value ? before : value)
EMULATOR_ATOMIC(atomicOr, before | value)
EMULATOR_ATOMIC(atomicExch, value)
template <class T>
T atomicCAS(T* address, emulator::Same<T> expected, emulator::Same<T> value) {
    return emulator::atomic(
        address, [=](T before) __attribute__((no_sanitize("thread"))) { return before == expected ? value : before; });
}

// --- asynchronous copies: what they bring is there after the wait, not earlier -------------------------------------
// The last `zeros` of the bytes are not read but zero.
inline void __pipeline_memcpy_async(void* to, const void* from, std::size_t bytes, std::size_t zeros = 0,
                                    EMULATOR_SITE) {
    emulator::Engine::get().copy_later(to, from, bytes, zeros, {file, line});
}
inline void __pipeline_commit() { emulator::Engine::get().commit_copies(); }
inline void __pipeline_wait_prior(unsigned groups_left, EMULATOR_SITE) {
    emulator::Engine::get().wait_for_copies(groups_left, {file, line});
}

// --- numbers --------------------------------------------------------------------------------------------------------
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz(static_cast<unsigned>(bits)); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline unsigned __float_as_uint(float value) { return emulator::value_of<unsigned>(emulator::bits_of(value)); }
inline float __uint_as_float(unsigned bits) { return emulator::value_of<float>(bits); }
inline int __dp4a(int a, int b, int c) {
    for (int i = 0; i < 4; i++) c += static_cast<int8_t>(a >> 8 * i) * static_cast<int8_t>(b >> 8 * i);
    return c;
}

struct __half_raw {
    unsigned short x;
};
struct __half {
    _Float16 value;

    __half() = default;
    explicit __half(_Float16 value) : value(value) {}
    __half(__half_raw raw) { std::memcpy(&value, &raw.x, sizeof value); }
};
inline float __half2float(__half half) { return static_cast<float>(half.value); }
inline unsigned short __half_as_ushort(__half half) {
    unsigned short bits;
    std::memcpy(&bits, &half.value, sizeof bits);
    return bits;
}
inline __half __float2half_rn(float value) { return __half(static_cast<_Float16>(value)); }
struct __half2 {
    __half x, y;
};
inline __half2 __float2half2_rn(float value) { return {__float2half_rn(value), __float2half_rn(value)}; }
inline __half2 __hsub2(__half2 a, __half2 b) {
    return {__half(static_cast<_Float16>(a.x.value - b.x.value)), __half(static_cast<_Float16>(a.y.value - b.y.value))};
}
// Bytes of b above those of a, each chosen by three bits of a digit of `places`.
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned places) {
    const uint64_t bytes = uint64_t{b} << 32 | a;
    unsigned chosen = 0;
    for (int i = 0; i < 4; i++) chosen |= (static_cast<unsigned>(bytes >> 8 * (places >> 4 * i & 7)) & 0xffu) << 8 * i;
    return chosen;
}

// --- tensor cores: what csrc/cuda/matrices.cuh says in PTX, by the PTX ISA's tables of who holds what --------------
namespace emulator {

// The elements 2 (i % 4) and 2 (i % 4) + 1 of row i / 4 of each 8 x 8 matrix, for lane i; its rows come from 8 lanes.
struct LoadedRow {
    uint4 row;
    uint32_t* loaded;
};

inline void give_elements(Exchange* const* lanes) {
    const auto of_lane = [&](int lane) { return reinterpret_cast<const LoadedRow*>(lanes[lane]->given); };
    for (int lane = 0; lane < kWarp; lane++) {
        for (int matrix = 0; matrix < 4; matrix++) {
            const uint4& row = of_lane(8 * matrix + lane / 4)->row;
            const unsigned words[4] = {row.x, row.y, row.z, row.w};
            of_lane(lane)->loaded[matrix] = words[lane % 4];
        }
    }
}

// ldmatrix.x4: `row` is what stands at the address that the lane names.
inline void load_matrices(uint32_t* loaded, const uint4& row, EMULATOR_SITE) {
    const LoadedRow one{row, loaded};
    exchange("ldmatrix", give_elements, kWholeWarp, reinterpret_cast<uint64_t>(&one), 0, {file, line});
}

struct Product {
    float* sums;
    const uint32_t* a;
    uint32_t b[2];
};

inline void multiply_all(Exchange* const* lanes) {
    constexpr int kRows = 16, kColumns = 8, kDepth = 16;
    float a[kRows][kDepth], b[kColumns][kDepth];
    const auto of_lane = [&](int lane) { return reinterpret_cast<const Product*>(lanes[lane]->given); };
    const auto put = [](float* to, uint32_t halves) {
        for (int i = 0; i < 2; i++)
            to[i] = static_cast<float>(value_of<_Float16>(static_cast<uint16_t>(halves >> 16 * i)));
    };
    for (int lane = 0; lane < kWarp; lane++) {
        const Product& one = *of_lane(lane);
        const int row = lane / 4, element = lane % 4 * 2;
        for (int i = 0; i < 4; i++) put(&a[row + i % 2 * 8][element + i / 2 * 8], one.a[i]);
        for (int i = 0; i < 2; i++) put(&b[row][element + i * 8], one.b[i]);
    }
    for (int lane = 0; lane < kWarp; lane++) {
        for (int i = 0; i < 4; i++) {
            const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            float& sum = of_lane(lane)->sums[i];
            for (int k = 0; k < kDepth; k++) sum += a[row][k] * b[column][k];
        }
    }
}

// mma.m16n8k16, a by rows, b by columns, halves to floats.
inline void multiply_matrices(float* sums, const uint32_t* a, uint32_t b_low, uint32_t b_high, EMULATOR_SITE) {
    const Product one{sums, a, {b_low, b_high}};
    exchange("mma", multiply_all, kWholeWarp, reinterpret_cast<uint64_t>(&one), 0, {file, line});
}

}  // namespace emulator

// --- launches -------------------------------------------------------------------------------------------------------
using cudaStream_t = struct CUstream_st*;
