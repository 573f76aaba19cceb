# What a user gets: the program with the header of plug-ins, the client library with its own, and
# two ways to find them.
if(TARGET batchmill_cli)
    install(TARGETS batchmill_cli RUNTIME)
    install(DIRECTORY src/plugin/include/ TYPE INCLUDE)
endif()
if(TARGET libbatchmill)
    include(CMakePackageConfigHelpers)
    set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/batchmill)
    install(TARGETS libbatchmill EXPORT batchmill LIBRARY)
    install(DIRECTORY client/c/include/ TYPE INCLUDE)
    install(EXPORT batchmill NAMESPACE batchmill:: FILE batchmill-targets.cmake
            DESTINATION ${package_dir})
    configure_package_config_file(cmake/batchmill-config.cmake.in batchmill-config.cmake
                                  INSTALL_DESTINATION ${package_dir}
                                  NO_SET_AND_CHECK_MACRO)
    write_basic_package_version_file(batchmill-config-version.cmake
                                     COMPATIBILITY SameMinorVersion)
    install(FILES ${PROJECT_BINARY_DIR}/batchmill-config.cmake
                  ${PROJECT_BINARY_DIR}/batchmill-config-version.cmake
            DESTINATION ${package_dir})
    file(RELATIVE_PATH BM_PC_INCLUDE
         ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_FULL_INCLUDEDIR})
    configure_file(cmake/batchmill.pc.in batchmill.pc @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/batchmill.pc
            DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
if(BM_PYTHON) # into the package, by its own build
    set_target_properties(batchmill_python PROPERTIES INSTALL_RPATH "$ORIGIN")
    install(TARGETS batchmill_python LIBRARY DESTINATION . COMPONENT python)
endif()
