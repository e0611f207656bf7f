// The views of one segment of an index.
#pragma once

#include "arrays.h"

namespace adanns::bindings {

// Holds the arrays alive beside the views of them.
struct PyIndexView {
    PyIndexView(const std::string& metric, const Array<int32_t>& ladder, const py::list& planes,
                const py::object& terms, const Array<int64_t>& ids, const py::object& code, const py::object& lists,
                const py::object& table_code, const py::object& zero_rows);

    py::tuple arrays;
    IndexView view;
};

}  // namespace adanns::bindings
