// How do kernels see an index's rows? As plain pointers to the planes of core/index_view.h, passed by value.
#pragma once

#include <cstdint>

#include "core/index_view.h"
#include "cuda/device.h"

namespace adanns::cuda {

constexpr int kMaxPlanes = 8;
constexpr int kPad = 16;  // planes are padded to this many elements, so that no load is partial
constexpr int kMaxDims = 4096;

// Dims [first_dim, first_dim + dims) of every row. `rows` is a multiple of 16 bytes, `stride` of 16 elements.
struct Plane {
    const void* rows;
    int64_t stride;
    const float *scales, *offsets;  // int8 only: value = offsets[d] + scales[d] * code
    int first_dim, dims;
    ScalarType type;
    float half_scale;  // float32 only: a power of two that brings its values within float16's; 0: there is none
};

struct Planes {
    Plane plane[kMaxPlanes];
    int count;
};

// The part of a plane that holds the dims [from, to), widened so that loads are aligned.
struct Stretch {
    int from, to;       // dims of the vector that count; empty where from >= to
    int first_element;  // in a row of the plane
    int elements;       // to read, a multiple of kPad

    __host__ __device__ Stretch(const Plane& plane, int range_from, int range_to) {
        const int end = plane.first_dim + plane.dims;
        from = range_from > plane.first_dim ? range_from : plane.first_dim;
        to = range_to < end ? range_to : end;
        first_element = elements = 0;
        if (from >= to) return;
        first_element = (from - plane.first_dim) / kPad * kPad;
        elements = (to - plane.first_dim - first_element + kPad - 1) / kPad * kPad;
    }
};

// Floats of a query folded for the dims [from, to): each stretch after the one before.
inline __host__ __device__ int folded_size(const Planes& planes, int from, int to) {
    int size = 0;
    for (int i = 0; i < planes.count; i++) size += Stretch(planes.plane[i], from, to).elements;
    return size;
}

// What a key needs beside the dot product: smaller is nearer (core/kernel_table.h).
struct KeyTerms {
    Metric metric;
    // Per row: l2 |x_p|^2, cosine 1 / |x_p|, inner product none or zeros. NaN: the row takes no part.
    const float* terms;
};

// A candidate: its key in order-keeping bits above its row. The smaller number is the nearer row, of equal keys the
// lower one, so what is kept depends on no order of threads.
using Candidate = unsigned long long;  // what CUDA's atomics and shuffles call 64 bits
constexpr Candidate kNoCandidate = ~0ull;

}  // namespace adanns::cuda
