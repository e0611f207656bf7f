// Tables in registers: what codes look up, one step of a block at a time, and how the entries add up.
//
// Sums stay below 2^16: at most 256 segments of entries up to 255. Where entries are looked up as bytes and added as
// 16-bit words, `all` adds whole words (the odd bytes 256 times, modulo 2^16) and `odd` the odd bytes alone, so that
// the even ones are their difference: three operations where widening both would take four.
#pragma once

#include "vec.h"

namespace {

typedef uint8_t VecB __attribute__((vector_size(kLanes * 4)));
typedef uint16_t VecH __attribute__((vector_size(kLanes * 4)));

struct WordSums {
    VecH all, odd;

    ADANNS_INLINE void add(VecB entries) {
        all += (VecH)entries;
        odd += (VecH)entries >> 8;
    }
};

// ---- 4 bits: one vector of codes is kNibbleBytes bytes of the 16 rows of a block; a table is 16 bytes --------------

constexpr int kNibbleBytes = kLanes / 4;

// Tables lie in groups of four bytes of code: four of low nibbles, four of high ones.
ADANNS_INLINE const uint8_t* nibble_tables_at(const uint8_t* tables, int byte) {
    return tables + byte / 4 * 128 + byte % 4 * 16;
}
constexpr int kHighTables = 64;  // from the table of a low nibble to that of the high one

struct NibbleCodes {
    VecB low, high;
};

// `bytes` of each row, up to kNibbleBytes; the others become code 0.
ADANNS_INLINE NibbleCodes load_nibbles(const uint8_t* codes, int bytes) {
    VecB both = {};
    if (bytes == kNibbleBytes) {
        both = load_as<VecB>(codes);
    } else {
#if defined(ADANNS_512)
        both = (VecB)_mm512_maskz_loadu_epi8(((__mmask64)1 << (16 * bytes)) - 1, codes);
#elif defined(ADANNS_256)
        both = (VecB)_mm256_zextsi128_si256(_mm_loadu_si128((const __m128i*)codes));
#endif
    }
#if defined(ADANNS_VBMI)
    // The four bytes of a row become neighbours, since VPDPBUSD adds four neighbours; two bits above the entry number
    // say which of the four tables in a register is meant.
    VecB order, place;
    for (int i = 0; i < 64; i++) {
        order[i] = (uint8_t)(i % 4 * 16 + i / 4);
        place[i] = (uint8_t)(i % 4 * 16);
    }
    both = (VecB)_mm512_permutexvar_epi8((__m512i)order, (__m512i)both);
    return {(both & 15) | place, ((VecB)((VecI)both >> 4) & 15) | place};
#else
    return {both & 15, (VecB)((VecH)both >> 4) & 15};
#endif
}

struct NibbleSums {
#if defined(ADANNS_VBMI)
    VecI rows;

    ADANNS_INLINE void add(const NibbleCodes& codes, const uint8_t* tables) {
        const __m512i ones = _mm512_set1_epi8(1);
        const __m512i low = _mm512_permutexvar_epi8((__m512i)codes.low, _mm512_loadu_si512(tables));
        const __m512i high = _mm512_permutexvar_epi8((__m512i)codes.high, _mm512_loadu_si512(tables + kHighTables));
        rows = (VecI)_mm512_dpbusd_epi32(_mm512_dpbusd_epi32((__m512i)rows, low, ones), high, ones);
    }

    ADANNS_INLINE BlockSums by_row() const { return {{rows}}; }
#elif defined(ADANNS_512)
    WordSums words;

    ADANNS_INLINE void add(const NibbleCodes& codes, const uint8_t* tables) {
        words.add((VecB)_mm512_shuffle_epi8(_mm512_loadu_si512(tables), (__m512i)codes.low));
        words.add((VecB)_mm512_shuffle_epi8(_mm512_loadu_si512(tables + kHighTables), (__m512i)codes.high));
    }

    ADANNS_INLINE BlockSums by_row() const {
        const __m512i even = (__m512i)(words.all - (words.odd << 8)), odd = (__m512i)words.odd;
        const __m512i first = _mm512_unpacklo_epi16(even, odd), last = _mm512_unpackhi_epi16(even, odd);
        const __m256i first_halves =
            _mm256_add_epi16(_mm512_castsi512_si256(first), _mm512_extracti64x4_epi64(first, 1));
        const __m256i last_halves = _mm256_add_epi16(_mm512_castsi512_si256(last), _mm512_extracti64x4_epi64(last, 1));
        const __m256i rows = _mm256_add_epi16(_mm256_permute2x128_si256(first_halves, last_halves, 0x20),
                                              _mm256_permute2x128_si256(first_halves, last_halves, 0x31));
        return {{(VecI)_mm512_cvtepu16_epi32(rows)}};
    }
#elif defined(ADANNS_256)
    WordSums words;

