// float16 to float32 and back, rounding to nearest even.
#pragma once

#include "vec.h"

namespace {

void f32_to_f16(const float* from, uint16_t* to, int64_t count) {
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) store_f16(to + i, load(from + i));
    if (i == count) return;
    float tail[kLanes] = {};
    uint16_t halves[kLanes];
    memcpy(tail, from + i, (size_t)(count - i) * sizeof(float));
    store_f16(halves, load(tail));
    memcpy(to + i, halves, (size_t)(count - i) * sizeof(uint16_t));
}

void f16_to_f32(const uint16_t* from, float* to, int64_t count) {
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) store_as(to + i, load(from + i));
    if (i == count) return;
    uint16_t tail[kLanes] = {};
    float values[kLanes];
    memcpy(tail, from + i, (size_t)(count - i) * sizeof(uint16_t));
    store_as(values, load(tail));
    memcpy(to + i, values, (size_t)(count - i) * sizeof(float));
}

}  // namespace
