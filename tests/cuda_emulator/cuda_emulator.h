// What .cu sources see in place of CUDA's headers when g++ compiles them to run on the CPU.
//
// The subset, and kernels keep to it: one dynamic shared memory, taken in pieces (csrc/cuda/device.h); __syncthreads
// and its count, and, or forms; __syncwarp, shuffles, votes and reductions of whole warps; relaxed atomics of 4 and 8
// bytes; asynchronous copies to shared memory; fp16 by explicit conversion; __dp4a; wmma 16x16x16, half to float.
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
inline void __pipeline_memcpy_async(void* to, const void* from, std::size_t bytes, EMULATOR_SITE) {
    emulator::Engine::get().copy_later(to, from, bytes, {file, line});
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

// --- wmma: 16 x 16 matrices of a warp, lane i holding elements 8 i to 8 i + 7 ----------------------------------------
namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

constexpr int kSide = 16, kHeld = kSide * kSide / emulator::kWarp;

template <class Use, int kRows, int kColumns, int kDepth, class T, class Layout = void>
struct fragment {
    static_assert(kRows == kSide && kColumns == kSide && kDepth == kSide);
    static constexpr int num_elements = kHeld;
    T x[kHeld];
};

template <class T>
void must_be_a_matrix(const T* first, unsigned stride, EMULATOR_SITE) {
    emulator::Engine::get().must_be_aligned(first, 32, {file, line});
    emulator::Engine::get().must_be_aligned(reinterpret_cast<const void*>(stride * sizeof(T)), 16, {file, line});
}

// Where a lane's element i of a matrix is.
inline std::size_t place(int i, unsigned stride, bool row_by_row) {
    const int lane = static_cast<int>(threadIdx.x % emulator::kWarp), element = lane * kHeld + i;
    const int row = element / kSide, column = element % kSide;
    return static_cast<std::size_t>(row_by_row ? row : column) * stride +
           static_cast<std::size_t>(row_by_row ? column : row);
}

template <class Use, class T, class Layout>
void load_matrix_sync(fragment<Use, kSide, kSide, kSide, T, Layout>& to, const T* first, unsigned stride,
                      EMULATOR_SITE) {
    must_be_a_matrix(first, stride, file, line);
    for (int i = 0; i < kHeld; i++) to.x[i] = first[place(i, stride, std::is_same_v<Layout, row_major>)];
}

template <class T>
void store_matrix_sync(T* first, const fragment<accumulator, kSide, kSide, kSide, T>& from, unsigned stride,
                       layout_t layout, EMULATOR_SITE) {
    must_be_a_matrix(first, stride, file, line);
    for (int i = 0; i < kHeld; i++) first[place(i, stride, layout == mem_row_major)] = from.x[i];
}

template <class Fragment, class T>
void fill_fragment(Fragment& to, T value) {
    for (int i = 0; i < kHeld; i++) to.x[i] = value;
}

struct Product {
    const __half *a, *b;
    const float* c;
    float* d;
};

inline void multiply(emulator::Exchange* const* lanes) {
    float a[kSide][kSide], b[kSide][kSide];
    const auto of_lane = [&](int lane) { return reinterpret_cast<const Product*>(lanes[lane]->given); };
    for (int i = 0; i < kSide * kSide; i++) {
        a[i / kSide][i % kSide] = __half2float(of_lane(i / kHeld)->a[i % kHeld]);
        b[i / kSide][i % kSide] = __half2float(of_lane(i / kHeld)->b[i % kHeld]);
    }
    for (int i = 0; i < kSide * kSide; i++) {
        float sum = of_lane(i / kHeld)->c[i % kHeld];
        for (int k = 0; k < kSide; k++) sum += a[i / kSide][k] * b[k][i % kSide];
        of_lane(i / kHeld)->d[i % kHeld] = sum;
    }
}

// b by its rows: a column-major fragment of B is loaded so that element (k, n) is held as row k, column n.
template <class ALayout, class BLayout>
void mma_sync(fragment<accumulator, kSide, kSide, kSide, float>& d,
              const fragment<matrix_a, kSide, kSide, kSide, __half, ALayout>& a,
              const fragment<matrix_b, kSide, kSide, kSide, __half, BLayout>& b,
              const fragment<accumulator, kSide, kSide, kSide, float>& c, EMULATOR_SITE) {
    const Product product{a.x, b.x, c.x, d.x};
    emulator::exchange("mma_sync", multiply, emulator::kWholeWarp, reinterpret_cast<uint64_t>(&product), 0,
                       {file, line});
}

}  // namespace nvcuda::wmma

// --- launches -------------------------------------------------------------------------------------------------------
using cudaStream_t = struct CUstream_st*;