    ADANNS_INLINE void add(const NibbleCodes& codes, const uint8_t* tables) {
        words.add((VecB)_mm256_shuffle_epi8((__m256i)load_as<VecB>(tables), (__m256i)codes.low));
        words.add((VecB)_mm256_shuffle_epi8((__m256i)load_as<VecB>(tables + kHighTables), (__m256i)codes.high));
    }

    ADANNS_INLINE BlockSums by_row() const {
        const __m256i even = (__m256i)(words.all - (words.odd << 8)), odd = (__m256i)words.odd;
        const __m256i first = _mm256_unpacklo_epi16(even, odd), last = _mm256_unpackhi_epi16(even, odd);
        const __m256i rows = _mm256_add_epi16(_mm256_permute2x128_si256(first, last, 0x20),
                                              _mm256_permute2x128_si256(first, last, 0x31));
        return {{(VecI)_mm256_cvtepu16_epi32(_mm256_castsi256_si128(rows)),
                 (VecI)_mm256_cvtepu16_epi32(_mm256_extracti128_si256(rows, 1))}};
    }
#else
    int32_t rows[16];

    ADANNS_INLINE void add(const NibbleCodes& codes, const uint8_t* tables) {
        for (int r = 0; r < 16; r++) rows[r] += tables[codes.low[r]] + tables[kHighTables + codes.high[r]];
    }

    ADANNS_INLINE BlockSums by_row() const { return load_as<BlockSums>(rows); }
#endif
};

// ---- 8 bits: a table is 256 bytes, and one vector of codes is one byte of the rows of kByteBlocks blocks ------------

#if defined(ADANNS_512)
struct ByteTable {
    __m512i quarters[4];

    ADANNS_INLINE explicit ByteTable(const uint8_t* table) {
        for (int i = 0; i < 4; i++) quarters[i] = _mm512_loadu_si512(table + 64 * i);
    }
};
#else
struct ByteTable {
    const uint8_t* entries;

    ADANNS_INLINE explicit ByteTable(const uint8_t* table) : entries(table) {}
};
#endif

#if defined(ADANNS_VBMI)
constexpr int kByteBlocks = 4;

struct ByteCodes {
    __m512i codes;
    __mmask64 upper;  // which codes are 128 and above
};

ADANNS_INLINE ByteCodes load_bytes(const uint8_t* const* blocks, int at) {
    __m512i codes = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i*)(blocks[0] + at)));
    codes = _mm512_inserti32x4(codes, _mm_loadu_si128((const __m128i*)(blocks[1] + at)), 1);
    codes = _mm512_inserti32x4(codes, _mm_loadu_si128((const __m128i*)(blocks[2] + at)), 2);
    codes = _mm512_inserti32x4(codes, _mm_loadu_si128((const __m128i*)(blocks[3] + at)), 3);
    return {codes, _mm512_movepi8_mask(codes)};
}

struct ByteSums {
    WordSums words;

    ADANNS_INLINE void add(const ByteCodes& codes, const ByteTable& table) {
        const __m512i lower = _mm512_permutex2var_epi8(table.quarters[0], codes.codes, table.quarters[1]);
        const __m512i upper = _mm512_permutex2var_epi8(table.quarters[2], codes.codes, table.quarters[3]);
        words.add((VecB)_mm512_mask_blend_epi8(codes.upper, lower, upper));
    }

    ADANNS_INLINE void by_row(BlockSums* blocks) const {
        const __m512i even = (__m512i)(words.all - (words.odd << 8)), odd = (__m512i)words.odd;
        const __m512i first = _mm512_unpacklo_epi16(even, odd), last = _mm512_unpackhi_epi16(even, odd);
        for (int b = 0; b < 4; b++) {
            const __m512i pick = _mm512_setr_epi64(2 * b, 2 * b + 1, 8 + 2 * b, 9 + 2 * b, 0, 0, 0, 0);
            const __m512i rows = _mm512_permutex2var_epi64(first, pick, last);
            blocks[b].v[0] = (VecI)_mm512_cvtepu16_epi32(_mm512_castsi512_si256(rows));
        }
    }
};
#elif defined(ADANNS_512)
constexpr int kByteBlocks = 2;

struct ByteCodes {
    __m512i words;   // which pair of entries: VPERMI2W looks up 64 words
    __m512i shifts;  // 8 where the odd entry of the pair is meant
    __mmask32 upper;
};

