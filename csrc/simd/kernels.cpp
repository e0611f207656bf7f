// One source, compiled once per ISA with its own flags; ADANNS_KERNELS names the one symbol each object exports.
#include "../core/kernel_table.h"
#include "assign.h"
#include "convert.h"
#include "dot_rows.h"
#include "keys.h"
#include "products.h"
#include "segments.h"
#include "select.h"
#include "table_keys.h"

#define ADANNS_STRING_OF(x) #x
#define ADANNS_NAME_OF(x) ADANNS_STRING_OF(x)

namespace adanns {

extern const KernelTable ADANNS_KERNELS;
const KernelTable ADANNS_KERNELS = {
    &ADANNS_NAME_OF(ADANNS_KERNELS)[sizeof("adanns_kernels_") - 1],
    dot_rows<float>,
    dot_rows<uint16_t>,
    dot_rows<int8_t>,
    dot_gather<float>,
    dot_gather<uint16_t>,
    dot_gather<int8_t>,
    finish_keys,
    block_keys,
    table_keys<Nibbles>,
    table_keys<Bytes>,
    collect_below,
    bound_of_smallest,
    select_smallest,
    assign_rows,
    multiply_rows,
    nearest_entries,
    round_tables,
    f32_to_f16,
    f16_to_f32,
};

}  // namespace adanns
