// numpy arrays to views. Dtypes and shapes were checked in Python; here only what memory safety needs is checked again.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "core/index_view.h"
#include "core/pack.h"

namespace adanns::bindings {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;

inline void require(bool condition, const char* what) {
    if (!condition) throw std::invalid_argument(what);
}

template <class T>
Span<const T> span_of(const Array<T>& array) {
    return {array.data(), static_cast<std::size_t>(array.size())};
}

// The array itself, never a converted copy: for views that outlive the call.
template <class T>
Array<T> held(const py::handle& array, const char* name) {
    if (!py::isinstance<Array<T>>(array))
        throw std::invalid_argument(std::string(name) + " have the wrong type or order");
    return py::reinterpret_borrow<Array<T>>(array);
}

Metric metric_of(const std::string& name);

// A float32, float16 or int8 matrix of at least `dims` columns, rows contiguous.
ScalarType scalar_type_of(const py::array& rows);

// (first_dim, dims, rows, scales, offsets); scales and offsets are None but for int8.
PlaneView plane_of(const py::tuple& plane);
std::vector<PlaneView> planes_of(const py::list& planes);

// float32 or float16, two-dimensional, dims contiguous.
Vectors vectors_of(const py::array& vectors);

// (dims, bits, rungs, segment_ends, rotation, codebooks, blocks, centroids) of an index of `lists` lists.
TableCodeView table_code_of(const py::tuple& code, int64_t block_count, int64_t lists);

void bind_index(py::module_& module);
void bind_snapshot(py::module_& module);
void bind_build(py::module_& module);
void bind_table_code(py::module_& module);
void bind_kernels(py::module_& module);

}  // namespace adanns::bindings
