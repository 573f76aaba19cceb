# How a folder becomes a library or a program.

# bm_library(bm_run FOLDER src/run DEPENDS bm_pipeline LIBRARIES m): every .c file of the folder.
# A folder without .c files gives a target with nothing to compile.
function(bm_library target)
    cmake_parse_arguments(PARSE_ARGV 1 ARG "" "FOLDER" "DEPENDS;LIBRARIES;FORMATS")
    file(GLOB files CONFIGURE_DEPENDS ${ARG_FOLDER}/*.c)
    foreach(format IN LISTS ARG_FORMATS) # one file per format, each with its option
        string(TOUPPER ${format} option)
        if(NOT BM_WITH_${option})
            list(FILTER files EXCLUDE REGEX "/${format}[^/]*\\.c$")
        endif()
    endforeach()
    if(files)
        add_library(${target} STATIC ${files})
        set(scope PUBLIC)
        target_link_libraries(${target} PRIVATE bm_flags)
    else()
        add_library(${target} INTERFACE)
        set(scope INTERFACE)
    endif()
    foreach(format IN LISTS ARG_FORMATS)
        string(TOUPPER ${format} option)
        target_compile_definitions(${target} ${scope}
            BM_WITH_${option}=$<BOOL:${BM_WITH_${option}}>)
    endforeach()
    target_include_directories(${target} ${scope} src .)
    target_link_libraries(${target} ${scope} ${ARG_DEPENDS} ${ARG_LIBRARIES})
    set(BM_SCOPE_${target} ${scope} PARENT_SCOPE)
    if(files)
        set(BM_HAVE_${target} TRUE PARENT_SCOPE)
    endif()
endfunction()

# bm_layer(run DEPENDS pipeline): src/run as bm_run.
function(bm_layer name)
    cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "DEPENDS;LIBRARIES;FORMATS")
    list(TRANSFORM ARG_DEPENDS PREPEND bm_)
    bm_library(bm_${name} FOLDER src/${name} DEPENDS ${ARG_DEPENDS}
               LIBRARIES ${ARG_LIBRARIES} FORMATS ${ARG_FORMATS})
endfunction()

# bm_program(batchmill_cli FOLDER client/cli OUTPUT batchmill LIBRARIES ...): lies at the root of
# the build tree.
function(bm_program target)
    cmake_parse_arguments(PARSE_ARGV 1 ARG "" "FOLDER;OUTPUT" "LIBRARIES")
    file(GLOB files CONFIGURE_DEPENDS ${ARG_FOLDER}/*.c)
    if(files)
        add_executable(${target} ${files})
        target_link_libraries(${target} PRIVATE ${ARG_LIBRARIES} bm_flags)
        set_target_properties(${target} PROPERTIES
            OUTPUT_NAME ${ARG_OUTPUT} RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
    endif()
endfunction()
