# Header, library, CMake package, fallow.pc, the fallow command.

include(CMakePackageConfigHelpers)

install(FILES include/fallow.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(TARGETS fallow EXPORT fallow-targets)
if(TARGET fallow_tool)
    install(TARGETS fallow_tool)
endif()
if(TARGET fallow_record)
    install(TARGETS fallow_record DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()

# The static and the shared library can live in one prefix: each has its own file of targets, fallowConfig.cmake picks.
set(fallow_package_directory ${CMAKE_INSTALL_LIBDIR}/cmake/fallow)
install(EXPORT fallow-targets
    FILE fallow-${fallow_kind}-targets.cmake
    NAMESPACE fallow::
    DESTINATION ${fallow_package_directory})
configure_package_config_file(cmake/fallowConfig.cmake.in fallowConfig.cmake
    INSTALL_DESTINATION ${fallow_package_directory}
    NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(fallowConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES
    ${CMAKE_CURRENT_BINARY_DIR}/fallowConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/fallowConfigVersion.cmake
    DESTINATION ${fallow_package_directory})

# fallow.pc finds its prefix from its own place, so that the tree can be moved. Who links the static library links what
# it needs, too.
set(fallow_pc_libs "")
set(fallow_pc_libs_private "")
if(NOT WIN32)
    if(fallow_kind STREQUAL "shared")
        set(fallow_pc_libs_private " -pthread")
    else()
        set(fallow_pc_libs " -pthread")
    endif()
endif()
set(fallow_pc_directory ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
cmake_path(IS_ABSOLUTE CMAKE_INSTALL_LIBDIR fallow_libdir_is_absolute)
if(fallow_libdir_is_absolute)
    set(fallow_pc_prefix ${CMAKE_INSTALL_PREFIX})
else()
    file(RELATIVE_PATH fallow_pc_up /prefix/${fallow_pc_directory} /prefix)
    string(REGEX REPLACE "/$" "" fallow_pc_up "${fallow_pc_up}")
    set(fallow_pc_prefix "\${pcfiledir}/${fallow_pc_up}")
endif()
set(fallow_pc_libdir "\${prefix}")
cmake_path(APPEND fallow_pc_libdir "${CMAKE_INSTALL_LIBDIR}")
set(fallow_pc_includedir "\${prefix}")
cmake_path(APPEND fallow_pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
configure_file(cmake/fallow.pc.in fallow.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/fallow.pc DESTINATION ${fallow_pc_directory})
