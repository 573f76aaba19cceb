# Every tests/fuzz/fuzz_*.c is a target. With BM_FUZZ it is a libFuzzer program, with BM_TESTS a
# test that replays tests/fuzz/corpus/<target>.
file(GLOB files CONFIGURE_DEPENDS tests/fuzz/fuzz_*.c)
foreach(format arrow csv npy idx text tokens jsonl zstd jpeg png)
    string(TOUPPER ${format} option)
    if(NOT BM_WITH_${option})
        list(FILTER files EXCLUDE REGEX "/fuzz_${format}\\.c$")
    endif()
endforeach()

add_library(bm_fuzz STATIC tests/fuzz/fuzz.c tests/fuzz/arrays.c tests/fakes/fake_executor.c)
target_include_directories(bm_fuzz PUBLIC tests)
target_link_libraries(bm_fuzz PUBLIC bm_server bm_client PRIVATE bm_flags)

foreach(file IN LISTS files)
    cmake_path(GET file STEM program)
    string(REGEX REPLACE "^fuzz_" "" target ${program})
    if(BM_FUZZ)
        add_executable(${program} ${file})
        target_link_libraries(${program} PRIVATE bm_fuzz bm_flags)
        target_link_options(${program} PRIVATE -fsanitize=fuzzer)
    endif()
    if(BM_TESTS)
        add_executable(fuzz_replay_${target} ${file} tests/fuzz/replay.c)
        target_link_libraries(fuzz_replay_${target} PRIVATE bm_fuzz bm_flags)
        bm_test(fuzz.${target} LABEL unit SECONDS 60
                COMMAND fuzz_replay_${target} tests/fuzz/corpus/${target})
    endif()
endforeach()
