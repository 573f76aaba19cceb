# Every file in tests/unit and tests/integration is a test of its own; ctest -L picks a kind.
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
# Debian's modules for Python (numpy) belong to its own interpreter.
find_program(PYTHON3 python3 PATHS /usr/bin NO_DEFAULT_PATH)
find_program(PYTHON3 python3 REQUIRED)

set(BM_TEST_ENVIRONMENT
    BATCHMILL=${PROJECT_BINARY_DIR}/batchmill
    BATCHMILL_SOURCE_DIR=${PROJECT_SOURCE_DIR}
    BATCHMILL_BUILD_DIR=${PROJECT_BINARY_DIR}
    # An absurd size must come back as NULL, as it does without the sanitizer.
    ASAN_OPTIONS=allocator_may_return_null=1:detect_stack_use_after_return=1
    UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
    TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:allocator_may_return_null=1)

# bm_test(unit.list LABEL unit SECONDS 60 COMMAND test_list)
function(bm_test name)
    cmake_parse_arguments(PARSE_ARGV 1 ARG "" "LABEL;SECONDS" "COMMAND")
    if(BM_SANITIZE OR BM_COVERAGE OR BM_VALGRIND)
        math(EXPR ARG_SECONDS "${ARG_SECONDS} * 5")
    endif()
    add_test(NAME ${name} COMMAND ${ARG_COMMAND} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_SECONDS}
                         ENVIRONMENT "${BM_TEST_ENVIRONMENT}")
    if(ARG_LABEL STREQUAL "integration") # a server started again must find its port still free
        set_tests_properties(${name} PROPERTIES RUN_SERIAL TRUE)
    endif()
endfunction()

# heap.c stands in for malloc and its family in each test program, so its object is linked whole:
# from an archive the linker might pick it too late.
add_library(bm_fake_heap OBJECT tests/fakes/heap.c)
target_include_directories(bm_fake_heap PUBLIC tests)
target_link_libraries(bm_fake_heap PRIVATE bm_flags)
foreach(function malloc calloc realloc reallocarray strdup strndup aligned_alloc posix_memalign)
    target_link_options(bm_fake_heap INTERFACE -Wl,--wrap=${function})
endforeach()
file(GLOB fakes CONFIGURE_DEPENDS tests/fakes/*.c)
list(FILTER fakes EXCLUDE REGEX "/heap\\.c$")
add_library(bm_fakes STATIC ${fakes})
target_include_directories(bm_fakes PUBLIC tests)
target_link_libraries(bm_fakes PUBLIC ${BM_LAYERS} PRIVATE bm_flags)
# The certificates of tests are made when they run; this is how Python's get theirs.
add_executable(test_certificates tests/tools/certificates.c)
target_link_libraries(test_certificates PRIVATE bm_fakes bm_flags)

foreach(kind unit integration)
    file(GLOB programs CONFIGURE_DEPENDS tests/${kind}/test_*.c)
    foreach(format arrow csv npy idx text tokens jsonl zstd jpeg png)
        string(TOUPPER ${format} option)
        if(NOT BM_WITH_${option})
            list(FILTER programs EXCLUDE REGEX "/test_${format}[^/]*\\.c$")
        endif()
    endforeach()
    if(NOT (BM_WITH_JPEG AND BM_WITH_PNG)) # it decodes both
        list(FILTER programs EXCLUDE REGEX "/test_image_decode\\.c$")
    endif()
    foreach(program IN LISTS programs)
        cmake_path(GET program STEM target)
        add_executable(${target} ${program})
        target_link_libraries(${target} PRIVATE
            bm_fake_heap bm_fakes bm_server bm_client PkgConfig::CMOCKA m bm_flags)
        if(BM_VALGRIND) # what starts a test program: add_test() puts it in front
            target_compile_definitions(${target} PRIVATE BM_TEST_SLOWNESS=20)
            set(valgrind valgrind --quiet --error-exitcode=9 --leak-check=full
                --errors-for-leak-kinds=definite)
            set_target_properties(${target} PROPERTIES CROSSCOMPILING_EMULATOR "${valgrind}")
        endif()
        string(REGEX REPLACE "^test_" "" name ${target})
        set(seconds_unit 60)
        set(seconds_integration 120)
        bm_test(${kind}.${name} LABEL ${kind} SECONDS ${seconds_${kind}} COMMAND ${target})
        if(BM_VALGRIND) # it takes lanes that libjpeg-turbo's assembler never uses for read
            set_property(TEST ${kind}.${name} APPEND PROPERTY ENVIRONMENT JSIMD_FORCENONE=1)
        endif()
    endforeach()
endforeach()

file(GLOB scripts CONFIGURE_DEPENDS tests/integration/*.sh)
if(BM_SANITIZE OR BM_COVERAGE OR NOT TARGET libbatchmill) # not what is shipped
    list(FILTER scripts EXCLUDE REGEX "/install\\.sh$")
endif()
if(NOT (BM_WITH_JPEG AND BM_WITH_PNG))
    list(FILTER scripts EXCLUDE REGEX "/pictures\\.sh$")
endif()
foreach(script IN LISTS scripts)
    cmake_path(GET script STEM name)
    bm_test(integration.${name} LABEL integration SECONDS 120 COMMAND sh ${script})
endforeach()
file(GLOB_RECURSE scripts CONFIGURE_DEPENDS tests/test_*.py)
list(FILTER scripts EXCLUDE REGEX "/tests/python/") # pytest's, by ./dev python
foreach(script IN LISTS scripts)
    cmake_path(GET script STEM name)
    cmake_path(GET script PARENT_PATH folder)
    cmake_path(GET folder FILENAME kind)
    if(kind STREQUAL "tests") # a test of the tests' own tools
        set(kind lint)
    endif()
    string(REGEX REPLACE "^test_" "" name ${name})
    bm_test(${kind}.${name} LABEL ${kind} SECONDS 300 COMMAND ${PYTHON3} ${script})
endforeach()

# Kills and broken connections, by hand: ./dev faults. A small share of it is a test of what is
# shipped; instruments would only make it slow.
add_executable(faults_consumer tests/faults/consumer.c)
target_link_libraries(faults_consumer PRIVATE bm_client bm_base bm_flags)
if(CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo" AND NOT BM_SANITIZE)
    bm_test(faults.all LABEL faults SECONDS 300 COMMAND
            ${PYTHON3} tests/faults/faults.py --kills 100 --proxy 100)
    set_tests_properties(faults.all PROPERTIES RUN_SERIAL TRUE)
endif()

bm_test(lint.layers LABEL lint SECONDS 60 COMMAND ${PYTHON3} tests/tidy.py)
bm_test(lint.headers LABEL lint SECONDS 120 COMMAND
    sh tests/headers.sh ${CMAKE_C_COMPILER}
    "$<TARGET_PROPERTY:bm_flags,INTERFACE_COMPILE_OPTIONS>"
    "-I$<JOIN:$<TARGET_PROPERTY:bm_proto,INTERFACE_INCLUDE_DIRECTORIES>,;-I>")