ADANNS_INLINE ByteCodes load_bytes(const uint8_t* const* blocks, int at) {
    const __m256i bytes =
        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)(blocks[0] + at))),
                                _mm_loadu_si128((const __m128i*)(blocks[1] + at)), 1);
    const __m512i codes = _mm512_cvtepu8_epi16(bytes);
    return {_mm512_srli_epi16(codes, 1), _mm512_slli_epi16(_mm512_and_si512(codes, _mm512_set1_epi16(1)), 3),
            (__mmask32)_mm256_movepi8_mask(bytes)};
}

struct ByteSums {
    VecH rows;

    ADANNS_INLINE void add(const ByteCodes& codes, const ByteTable& table) {
        const __m512i lower = _mm512_permutex2var_epi16(table.quarters[0], codes.words, table.quarters[1]);
        const __m512i upper = _mm512_permutex2var_epi16(table.quarters[2], codes.words, table.quarters[3]);
        const __m512i pairs = _mm512_mask_blend_epi16(codes.upper, lower, upper);
        rows += (VecH)_mm512_srlv_epi16(pairs, codes.shifts) & 255;
    }

    ADANNS_INLINE void by_row(BlockSums* blocks) const {
        blocks[0].v[0] = (VecI)_mm512_cvtepu16_epi32(_mm512_castsi512_si256((__m512i)rows));
        blocks[1].v[0] = (VecI)_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64((__m512i)rows, 1));
    }
};
#elif defined(ADANNS_256)
constexpr int kByteBlocks = 2;

struct ByteCodes {
    VecB low;      // nibbles
    VecB bits[4];  // bits 4 to 7, each moved to where VPBLENDVB looks
};

ADANNS_INLINE ByteCodes load_bytes(const uint8_t* const* blocks, int at) {
    const VecB codes =
        (VecB)_mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)(blocks[0] + at))),
                                      _mm_loadu_si128((const __m128i*)(blocks[1] + at)), 1);
    return {codes & 15, {(VecB)((VecH)codes << 3), (VecB)((VecH)codes << 2), (VecB)((VecH)codes << 1), codes}};
}

struct ByteSums {
    WordSums words;

    // Among 16 << Bits entries: 16 at a time by VPSHUFB, then a choice by each of the upper bits.
    template <int Bits>
    static ADANNS_INLINE VecB looked_up(const ByteCodes& codes, const uint8_t* entries) {
        if constexpr (Bits == 0) {
            const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)entries));
            return (VecB)_mm256_shuffle_epi8(table, (__m256i)codes.low);
        } else {
            const VecB lower = looked_up<Bits - 1>(codes, entries);
            const VecB upper = looked_up<Bits - 1>(codes, entries + (8 << Bits));
            return (VecB)_mm256_blendv_epi8((__m256i)lower, (__m256i)upper, (__m256i)codes.bits[Bits - 1]);
        }
    }

    ADANNS_INLINE void add(const ByteCodes& codes, const ByteTable& table) {
        words.add(looked_up<4>(codes, table.entries));
    }

    ADANNS_INLINE void by_row(BlockSums* blocks) const {
        const __m256i even = (__m256i)(words.all - (words.odd << 8)), odd = (__m256i)words.odd;
        const __m256i first = _mm256_unpacklo_epi16(even, odd), last = _mm256_unpackhi_epi16(even, odd);
        blocks[0].v[0] = (VecI)_mm256_cvtepu16_epi32(_mm256_castsi256_si128(first));
        blocks[0].v[1] = (VecI)_mm256_cvtepu16_epi32(_mm256_castsi256_si128(last));
        blocks[1].v[0] = (VecI)_mm256_cvtepu16_epi32(_mm256_extracti128_si256(first, 1));
        blocks[1].v[1] = (VecI)_mm256_cvtepu16_epi32(_mm256_extracti128_si256(last, 1));
    }
};
#else
constexpr int kByteBlocks = 1;

struct ByteCodes {
    const uint8_t* codes;
};

ADANNS_INLINE ByteCodes load_bytes(const uint8_t* const* blocks, int at) { return {blocks[0] + at}; }

struct ByteSums {
    int32_t rows[16];

    ADANNS_INLINE void add(const ByteCodes& codes, const ByteTable& table) {
        for (int r = 0; r < 16; r++) rows[r] += table.entries[codes.codes[r]];
    }

    ADANNS_INLINE void by_row(BlockSums* blocks) const { blocks[0] = load_as<BlockSums>(rows); }
};
#endif

}  // namespace
