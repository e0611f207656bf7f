// adanns._cuda: the stages of a search on a GPU. Addresses are integers; what they point to is the device's, and kept
// alive by the caller until the stream's work is done.
#include "cuda/search.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

namespace py = pybind11;

namespace {

using namespace adanns;
using namespace adanns::cuda;
using Address = std::uintptr_t;

template <class T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

cudaStream_t stream_of(Address address) { return pointer<std::remove_pointer_t<cudaStream_t>>(address); }

template <class T>
T one_of(const std::string& name, const char* what, std::initializer_list<std::pair<const char*, T>> known) {
    std::string names;
    for (const auto& [key, value] : known) {
        if (name == key) return value;
        names += (names.empty() ? "" : ", ") + std::string(key);
    }
    throw std::invalid_argument(std::string(what) + " " + name + " is unknown; choose one of " + names);
}

Metric metric_of(const std::string& name) {
    return one_of<Metric>(name, "metric",
                          {{"l2", Metric::l2}, {"ip", Metric::inner_product}, {"cosine", Metric::cosine}});
}

// type, rows, stride, first dim, dims, scales, offsets, half scale
using PlaneTuple = std::tuple<std::string, Address, int64_t, int, int, Address, Address, float>;

Planes make_planes(const std::vector<PlaneTuple>& given) {
    if (given.size() > kMaxPlanes)
        throw std::invalid_argument(std::to_string(given.size()) + " planes; a search takes up to " +
                                    std::to_string(kMaxPlanes));
    Planes planes{};
    for (const auto& [type, rows, stride, first_dim, dims, scales, offsets, half_scale] : given) {
        if (rows % kLoadBytes != 0)
            throw std::invalid_argument("a plane starts at address " + std::to_string(rows) +
                                        ", no multiple of 16 bytes");
        if (stride % kPad != 0)
            throw std::invalid_argument("a plane's rows are " + std::to_string(stride) +
                                        " elements apart, no multiple of 16: pad them");
        planes.plane[planes.count++] = {
            pointer<const void>(rows),
            stride,
            pointer<const float>(scales),
            pointer<const float>(offsets),
            first_dim,
            dims,
            one_of<ScalarType>(
                type, "number type",
                {{"float32", ScalarType::float32}, {"float16", ScalarType::float16}, {"int8", ScalarType::int8}}),
            half_scale};
    }
    return planes;
}

Queries queries_of(const std::tuple<Address, int64_t, int>& given) {
    const auto& [rows, stride, count] = given;
    return {pointer<const float>(rows), stride, count};
}

void check_keep(int keep) {
    if (keep < 1 || keep > kMaxKeep)
        throw std::invalid_argument("a shortlist of " + std::to_string(keep) + " candidates; the device keeps 1 to " +
                                    std::to_string(kMaxKeep));
}

// What keeps kernels from running here; nothing where they can.
std::string why_not() {
    int devices = 0;
    const cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess) return std::string("CUDA finds no GPU here: ") + cudaGetErrorString(error);
    return devices > 0 ? "" : "CUDA finds no GPU here";
}

// Multiprocessors of the current device.
int multiprocessors() {
    int device = 0, count = 0;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
        throw std::runtime_error(why_not());
    return count;
}

// (dims, keep, exact, terms)
using StageTuple = std::tuple<int, int, bool, Address>;

}  // namespace

