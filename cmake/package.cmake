# Packages, by `cpack` in the build directory: for Debian on Linux, a zip for Windows. script/release makes both.

set(CPACK_PACKAGE_NAME fallow)
set(CPACK_PACKAGE_VENDOR fallow)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_STRIP_FILES ON)
if(WIN32)
    set(CPACK_GENERATOR ZIP)
    set(CPACK_SYSTEM_NAME windows-${CMAKE_SYSTEM_PROCESSOR})
else()
    set(CPACK_GENERATOR DEB)
endif()

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_NAME libfallow-dev)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
# Debian asks for an address, and the project has none: this one says so. Who gives packages to others puts his own.
set(FALLOW_PACKAGER "The fallow project <no-address@fallow.invalid>" CACHE STRING "Maintainer of the Debian package: Name <address>")
mark_as_advanced(FALLOW_PACKAGER)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "${FALLOW_PACKAGER}")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "A C library for programs that want much address space and little memory: it
reserves huge ranges of addresses, backs them with memory as they are used,
hands out runs of pages, and gives memory back.

Header, static and shared library, CMake package, fallow.pc, and the fallow
command, which tells what memory a system allows.")
# The library's dependencies are read from it, where the tool for that is there.
find_program(FALLOW_DPKG_SHLIBDEPS dpkg-shlibdeps)
mark_as_advanced(FALLOW_DPKG_SHLIBDEPS)
if(FALLOW_DPKG_SHLIBDEPS)
    set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
else()
    set(CPACK_DEBIAN_PACKAGE_DEPENDS libc6)
endif()
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
# The loader's cache is brought up to date once for all packages of an installation.
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_BINARY_DIR}/triggers)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/package_debian.cmake)
include(CPack)
