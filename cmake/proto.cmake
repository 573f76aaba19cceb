# bm_proto: the messages of proto/, generated in the build tree and never committed.
find_program(PROTOC_C protoc-c REQUIRED)

file(GLOB protos CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/proto
     proto/batchmill/v1/*.proto)
set(proto_out ${PROJECT_BINARY_DIR}/proto)
file(MAKE_DIRECTORY ${proto_out})
set(proto_sources "")
foreach(proto IN LISTS protos)
    cmake_path(REMOVE_EXTENSION proto OUTPUT_VARIABLE stem)
    add_custom_command(
        OUTPUT ${proto_out}/${stem}.pb-c.c ${proto_out}/${stem}.pb-c.h
        COMMAND ${PROTOC_C} --proto_path=${PROJECT_SOURCE_DIR}/proto --c_out=${proto_out} ${proto}
        DEPENDS proto/${proto}
        COMMENT "Generating ${stem}.pb-c.c"
        VERBATIM)
    list(APPEND proto_sources ${proto_out}/${stem}.pb-c.c ${proto_out}/${stem}.pb-c.h)
endforeach()

add_library(bm_proto STATIC ${proto_sources})
target_include_directories(bm_proto SYSTEM PUBLIC ${proto_out})
target_link_libraries(bm_proto PUBLIC PkgConfig::PROTOBUF_C PRIVATE bm_instruments)