PYBIND11_MODULE(_cuda, module) {
    module.doc() = "Kernels of a GPU search over addresses of device memory.";
    module.attr("MAX_KEEP") = kMaxKeep;

    // Types of this module alone: the tests load it twice, for the GPU and with the emulator.
    py::class_<Planes>(module, "Planes", py::module_local()).def(py::init(&make_planes), py::arg("planes"));

    module.def("why_not", &why_not);
    module.def("multiprocessors", &multiprocessors);
    module.def("list_numbers", &list_numbers, py::arg("lists"), py::arg("queries"), py::arg("probes"));
    module.def("capacity_for", &capacity_for, py::arg("keep"));
    module.def(
        "sample_groups", [](int64_t rows, int keep) { return sample_for(rows, keep).groups; }, py::arg("rows"),
        py::arg("keep"));
    module.def("table_groups", &table_groups, py::arg("keep"));

    py::class_<Found>(module, "Found", py::module_local())
        .def(py::init([](Address candidates, Address counts, Address bounds, Address minima, int capacity, int groups) {
                 return Found{pointer<Candidate>(candidates),
                              pointer<int32_t>(counts),
                              pointer<float>(bounds),
                              pointer<uint32_t>(minima),
                              capacity,
                              groups};
             }),
             py::arg("candidates"), py::arg("counts"), py::arg("bounds"), py::arg("minima"), py::arg("capacity"),
             py::arg("groups"));

    module.def(
        "scan_all",
        [](const Planes& planes, const std::string& metric, Address terms,
           const std::tuple<Address, int64_t, int>& queries, int64_t rows, int dims, int keep, int multiprocessors,
           const Found& found, Address out, Address stream) {
            check_keep(keep);
            scan_all(planes, {metric_of(metric), pointer<const float>(terms)}, queries_of(queries), rows, dims, keep,
                     multiprocessors, found, pointer<Candidate>(out), stream_of(stream));
        },
        py::arg("planes"), py::arg("metric"), py::arg("terms"), py::arg("queries"), py::arg("rows"), py::arg("dims"),
        py::arg("keep"), py::arg("multiprocessors"), py::arg("found"), py::arg("out"), py::arg("stream") = 0,
        py::call_guard<py::gil_scoped_release>());

    module.def("fits_tensor_cores", &fits_tensor_cores, py::arg("planes"), py::arg("dims"));
    module.def("halves_for", &halves_for, py::arg("planes"), py::arg("dims"), py::arg("queries"));
    module.def(
        "scan_tiles",
        [](const Planes& planes, const std::string& metric, Address terms,
           const std::tuple<Address, int64_t, int>& queries, int64_t rows, int dims, int keep, int multiprocessors,
           Address halves, const Found& found, Address out, Address stream) {
            check_keep(keep);
            if (!fits_tensor_cores(planes, dims))
                throw std::invalid_argument("tensor cores take no plane of float32 without a half scale");
            scan_tiles(planes, {metric_of(metric), pointer<const float>(terms)}, queries_of(queries), rows, dims, keep,
                       multiprocessors, pointer<void>(halves), found, pointer<Candidate>(out), stream_of(stream));
        },
        py::arg("planes"), py::arg("metric"), py::arg("terms"), py::arg("queries"), py::arg("rows"), py::arg("dims"),
        py::arg("keep"), py::arg("multiprocessors"), py::arg("halves"), py::arg("found"), py::arg("out"),
        py::arg("stream") = 0, py::call_guard<py::gil_scoped_release>());

    module.def(
        "name_lists",
        [](Address nearest, int64_t count, Address probes, Address stream) {
            name_lists(pointer<const Candidate>(nearest), count, pointer<int32_t>(probes), stream_of(stream));
        },
        py::arg("nearest"), py::arg("count"), py::arg("probes"), py::arg("stream") = 0,
        py::call_guard<py::gil_scoped_release>());
    module.def(
        "scan_lists",
        [](const Planes& planes, const std::string& metric, Address terms,
           const std::tuple<Address, int64_t, int>& queries, Address offsets, int lists, Address probes,
           int probe_count, int dims, int keep, Address numbers, const Found& found, Address out, Address stream) {
            check_keep(keep);
            scan_lists(
                planes, {metric_of(metric), pointer<const float>(terms)}, queries_of(queries),
                {pointer<const int64_t>(offsets), lists, pointer<const int32_t>(probes), probe_count, probe_count},
                dims, keep, pointer<int32_t>(numbers), found, pointer<Candidate>(out), stream_of(stream));
        },
        py::arg("planes"), py::arg("metric"), py::arg("terms"), py::arg("queries"), py::arg("offsets"),
        py::arg("lists"), py::arg("probes"), py::arg("probe_count"), py::arg("dims"), py::arg("keep"),
        py::arg("numbers"), py::arg("found"), py::arg("out"), py::arg("stream") = 0,
        py::call_guard<py::gil_scoped_release>());

    module.def("list_tile_groups", &list_tile_groups, py::arg("keep"));
    module.def(
        "scan_list_tiles",
        [](const Planes& planes, const std::string& metric, Address terms,
           const std::tuple<Address, int64_t, int>& queries, Address offsets, int lists, Address probes,
           int probe_count, int64_t rows, int dims, int keep, Address numbers, Address halves, const Found& found,
           Address out, Address stream) {
            check_keep(keep);
            if (probe_count > found.groups)
                throw std::invalid_argument(std::to_string(probe_count) + " probes; the device scans up to " +
                                            std::to_string(found.groups) + " lists of a query");
            scan_list_tiles(
                planes, {metric_of(metric), pointer<const float>(terms)}, queries_of(queries),
                {pointer<const int64_t>(offsets), lists, pointer<const int32_t>(probes), probe_count, probe_count},
                rows, dims, keep, pointer<int32_t>(numbers), pointer<void>(halves), found, pointer<Candidate>(out),
                stream_of(stream));
        },
        py::arg("planes"), py::arg("metric"), py::arg("terms"), py::arg("queries"), py::arg("offsets"),
        py::arg("lists"), py::arg("probes"), py::arg("probe_count"), py::arg("rows"), py::arg("dims"), py::arg("keep"),
        py::arg("numbers"), py::arg("halves"), py::arg("found"), py::arg("out"), py::arg("stream") = 0,
        py::call_guard<py::gil_scoped_release>());

    py::class_<TableCode>(module, "TableCode", py::module_local())
        .def(
            py::init([](int bits, Address words, int64_t row_words, Address block_offsets, Address segment_ends,
                        Address codebooks, Address centroids, int64_t centroid_stride) {
                if (bits != 4 && bits != 8)
                    throw std::invalid_argument("codes of " + std::to_string(bits) + " bits; the device scans 4 and 8");
                return TableCode{bits,
                                 pointer<const uint32_t>(words),
                                 row_words,
                                 pointer<const int64_t>(block_offsets),
                                 pointer<const int32_t>(segment_ends),
                                 pointer<const float>(codebooks),
                                 pointer<const float>(centroids),
                                 centroid_stride};
            }),
            py::arg("bits"), py::arg("words"), py::arg("row_words"), py::arg("block_offsets"), py::arg("segment_ends"),
            py::arg("codebooks"), py::arg("centroids") = 0, py::arg("centroid_stride") = 0);

    module.def(
        "rotate",
        [](const std::tuple<Address, int64_t, int>& queries, int dims, Address rotation, int rotated_dims, Address out,
           Address stream) {
            rotate(queries_of(queries), dims, pointer<const float>(rotation), rotated_dims, pointer<float>(out),
                   stream_of(stream));
        },
        py::arg("queries"), py::arg("dims"), py::arg("rotation"), py::arg("rotated_dims"), py::arg("out"),
        py::arg("stream") = 0, py::call_guard<py::gil_scoped_release>());
    module.def("most_segments", &most_segments, py::arg("bits"), py::arg("keep"));
    module.def(
        "scan_tables",
        [](const TableCode& code, const std::string& metric, Address terms,
           const std::tuple<Address, int64_t, int>& rotated, Address offsets, int lists, Address probes,
           int probe_count, int64_t probe_stride, int segments, int keep, int splits, const Found& found, Address out,
           Address stream) {
            check_keep(keep);
            if (const int most = most_segments(code.bits, keep); segments < 1 || segments > most)
                throw std::invalid_argument(std::to_string(segments) + " segments of " + std::to_string(code.bits) +
                                            " bits; beside a shortlist of " + std::to_string(keep) +
                                            " the device's shared memory holds 1 to " + std::to_string(most));
            scan_tables(
                code, {metric_of(metric), pointer<const float>(terms)}, queries_of(rotated),
                {pointer<const int64_t>(offsets), lists, pointer<const int32_t>(probes), probe_count, probe_stride},
                segments, keep, splits, found, pointer<Candidate>(out), stream_of(stream));
        },
        py::arg("code"), py::arg("metric"), py::arg("terms"), py::arg("rotated"), py::arg("offsets"), py::arg("lists"),
        py::arg("probes"), py::arg("probe_count"), py::arg("probe_stride"), py::arg("segments"), py::arg("keep"),
        py::arg("splits"), py::arg("found"), py::arg("out"), py::arg("stream") = 0,
        py::call_guard<py::gil_scoped_release>());

    module.def(
        "rerank",
        [](const Planes& planes, const std::string& metric, int scan_dims, Address scan_terms,
           const std::vector<StageTuple>& stages, const std::tuple<Address, int64_t, int>& queries, Address shortlists,
           int shortlisted, Address ids, int k, Address distances, Address nearest_ids, Address counts,
           Address rescored, Address stream) {
            check_keep(shortlisted);
            if (stages.size() > kMaxStages)
                throw std::invalid_argument(std::to_string(stages.size()) +
                                            " stages of a rerank; the device takes up to " +
                                            std::to_string(kMaxStages));
            RerankPlan plan{metric_of(metric), scan_dims, pointer<const float>(scan_terms), {}, 0};
            for (const auto& [dims, keep, exact, terms] : stages)
                plan.stages[plan.stage_count++] = {dims, keep, exact, pointer<const float>(terms)};
            rerank(planes, plan, queries_of(queries), pointer<const Candidate>(shortlists), shortlisted,
                   pointer<const int64_t>(ids), k,
                   {pointer<float>(distances), pointer<int64_t>(nearest_ids), pointer<int32_t>(counts),
                    pointer<int32_t>(rescored)},
                   stream_of(stream));
        },
        py::arg("planes"), py::arg("metric"), py::arg("scan_dims"), py::arg("scan_terms"), py::arg("stages"),
        py::arg("queries"), py::arg("shortlists"), py::arg("shortlisted"), py::arg("ids"), py::arg("k"),
        py::arg("distances"), py::arg("nearest_ids"), py::arg("counts"), py::arg("rescored"), py::arg("stream") = 0,
        py::call_guard<py::gil_scoped_release>());

    module.attr("ASSIGNED_TOGETHER") = kAssignedTogether;
    module.def(
        "assign",
        [](const std::tuple<Address, int64_t, int>& rows, int dims, Address centroids, int clusters,
           const Planes& halved, Address terms, Address halves, Address nearest, double sum_scale, Address assigned,
           Address distances, Address sums, Address stream) {
            assign(queries_of(rows), dims, pointer<const float>(centroids), clusters, halved,
                   pointer<const float>(terms), pointer<void>(halves), pointer<Candidate>(nearest), sum_scale,
                   {pointer<int32_t>(assigned), pointer<float>(distances), pointer<unsigned long long>(sums)},
                   stream_of(stream));
        },
        py::arg("rows"), py::arg("dims"), py::arg("centroids"), py::arg("clusters"), py::arg("halved"),
        py::arg("terms"), py::arg("halves"), py::arg("nearest"), py::arg("sum_scale"), py::arg("assigned"),
        py::arg("distances"), py::arg("sums"), py::arg("stream") = 0, py::call_guard<py::gil_scoped_release>());
}
