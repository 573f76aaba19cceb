# bm_flags: what every target of ours is compiled with. Generated and outside code never sees it.
add_library(bm_flags INTERFACE)
target_compile_definitions(bm_flags INTERFACE _GNU_SOURCE= BM_VERSION="${PROJECT_VERSION}")
# -ffp-contract=off: the same batch has the same bytes on every machine.
target_compile_options(bm_flags INTERFACE
    -Wall -Wextra -Wshadow -Wvla -Wconversion -Wswitch-enum -Wstrict-prototypes
    -Wmissing-prototypes -Werror -ffp-contract=off -fno-omit-frame-pointer
    $<$<C_COMPILER_ID:Clang>:-Wthread-safety>
    # At -O2 gcc 12 vectorises next to no loop over elements without it; clang does anyway.
    $<$<AND:$<C_COMPILER_ID:GNU>,$<CONFIG:RelWithDebInfo>>:-fvect-cost-model=dynamic>)

# These change how code is linked, so generated code gets them too.
add_library(bm_instruments INTERFACE)
if(BM_SANITIZE)
    target_compile_options(bm_instruments INTERFACE
        -fsanitize=${BM_SANITIZE} -fno-sanitize-recover=all)
    target_link_options(bm_instruments INTERFACE -fsanitize=${BM_SANITIZE})
endif()
if(BM_COVERAGE)
    target_compile_options(bm_instruments INTERFACE --coverage)
    target_link_options(bm_instruments INTERFACE --coverage)
endif()
if(BM_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
        message(FATAL_ERROR "BM_FUZZ: expected clang, got ${CMAKE_C_COMPILER_ID}")
    endif()
    target_compile_options(bm_instruments INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_link_libraries(bm_flags INTERFACE bm_instruments)
