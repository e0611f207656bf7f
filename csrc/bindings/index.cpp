// The views of one segment, bundled once.
#include "index.h"

#include <algorithm>

#include "core/table_query.h"

namespace adanns::bindings {
namespace {

CodeView code_of(const py::tuple& code, int64_t block_count) {
    const auto blocks = held<uint8_t>(code[1], "code blocks");
    CodeView view;
    view.dims = code[0].cast<int>();
    require(
        blocks.ndim() == 2 && blocks.shape(0) == block_count && blocks.shape(1) == coded_bytes(view.dims) * kBlockRows,
        "code blocks have the wrong shape");
    view.blocks = blocks.data();
    view.block_bytes = blocks.shape(1);
    view.scales = span_of(held<float>(code[2], "code scales"));
    view.offsets = span_of(held<float>(code[3], "code offsets"));
    require(static_cast<int>(view.scales.size()) == view.dims && static_cast<int>(view.offsets.size()) == view.dims,
            "a code has one scale and one offset per dimension");
    return view;
}

TermsView terms_of(const py::object& ladder, const py::object& terms, int64_t rows) {
    TermsView view;
    view.ladder = span_of(held<int32_t>(ladder, "ladders"));
    for (std::size_t i = 0; i < view.ladder.size(); i++)
        require(view.ladder[i] > (i > 0 ? view.ladder[i - 1] : 0), "the dims of a ladder are positive and increase");
    require(!view.ladder.empty(), "a ladder has dims");
    if (terms.is_none()) return view;
    const auto values = held<float>(terms, "row terms");
    require(values.ndim() == 2 && values.shape(0) == static_cast<py::ssize_t>(view.ladder.size()) &&
                values.shape(1) >= rows + kBlockRows,
            "row terms are (rungs, rows + 16 at least)");
    view.values = values.data();
    view.stride = values.shape(1);
    return view;
}

}  // namespace

PyIndexView::PyIndexView(const std::string& metric, const Array<int32_t>& ladder, const py::list& planes,
                         const py::object& terms, const Array<int64_t>& ids, const py::object& code,
                         const py::object& lists, const py::object& table_code, const py::object& zero_rows)
    : arrays(py::make_tuple(ladder, planes, terms, ids, code, lists, table_code, zero_rows)) {
    view.metric = metric_of(metric);
    view.rows = ids.size();
    view.ids = span_of(ids);
    view.planes = planes_of(planes);
    for (const py::handle plane : planes)
        require(plane.cast<py::tuple>()[2].cast<py::array>().shape(0) == view.rows, "planes hold one row per id");
    view.terms = terms_of(ladder, terms, view.rows);
    view.dims = view.terms.ladder.back();
    require(terms.is_none() == (view.metric == Metric::inner_product || view.planes.empty()),
            "planes need row terms under l2 and cosine");
    const int64_t whole[] = {0, view.rows};
    view.block_offsets = block_offsets_of({whole, 2});
    if (!lists.is_none()) {
        const auto parts = lists.cast<py::tuple>();
        ListsView own;
        own.offsets = span_of(held<int64_t>(parts[0], "list offsets"));
        require(own.offsets.size() >= 2 && own.offsets[0] == 0 && own.offsets.back() == view.rows,
                "list offsets run from 0 to the number of rows");
        for (std::size_t i = 1; i < own.offsets.size(); i++)
            require(own.offsets[i - 1] <= own.offsets[i], "list offsets do not descend");
        own.centroids = code_of(parts[1].cast<py::tuple>(), (own.count() + kBlockRows - 1) / kBlockRows);
        own.centroid_terms = terms_of(parts[2], parts[3], own.count());
        require(own.centroid_terms.ladder.back() == own.centroids.dims, "the centroids' ladder ends at their dims");
        require(parts[3].is_none() == (view.metric == Metric::inner_product), "l2 and cosine need centroid terms");
        view.block_offsets = block_offsets_of(own.offsets);
        view.lists = own;
    }
    if (!table_code.is_none())
        view.table_code = table_code_of(table_code.cast<py::tuple>(), view.block_offsets.back(),
                                        view.lists ? view.lists->count() : 0);
    if (view.table_code) {
        for (const TableRung& rung : view.table_code->rungs)
            require(std::binary_search(view.terms.ladder.begin(), view.terms.ladder.end(), rung.dims),
                    "the rungs of a table code are on the ladder");
        const Span<const int64_t> zeros =
            zero_rows.is_none() ? Span<const int64_t>() : span_of(held<int64_t>(zero_rows, "zero rows"));
        for (std::size_t i = 0; i < zeros.size(); i++)
            require((i > 0 ? zeros[i - 1] : -1) < zeros[i] && zeros[i] < view.rows, "zero rows ascend");
        if (view.metric != Metric::inner_product) view.table_code->terms = std::make_shared<TableTerms>(view, zeros);
    }
    if (!code.is_none()) {
        view.code = code_of(code.cast<py::tuple>(), view.block_offsets.back());
        require(std::binary_search(view.terms.ladder.begin(), view.terms.ladder.end(), view.code->dims),
                "the dims of the code are on the ladder");
    }
}

void bind_index(py::module_& module) {
    py::class_<PyIndexView>(module, "IndexView", "Views of one index's arrays, bundled once; keeps the arrays alive.")
        .def(py::init<const std::string&, const Array<int32_t>&, const py::list&, const py::object&,
                      const Array<int64_t>&, const py::object&, const py::object&, const py::object&,
                      const py::object&>(),
             py::kw_only(), py::arg("metric"), py::arg("ladder").noconvert(), py::arg("planes"), py::arg("terms"),
             py::arg("ids").noconvert(), py::arg("code"), py::arg("lists"), py::arg("table_code") = py::none(),
             py::arg("zero_rows") = py::none());
}

}  // namespace adanns::bindings
