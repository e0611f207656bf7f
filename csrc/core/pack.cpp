#include "pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>

#include "folded_query.h"
#include "kernel_table.h"
#include "norms.h"
#include "thread_pool.h"

namespace adanns {
namespace {

constexpr int64_t kRowsPerTask = 1024;
constexpr float kLargestFloat16 = 65504.0f;
constexpr double kLargestFloat = std::numeric_limits<float>::max();

// Calls work(begin, end) for runs of rows, on threads.
template <class Work>
void over_rows(int64_t rows, int threads, Work work) {
    parallel_for((rows + kRowsPerTask - 1) / kRowsPerTask, threads,
                 [&](int64_t task) { work(task * kRowsPerTask, std::min(rows, (task + 1) * kRowsPerTask)); });
}

void read_row(const Vectors& vectors, int64_t row, float* out) {
    const int64_t at = row * vectors.stride;
    if (vectors.half)
        kernels().f16_to_f32(static_cast<const uint16_t*>(vectors.data) + at, out, vectors.dims);
    else
        std::copy_n(static_cast<const float*>(vectors.data) + at, vectors.dims, out);
}

// x - x is 0 unless x is NaN or infinite, and a sum of zeros stays 0: no branch per value.
bool all_finite(const float* values, int64_t count) {
    float sums[8] = {};  // eight chains hide the latency of an addition
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (int j = 0; j < 8; j++) sums[j] += values[i + j] - values[i + j];
    for (; i < count; i++) sums[0] += values[i] - values[i];
    float sum = 0;
    for (const float part : sums) sum += part;
    return sum == 0;
}

float largest_magnitude(const float* values, int64_t count) {
    float largest = 0;
    for (int64_t i = 0; i < count; i++) largest = std::max(largest, std::abs(values[i]));
    return largest;
}

void scale_to_unit(float* values, int64_t count) {
    const double norm = std::sqrt(squared_norm(values, count));
    const double factor = norm > 0 ? 1.0 / norm : 0.0;  // of a denormal row it is beyond float
    for (int64_t i = 0; i < count; i++) values[i] = static_cast<float>(values[i] * factor);
}

// The dims [0, dims) of one row, from planes of any type.
void read_planes(const std::vector<PlaneView>& planes, int64_t row, int dims, float* out) {
    for (const PlaneView& plane : planes) {
        const int count = std::min(plane.dims, dims - plane.first_dim);
        if (count <= 0) break;
        float* to = out + plane.first_dim;
        const int64_t at = row * plane.stride;
        switch (plane.type) {
            case ScalarType::float32: std::copy_n(static_cast<const float*>(plane.rows) + at, count, to); break;
            case ScalarType::float16:
                kernels().f16_to_f32(static_cast<const uint16_t*>(plane.rows) + at, to, count);
                break;
            case ScalarType::int8: {
                const int8_t* codes = static_cast<const int8_t*>(plane.rows) + at;
                for (int d = 0; d < count; d++) {
                    const auto in_plane = static_cast<std::size_t>(d);
                    to[d] = plane.offsets[in_plane] + plane.scales[in_plane] * static_cast<float>(codes[d]);
                }
                break;
            }
        }
    }
}

// Least and greatest value per dimension, and from them the step and the middle of an int8 code.
class Extent {
   public:
    explicit Extent(int dims)
        : low_(static_cast<std::size_t>(dims), std::numeric_limits<float>::infinity()),
          high_(static_cast<std::size_t>(dims), -std::numeric_limits<float>::infinity()) {}

    void add(const float* row) {
        for (std::size_t d = 0; d < low_.size(); d++) {
            low_[d] = std::min(low_[d], row[d]);
            high_[d] = std::max(high_[d], row[d]);
        }
    }
    void add(const Extent& other) {
        add(other.low_.data());
        add(other.high_.data());
    }
    void write(float* scales, float* offsets) const {
        for (std::size_t d = 0; d < low_.size(); d++) {
            const bool empty = low_[d] > high_[d];
            scales[d] = empty ? 0.0f : (high_[d] - low_[d]) / 254.0f;
            offsets[d] = empty ? 0.0f : 0.5f * (high_[d] + low_[d]);
        }
    }

