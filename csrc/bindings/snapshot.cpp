// What one search sees: all segments of an index and which of their rows take part; and the searches.
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>

#include "core/range_search.h"
#include "core/search.h"
#include "index.h"

namespace adanns::bindings {
namespace {

// A query is prepared once for all segments, so they are made alike.
bool alike(const IndexView& one, const IndexView& other) {
    const auto same_plane = [](const PlaneView& a, const PlaneView& b) {
        return a.first_dim == b.first_dim && a.dims == b.dims && a.type == b.type;
    };
    const auto same_rung = [](const TableRung& a, const TableRung& b) {
        return a.dims == b.dims && a.segments == b.segments;
    };
    const auto same_codes = [&](const TableCodeView& a, const TableCodeView& b) {
        return a.bits == b.bits && a.codebooks == b.codebooks && a.rotation == b.rotation &&
               (a.centroids == nullptr) == (b.centroids == nullptr) &&
               std::equal(a.segment_ends.begin(), a.segment_ends.end(), b.segment_ends.begin(), b.segment_ends.end()) &&
               std::equal(a.rungs.begin(), a.rungs.end(), b.rungs.begin(), b.rungs.end(), same_rung);
    };
    const Span<const int32_t>&ladder = one.terms.ladder, other_ladder = other.terms.ladder;
    return one.metric == other.metric &&
           std::equal(ladder.begin(), ladder.end(), other_ladder.begin(), other_ladder.end()) &&
           std::equal(one.planes.begin(), one.planes.end(), other.planes.begin(), other.planes.end(), same_plane) &&
           one.code.has_value() == other.code.has_value() && (!one.code || one.code->dims == other.code->dims) &&
           one.table_code.has_value() == other.table_code.has_value() &&
           (!one.table_code || same_codes(*one.table_code, *other.table_code)) &&
           one.lists.has_value() == other.lists.has_value() &&
           (!one.lists || one.lists->count() == other.lists->count());
}

struct PySnapshot {
    explicit PySnapshot(const py::list& given) : parts(given) {
        require(!parts.empty(), "a snapshot has segments");
        int64_t first_row = 0;
        for (const py::handle handle : parts) {
            const auto part = handle.cast<py::tuple>();
            SegmentView segment;
            segment.view = &part[0].cast<const PyIndexView&>().view;
            segment.first_row = first_row;
            if (!part[1].is_none()) {
                const auto live = held<uint64_t>(part[1], "bits of live rows");
                require(live.size() >= (segment.view->rows + 63) / 64 + 1, "live rows are a bit each, and a word more");
                segment.mask = RowMask(live.data(), segment.view->rows);
            }
            if (!segments.empty()) require(alike(*segments[0].view, *segment.view), "segments are made alike");
            segments.push_back(segment);
            first_row += (segment.view->rows + kBlockRows - 1) / kBlockRows * kBlockRows;
        }
        require(first_row <= std::numeric_limits<uint32_t>::max(), "rows are numbered by 32 bits");
    }

    std::vector<int64_t> live_rows() const {
        std::vector<int64_t> rows;
        for (const SegmentView& segment : segments) rows.push_back(segment.rows());
        return rows;
    }

    py::tuple parts;  // holds the views and bits alive
    std::vector<SegmentView> segments;
};

ScanKind scan_kind_of(const std::string& name) {
    if (name == "planes") return ScanKind::planes;
    if (name == "code") return ScanKind::code;
    if (name == "tables") return ScanKind::tables;
    throw std::invalid_argument("scan is '" + name + "'; choose 'planes', 'code' or 'tables'");
}

// What a scan of codes alone, or of a prefix of them, must find in the view.
void require_scannable(const IndexView& view, ScanKind scan, int dims) {
    require(!view.planes.empty() || scan == ScanKind::tables, "without planes only the table code can be scanned");
    if (scan == ScanKind::tables)
        require(view.table_code && view.table_code->segments_of(dims) > 0, "scan_dims is no rung of the table code");
}

// The queries of one call and what routes them, checked for what is not finite while nothing else needs the
// interpreter.
struct Asked {
    Asked(const Array<float>& queries, const std::optional<Array<float>>& routing_queries)
        : queries{queries.data(), queries.shape(1), queries.shape(0)},
          routing(routing_queries ? Queries{routing_queries->data(), routing_queries->shape(1), queries.shape(0)}
                                  : this->queries) {}

    // Runs `work` without the interpreter's lock.
    template <class Work>
    void run(Work work) const {
        int64_t bad_query = -1, bad_routing = -1;
        {
            const py::gil_scoped_release release;
            bad_query = first_bad(queries);
            if (routing.rows != queries.rows) bad_routing = first_bad(routing);
            if (bad_query < 0 && bad_routing < 0) work();
        }
        if (bad_query >= 0)
            throw py::value_error("queries: row " + std::to_string(bad_query) + " holds NaN or infinity");
        if (bad_routing >= 0)
            throw py::value_error("routing_queries: row " + std::to_string(bad_routing) + " holds NaN or infinity");
    }

