# Header, libraries, CMake package, fallow.pc, the fallow command, manual pages, licence.

include(CMakePackageConfigHelpers)

install(FILES include/fallow.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(NOT WIN32)
    install(FILES tools/gdb/fallow-gdb.py DESTINATION ${CMAKE_INSTALL_DATADIR}/fallow)
endif()
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")
install(TARGETS fallow EXPORT fallow-${fallow_kind}-targets)
if(TARGET fallow_static)
    install(TARGETS fallow_static EXPORT fallow-static-targets)
endif()
if(TARGET fallow_tool)
    install(TARGETS fallow_tool)
endif()
if(TARGET fallow_record)
    install(TARGETS fallow_record DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()

# Manual pages, made from fallow.h and the text of `fallow help`; the script needs a Unix shell.
if(CMAKE_HOST_UNIX AND NOT WIN32)
    execute_process(COMMAND ${PROJECT_SOURCE_DIR}/script/man ${CMAKE_CURRENT_BINARY_DIR}/man
        COMMAND_ERROR_IS_FATAL ANY)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
        include/fallow.h tools/fallow/main.c script/man)
    install(DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/man/man3 DESTINATION ${CMAKE_INSTALL_MANDIR})
    if(TARGET fallow_tool)
        install(DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/man/man1 DESTINATION ${CMAKE_INSTALL_MANDIR})
    endif()
endif()

# Each library has a file of targets of its own, so that they may also be installed one after the other in one prefix;
# fallowConfig.cmake picks.
set(fallow_package_directory ${CMAKE_INSTALL_LIBDIR}/cmake/fallow)
foreach(kind static shared)
    if(TARGET fallow::${kind})
        install(EXPORT fallow-${kind}-targets
            FILE fallow-${kind}-targets.cmake
            NAMESPACE fallow::
            DESTINATION ${fallow_package_directory})
    endif()
endforeach()
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
        # A plugin that has the library inside must stay loaded, as the shared library does; nothing to a program.
        set(fallow_pc_libs " -pthread -Wl,-z,nodelete")
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
