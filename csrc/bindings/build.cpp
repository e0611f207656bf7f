// What builds an index's arrays: packing, quantising, k-means steps.
#include <pybind11/stl.h>

#include <algorithm>

#include "arrays.h"
#include "core/assign.h"
#include "core/folded_query.h"

namespace adanns::bindings {
namespace {

std::vector<MutablePlane> mutable_planes_of(const py::list& planes) {
    std::vector<MutablePlane> out;
    for (const py::handle handle : planes) {
        const auto plane = handle.cast<py::tuple>();
        const PlaneView view = plane_of(plane);
        out.push_back({view.first_dim, view.dims, view.type, plane[2].cast<py::array>().mutable_data(), view.stride});
    }
    return out;
}

py::tuple pack(const py::array& vectors, bool normalise, const py::list& planes, int64_t first_row, int threads) {
    const Vectors from = vectors_of(vectors);
    const std::vector<MutablePlane> to = mutable_planes_of(planes);
    for (const py::handle plane : planes)
        require(plane.cast<py::tuple>()[2].cast<py::array>().shape(0) >= first_row + from.rows, "planes are too short");
    PackProblem problem;
    {
        const py::gil_scoped_release release;
        problem = pack_rows(from, normalise, to, first_row, threads);
    }
    const char* kinds[] = {"", "not finite", "beyond float16"};
    return py::make_tuple(kinds[static_cast<int>(problem.kind)], problem.row);
}

Array<float> prefix(const py::list& planes, const std::optional<Array<int64_t>>& rows, int64_t first_row, int64_t count,
                    int dims, bool normalise, int threads) {
    const std::vector<PlaneView> views = planes_of(planes);
    const int64_t size = rows ? rows->size() : count;
    Array<float> out({size, int64_t{dims}});
    float* to = out.mutable_data();
    const int64_t* which = rows ? rows->data() : nullptr;
    const py::gil_scoped_release release;
    read_prefix(views, which, first_row, size, dims, normalise, threads, to);
    return out;
}

void terms(const py::list& planes, int64_t rows, const std::string& metric, const Array<int32_t>& ladder,
           Array<float> out, int threads) {
    const std::vector<PlaneView> views = planes_of(planes);
    const Metric which = metric_of(metric);
    const Span<const int32_t> rungs = span_of(ladder);
    float* to = out.mutable_data();
    const int64_t stride = out.shape(1);
    require(out.shape(0) == ladder.size() && stride >= rows, "row terms are (rungs, rows + 16 at least)");
    const py::gil_scoped_release release;
    row_terms(views, rows, which, rungs, stride, threads, to);
}

// Scales and offsets of an int8 code: a copy of those learnt elsewhere, (scales, offsets), or room for them.
struct Code {
    Code(const py::object& learnt, int dims) : scales(dims), offsets(dims) {
        if (learnt.is_none()) return;
        const auto parts = learnt.cast<py::tuple>();
        const Span<const float> given_scales = span_of(held<float>(parts[0], "scales"));
        const Span<const float> given_offsets = span_of(held<float>(parts[1], "offsets"));
        require(static_cast<int>(given_scales.size()) == dims && static_cast<int>(given_offsets.size()) == dims,
                "a code has one scale and one offset per dimension");
        std::copy(given_scales.begin(), given_scales.end(), scales.mutable_data());
        std::copy(given_offsets.begin(), given_offsets.end(), offsets.mutable_data());
    }

