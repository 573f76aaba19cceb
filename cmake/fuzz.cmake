# Every tests/fuzz/fuzz_*.c is a libFuzzer program at the root of the build tree.
file(GLOB programs CONFIGURE_DEPENDS tests/fuzz/fuzz_*.c)
foreach(program IN LISTS programs)
    cmake_path(GET program STEM target)
    add_executable(${target} ${program})
    target_include_directories(${target} PRIVATE tests)
    target_link_libraries(${target} PRIVATE bm_server bm_client bm_flags)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
endforeach()
