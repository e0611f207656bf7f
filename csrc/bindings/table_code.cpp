// Table codes: what makes them, and the view of them in an index.
#include <algorithm>

#include "arrays.h"
#include "core/kernel_table.h"
#include "core/multiply.h"
#include "core/table_code.h"

namespace adanns::bindings {
namespace {

Span<const int32_t> segments_of(const py::handle& array) {
    const Span<const int32_t> ends = span_of(held<int32_t>(array, "segment ends"));
    require(!ends.empty() && ends.size() <= kMaxSegments && ends[0] > 0, "a table code has 1 to 256 segments");
    for (std::size_t i = 1; i < ends.size(); i++) require(ends[i - 1] < ends[i], "segment ends ascend");
    return ends;
}

// What the segments' codebooks hold together.
int64_t codebook_size(Span<const int32_t> segment_ends, int bits) {
    require(bits == 4 || bits == 8, "table codes have 4 or 8 bits");
    return int64_t{segment_ends.back()} << bits;
}

void require_points(const Array<float>& points, Span<const int32_t> segment_ends) {
    require(points.ndim() == 2 && points.shape(1) == segment_ends.back(), "points have the dims of all segments");
}

Array<uint8_t> encode(const Array<float>& points, const Array<int32_t>& segment_ends, int bits,
                      const Array<float>& codebooks, int threads) {
    const Span<const int32_t> ends = segments_of(segment_ends);
    require_points(points, ends);
    require(codebooks.size() == codebook_size(ends, bits), "codebooks hold 2^bits entries of every segment");
    const int64_t rows = points.shape(0);
    Array<uint8_t> codes({rows, static_cast<int64_t>(ends.size())});
    uint8_t* to = codes.mutable_data();
    {
        const py::gil_scoped_release release;
        encode_segments(points.data(), rows, ends, bits, codebooks.data(), threads, to);
    }
    return codes;
}

py::tuple sum(const Array<float>& points, const Array<uint8_t>& codes, const Array<int32_t>& segment_ends, int bits,
              int threads) {
    const Span<const int32_t> ends = segments_of(segment_ends);
    require_points(points, ends);
    const auto segments = static_cast<int64_t>(ends.size());
    require(codes.ndim() == 2 && codes.shape(0) == points.shape(0) && codes.shape(1) == segments,
            "codes are (rows, segments)");
    Array<float> sums(codebook_size(ends, bits));
    Array<int64_t> counts({segments, int64_t{1} << bits});
    float* s = sums.mutable_data();
    int64_t* c = counts.mutable_data();
    {
        const py::gil_scoped_release release;
        sum_segments(points.data(), points.shape(0), codes.data(), ends, bits, threads, s, c);
    }
    return py::make_tuple(sums, counts);
}

Array<uint8_t> pack(const Array<uint8_t>& codes, int bits, const Array<int64_t>& list_offsets, int threads) {
    const Span<const int64_t> lists = span_of(list_offsets);
    require((bits == 4 || bits == 8) && codes.ndim() == 2 && lists.size() >= 2 && lists.back() == codes.shape(0),
            "list offsets run from 0 to the number of codes, of 4 or 8 bits");
    const int64_t segments = codes.shape(1), bytes = (segments * bits + 7) / 8;
    Array<uint8_t> blocks({block_offsets_of(lists).back(), bytes, int64_t{kBlockRows}});
    uint8_t* to = blocks.mutable_data();
    {
        const py::gil_scoped_release release;
        pack_table_blocks(codes.data(), segments, bits, lists, threads, to);
    }
    return blocks;
}

Array<float> multiply_by(const Array<float>& rows, const Array<float>& matrix, int threads) {
    require(rows.ndim() == 2 && matrix.ndim() == 2 && rows.shape(1) == matrix.shape(0),
            "the matrix has one row per dimension of the rows");
    Array<float> out({rows.shape(0), matrix.shape(1)});
    float* to = out.mutable_data();
    {
        const py::gil_scoped_release release;
        multiply(rows.data(), rows.shape(0), static_cast<int>(rows.shape(1)), matrix.data(),
                 static_cast<int>(matrix.shape(1)), threads, to);
    }
    return out;
}

}  // namespace

TableCodeView table_code_of(const py::tuple& code, int64_t block_count, int64_t lists) {
    TableCodeView view;
    view.dims = code[0].cast<int>();
    view.bits = code[1].cast<int>();
    view.segment_ends = segments_of(code[3]);
    const int64_t rotated_dims = view.segment_ends.back(), dims = view.dims;
    const auto segments = static_cast<int>(view.segment_ends.size());

    const auto rungs = held<int32_t>(code[2], "rungs of a table code");
    require(rungs.ndim() == 2 && rungs.shape(0) >= 1 && rungs.shape(1) == 2, "rungs are rows (dims, segments)");
    for (py::ssize_t i = 0; i < rungs.shape(0); i++) {
        view.rungs.push_back({rungs.at(i, 0), rungs.at(i, 1)});
        const bool ascends = i == 0 || (rungs.at(i - 1, 0) < rungs.at(i, 0) && rungs.at(i - 1, 1) < rungs.at(i, 1));
        require(ascends && rungs.at(i, 0) >= 1 && rungs.at(i, 1) >= 1, "rungs ascend");
    }
    require(view.rungs.back().dims == view.dims && view.rungs.back().segments == segments,
            "the last rung of a table code is all of it");

    if (code[4].is_none()) {
        require(rotated_dims <= dims, "segments end within the dims of the code");
    } else {
        const auto rotation = held<float>(code[4], "rotations");
        require(rotation.ndim() == 2 && rotation.shape(0) == rotated_dims && rotation.shape(1) == dims,
                "a rotation has one row per rotated dimension");
        view.rotation = column_blocks(rotation.data(), dims, rotated_dims, 1, dims);
    }
    const auto codebooks = held<float>(code[5], "codebooks");
    require(codebooks.size() == codebook_size(view.segment_ends, view.bits),
            "codebooks hold 2^bits entries of every segment");
    const int64_t entries = view.entries();
    for (int64_t segment = 0, begin = 0; segment < segments; segment++) {
        const int64_t width = view.segment_ends[static_cast<std::size_t>(segment)] - begin;
        const std::vector<float> book = column_blocks(codebooks.data() + begin * entries, width, entries, 1, width);
        view.codebooks.insert(view.codebooks.end(), book.begin(), book.end());
        begin += width;
    }

    const auto blocks = held<uint8_t>(code[6], "blocks of table codes");
    require(blocks.ndim() == 3 && blocks.shape(0) == block_count && blocks.shape(1) == (segments * view.bits + 7) / 8 &&
                blocks.shape(2) == kBlockRows,
            "blocks of table codes have the wrong shape");
    view.blocks = blocks.data();
    view.block_bytes = blocks.shape(1) * kBlockRows;

    if (code[7].is_none()) return view;
    const auto centroids = held<float>(code[7], "centroids");
    require(lists > 0 && centroids.ndim() == 2 && centroids.shape(0) == lists && centroids.shape(1) == rotated_dims,
            "codes of residuals need one rotated centroid per list");
    view.centroids = centroids.data();
    view.centroid_stride = (rotated_dims + kBlockRows - 1) / kBlockRows * kBlockRows;
    if (view.centroid_stride != rotated_dims) {
        view.padded_centroids.resize(static_cast<std::size_t>(lists * view.centroid_stride));
        for (int64_t list = 0; list < lists; list++)
            std::copy_n(view.centroids + list * rotated_dims, rotated_dims,
                        view.padded_centroids.begin() + list * view.centroid_stride);
        view.centroids = view.padded_centroids.data();
    }
    return view;
}

void bind_table_code(py::module_& module) {
    module.def("encode_segments", &encode, py::arg("points").noconvert(), py::arg("segment_ends").noconvert(),
               py::arg("bits"), py::arg("codebooks").noconvert(), py::arg("threads"));
    module.def("sum_segments", &sum, py::arg("points").noconvert(), py::arg("codes").noconvert(),
               py::arg("segment_ends").noconvert(), py::arg("bits"), py::arg("threads"));
    module.def("pack_table_blocks", &pack, py::arg("codes").noconvert(), py::arg("bits"),
               py::arg("list_offsets").noconvert(), py::arg("threads"));
    module.def("multiply_rows", &multiply_by, py::arg("rows").noconvert(), py::arg("matrix").noconvert(),
               py::arg("threads"));
}

}  // namespace adanns::bindings
