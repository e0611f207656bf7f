// The one place that knows vector widths: lanes, loads and the few operations a compiler cannot spell.
//
// Everything is in an anonymous namespace and no STL header is used, so that no AVX copy of a shared inline function
// can reach baseline code through the linker.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(ADANNS_ISA_AVX512_VBMI)
#define ADANNS_VBMI 1
#endif
#if defined(ADANNS_ISA_AVX512_VNNI) || defined(ADANNS_VBMI)
#define ADANNS_VNNI 1
#endif
#if defined(ADANNS_ISA_AVX512) || defined(ADANNS_VNNI)
#define ADANNS_512 1
#elif defined(ADANNS_ISA_AVX2)
#define ADANNS_256 1
#endif

#if defined(ADANNS_512) || defined(ADANNS_256)
// GCC 12 calls the "undefined" source operands of its own unmasked intrinsics uninitialised.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace {

#if defined(ADANNS_512)
constexpr int kLanes = 16;
#elif defined(ADANNS_256)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float VecF __attribute__((vector_size(kLanes * 4)));
typedef int32_t VecI __attribute__((vector_size(kLanes * 4)));
typedef float Vec4 __attribute__((vector_size(16)));

#define ADANNS_INLINE inline __attribute__((always_inline))

template <class V, class T>
ADANNS_INLINE V load_as(const T* from) {
    V v;
    memcpy(&v, from, sizeof v);
    return v;
}

template <class V, class T>
ADANNS_INLINE void store_as(T* to, V v) {
    memcpy(to, &v, sizeof v);
}

ADANNS_INLINE VecF splat(float x) { return x - VecF{}; }
ADANNS_INLINE VecI splat_int(int32_t x) { return x - VecI{}; }

ADANNS_INLINE VecF load(const float* from) { return load_as<VecF>(from); }

ADANNS_INLINE VecF load(const uint16_t* from) {  // float16
#if defined(ADANNS_512)
    return (VecF)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from));
#elif defined(ADANNS_256)
    return (VecF)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from));
#else
    // Shift exponent and mantissa into place and let a multiplication by 2^112 mend the bias, denormals included.
    VecI bits;
    for (int i = 0; i < kLanes; i++) bits[i] = from[i];
    const VecI magnitude = (bits & 0x7fff) << 13;
    VecF value;
    memcpy(&value, &magnitude, sizeof value);
    value *= 0x1p112f;
    memcpy(&bits, &value, sizeof bits);
    bits |= (magnitude >= 0x1f << 23) & 0x7f800000;  // the greatest exponent of a half means infinity or NaN
    VecI sign;
    for (int i = 0; i < kLanes; i++) sign[i] = (int32_t)((uint32_t)(from[i] & 0x8000u) << 16);
    bits |= sign;
    memcpy(&value, &bits, sizeof value);
    return value;
#endif
}

ADANNS_INLINE VecF load(const int8_t* from) {
#if defined(ADANNS_512)
    return (VecF)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)from)));
#elif defined(ADANNS_256)
    return (VecF)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)from)));
#else
    return VecF{(float)from[0], (float)from[1], (float)from[2], (float)from[3]};
#endif
}

ADANNS_INLINE void store_f16(uint16_t* to, VecF v) {
#if defined(ADANNS_512)
    _mm256_storeu_si256((__m256i*)to, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(ADANNS_256)
    _mm_storeu_si128((__m128i*)to, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#else
    for (int i = 0; i < kLanes; i++) {
        uint32_t bits;
        const float value = v[i];
        memcpy(&bits, &value, sizeof bits);
        const uint32_t sign = (bits >> 16) & 0x8000u;
        bits &= 0x7fffffffu;
        uint32_t half;
        if (bits >= 0x47800000u) {  // 2^16 and above
            half = 0x7c00u;
        } else if (bits < 0x38800000u) {  // below 2^-14: denormal; adding 0.5 makes the FPU round at bit 0 of the half
            float magnitude;
            memcpy(&magnitude, &bits, sizeof magnitude);
            magnitude += 0.5f;
            uint32_t shifted;
            memcpy(&shifted, &magnitude, sizeof shifted);
            half = shifted - 0x3f000000u;
        } else {  // round to nearest even
            const uint32_t odd = (bits >> 13) & 1u;
            half = (bits - 0x38000000u + 0xfffu + odd) >> 13;
        }
        to[i] = (uint16_t)(half | sign);
    }
#endif
}

ADANNS_INLINE VecF to_float(VecI v) { return __builtin_convertvector(v, VecF); }

ADANNS_INLINE VecI bits_of(VecF v) { return load_as<VecI>(&v); }
ADANNS_INLINE VecF floats_of(VecI v) { return load_as<VecF>(&v); }

ADANNS_INLINE VecF smaller(VecF a, VecF b) {
#if defined(ADANNS_512)
    return (VecF)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(ADANNS_256)
    return (VecF)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return a < b ? a : b;
#endif
}

ADANNS_INLINE float smallest_of(VecF v) {
#if defined(ADANNS_512)
    return _mm512_reduce_min_ps((__m512)v);
#else
    float least = v[0];
    for (int i = 1; i < kLanes; i++) least = v[i] < least ? v[i] : least;
    return least;
#endif
}

// One bit per lane, lane 0 lowest.
ADANNS_INLINE uint32_t less_mask(VecF a, VecF b) {
#if defined(ADANNS_512)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ);
#elif defined(ADANNS_256)
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_LT_OQ));
#elif defined(__SSE2__)
    return (uint32_t)_mm_movemask_ps(_mm_cmplt_ps((__m128)a, (__m128)b));
#else
    uint32_t mask = 0;
    for (int i = 0; i < kLanes; i++) mask |= (uint32_t)(a[i] < b[i]) << i;
    return mask;
#endif
}