    static int64_t first_bad(const Queries& of) {
        return first_not_finite({of.rows, false, of.count, of.stride, of.stride}, 1);
    }

    Queries queries, routing;
};

py::tuple search_snapshot(const PySnapshot& snapshot, const Array<float>& queries, int64_t k, int scan_dims,
                          const std::string& scan, int probe_count, int routing_dims,
                          const std::vector<std::pair<int, int64_t>>& stages, int threads,
                          const std::optional<Array<float>>& routing_queries) {
    const int64_t count = queries.shape(0);
    SearchPlan plan;
    plan.k = k;
    plan.scan_dims = scan_dims;
    plan.scan = scan_kind_of(scan);
    plan.probe_count = probe_count;
    plan.routing_dims = routing_dims;
    plan.threads = threads;
    for (const auto& [dims, keep] : stages) plan.stages.push_back({dims, keep});
    const IndexView& view = *snapshot.segments[0].view;
    require_scannable(view, plan.scan, scan_dims);
    if (view.planes.empty())
        require(stages.empty() || (stages.size() == 1 && stages[0].first == scan_dims),
                "without planes the one stage is at scan_dims");

    Array<float> distances({count, k});
    Array<int64_t> ids({count, k});
    Array<int32_t> counts(count);
    const SearchOutput output{distances.mutable_data(), ids.mutable_data(), counts.mutable_data()};
    SearchTotals totals;
    const Asked asked(queries, routing_queries);
    asked.run([&] { totals = search(snapshot.segments, plan, asked.queries, asked.routing, output); });
    return py::make_tuple(distances, ids, counts, totals.scanned, totals.rescored);
}

py::tuple range_search_snapshot(const PySnapshot& snapshot, const Array<float>& queries, float radius, int dims,
                                const std::string& scan, int probe_count, int routing_dims, int threads,
                                const std::optional<Array<float>>& routing_queries) {
    RangePlan plan;
    plan.radius = radius;
    plan.dims = dims;
    plan.scan = scan_kind_of(scan);
    plan.probe_count = probe_count;
    plan.routing_dims = routing_dims;
    plan.threads = threads;
    require(plan.scan != ScanKind::code, "int8 codes do not measure");
    require_scannable(*snapshot.segments[0].view, plan.scan, dims);

    std::vector<Found> found;
    int64_t scanned = 0;
    const Asked asked(queries, routing_queries);
    asked.run([&] { scanned = range_search(snapshot.segments, plan, asked.queries, asked.routing, found); });

    Array<int64_t> offsets(static_cast<py::ssize_t>(found.size()) + 1);
    int64_t* offset = offsets.mutable_data();
    offset[0] = 0;
    for (const Found& of_query : found) {
        offset[1] = offset[0] + static_cast<int64_t>(of_query.size());
        offset++;
    }
    Array<float> distances(*offset);
    Array<int64_t> ids(*offset);
    float* distance = distances.mutable_data();
    int64_t* id = ids.mutable_data();
    for (const Found& of_query : found)
        for (const auto& [d, i] : of_query) {
            *distance++ = d;
            *id++ = i;
        }
    return py::make_tuple(offsets, distances, ids, scanned);
}

// Evaluates a compiled predicate, int8 or bool (int64), at every id: a byte each.
Array<bool> ids_where(const Array<int64_t>& ids, std::uintptr_t address) {
    require(address != 0, "the predicate has no address");
    const auto predicate = reinterpret_cast<int8_t (*)(int64_t)>(address);
    Array<bool> found(ids.size());
    bool* to = found.mutable_data();
    const Span<const int64_t> all = span_of(ids);
    const py::gil_scoped_release release;
    for (const int64_t id : all) *to++ = predicate(id) != 0;
    return found;
}

}  // namespace

void bind_snapshot(py::module_& module) {
    module.def("ids_where", &ids_where, py::arg("ids").noconvert(), py::arg("address"));
    py::class_<PySnapshot>(module, "Snapshot",
                           "All that one search sees: segments, each with the bits of its live rows.")
        .def(py::init<const py::list&>(), py::arg("segments"))
        .def("live_rows", &PySnapshot::live_rows)
        .def("search", &search_snapshot, py::arg("queries").noconvert(), py::arg("k"), py::arg("scan_dims"),
             py::arg("scan"), py::arg("probe_count"), py::arg("routing_dims"), py::arg("stages"), py::arg("threads"),
             py::arg("routing_queries").noconvert() = py::none())
        .def("range_search", &range_search_snapshot, py::arg("queries").noconvert(), py::arg("radius"), py::arg("dims"),
             py::arg("scan"), py::arg("probe_count"), py::arg("routing_dims"), py::arg("threads"),
             py::arg("routing_queries").noconvert() = py::none());
}

}  // namespace adanns::bindings
