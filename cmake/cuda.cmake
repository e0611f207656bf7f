# Builds adanns._cuda: every kernel for every architecture of ADANNS_CUDA_ARCHS, and PTX of the last for what comes after.
# Included by CMakeLists.txt where there is nvcc.
set(archs ${ADANNS_CUDA_ARCHS})
list(GET archs -1 last_arch)
list(TRANSFORM archs APPEND "-real")
list(APPEND archs "${last_arch}-virtual")
set(CMAKE_CUDA_ARCHITECTURES ${archs})
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
find_package(CUDAToolkit REQUIRED)

file(GLOB cuda_sources CONFIGURE_DEPENDS csrc/cuda/*.cu)
add_library(adanns_cuda OBJECT ${cuda_sources})
target_include_directories(adanns_cuda PRIVATE csrc)
# A register that spills to memory is an error: kernels are written so that none does.
target_compile_options(adanns_cuda PRIVATE -Xptxas=-warn-spills,-Werror -Xcompiler=-Wall,-Wextra)
if(ADANNS_WERROR)
    target_compile_options(adanns_cuda PRIVATE -Werror=all-warnings -Xcompiler=-Werror)
endif()

pybind11_add_module(_cuda MODULE NO_EXTRAS csrc/bindings/cuda.cpp $<TARGET_OBJECTS:adanns_cuda>)
target_include_directories(_cuda PRIVATE csrc)
target_compile_options(_cuda PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${warnings}> -Wno-pedantic)
# The static runtime finds the driver when it is first used, so the module can be imported where there is none.
target_link_libraries(_cuda PRIVATE CUDA::cudart_static)
install(TARGETS _cuda LIBRARY DESTINATION adanns)
