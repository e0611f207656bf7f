// The module adanns._core: what each part offers is in its own file.
#include "arrays.h"
#include "core/kernel_table.h"

PYBIND11_MODULE(_core, module) {
    module.doc() = "The native engine of adanns. Inputs were checked in Python; use the classes of adanns instead.";
    adanns::kernels();  // an unknown ADANNS_ISA is an error at import, not in the first search
    adanns::bindings::bind_index(module);
    adanns::bindings::bind_snapshot(module);
    adanns::bindings::bind_build(module);
    adanns::bindings::bind_table_code(module);
    adanns::bindings::bind_kernels(module);
}
