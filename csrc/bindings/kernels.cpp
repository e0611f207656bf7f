// The kernels one by one, for the tests that compare each with its numpy twin.
#include <pybind11/stl.h>

#include <optional>

#include "arrays.h"
#include "core/folded_query.h"
#include "core/isa.h"

namespace adanns::bindings {
namespace {

template <class T>
Array<float> dot_rows(KernelTable::DotRows<T> kernel, const py::array& rows, const Array<float>& queries) {
    Array<float> dots({queries.shape(0), rows.shape(0)});
    kernel(static_cast<const T*>(rows.data()), rows.shape(1), rows.shape(0), queries.data(), queries.shape(1),
           static_cast<int>(queries.shape(0)), static_cast<int>(queries.shape(1)), false, dots.mutable_data(),
           rows.shape(0));
    return dots;
}

template <class T>
Array<float> dot_gather(KernelTable::DotGather<T> kernel, const py::array& plane, const Array<uint32_t>& rows,
                        const Array<float>& query) {
    Array<float> dots(rows.size());
    std::fill_n(dots.mutable_data(), rows.size(), 0.0f);
    kernel(static_cast<const T*>(plane.data()), plane.shape(1), rows.data(), rows.size(), query.data(),
           static_cast<int>(query.size()), dots.mutable_data());
    return dots;
}

Array<float> dot_rows_any(const py::array& rows, const Array<float>& queries) {
    require(rows.ndim() == 2 && queries.ndim() == 2 && queries.shape(1) % 16 == 0 &&
                queries.shape(1) <= rows.shape(1) && rows.shape(1) % 16 == 0 && queries.shape(0) >= 1 &&
                queries.shape(0) <= kMaxQueryTile,
            "rows and queries are padded to 16 dims; 1 to 8 queries");
    switch (scalar_type_of(rows)) {
        case ScalarType::float32: return dot_rows(kernels().dot_rows_f32, rows, queries);
        case ScalarType::float16: return dot_rows(kernels().dot_rows_f16, rows, queries);
        case ScalarType::int8: return dot_rows(kernels().dot_rows_i8, rows, queries);
    }
    return {};
}

Array<float> dot_gather_any(const py::array& plane, const Array<uint32_t>& rows, const Array<float>& query) {
    require(plane.ndim() == 2 && query.size() % 16 == 0 && query.size() <= plane.shape(1),
            "planes are padded to 16 dims");
    switch (scalar_type_of(plane)) {
        case ScalarType::float32: return dot_gather(kernels().dot_gather_f32, plane, rows, query);
        case ScalarType::float16: return dot_gather(kernels().dot_gather_f16, plane, rows, query);
        case ScalarType::int8: return dot_gather(kernels().dot_gather_i8, plane, rows, query);
    }
    return {};
}

KeyForm form_of(const std::string& form) {
    return form == "add" ? KeyForm::add : form == "multiply" ? KeyForm::multiply : KeyForm::plain;
}

// Keys (queries, 16 * blocks) with m = 1, c = 0: the exact integer dots of codes and queries, plus or times the terms.
Array<float> block_keys(const Array<uint8_t>& blocks, const Array<int8_t>& queries, const std::string& form,
                        const Array<float>& terms) {
    const auto groups = static_cast<int>(queries.shape(1) / kGroupDims);
    require(queries.shape(1) % kGroupDims == 0 && groups * 64 <= blocks.shape(1) && queries.shape(0) >= 1 &&
                queries.shape(0) <= kMaxQueryTile && terms.size() == blocks.shape(0) * kBlockRows,
            "queries are padded to 4 dims; 1 to 8 queries; one term per row");
    const int64_t rows = blocks.shape(0) * kBlockRows;
    const KeyForm which = form_of(form);
    const std::vector<float> ones(kMaxQueryTile, 1.0f), zeros(kMaxQueryTile, 0.0f);
    Array<float> keys({static_cast<int64_t>(queries.shape(0)), rows});
    kernels().block_keys(blocks.data(), blocks.shape(1), blocks.shape(0), queries.data(), queries.shape(1),
                         static_cast<int>(queries.shape(0)), groups, which, ones.data(), zeros.data(), terms.data(),
                         keys.mutable_data(), rows);
    return keys;
}

// Keys (queries, 16 * blocks) with m = 1, c = 0: the exact sums of the entries that codes name. Tables are laid out as
// the kernels take them.
Array<float> table_keys(const Array<uint8_t>& blocks, int bits, int bytes, const Array<uint8_t>& tables,
                        const std::string& form, const Array<float>& terms) {
    const int64_t needed = bits == 8 ? int64_t{256} * bytes : (int64_t{bytes} + 3) / 4 * 128;
    require((bits == 4 || bits == 8) && blocks.ndim() == 3 && blocks.shape(2) == kBlockRows && bytes >= 1 &&
                bytes <= blocks.shape(1) && tables.ndim() == 2 && tables.shape(1) == needed && tables.shape(0) >= 1 &&
                tables.shape(0) <= kMaxQueryTile && terms.size() == blocks.shape(0) * kBlockRows,
            "blocks are (blocks, bytes, 16); 1 to 8 queries; one term per row");
    const int64_t rows = blocks.shape(0) * kBlockRows;
    const KeyForm which = form_of(form);
    const std::vector<float> ones(kMaxQueryTile, 1.0f), zeros(kMaxQueryTile, 0.0f);
    std::vector<const uint8_t*> each;
    for (py::ssize_t q = 0; q < tables.shape(0); q++) each.push_back(tables.data() + q * needed);
    Array<float> keys({static_cast<int64_t>(tables.shape(0)), rows});
    const uint8_t* end = blocks.data() + blocks.size();
    (bits == 8 ? kernels().byte_keys : kernels().nibble_keys)(
        {blocks.data(), blocks.shape(1) * kBlockRows, blocks.shape(0), end, bytes, terms.data()},
        {each.data(), static_cast<int>(each.size()), ones.data(), zeros.data(), keys.mutable_data(), rows}, which);
    return keys;
}

// (bytes, step, bias) of float tables (segments, entries), laid out as the kernels take them.
py::tuple round_tables(const Array<float>& tables) {
    require(tables.ndim() == 2 && tables.shape(0) >= 1 && tables.shape(0) <= kMaxSegments &&
                (tables.shape(1) == 16 || tables.shape(1) == 256),
            "tables are (1 to 256 segments, 16 or 256 entries)");
    const auto segments = static_cast<int>(tables.shape(0)), entries = static_cast<int>(tables.shape(1));
    Array<uint8_t> out(entries == 256 ? 256 * segments : (segments + 7) / 8 * 128);
    float step = 0, bias = 0;
    kernels().round_tables(tables.data(), segments, entries, out.mutable_data(), &step, &bias);
    return py::make_tuple(out, step, bias);
}

py::tuple collect_below(const Array<float>& keys, float threshold, uint32_t first_row,
                        const std::optional<Array<uint64_t>>& mask_words, int64_t first_bit) {
    require(first_bit >= 0, "first_bit is not negative");
    require(!mask_words || 64 * (mask_words->size() - 1) >= first_bit + keys.size(),
            "a bit per key in mask_words, and a word more");
    Array<float> out(keys.size() + kBlockRows);
    Array<uint32_t> rows(keys.size() + kBlockRows);
    const int64_t count = kernels().collect_below(keys.data(), keys.size(), threshold, first_row,
                                                  mask_words ? mask_words->data() : nullptr, first_bit,
                                                  out.mutable_data(), rows.mutable_data());
    return py::make_tuple(out[py::slice(0, count, 1)], rows[py::slice(0, count, 1)]);
}

float bound_of_smallest(const Array<float>& keys, int64_t keep) {
    require(keep >= 1 && keep <= keys.size(), "1 <= keep <= keys");
    std::vector<float> scratch(static_cast<std::size_t>(keys.size() + kBlockRows));
    return kernels().bound_of_smallest(keys.data(), keys.size(), keep, scratch.data());
}

py::tuple select_smallest(const Array<float>& keys, const Array<uint32_t>& rows, int64_t keep) {
    require(keep >= 1 && keep < keys.size() && rows.size() == keys.size(), "1 <= keep < keys, one row per key");
    const auto room = static_cast<std::size_t>(keys.size() + kBlockRows);
    std::vector<float> own_keys(room);
    std::vector<uint32_t> own_rows(room);
    std::copy_n(keys.data(), keys.size(), own_keys.begin());
    std::copy_n(rows.data(), rows.size(), own_rows.begin());
    const float bound = kernels().select_smallest(own_keys.data(), own_rows.data(), keys.size(), keep);
    return py::make_tuple(Array<float>(keep, own_keys.data()), Array<uint32_t>(keep, own_rows.data()), bound);
}

Array<uint16_t> to_float16(const Array<float>& values) {
    Array<uint16_t> out(values.size());
    kernels().f32_to_f16(values.data(), out.mutable_data(), values.size());
    return out;
}

Array<float> from_float16(const Array<uint16_t>& values) {
    Array<float> out(values.size());
    kernels().f16_to_f32(values.data(), out.mutable_data(), values.size());
    return out;
}

}  // namespace

void bind_kernels(py::module_& module) {
    module.def("isa", [] { return std::string(kernels().isa); });
    module.def("available_isas", [] {
        py::list names;
        for (const KernelTable* table : available_kernels()) names.append(std::string(table->isa));
        return names;
    });
    py::module_ own = module.def_submodule("kernels", "The kernels one by one, for tests.");
    own.def("dot_rows", &dot_rows_any, py::arg("rows"), py::arg("queries").noconvert());
    own.def("dot_gather", &dot_gather_any, py::arg("plane"), py::arg("rows").noconvert(), py::arg("query").noconvert());
    own.def("block_keys", &block_keys, py::arg("blocks").noconvert(), py::arg("queries").noconvert(), py::arg("form"),
            py::arg("terms").noconvert());
    own.def("table_keys", &table_keys, py::arg("blocks").noconvert(), py::arg("bits"), py::arg("bytes"),
            py::arg("tables").noconvert(), py::arg("form"), py::arg("terms").noconvert());
    own.def("round_tables", &round_tables, py::arg("tables").noconvert());
    own.def("collect_below", &collect_below, py::arg("keys").noconvert(), py::arg("threshold"), py::arg("first_row"),
            py::arg("mask_words") = py::none(), py::arg("first_bit") = 0);
    own.def("bound_of_smallest", &bound_of_smallest, py::arg("keys").noconvert(), py::arg("keep"));
    own.def("select_smallest", &select_smallest, py::arg("keys").noconvert(), py::arg("rows").noconvert(),
            py::arg("keep"));
    own.def("to_float16", &to_float16, py::arg("values").noconvert());
    own.def("from_float16", &from_float16, py::arg("values").noconvert());
}

}  // namespace adanns::bindings
