// How does a warp multiply rows by queries? Sixteen bytes a lane and load, all lanes busy whatever the number type.
#pragma once

#include "cuda/planes.h"

namespace adanns::cuda {

inline __device__ float key_of(const KeyTerms& by, float dot, int64_t row) {
    float key = -dot;
    if (by.metric == Metric::inner_product && by.terms != nullptr) key += by.terms[row];
    if (by.metric == Metric::l2) key = by.terms[row] - 2.0f * dot;
    if (by.metric == Metric::cosine) key = -dot * by.terms[row];
    return fminf(INFINITY, key);  // NaN, also where sums went beyond float, becomes infinity
}

// Four neighbouring elements of what one lane loaded, as floats. `bits`: 16 bytes of T.
template <class T>
struct Loaded;

template <>
struct Loaded<float> {
    static constexpr int kElements = 4;
    static __device__ __forceinline__ float4 four(const uint4& bits, int) {
        return make_float4(__uint_as_float(bits.x), __uint_as_float(bits.y), __uint_as_float(bits.z),
                           __uint_as_float(bits.w));
    }
};

__device__ __forceinline__ uint32_t word(const uint4& bits, int i) {
    return i == 0 ? bits.x : i == 1 ? bits.y : i == 2 ? bits.z : bits.w;
}

__device__ __forceinline__ float half_value(uint32_t bits) {
    __half_raw raw;
    raw.x = static_cast<unsigned short>(bits);
    return __half2float(__half(raw));
}

template <>
struct Loaded<__half> {
    static constexpr int kElements = 8;
    static __device__ __forceinline__ float4 four(const uint4& bits, int i) {
        const uint32_t low = word(bits, 2 * i), high = word(bits, 2 * i + 1);
        return make_float4(half_value(low & 0xffffu), half_value(low >> 16), half_value(high & 0xffffu),
                           half_value(high >> 16));
    }
};

template <>
struct Loaded<int8_t> {
    static constexpr int kElements = 16;
    static __device__ __forceinline__ float4 four(const uint4& bits, int i) {
        const uint32_t codes = word(bits, i);
        return make_float4(static_cast<int8_t>(codes), static_cast<int8_t>(codes >> 8),
                           static_cast<int8_t>(codes >> 16), static_cast<int8_t>(codes >> 24));
    }
};

__device__ __forceinline__ float multiply_add(const float4& a, const float4& b, float sum) {
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

__device__ __forceinline__ float4 load_floats(const float* four) {
    const uint4 bits = load16(four);
    return Loaded<float>::four(bits, 0);
}

// Calls one(static_cast<const T*>(rows)) with the plane's own T.
template <class One>
__device__ __forceinline__ void with_rows(const Plane& plane, One one) {
    switch (plane.type) {
        case ScalarType::float32: return one(static_cast<const float*>(plane.rows));
        case ScalarType::float16: return one(static_cast<const __half*>(plane.rows));
        case ScalarType::int8: return one(static_cast<const int8_t*>(plane.rows));
    }
}

// A query as rows of the planes are multiplied by it: scales folded in, zeros around the dims that count. By all
// threads.
inline __device__ void fold_query(const Planes& planes, int from, int to, const float* query, float* folded) {
    for (int i = 0; i < planes.count; i++) {
        const Plane& plane = planes.plane[i];
        const Stretch stretch(plane, from, to);
        const int first_dim = plane.first_dim + stretch.first_element;
        for (int element = static_cast<int>(threadIdx.x); element < stretch.elements;
             element += static_cast<int>(blockDim.x)) {
            const int dim = first_dim + element;
            float value = 0.0f;
            if (dim >= stretch.from && dim < stretch.to) {
                value = query[dim];
                if (plane.type == ScalarType::int8) value *= plane.scales[dim - plane.first_dim];
            }
            folded[element] = value;
        }
        folded += stretch.elements;
    }
}

// What the offsets of int8 planes add to every dot product with a query. By a whole warp; every lane gets it.
inline __device__ float folded_constant(const Planes& planes, int from, int to, const float* query) {
    double sum = 0;
    for (int i = 0; i < planes.count; i++) {
        const Plane& plane = planes.plane[i];
        if (plane.type != ScalarType::int8) continue;
        const Stretch stretch(plane, from, to);
        for (int dim = stretch.from + static_cast<int>(threadIdx.x % kWarp); dim < stretch.to; dim += kWarp)
            sum += static_cast<double>(query[dim]) * plane.offsets[dim - plane.first_dim];
    }
    for (int distance = kWarp / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(kWholeWarp, sum, distance);
    return static_cast<float>(sum);
}

// sums[r] += rows[r] . folded, each lane its own part of every row: a pass of the warp covers 512 bytes of each.
template <int kRows>
__device__ __forceinline__ void add_row_parts(const Planes& planes, int from, int to, const uint32_t (&rows)[kRows],
                                              const float* folded, float (&sums)[kRows]) {
    const int lane = static_cast<int>(threadIdx.x % kWarp);
    for (int i = 0; i < planes.count; i++) {
        const Plane& plane = planes.plane[i];
        const Stretch stretch(plane, from, to);
        with_rows(plane, [&](const auto* elements) {
            using T = std::remove_cv_t<std::remove_pointer_t<decltype(elements)>>;
            constexpr int kElements = Loaded<T>::kElements;
#pragma unroll 1
            for (int at = lane * kElements; at < stretch.elements; at += kWarp * kElements) {
                uint4 loaded[kRows];
#pragma unroll
                for (int r = 0; r < kRows; r++)
                    loaded[r] = load16(elements + rows[r] * plane.stride + stretch.first_element + at);
#pragma unroll
                for (int part = 0; part < kElements / 4; part++) {
                    const float4 of_query = load_floats(folded + at + 4 * part);
#pragma unroll
                    for (int r = 0; r < kRows; r++)
                        sums[r] = multiply_add(Loaded<T>::four(loaded[r], part), of_query, sums[r]);
                }
            }
        });
        folded += stretch.elements;
    }
}

}  // namespace adanns::cuda