   private:
    std::vector<float> low_, high_;
};

// The extent over all rows, where add_row(i, extent) adds row i. Least and greatest do not depend on the order.
template <class AddRow>
Extent extent_of(int64_t rows, int dims, int threads, AddRow add_row) {
    Extent extent(dims);
    std::mutex mutex;
    over_rows(rows, threads, [&](int64_t begin, int64_t end) {
        Extent part(dims);
        for (int64_t i = begin; i < end; i++) add_row(i, part);
        const std::lock_guard<std::mutex> lock(mutex);
        extent.add(part);
    });
    return extent;
}

int code_of(float value, float scale, float offset) {
    if (scale == 0.0f) return 0;
    return static_cast<int>(std::max(-127.0f, std::min(127.0f, std::nearbyint((value - offset) / scale))));
}

}  // namespace

int64_t first_not_finite(const Vectors& vectors, int threads) {
    std::mutex mutex;
    int64_t first = vectors.rows;
    over_rows(vectors.rows, threads, [&](int64_t begin, int64_t end) {
        std::vector<float> row(static_cast<std::size_t>(vectors.half ? vectors.dims : 0));
        for (int64_t i = begin; i < end; i++) {
            const float* values = static_cast<const float*>(vectors.data) + (vectors.half ? 0 : i * vectors.stride);
            if (vectors.half) {
                read_row(vectors, i, row.data());
                values = row.data();
            }
            if (all_finite(values, vectors.dims)) continue;
            const std::lock_guard<std::mutex> lock(mutex);
            first = std::min(first, i);
            return;
        }
    });
    return first == vectors.rows ? -1 : first;
}

PackProblem pack_rows(const Vectors& vectors, bool normalise, const std::vector<MutablePlane>& planes,
                      int64_t first_row, int threads) {
    const bool any_half = std::any_of(planes.begin(), planes.end(),
                                      [](const MutablePlane& plane) { return plane.type == ScalarType::float16; });
    std::mutex mutex;
    PackProblem problem;
    over_rows(vectors.rows, threads, [&](int64_t begin, int64_t end) {
        std::vector<float> row(static_cast<std::size_t>(vectors.dims));
        for (int64_t i = begin; i < end; i++) {
            read_row(vectors, i, row.data());
            const bool finite = all_finite(row.data(), vectors.dims);
            const bool fits = !any_half || normalise || largest_magnitude(row.data(), vectors.dims) <= kLargestFloat16;
            if (!finite || !fits) {
                const std::lock_guard<std::mutex> lock(mutex);
                if (problem.row < 0 || i < problem.row)
                    problem = {finite ? BadRow::beyond_float16 : BadRow::not_finite, i};
                return;
            }
            if (normalise) scale_to_unit(row.data(), vectors.dims);
            for (const MutablePlane& plane : planes) {
                const float* from = row.data() + plane.first_dim;
                const int64_t at = (first_row + i) * plane.stride, padding = plane.stride - plane.dims;
                if (plane.type == ScalarType::float32) {
                    float* to = static_cast<float*>(plane.rows) + at;
                    std::copy_n(from, plane.dims, to);
                    std::fill_n(to + plane.dims, padding, 0.0f);
                } else {
                    uint16_t* to = static_cast<uint16_t*>(plane.rows) + at;
                    kernels().f32_to_f16(from, to, plane.dims);
                    std::fill_n(to + plane.dims, padding, uint16_t{0});
                }
            }
        }
    });
    return problem;
}

void read_prefix(const std::vector<PlaneView>& planes, const int64_t* rows, int64_t first_row, int64_t count, int dims,
                 bool normalise, int threads, float* out) {
    over_rows(count, threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++) {
            read_planes(planes, rows != nullptr ? rows[i] : first_row + i, dims, out + i * dims);
            if (normalise) scale_to_unit(out + i * dims, dims);
        }
    });
}

