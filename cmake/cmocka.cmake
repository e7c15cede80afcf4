# The target fallow_cmocka: the machine's own library, or for another system than this one cmocka's single source file,
# as script/bootstrap unpacks it in build/cmocka or FETCHCONTENT_SOURCE_DIR_CMOCKA names it.

# Where it is not found: an error if the tests were asked for, else no tests (fallow_with_tests becomes OFF).
macro(fallow_without_cmocka)
    if(fallow_tests_are_asked_for)
        message(FATAL_ERROR ${ARGN} " Or build without tests: -DBUILD_TESTING=OFF.")
    endif()
    message(STATUS "No tests: " ${ARGN})
    set(fallow_with_tests OFF)
endmacro()

set(FETCHCONTENT_SOURCE_DIR_CMOCKA "" CACHE PATH "cmocka's sources, instead of the system's library or build/cmocka")

add_library(fallow_cmocka INTERFACE)

if(NOT FETCHCONTENT_SOURCE_DIR_CMOCKA AND NOT CMAKE_CROSSCOMPILING)
    find_path(FALLOW_CMOCKA_INCLUDE_DIR cmocka.h)
    find_library(FALLOW_CMOCKA_LIBRARY cmocka)
    mark_as_advanced(FALLOW_CMOCKA_INCLUDE_DIR FALLOW_CMOCKA_LIBRARY)
    if(NOT FALLOW_CMOCKA_INCLUDE_DIR OR NOT FALLOW_CMOCKA_LIBRARY)
        fallow_without_cmocka("The tests need cmocka, and it was not found. Run script/bootstrap, or install it (Debian: "
            "libcmocka-dev), or give its sources with -DFETCHCONTENT_SOURCE_DIR_CMOCKA=DIR.")
        return()
    endif()
    target_include_directories(fallow_cmocka SYSTEM INTERFACE ${FALLOW_CMOCKA_INCLUDE_DIR})
    target_link_libraries(fallow_cmocka INTERFACE ${FALLOW_CMOCKA_LIBRARY})
    return()
endif()

set(cmocka_directory "${PROJECT_SOURCE_DIR}/build/cmocka")
if(FETCHCONTENT_SOURCE_DIR_CMOCKA)
    set(cmocka_directory "${FETCHCONTENT_SOURCE_DIR_CMOCKA}")
endif()
if(NOT EXISTS "${cmocka_directory}/src/cmocka.c")
    fallow_without_cmocka("The tests need cmocka's sources, and ${cmocka_directory}/src/cmocka.c does not exist. Run "
        "script/bootstrap, or give them with -DFETCHCONTENT_SOURCE_DIR_CMOCKA=DIR.")
    return()
endif()

# One translation unit, with what its own build would have found out; true of every system we build for.
add_library(fallow_cmocka_static STATIC "${cmocka_directory}/src/cmocka.c")
target_include_directories(fallow_cmocka_static SYSTEM PUBLIC "${cmocka_directory}/include")
target_compile_definitions(fallow_cmocka_static PRIVATE
    _GNU_SOURCE
    HAVE_STRUCT_TIMESPEC=1
    HAVE_CLOCK_GETTIME_REALTIME=1
    HAVE_SIGNAL_H=1
    HAVE_MALLOC_H=1
    HAVE_INTTYPES_H=1
    HAVE_STDINT_H=1
    HAVE_GCC_THREAD_LOCAL_STORAGE=1)
target_compile_options(fallow_cmocka_static PRIVATE -w)
target_link_libraries(fallow_cmocka INTERFACE fallow_cmocka_static)
