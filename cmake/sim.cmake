# batchmill-sim: the product's own code on virtual time. The linker puts the simulator's mutexes,
# clock and memory in place of the real ones; its wire.c stands for client/c/transport_nng.c.
file(GLOB files CONFIGURE_DEPENDS tests/sim/*.c)
add_executable(batchmill_sim ${files})
target_link_libraries(batchmill_sim PRIVATE bm_fakes bm_server bm_client PkgConfig::CMOCKA bm_flags)
foreach(function malloc calloc realloc reallocarray strdup strndup aligned_alloc posix_memalign
                 asprintf free getrandom mmap munmap memfd_create open close stat getpid
                 bm_mutex_init bm_mutex_fini bm_mutex_lock bm_mutex_unlock
                 bm_cond_init bm_cond_fini bm_cond_signal bm_cond_broadcast bm_cond_wait
                 bm_cond_wait_until bm_clock_system)
    target_link_options(batchmill_sim PRIVATE -Wl,--wrap=${function})
endforeach()
set_target_properties(batchmill_sim PROPERTIES
    OUTPUT_NAME batchmill-sim RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})

# The size of a test run; a sanitizer takes ten times as long for a seed.
set(seeds 5000)
if(BM_SANITIZE OR BM_COVERAGE)
    set(seeds 1500)
endif()
if(NOT BM_SANITIZE STREQUAL "thread") # there are no threads
    bm_test(sim.seeds LABEL sim SECONDS 300 COMMAND batchmill_sim --seeds ${seeds} --jobs 2)
    bm_test(sim.regressions LABEL sim SECONDS 60 COMMAND
            batchmill_sim --list ${PROJECT_SOURCE_DIR}/tests/sim/regressions.txt)
endif()