void row_terms(const std::vector<PlaneView>& planes, int64_t rows, Metric metric, Span<const int32_t> ladder,
               int64_t stride, int threads, float* terms) {
    const int dims = ladder.back();
    over_rows(rows, threads, [&](int64_t begin, int64_t end) {
        std::vector<float> row(static_cast<std::size_t>(dims));
        for (int64_t i = begin; i < end; i++) {
            read_planes(planes, i, dims, row.data());
            double norm = 0;
            int from = 0;
            for (std::size_t rung = 0; rung < ladder.size(); rung++) {
                norm += squared_norm(row.data() + from, ladder[rung] - from);
                from = ladder[rung];
                const double inverse = norm > 0 ? std::min(1.0 / std::sqrt(norm), kLargestFloat) : 0.0;
                terms[static_cast<int64_t>(rung) * stride + i] =
                    static_cast<float>(metric == Metric::cosine ? inverse : norm);
            }
        }
    });
}

void quantise_plane(const float* rows, int64_t stride, int64_t row_count, int dims, int threads, int8_t* out,
                    int64_t out_stride, bool learn, float* scales, float* offsets) {
    const auto add_row = [&](int64_t i, Extent& extent) { extent.add(rows + i * stride); };
    if (learn) extent_of(row_count, dims, threads, add_row).write(scales, offsets);
    over_rows(row_count, threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++) {
            int8_t* to = out + i * out_stride;
            for (int d = 0; d < dims; d++)
                to[d] = static_cast<int8_t>(code_of(rows[i * stride + d], scales[d], offsets[d]));
            std::fill(to + dims, to + out_stride, int8_t{0});
        }
    });
}

void encode_blocks(const std::vector<PlaneView>& planes, int dims, bool normalise, Span<const int64_t> list_offsets,
                   int threads, uint8_t* blocks, bool learn, float* scales, float* offsets) {
    const int64_t rows = list_offsets.back();
    const auto read = [&](int64_t row, float* out) {
        read_planes(planes, row, dims, out);
        if (normalise) scale_to_unit(out, dims);
    };
    const auto add_row = [&](int64_t i, Extent& extent) {
        static thread_local std::vector<float> row;
        row.resize(static_cast<std::size_t>(dims));
        read(i, row.data());
        extent.add(row.data());
    };
    if (learn) extent_of(rows, dims, threads, add_row).write(scales, offsets);

    const std::vector<int64_t> block_offsets = block_offsets_of(list_offsets);
    const int64_t block_bytes = coded_bytes(dims) * kBlockRows;
    std::memset(blocks, 128, static_cast<std::size_t>(block_offsets.back() * block_bytes));
    over_rows(rows, threads, [&](int64_t begin, int64_t end) {
        std::vector<float> row(static_cast<std::size_t>(dims));
        int64_t list = std::upper_bound(list_offsets.begin(), list_offsets.end(), begin) - list_offsets.begin() - 1;
        for (int64_t i = begin; i < end; i++) {
            while (i >= list_offsets[static_cast<std::size_t>(list + 1)]) list++;
            const int64_t in_list = i - list_offsets[static_cast<std::size_t>(list)];
            uint8_t* block =
                blocks + (block_offsets[static_cast<std::size_t>(list)] + in_list / kBlockRows) * block_bytes;
            read(i, row.data());
            for (int d = 0; d < dims; d++) {
                const int code = code_of(row[static_cast<std::size_t>(d)], scales[d], offsets[d]);
                const int64_t at = (d / kGroupDims * kBlockRows + in_list % kBlockRows) * kGroupDims + d % kGroupDims;
                block[at] = static_cast<uint8_t>(code + 128);
            }
        }
    });
}

void permute_rows(const void* rows, int64_t row_bytes, const int64_t* order, int64_t count, int threads, void* out) {
    over_rows(count, threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++)
            std::memcpy(static_cast<char*>(out) + i * row_bytes, static_cast<const char*>(rows) + order[i] * row_bytes,
                        static_cast<std::size_t>(row_bytes));
    });
}

}  // namespace adanns
