#include "kernel_table.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "isa.h"

namespace adanns {

extern const KernelTable adanns_kernels_baseline;
#if defined(ADANNS_HAS_AVX2)
extern const KernelTable adanns_kernels_avx2;
#endif
#if defined(ADANNS_HAS_AVX512)
extern const KernelTable adanns_kernels_avx512;
#endif
#if defined(ADANNS_HAS_AVX512_VNNI)
extern const KernelTable adanns_kernels_avx512_vnni;
#endif
#if defined(ADANNS_HAS_AVX512_VBMI)
extern const KernelTable adanns_kernels_avx512_vbmi;
#endif

std::vector<const KernelTable*> available_kernels() {
    std::vector<const KernelTable*> tables = {&adanns_kernels_baseline};
#if defined(ADANNS_HAS_AVX2)
    // Every processor with AVX2 has F16C, which older Clang cannot ask for.
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2) tables.push_back(&adanns_kernels_avx2);
#endif
#if defined(ADANNS_HAS_AVX512)
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512) tables.push_back(&adanns_kernels_avx512);
#endif
#if defined(ADANNS_HAS_AVX512_VNNI)
    const bool avx512_vnni = avx512 && __builtin_cpu_supports("avx512vnni");
    if (avx512_vnni) tables.push_back(&adanns_kernels_avx512_vnni);
#endif
#if defined(ADANNS_HAS_AVX512_VBMI)
    if (avx512_vnni && __builtin_cpu_supports("avx512vbmi")) tables.push_back(&adanns_kernels_avx512_vbmi);
#endif
    return tables;
}

namespace {

const KernelTable& choose() {
    const std::vector<const KernelTable*> tables = available_kernels();
    const char* forced = std::getenv("ADANNS_ISA");
    if (forced == nullptr || *forced == '\0') return *tables.back();
    std::string names;
    for (const KernelTable* table : tables) {
        if (std::string(forced) == table->isa) return *table;
        names += (names.empty() ? "" : table == tables.back() ? " or " : ", ") + std::string(table->isa);
    }
    throw std::invalid_argument("ADANNS_ISA=" + std::string(forced) +
                                " is not a level of this machine and build; choose " + names);
}

}  // namespace

const KernelTable& kernels() {
    static const KernelTable& table = choose();
    return table;
}

}  // namespace adanns
