#include "arrays.h"

namespace adanns::bindings {

Metric metric_of(const std::string& name) {
    if (name == "l2") return Metric::l2;
    if (name == "ip") return Metric::inner_product;
    if (name == "cosine") return Metric::cosine;
    throw std::invalid_argument("metric is '" + name + "'; choose 'l2', 'ip' or 'cosine'");
}

ScalarType scalar_type_of(const py::array& rows) {
    const char kind = rows.dtype().attr("isnative").cast<bool>() ? rows.dtype().kind() : '?';
    const auto size = rows.itemsize();
    if (kind == 'f' && size == 4) return ScalarType::float32;
    if (kind == 'f' && size == 2) return ScalarType::float16;
    if (kind == 'i' && size == 1) return ScalarType::int8;
    throw std::invalid_argument("a plane is float32, float16 or int8");
}

PlaneView plane_of(const py::tuple& plane) {
    require(py::isinstance<py::array>(plane[2]), "a plane is an array");
    const auto rows = plane[2].cast<py::array>();
    PlaneView view;
    view.first_dim = plane[0].cast<int>();
    view.dims = plane[1].cast<int>();
    view.type = scalar_type_of(rows);
    require(rows.ndim() == 2 && rows.strides(1) == rows.itemsize(), "a plane is a matrix with contiguous rows");
    view.rows = rows.data();
    view.stride = rows.strides(0) / rows.itemsize();
    require(view.stride % 16 == 0 && view.stride >= view.dims,
            "a plane's stride is a multiple of 16 and holds its dims");
    if (view.type == ScalarType::int8) {
        view.scales = span_of(held<float>(plane[3], "scales"));
        view.offsets = span_of(held<float>(plane[4], "offsets"));
        require(static_cast<int>(view.scales.size()) == view.dims && static_cast<int>(view.offsets.size()) == view.dims,
                "an int8 plane has one scale and one offset per dimension");
    }
    return view;
}

std::vector<PlaneView> planes_of(const py::list& planes) {
    std::vector<PlaneView> views;
    for (const py::handle plane : planes) views.push_back(plane_of(plane.cast<py::tuple>()));
    return views;
}

Vectors vectors_of(const py::array& vectors) {
    const ScalarType type = scalar_type_of(vectors);
    require(type != ScalarType::int8, "vectors are float32 or float16");
    require(vectors.ndim() == 2 && (vectors.strides(1) == vectors.itemsize() || vectors.shape(1) == 1),
            "vectors are a matrix with contiguous rows");
    return {vectors.data(), type == ScalarType::float16, vectors.shape(0), vectors.shape(1),
            vectors.strides(0) / vectors.itemsize()};
}

}  // namespace adanns::bindings