    Array<float> scales, offsets;
};

py::tuple quantise(const Array<float>& rows, int dims, Array<int8_t> out, int threads, const py::object& learnt) {
    require(rows.shape(0) == out.shape(0) && rows.shape(1) >= dims && out.shape(1) >= dims, "planes differ in shape");
    Code code(learnt, dims);
    const float* from = rows.data();
    int8_t* to = out.mutable_data();
    float* s = code.scales.mutable_data();
    float* o = code.offsets.mutable_data();
    const int64_t count = rows.shape(0), stride = rows.shape(1), out_stride = out.shape(1);
    {
        const py::gil_scoped_release release;
        quantise_plane(from, stride, count, dims, threads, to, out_stride, learnt.is_none(), s, o);
    }
    return py::make_tuple(code.scales, code.offsets);
}

py::tuple encode(const py::list& planes, int dims, bool normalise, const Array<int64_t>& list_offsets,
                 Array<uint8_t> blocks, int threads, const py::object& learnt) {
    const std::vector<PlaneView> views = planes_of(planes);
    const Span<const int64_t> lists = span_of(list_offsets);
    require(blocks.ndim() == 2 && blocks.shape(0) == block_offsets_of(lists).back() &&
                blocks.shape(1) == coded_bytes(dims) * kBlockRows,
            "code blocks have the wrong shape");
    Code code(learnt, dims);
    uint8_t* to = blocks.mutable_data();
    float* s = code.scales.mutable_data();
    float* o = code.offsets.mutable_data();
    {
        const py::gil_scoped_release release;
        encode_blocks(views, dims, normalise, lists, threads, to, learnt.is_none(), s, o);
    }
    return py::make_tuple(code.scales, code.offsets);
}

py::tuple assign_to(const Array<float>& rows, const Array<float>& centroids, bool by_dot, bool with_distances,
                    int threads) {
    require(rows.ndim() == 2 && centroids.ndim() == 2 && rows.shape(1) == centroids.shape(1),
            "rows and centroids differ in dims");
    const int64_t count = rows.shape(0);
    Array<int32_t> nearest(count);
    Array<float> distances(with_distances ? count : 0);
    int32_t* to = nearest.mutable_data();
    float* d = with_distances ? distances.mutable_data() : nullptr;
    const int64_t dims = rows.shape(1), clusters = centroids.shape(0);
    {
        const py::gil_scoped_release release;
        assign(rows.data(), dims, count, centroids.data(), clusters, static_cast<int>(dims), by_dot, threads, to, d);
    }
    return py::make_tuple(nearest, distances);
}

py::tuple cluster_sums(const Array<float>& rows, const Array<int32_t>& nearest, int64_t clusters, int threads) {
    require(rows.ndim() == 2 && nearest.size() == rows.shape(0), "one assignment per row");
    const int64_t dims = rows.shape(1);
    Array<float> sums({clusters, dims});
    Array<int64_t> counts(clusters);
    float* s = sums.mutable_data();
    int64_t* c = counts.mutable_data();
    {
        const py::gil_scoped_release release;
        sum_clusters(rows.data(), dims, rows.shape(0), nearest.data(), clusters, static_cast<int>(dims), threads, s, c);
    }
    return py::make_tuple(sums, counts);
}

void permute(const py::array& rows, const Array<int64_t>& order, py::array out, int threads) {
    require((rows.flags() & out.flags() & py::array::c_style) != 0 && rows.dtype().is(out.dtype()) &&
                rows.ndim() == out.ndim() && out.shape(0) == order.size(),
            "rows and out differ in kind");
    int64_t row_bytes = rows.itemsize();
    for (py::ssize_t axis = 1; axis < rows.ndim(); axis++) row_bytes *= rows.shape(axis);
    const void* from = rows.data();
    void* to = out.mutable_data();
    const py::gil_scoped_release release;
    permute_rows(from, row_bytes, order.data(), order.size(), threads, to);
}

int64_t not_finite(const py::array& vectors, int threads) {
    const Vectors view = vectors_of(vectors);
    const py::gil_scoped_release release;
    return first_not_finite(view, threads);
}

}  // namespace

void bind_build(py::module_& module) {
    module.def("first_not_finite", &not_finite, py::arg("vectors"), py::arg("threads"));
    module.def("pack_rows", &pack, py::arg("vectors"), py::arg("normalise"), py::arg("planes"), py::arg("first_row"),
               py::arg("threads"));
    module.def("read_prefix", &prefix, py::arg("planes"), py::arg("rows").noconvert(), py::arg("first_row"),
               py::arg("count"), py::arg("dims"), py::arg("normalise"), py::arg("threads"));
    module.def("row_terms", &terms, py::arg("planes"), py::arg("rows"), py::arg("metric"),
               py::arg("ladder").noconvert(), py::arg("out").noconvert(), py::arg("threads"));
    module.def("quantise_plane", &quantise, py::arg("rows").noconvert(), py::arg("dims"), py::arg("out").noconvert(),
               py::arg("threads"), py::arg("learnt") = py::none());
    module.def("encode_blocks", &encode, py::arg("planes"), py::arg("dims"), py::arg("normalise"),
               py::arg("list_offsets").noconvert(), py::arg("blocks").noconvert(), py::arg("threads"),
               py::arg("learnt") = py::none());
    module.def("assign", &assign_to, py::arg("rows").noconvert(), py::arg("centroids").noconvert(), py::arg("by_dot"),
               py::arg("with_distances"), py::arg("threads"));
    module.def("sum_clusters", &cluster_sums, py::arg("rows").noconvert(), py::arg("nearest").noconvert(),
               py::arg("clusters"), py::arg("threads"));
    module.def("permute_rows", &permute, py::arg("rows"), py::arg("order").noconvert(), py::arg("out"),
               py::arg("threads"));
}

}  // namespace adanns::bindings
