// The one way for kernels to CUDA: its headers under nvcc, the emulator of tests/cuda_emulator elsewhere. Beside them
// what kernels share: loads of 16 bytes, shared memory in pieces, launches that report errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#ifdef ADANNS_CUDA_EMULATED
#include "cuda_emulator.h"
#else
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#ifdef __CUDACC__
#include <cuda_pipeline.h>
#endif
#endif

namespace adanns::cuda {
constexpr int kLoadBytes = 16;  // what one lane loads at once
}

#if defined(__CUDACC__) || defined(ADANNS_CUDA_EMULATED)  // the bindings see declarations only
namespace adanns::cuda {

constexpr int kWarp = 32;
constexpr unsigned kWholeWarp = 0xffffffffu;
// kBytes, 16 or 8, at an address that is a multiple of them; zeros behind eight.
template <int kBytes>
__device__ __forceinline__ uint4 load(const void* address) {
    static_assert(kBytes == kLoadBytes || kBytes == kLoadBytes / 2);
#ifdef ADANNS_CUDA_EMULATED
    emulator::Engine::get().must_be_aligned(address, kBytes, {__builtin_FILE(), __builtin_LINE()});
#endif
    if constexpr (kBytes == kLoadBytes) return *static_cast<const uint4*>(address);
    const uint2 half = *static_cast<const uint2*>(address);
    return make_uint4(half.x, half.y, 0, 0);
}
__device__ __forceinline__ uint4 load16(const void* address) { return load<kLoadBytes>(address); }

// The value, which compilers then neither look into nor compute again: before a loop it stays in its register, in a
// loop what follows from it is computed there, where it would otherwise be kept from turn to turn and spill.
template <class T>
__device__ __forceinline__ T opaque(T value) {
#ifdef __CUDACC__
    if constexpr (sizeof(T) == 8)
        asm volatile("" : "+l"(value));
    else
        asm volatile("" : "+r"(value));
#endif
    return value;
}

constexpr std::size_t kSharedAlignment = 32;
constexpr std::size_t kMostShared = 99 << 10;  // of a block on every architecture that we build for

__device__ __forceinline__ void store16(void* address, const uint4& bits) {
#ifdef ADANNS_CUDA_EMULATED
    emulator::Engine::get().must_be_aligned(address, kLoadBytes, {__builtin_FILE(), __builtin_LINE()});
#endif
    *static_cast<uint4*>(address) = bits;
}

// The shared memory of a block as arrays, one after another. Without memory it only counts, so that a kernel's arrays
// are written down once, for the kernel and for the size of its launch.
class SharedMemory {
   public:
    static __device__ SharedMemory of_block() {
#ifdef __CUDACC__
        extern __shared__ __align__(kSharedAlignment) unsigned char bytes[];
#else
        static unsigned char bytes[1];  // the emulator gives arrays of its own
#endif
        return SharedMemory(bytes);
    }
    static SharedMemory none() { return SharedMemory(nullptr); }

    template <class T>
    __host__ __device__ T* take(std::size_t count) {
        const std::size_t bytes = (count * sizeof(T) + kSharedAlignment - 1) / kSharedAlignment * kSharedAlignment;
        taken_ += bytes;
#ifndef __CUDA_ARCH__  // a kernel has memory
        if (next_ == nullptr) return nullptr;
#endif
#ifdef __CUDACC__
        unsigned char* first = next_;
        next_ += bytes;
        return reinterpret_cast<T*>(first);
#else
        return static_cast<T*>(emulator::Engine::get().shared_array(count * sizeof(T), sizeof(T), {}));
#endif
    }

    __host__ __device__ std::size_t taken() const { return taken_; }

   private:
    __host__ __device__ explicit SharedMemory(unsigned char* first) : next_(first) {}

    unsigned char* next_;
    std::size_t taken_ = 0;
};

// Bytes of the arrays that Layout(memory, arguments...) takes.
template <class Layout, class... Arguments>
std::size_t shared_size(const Arguments&... arguments) {
    SharedMemory memory = SharedMemory::none();
    Layout(memory, arguments...);
    return memory.taken();
}

// Throws std::runtime_error with CUDA's own words.
#ifdef __CUDACC__
inline void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            cudaStream_t stream, Arguments... arguments) {
    constexpr std::size_t kWithoutAsking = 48 << 10;
    if (shared_bytes > kWithoutAsking)
        check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(shared_bytes)),
              name);
    kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
    check(cudaGetLastError(), name);
}
#else
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            cudaStream_t, Arguments... arguments) {
    // Not watched: reading the arguments is what the launch does, not the kernel.
    const auto call = [&]() __attribute__((no_sanitize("thread"))) { kernel(static_cast<Parameters>(arguments)...); };
    using Call = decltype(call);
    const auto body = [](const void* made)
                          __attribute__((no_sanitize("thread"))) { (*static_cast<const Call*>(made))(); };
    const std::string wrong = emulator::Engine::get().launch(grid, block, shared_bytes, body, &call);
    if (!wrong.empty()) throw std::runtime_error(std::string(name) + ": " + wrong);
}
#endif

}  // namespace adanns::cuda
#endif