ADANNS_INLINE uint32_t at_most_mask(VecI a, VecI b) {
#if defined(ADANNS_512)
    return _mm512_cmple_epi32_mask((__m512i)a, (__m512i)b);
#else
    const VecI at_most = a <= b;  // -1 where true
    return less_mask(to_float(at_most), VecF{});
#endif
}

// Stores the lanes of `mask` next to each other; writes at most one vector's width.
ADANNS_INLINE void store_compressed(float* to, VecF v, uint32_t mask) {
#if defined(ADANNS_512)
    _mm512_storeu_ps(to, _mm512_maskz_compress_ps((__mmask16)mask, (__m512)v));
#else
    for (int n = 0; mask != 0; mask &= mask - 1) to[n++] = v[__builtin_ctz(mask)];
#endif
}

ADANNS_INLINE void store_compressed(uint32_t* to, VecI v, uint32_t mask) {
#if defined(ADANNS_512)
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32((__mmask16)mask, (__m512i)v));
#else
    for (int n = 0; mask != 0; mask &= mask - 1) to[n++] = (uint32_t)v[__builtin_ctz(mask)];
#endif
}

ADANNS_INLINE VecI lane_numbers() {
    VecI v;
    for (int i = 0; i < kLanes; i++) v[i] = i;
    return v;
}

// Four horizontal sums at once: 3 operations a sum instead of 7.
ADANNS_INLINE Vec4 sums_of(VecF a, VecF b, VecF c, VecF d) {
#if defined(ADANNS_512)
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps((__m512)a, (__m512)b), _mm512_unpackhi_ps((__m512)a, (__m512)b));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps((__m512)c, (__m512)d), _mm512_unpackhi_ps((__m512)c, (__m512)d));
    const __m512 quads =
        _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd))),
                      _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd))));
    const __m256 halves = _mm256_add_ps(_mm512_castps512_ps256(quads), _mm512_extractf32x8_ps(quads, 1));
    return (Vec4)_mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));
#elif defined(ADANNS_256)
    const __m256 ab = _mm256_hadd_ps((__m256)a, (__m256)b);
    const __m256 cd = _mm256_hadd_ps((__m256)c, (__m256)d);
    const __m256 quads = _mm256_hadd_ps(ab, cd);
    return (Vec4)_mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1));
#else
    Vec4 sums = {};
    for (int i = 0; i < kLanes; i++) sums += Vec4{a[i], b[i], c[i], d[i]};
    return sums;
#endif
}

// Sums of 4 products of unsigned and signed bytes, added to 32-bit lanes: 16 rows of one int8 block step.
struct BlockSums {
    static constexpr int kVectors = 16 / kLanes;
    VecI v[kVectors];
};

ADANNS_INLINE void add_byte_products(BlockSums& sums, const uint8_t* codes, const int8_t* query) {
    int32_t four;
    memcpy(&four, query, sizeof four);
#if defined(ADANNS_VNNI)
    sums.v[0] = (VecI)_mm512_dpbusd_epi32((__m512i)sums.v[0], _mm512_loadu_si512(codes), _mm512_set1_epi32(four));
#elif defined(ADANNS_512) || defined(ADANNS_256) || defined(__SSE2__)
    // VPMADDUBSW would saturate at 255 * 127 * 2; even and odd bytes as 16-bit products cannot.
    const int32_t even = (int32_t)((uint32_t)(uint16_t)(int16_t)query[0] | (uint32_t)(uint16_t)(int16_t)query[2] << 16);
    const int32_t odd = (int32_t)((uint32_t)(uint16_t)(int16_t)query[1] | (uint32_t)(uint16_t)(int16_t)query[3] << 16);
    (void)four;
    for (int i = 0; i < BlockSums::kVectors; i++) {
#if defined(ADANNS_512)
        const __m512i bytes = _mm512_loadu_si512(codes);
        const __m512i low = _mm512_and_si512(bytes, _mm512_set1_epi16(255));
        const __m512i products =
            _mm512_add_epi32(_mm512_madd_epi16(low, _mm512_set1_epi32(even)),
                             _mm512_madd_epi16(_mm512_srli_epi16(bytes, 8), _mm512_set1_epi32(odd)));
#elif defined(ADANNS_256)
        const __m256i bytes = _mm256_loadu_si256((const __m256i*)(codes + 32 * i));
        const __m256i low = _mm256_and_si256(bytes, _mm256_set1_epi16(255));
        const __m256i products =
            _mm256_add_epi32(_mm256_madd_epi16(low, _mm256_set1_epi32(even)),
                             _mm256_madd_epi16(_mm256_srli_epi16(bytes, 8), _mm256_set1_epi32(odd)));
#else
        const __m128i bytes = _mm_loadu_si128((const __m128i*)(codes + 16 * i));
        const __m128i low = _mm_and_si128(bytes, _mm_set1_epi16(255));
        const __m128i products = _mm_add_epi32(_mm_madd_epi16(low, _mm_set1_epi32(even)),
                                               _mm_madd_epi16(_mm_srli_epi16(bytes, 8), _mm_set1_epi32(odd)));
#endif
        sums.v[i] += (VecI)products;
    }
#else
    (void)four;
    for (int row = 0; row < 16; row++)
        for (int d = 0; d < 4; d++) sums.v[row / kLanes][row % kLanes] += codes[4 * row + d] * query[d];
#endif
}

ADANNS_INLINE void prefetch(const void* address) { __builtin_prefetch(address, 0, 3); }

}  // namespace
